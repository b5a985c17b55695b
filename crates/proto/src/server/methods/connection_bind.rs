//! ConnectionBind (RFC 6062 §5.4).

use stun::attributes::ATTR_CONNECTION_ID;
use stun::message::Message;

use super::super::Server;
use super::super::connections::{ConnectionId, Unclaimed};
use super::super::five_tuple::Path;
use super::super::output::Output;
use super::super::refusal::Refusal;
use crate::auth::Identity;
use crate::wire::message::{Head, Reply};

impl Server {
    /// Answers, and has the stream handed to the worker that has the peer connection.
    pub(in crate::server) fn connection_bind(
        &mut self,
        path: &Path,
        message: &Message,
        head: &Head,
        identity: &Identity,
    ) -> Result<(), Refusal> {
        if !path.tuple.transport.is_stream() {
            return Err(Refusal::bad_request("ConnectionBind needs TCP or TLS"));
        }
        if self.has_allocation(path) {
            return Err(Refusal::bad_request("the connection has an allocation"));
        }
        let connection =
            connection_id(message).ok_or(Refusal::bad_request("no or malformed CONNECTION-ID"))?;
        let worker = self
            .shared
            .connections
            .claim(connection, identity)
            .map_err(|error| match error {
                Unclaimed::Unknown => Refusal::bad_request("no such connection waits"),
                Unclaimed::Foreign => Refusal::wrong_credentials(),
            })?;
        self.transmit(path, Reply::success(head), identity);
        self.outputs.push_back(Output::HandOver {
            path: *path,
            connection,
            worker,
        });
        Ok(())
    }
}

/// CONNECTION-ID, if there is one and it is well formed.
pub(in crate::server) fn connection_id(message: &Message) -> Option<ConnectionId> {
    let value = message.get(ATTR_CONNECTION_ID).ok()?;
    Some(ConnectionId(u32::from_be_bytes(value.try_into().ok()?)))
}
