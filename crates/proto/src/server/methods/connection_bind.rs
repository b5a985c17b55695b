//! ConnectionBind (RFC 6062 §5.4).

use super::super::Server;
use super::super::connections::{ConnectionId, Unclaimed};
use super::super::five_tuple::Path;
use super::super::output::Output;
use super::super::refusal::Refusal;
use crate::auth::Identity;
use crate::wire::message::Head;
use crate::wire::request::ConnectionBind;
use crate::wire::response::Success;

impl Server {
    /// Answers, and has the stream handed to the worker that has the peer connection.
    pub(in crate::server) fn connection_bind(
        &mut self,
        path: &Path,
        request: &ConnectionBind,
        head: &Head,
        identity: &Identity,
    ) -> Result<(), Refusal> {
        if !path.tuple.transport.is_stream() {
            return Err(Refusal::ConnectionBindOverUdp);
        }
        if self.has_allocation(path) {
            return Err(Refusal::ConnectionHasAllocation);
        }
        let connection = request.connection.ok().flatten();
        let connection = ConnectionId(connection.ok_or(Refusal::NoConnectionId)?);
        let worker = self
            .shared
            .connections
            .claim(connection, identity)
            .map_err(|error| match error {
                Unclaimed::Unknown => Refusal::UnknownConnection,
                Unclaimed::Foreign => Refusal::WrongCredentials,
            })?;
        self.transmit(path, head, &Success::Empty, identity);
        self.outputs.push_back(Output::HandOver {
            path: *path,
            connection,
            worker,
        });
        Ok(())
    }
}
