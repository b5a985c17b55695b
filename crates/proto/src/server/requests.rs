//! TURN requests on the way to their methods.

use super::claims;
use super::context::Context;
use super::deadlines::Subject;
use super::five_tuple::Path;
use super::lookups::{MAX_REQUEST, Parked};
use super::methods::{
    allocate, channel_bind, connect, connection_bind, create_permission, refresh,
};
use super::output::{ClientVerdict, DropReason, EndReason, Output};
use super::owner::{claimed_owner, own_allocation};
use super::refusal::Refusal;
use super::table::Allocations;

use crate::auth::key::{Key, lookup_name};
use crate::auth::{Identity, Lookup};
use crate::wire::message::Message;
use crate::wire::numbers::AttributeType;
use crate::wire::request::{Request, UnknownAttributes};
use crate::wire::response::Success;

/// Authenticates a request and serves it, or has its user looked up.
pub(super) fn handle<'a>(
    allocations: &mut Allocations,
    ctx: &mut Context,
    path: &Path,
    bytes: &[u8],
    message: &Message<'_>,
    request: &Request,
) -> ClientVerdict<'a> {
    let owner = claimed_owner(allocations, ctx, path, request);
    if !claims::may_claim(ctx, path, message, owner.as_ref()) {
        return ClientVerdict::Drop(DropReason::UserNameRate);
    }
    let (auth, source) = (&ctx.shared.auth, path.tuple.client.ip());
    let authenticated = auth.authenticate(ctx.now, source, message, owner.as_ref());
    let identity = match authenticated {
        Ok(identity) => identity,
        Err(rejected) => {
            return match auth.lookup(&rejected, message) {
                Some(bounds) => park(ctx, bounds, path, bytes, message),
                None => {
                    // A new allocation has the server's realm, whatever the one before had.
                    let owner = owner.filter(|_| !matches!(request, Request::Allocate(_)));
                    ctx.reject(path, message, &rejected, owner.as_ref())
                }
            };
        }
    };
    serve(allocations, ctx, path, message, request, &identity);
    ClientVerdict::Handled
}

/// Parks a request whose user is to be looked up; a retransmission of a parked one is absorbed.
fn park<'a>(
    ctx: &mut Context,
    bounds: Lookup,
    path: &Path,
    bytes: &[u8],
    message: &Message<'_>,
) -> ClientVerdict<'a> {
    let transaction = message.head().id;
    if ctx.lookups.has(path, transaction) {
        return ClientVerdict::Handled;
    }
    let (now, source) = (ctx.now.mono, path.tuple.client.ip());
    let name = message.get(AttributeType::USERNAME);
    let fits = bytes.len() <= MAX_REQUEST && ctx.lookups.has_room(&bounds, source);
    let user = name.filter(|_| fits).and_then(lookup_name);
    let Some(user) = user.filter(|_| ctx.shared.rates.allow_lookup(now, source)) else {
        return ClientVerdict::Drop(DropReason::UserLookup);
    };
    let until = now + bounds.timeout;
    let id = ctx.lookups.park(path, transaction, bytes, until);
    ctx.deadlines.arm(until, Subject::Lookup(id));
    ctx.outputs.push_back(Output::LookupUser {
        id,
        user: user.into(),
        realm: ctx.shared.auth.realm().into(),
    });
    ClientVerdict::Handled
}

/// Goes on with a parked request as if it had come now, with the key that was found.
pub(super) fn resume<'a>(
    allocations: &mut Allocations,
    ctx: &mut Context,
    parked: &Parked,
    found: Option<&Key>,
) -> ClientVerdict<'a> {
    let path = &parked.path;
    let parsed = Message::parse(&parked.bytes).ok();
    let Some((message, request)) = parsed.and_then(|m| Some((m, Request::parse(&m)?))) else {
        return ClientVerdict::Drop(DropReason::Malformed);
    };
    let owner = claimed_owner(allocations, ctx, path, &request);
    let (auth, source) = (&ctx.shared.auth, path.tuple.client.ip());
    match auth.authenticate_with(ctx.now, source, &message, owner.as_ref(), found) {
        Ok(identity) => {
            serve(allocations, ctx, path, &message, &request, &identity);
            ClientVerdict::Handled
        }
        Err(rejected) => ctx.reject(path, &message, &rejected, None),
    }
}

/// Hands an authenticated request to its method, and answers.
fn serve(
    allocations: &mut Allocations,
    ctx: &mut Context,
    path: &Path,
    message: &Message<'_>,
    request: &Request,
    identity: &Identity,
) {
    let head = message.head();
    match perform(allocations, ctx, path, message, request, identity) {
        Ok(Some(success)) => {
            ctx.send_success(path, head, identity.key.as_ref(), &success);
        }
        Ok(None) => {}
        Err(refusal) => ctx.refuse(path, head, identity, &refusal),
    }
}

/// `Ok(None)`: the answer comes later, or none is due.
fn perform(
    allocations: &mut Allocations,
    ctx: &mut Context,
    path: &Path,
    message: &Message<'_>,
    request: &Request,
    identity: &Identity,
) -> Result<Option<Success>, Refusal> {
    // Checked after authentication: anyone else sees 401 and nothing more (RFC 8489 §9.2.4).
    let unknown = UnknownAttributes::of(message.attributes().map(|(typ, _)| typ));
    if !unknown.is_empty() {
        return Err(Refusal::UnknownAttributes(unknown));
    }
    let head = message.head();
    if let Request::Allocate(request) = request {
        allocate::handle(allocations, ctx, path, request, head, identity)?;
        return Ok(None);
    }
    if let Request::ConnectionBind(request) = request {
        let has_allocation = allocations.by_path(path).is_some();
        connection_bind::handle(ctx, path, has_allocation, request, head, identity)?;
        return Ok(None);
    }
    let Some(allocation) = own_allocation(allocations, ctx, path, identity)? else {
        return Ok(None);
    };
    match request {
        Request::Refresh(request) => {
            let granted = refresh::handle(allocation, ctx, request)?;
            if granted.is_none() {
                let relay = allocation.relay;
                if let Some(allocation) = allocations.remove(relay) {
                    allocation.end(ctx, EndReason::Deleted);
                }
            }
            let lifetime = granted.unwrap_or_default();
            Ok(Some(Success::Refresh { lifetime }))
        }
        Request::CreatePermission(request) => {
            create_permission::handle(allocation, ctx, request).map(Some)
        }
        Request::ChannelBind(request) => channel_bind::handle(allocation, ctx, request).map(Some),
        Request::Connect(request) => {
            connect::handle(allocation, ctx, request, head, identity).map(|()| None)
        }
        Request::Allocate(_) | Request::ConnectionBind(_) => Ok(None),
    }
}
