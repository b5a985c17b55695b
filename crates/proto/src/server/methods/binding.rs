//! Binding (RFC 8489 §3, RFC 5780 §6, RFC 3489 §8.1). Needs no credentials and touches no
//! allocation.

use std::net::SocketAddr;

use crate::ip::canonical_socket;
use crate::server::claims;
use crate::server::context::Context;
use crate::server::five_tuple::{Path, Transport};
use crate::server::other_addresses::OtherAddresses;
use crate::server::output::{ClientVerdict, DropReason, Event};
use crate::server::refusal::Refusal;
use crate::wire::classic::ClassicBinding;
use crate::wire::discovery::{ChangeRequest, ResponsePort};
use crate::wire::message::Message;
use crate::wire::numbers::{AttributeType, Method};
use crate::wire::request::{self, Field, UnknownAttributes};
use crate::wire::response::{self, Discovery, Success};

/// The longest PADDING in a reply: an Ethernet's MTU (RFC 5780 §7.6).
const MAX_PADDING: usize = 1500;

/// Why a Binding request gets no success response.
enum BindingError {
    /// An error response is due.
    With(Refusal),
    /// No response is due, as it would be one too many.
    Rate,
}

impl From<Refusal> for BindingError {
    fn from(refusal: Refusal) -> Self {
        Self::With(refusal)
    }
}

/// Tells the client its address.
pub(in crate::server) fn handle<'a>(
    ctx: &mut Context,
    path: &Path,
    message: &Message<'_>,
) -> ClientVerdict<'a> {
    if !may_answer(ctx, path) {
        return ClientVerdict::Drop(DropReason::ReplyRate);
    }
    let head = message.head();
    let (len, code) = match respond(ctx, path, request::Binding::parse(message)) {
        Ok((path, binding)) => {
            let success = Success::Binding(binding);
            (ctx.send_success(&path, head, None, &success), 0)
        }
        Err(BindingError::With(refusal)) => {
            let len = ctx.send_refusal(path, head, None, &refusal);
            (len, refusal.code().0)
        }
        Err(BindingError::Rate) => return ClientVerdict::Drop(DropReason::ReplyRate),
    };
    answered(ctx, path, len);
    tell(ctx, path, code);
    ClientVerdict::Handled
}

/// The response, and the path that it takes.
fn respond(
    ctx: &Context,
    path: &Path,
    request: request::Binding,
) -> Result<(Path, response::Binding), BindingError> {
    let mapped = canonical_socket(path.tuple.client);
    let Some(addresses) = &ctx.shared.other_addresses else {
        check_change(request.change_request, request.conditional, &[])?;
        let discovery = None;
        return Ok((*path, response::Binding { mapped, discovery }));
    };
    // The tests that steer the reply exist for UDP alone (RFC 5780 §3).
    let steered = path.tuple.transport == Transport::Udp;
    let other = addresses.other(path.tuple.server);
    let known: &[AttributeType] = match (steered, other) {
        (false, _) => &[],
        // Without another address, a change cannot be had and gets 420 (RFC 5780 §6.1).
        (true, None) => &[AttributeType::RESPONSE_PORT, AttributeType::PADDING],
        (true, Some(_)) => &[
            AttributeType::RESPONSE_PORT,
            AttributeType::PADDING,
            AttributeType::CHANGE_REQUEST,
        ],
    };
    let change = check_change(request.change_request, request.conditional, known)?;

    let port = request.response_port.map_err(Refusal::from)?;
    let padding = request.padding.map(|len| len.min(MAX_PADDING) & !3);
    if port.is_some() && padding.is_some() {
        return Err(Refusal::ResponsePortWithPadding.into());
    }
    let mut path = depart(addresses, path, change)?;
    let public = |addr| ctx.shared.relays.public(addr);
    let discovery = Discovery {
        origin: public(path.tuple.server),
        other: other.map(public),
        // No longer than the client's own, though the RFC would have the MTU: that would multiply
        // the bytes that are sent to a forged address.
        padding: padding.map(|len| len as u16),
    };
    if let Some(ResponsePort(port)) = port {
        let source = path.tuple.client.ip();
        if !ctx.shared.rates.allow_redirect(ctx.now.mono, source) {
            return Err(BindingError::Rate);
        }
        path.tuple.client.set_port(port);
    }
    let discovery = Some(discovery);
    Ok((path, response::Binding { mapped, discovery }))
}

/// `secure-stun`: tells its address only to a client with credentials of the settings; nobody is
/// looked up for a Binding.
pub(in crate::server) fn handle_secure<'a>(
    ctx: &mut Context,
    path: &Path,
    message: &Message<'_>,
) -> ClientVerdict<'a> {
    if !claims::may_claim(ctx, path, message, None) {
        return ClientVerdict::Drop(DropReason::UserNameRate);
    }
    let source = path.tuple.client.ip();
    let authenticated = ctx.shared.auth.authenticate(ctx.now, source, message, None);
    let identity = match authenticated {
        Ok(identity) => identity,
        Err(rejected) => return ctx.reject(path, message, &rejected, None),
    };
    let (head, key) = (message.head(), identity.key.as_ref());
    let request = request::Binding::parse(message);
    let code = match check_change(request.change_request, request.conditional, &[]) {
        Ok(_) => {
            let success = Success::Binding(response::Binding {
                mapped: canonical_socket(path.tuple.client),
                discovery: None,
            });
            ctx.send_success(path, head, key, &success);
            0
        }
        Err(refusal) => {
            ctx.send_refusal(path, head, key, &refusal);
            refusal.code().0
        }
    };
    tell(ctx, path, code);
    ClientVerdict::Handled
}

/// Answers a Binding request of RFC 3489: no cookie, 16 bytes of transaction id.
pub(in crate::server) fn handle_classic<'a>(
    ctx: &mut Context,
    path: &Path,
    bytes: &[u8],
) -> ClientVerdict<'a> {
    let Some(request) = ClassicBinding::parse(bytes) else {
        return ClientVerdict::Drop(DropReason::Malformed);
    };
    if !may_answer(ctx, path) {
        return ClientVerdict::Drop(DropReason::ReplyRate);
    }
    let mut message = Vec::new();
    let (to, code) = match respond_classic(ctx, path, &request) {
        Ok((to, source_and_changed)) => {
            let mapped = canonical_socket(path.tuple.client);
            request.encode_success(mapped, source_and_changed, &mut message);
            (to, 0)
        }
        Err(refusal) => {
            let code = refusal.code();
            request.encode_error(code, refusal.unknown_attributes(), &mut message);
            (*path, code.0)
        }
    };
    ctx.counters.response(Method::BINDING, code);
    answered(ctx, path, message.len());
    ctx.send_message(&to, message);
    tell(ctx, path, code);
    ClientVerdict::Handled
}

/// The path of the response of RFC 3489 §8.1, and its SOURCE-ADDRESS and CHANGED-ADDRESS.
fn respond_classic(
    ctx: &Context,
    path: &Path,
    request: &ClassicBinding<'_>,
) -> Result<(Path, Option<(SocketAddr, SocketAddr)>), Refusal> {
    let addresses = ctx.shared.other_addresses.as_ref();
    let other = addresses.and_then(|addresses| addresses.other(path.tuple.server));
    let change = request.change_request?.unwrap_or_default();
    let known = other.map(|_| AttributeType::CHANGE_REQUEST);
    let unknown = request.conditional.clone().except(known.as_slice());
    if !unknown.is_empty() {
        return Err(Refusal::UnknownAttributes(unknown));
    }
    let (Some(addresses), Some(other)) = (addresses, other) else {
        return Ok((*path, None));
    };
    let path = depart(addresses, path, change)?;
    let public = |addr| ctx.shared.relays.public(addr);
    Ok((path, Some((public(path.tuple.server), public(other)))))
}

/// Counts a request. Over UDP the sender may be forged, and asks again.
fn may_answer(ctx: &mut Context, path: &Path) -> bool {
    ctx.counters.binding_requests += 1;
    let source = path.tuple.client.ip();
    path.tuple.transport != Transport::Udp || ctx.shared.rates.allow_binding(ctx.now.mono, source)
}

fn answered(ctx: &Context, path: &Path, len: usize) {
    if path.tuple.transport == Transport::Udp {
        let source = path.tuple.client.ip();
        ctx.shared.rates.sent_binding(ctx.now.mono, source, len);
    }
}

fn tell(ctx: &mut Context, path: &Path, code: u16) {
    let tuple = path.tuple;
    ctx.tell(|| Event::Binding { tuple, code });
}

/// The change that a request asks for, if all its attributes are understood or `known`; else 420.
///
/// A CHANGE-REQUEST that asks for no change is as if it were not there, also where none can be
/// had: there are clients that always send it.
fn check_change(
    change: Field<ChangeRequest>,
    conditional: UnknownAttributes,
    known: &[AttributeType],
) -> Result<ChangeRequest, Refusal> {
    let change = change?;
    let mut unknown = conditional.except(known);
    if change.is_some_and(ChangeRequest::is_none) {
        unknown = unknown.except(&[AttributeType::CHANGE_REQUEST]);
    }
    if !unknown.is_empty() {
        return Err(Refusal::UnknownAttributes(unknown));
    }
    Ok(change.unwrap_or_default())
}

/// The path back from the socket that CHANGE-REQUEST asks for, which stays with this worker.
fn depart(addresses: &OtherAddresses, path: &Path, change: ChangeRequest) -> Result<Path, Refusal> {
    if change.is_none() {
        return Ok(*path);
    }
    let (server, socket) = addresses.origin(path.tuple.server, change).ok_or_else(|| {
        let mut unknown = UnknownAttributes::default();
        unknown.push(AttributeType::CHANGE_REQUEST);
        Refusal::UnknownAttributes(unknown)
    })?;
    let mut path = Path { socket, ..*path };
    path.tuple.server = server;
    Ok(path)
}

#[cfg(test)]
mod tests;
