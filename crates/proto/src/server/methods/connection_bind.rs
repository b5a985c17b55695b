//! ConnectionBind (RFC 6062 §5.4).

use crate::auth::Identity;
use crate::server::connections::ConnectionId;
use crate::server::context::Context;
use crate::server::five_tuple::Path;
use crate::server::output::Output;
use crate::server::refusal::Refusal;
use crate::server::tokens::ClaimError;
use crate::wire::message::Head;
use crate::wire::request::ConnectionBind;
use crate::wire::response::Success;

/// Answers, and has the stream handed to the worker that has the peer connection.
pub(in crate::server) fn handle(
    ctx: &mut Context,
    path: &Path,
    has_allocation: bool,
    request: &ConnectionBind,
    head: &Head,
    identity: &Identity,
) -> Result<(), Refusal> {
    if !path.tuple.transport.is_stream() {
        return Err(Refusal::ConnectionBindOverUdp);
    }
    if has_allocation {
        return Err(Refusal::ConnectionHasAllocation);
    }
    let connection = request.connection.ok().flatten();
    let connection = ConnectionId(connection.ok_or(Refusal::NoConnectionId)?);
    let claimed = ctx.shared.connections.claim(connection, identity);
    let worker = claimed.map_err(|error| match error {
        ClaimError::Unknown => Refusal::UnknownConnection,
        ClaimError::Foreign => Refusal::WrongCredentials,
    })?;
    ctx.send_success(path, head, identity.key.as_ref(), &Success::Empty);
    ctx.outputs.push_back(Output::HandOver {
        path: *path,
        connection,
        worker,
    });
    Ok(())
}
