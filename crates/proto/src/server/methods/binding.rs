//! Binding (RFC 8489 §3, RFC 5780 §6, RFC 3489 §8.1).

use std::net::SocketAddr;

use super::super::Server;
use super::super::alternates::Alternates;
use super::super::five_tuple::{Path, Transport};
use super::super::output::{ClientVerdict, DropReason};
use super::super::refusal::Refusal;
use crate::Now;
use crate::policy::peer_filter::canonical_socket;
use crate::wire::classic::ClassicBinding;
use crate::wire::discovery::{ChangeRequest, ResponsePort};
use crate::wire::message::Message;
use crate::wire::numbers::{AttributeType, Method};
use crate::wire::request::{self, Field, UnknownAttributes};
use crate::wire::response::{self, Discovery, Success};

/// The longest PADDING in a reply: an Ethernet's MTU (RFC 5780 §7.6).
const MAX_PADDING: usize = 1500;

/// Why a Binding request gets no success response.
enum Refused {
    /// An error response.
    With(Refusal),
    /// Silence: it would be one too many.
    Rate,
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::With(refusal)
    }
}

impl Server {
    /// Tells the client its address; needs no credentials and touches no allocation (S10).
    pub(in crate::server) fn binding<'a>(
        &mut self,
        now: Now,
        path: &Path,
        message: &Message<'_>,
    ) -> ClientVerdict<'a> {
        if !self.may_answer_binding(now, path) {
            return ClientVerdict::Drop(DropReason::ReplyRate);
        }
        let head = message.head();
        let request = request::Binding::parse(message);
        let (way, code, bytes) = match self.binding_response(now, path, request) {
            Ok((way, binding)) => {
                let success = Success::Binding(binding);
                (way, 0, self.encode(head, &success, None))
            }
            Err(Refused::With(refusal)) => {
                let mut bytes = Vec::with_capacity(super::super::RESPONSE_CAPACITY);
                refusal.encode(head, &self.trailer(None), &mut bytes);
                (*path, refusal.code().0, bytes)
            }
            Err(Refused::Rate) => return ClientVerdict::Drop(DropReason::ReplyRate),
        };
        self.answered_binding(now, path, bytes.len());
        self.send_response(&way, head, code, bytes);
        ClientVerdict::Handled
    }

    /// The response, and the way that it takes.
    fn binding_response(
        &mut self,
        now: Now,
        path: &Path,
        request: request::Binding,
    ) -> Result<(Path, response::Binding), Refused> {
        let mapped = canonical_socket(path.tuple.client);
        let Some(alternates) = &self.shared.alternates else {
            check_change(request.change_request, request.conditional, &mut Vec::new())?;
            let discovery = None;
            return Ok((*path, response::Binding { mapped, discovery }));
        };
        // The tests that steer the reply exist for UDP alone (RFC 5780 §3).
        let steered = path.tuple.transport == Transport::Udp;
        let other = alternates.other(path.tuple.server);
        let mut known = Vec::new();
        if steered {
            known.extend([AttributeType::RESPONSE_PORT, AttributeType::PADDING]);
            // Without an alternate, a change cannot be had and gets 420 (RFC 5780 §6.1).
            known.extend(other.map(|_| AttributeType::CHANGE_REQUEST));
        }
        let change = check_change(request.change_request, request.conditional, &mut known)?;

        let port = request.response_port.map_err(Refusal::from)?;
        let padding = request.padding.map(|len| len.min(MAX_PADDING) & !3);
        if port.is_some() && padding.is_some() {
            return Err(Refusal::ResponsePortWithPadding.into());
        }
        let mut path = depart(alternates, path, change)?;
        let public = |addr| self.shared.relays.public(addr);
        let discovery = Discovery {
            origin: public(path.tuple.server),
            other: other.map(public),
            // No longer than the client's own, though the RFC would have the MTU: that would
            // multiply what comes from a forged address.
            padding: padding.map(|len| len as u16),
        };
        if let Some(ResponsePort(port)) = port {
            let source = path.tuple.client.ip();
            if !self.shared.rates.allow_redirect(now.mono, source) {
                return Err(Refused::Rate);
            }
            path.tuple.client.set_port(port);
        }
        let discovery = Some(discovery);
        Ok((path, response::Binding { mapped, discovery }))
    }

    /// `secure-stun`: answers a Binding request of those only who have credentials.
    pub(in crate::server) fn secure_binding<'a>(
        &mut self,
        now: Now,
        path: &Path,
        message: &Message<'_>,
    ) -> ClientVerdict<'a> {
        let source = path.tuple.client.ip();
        let identity = match self.shared.auth.authenticate(now, source, message, None) {
            Ok(identity) => identity,
            Err(rejected) => return self.reject(now, path, message, &rejected),
        };
        let head = message.head();
        let request = request::Binding::parse(message);
        let checked = check_change(request.change_request, request.conditional, &mut Vec::new());
        let (code, bytes) = match checked {
            Ok(_) => {
                let success = Success::Binding(response::Binding {
                    mapped: canonical_socket(path.tuple.client),
                    discovery: None,
                });
                (0, self.encode(head, &success, identity.key.as_ref()))
            }
            Err(refusal) => {
                let mut bytes = Vec::with_capacity(super::super::RESPONSE_CAPACITY);
                refusal.encode(head, &self.trailer(identity.key.as_ref()), &mut bytes);
                (refusal.code().0, bytes)
            }
        };
        self.send_response(path, head, code, bytes);
        ClientVerdict::Handled
    }

    /// Answers a Binding request of RFC 3489: no cookie, 16 bytes of transaction id (S3).
    pub(in crate::server) fn classic_binding<'a>(
        &mut self,
        now: Now,
        path: &Path,
        bytes: &[u8],
    ) -> ClientVerdict<'a> {
        let Some(request) = ClassicBinding::parse(bytes) else {
            return ClientVerdict::Drop(DropReason::Malformed);
        };
        if !self.may_answer_binding(now, path) {
            return ClientVerdict::Drop(DropReason::ReplyRate);
        }
        let mut message = Vec::with_capacity(super::super::RESPONSE_CAPACITY);
        let (way, code) = match self.classic_response(path, &request) {
            Ok((way, source_and_changed)) => {
                let mapped = canonical_socket(path.tuple.client);
                request.encode_success(mapped, source_and_changed, &mut message);
                (way, 0)
            }
            Err(refusal) => {
                let code = refusal.code();
                request.encode_error(code, refusal.unknown_attributes(), &mut message);
                (*path, code.0)
            }
        };
        self.counters.response(Method::BINDING, code);
        self.answered_binding(now, path, message.len());
        self.send_message(&way, message);
        ClientVerdict::Handled
    }

    /// The way of the response of RFC 3489 §8.1, and its SOURCE-ADDRESS and CHANGED-ADDRESS.
    fn classic_response(
        &self,
        path: &Path,
        request: &ClassicBinding<'_>,
    ) -> Result<(Path, Option<(SocketAddr, SocketAddr)>), Refusal> {
        let alternates = self.shared.alternates.as_ref();
        let other = alternates.and_then(|a| a.other(path.tuple.server));
        let change = request.change_request?.unwrap_or_default();
        let known = other.map(|_| AttributeType::CHANGE_REQUEST);
        let unknown = request.conditional.clone().except(known.as_slice());
        if !unknown.is_empty() {
            return Err(Refusal::UnknownAttributes(unknown));
        }
        let (Some(alternates), Some(other)) = (alternates, other) else {
            return Ok((*path, None));
        };
        let path = depart(alternates, path, change)?;
        let public = |addr| self.shared.relays.public(addr);
        Ok((path, Some((public(path.tuple.server), public(other)))))
    }

    /// Over UDP the sender may be forged, and asks again.
    fn may_answer_binding(&mut self, now: Now, path: &Path) -> bool {
        self.counters.binding_requests += 1;
        let source = path.tuple.client.ip();
        path.tuple.transport != Transport::Udp || self.shared.rates.allow_binding(now.mono, source)
    }

    fn answered_binding(&self, now: Now, path: &Path, len: usize) {
        if path.tuple.transport == Transport::Udp {
            let source = path.tuple.client.ip();
            self.shared.rates.sent_binding(now.mono, source, len);
        }
    }
}

/// The change that a request asks for, if all its attributes are understood or `known`; else 420.
///
/// A CHANGE-REQUEST that asks for no change is as if it were not there, also where none can be
/// had: there are clients that always send it.
fn check_change(
    change: Field<ChangeRequest>,
    conditional: UnknownAttributes,
    known: &mut Vec<AttributeType>,
) -> Result<ChangeRequest, Refusal> {
    let change = change?;
    if change.is_some_and(ChangeRequest::is_none) {
        known.push(AttributeType::CHANGE_REQUEST);
    }
    let unknown = conditional.except(known);
    if !unknown.is_empty() {
        return Err(Refusal::UnknownAttributes(unknown));
    }
    Ok(change.unwrap_or_default())
}

/// The way back from the socket that CHANGE-REQUEST asks for, which stays with this worker.
fn depart(alternates: &Alternates, path: &Path, change: ChangeRequest) -> Result<Path, Refusal> {
    if change.is_none() {
        return Ok(*path);
    }
    let (server, socket) = alternates
        .origin(path.tuple.server, change)
        .ok_or_else(|| {
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
