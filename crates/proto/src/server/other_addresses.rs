//! The listening sockets that answer for each other (RFC 5780 §6).

use std::net::SocketAddr;

use super::five_tuple::ClientSocket;
use super::settings::Listen;
use crate::wire::discovery::ChangeRequest;

/// Finds the socket that a reply is to leave by.
#[derive(Clone, Debug)]
pub struct OtherAddresses {
    listen: Listen,
    /// Addresses of the listening sockets, each with its socket.
    bound: Vec<(SocketAddr, ClientSocket)>,
}

impl OtherAddresses {
    /// Takes the addresses of the listening sockets in the order of their numbers; `None` when
    /// `rfc5780` is off.
    #[must_use]
    pub fn new(listen: &Listen, bound: &[SocketAddr]) -> Option<Self> {
        let sockets = (0..).map(ClientSocket::Listener);
        listen.alternate_ports.map(|_| Self {
            listen: listen.clone(),
            bound: bound.iter().copied().zip(sockets).collect(),
        })
    }

    /// Ca:Cp for a request that came to `server` (RFC 5780 §6.1); `None` when it has none.
    #[must_use]
    pub fn other(&self, server: SocketAddr) -> Option<SocketAddr> {
        let ip = self.listen.other_ip(server.ip())?;
        let (first, second) = (&self.listen, self.listen.alternate_ports?);
        let pairs = [(first.port, second.port), (first.tls_port, second.tls_port)];
        let port = pairs
            .into_iter()
            .find_map(|(one, two)| match server.port() {
                port if port == one => Some(two),
                port if port == two => Some(one),
                _ => None,
            })?;
        Some(SocketAddr::new(ip, port))
    }

    /// Where the answer to a request that came to `server` leaves from (RFC 5780 §6.1, table 1).
    #[must_use]
    pub fn origin(
        &self,
        server: SocketAddr,
        change: ChangeRequest,
    ) -> Option<(SocketAddr, ClientSocket)> {
        let other = self.other(server)?;
        let pick = |changed: bool| if changed { other } else { server };
        let origin = SocketAddr::new(pick(change.ip).ip(), pick(change.port).port());
        let mut bound = self.bound.iter();
        bound.find(|(addr, _)| *addr == origin).copied()
    }
}
