//! Servers that clients are sent on to (RFC 8489 §10).

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::five_tuple::{Family, Path, Transport};
use super::refusal::Refusal;
use super::settings::AlternateServers;
use crate::ip::{canonical_ip, canonical_socket};

/// Alternate servers that a response names at the most, so that it stays below 548 bytes.
const MAX_NAMED: usize = 8;

/// Choice of the server that takes a client in place of this one.
pub(super) struct Redirection {
    /// `alternate-server`.
    any: Rotation,
    /// `tls-alternate-server`.
    secure: Rotation,
    /// `drain-alternate-server`.
    drain: Vec<SocketAddr>,
}

impl Redirection {
    pub(super) fn new(servers: &AlternateServers) -> Self {
        Self {
            any: Rotation::new(&servers.any),
            secure: Rotation::new(&servers.tls),
            drain: servers.drain.clone(),
        }
    }

    /// Refusal of a new client that another server is to take; `public` is the form in which the
    /// world sees the address that the client reached.
    pub(super) fn refusal(
        &self,
        path: &Path,
        public: SocketAddr,
        draining: bool,
    ) -> Option<Refusal> {
        let family = Family::of(canonical_ip(path.tuple.client.ip()));
        if draining && !self.drain.is_empty() {
            let mut servers = self.drain.clone();
            servers.sort_by_key(|server| Family::of(server.ip()) != family);
            servers.truncate(MAX_NAMED);
            return Some(Refusal::DrainRedirected(servers));
        }
        let rotation = match path.tuple.transport {
            Transport::Tls | Transport::Dtls if !self.secure.is_empty() => &self.secure,
            _ => &self.any,
        };
        let own = [canonical_socket(path.tuple.server), public];
        match rotation.next(family, own) {
            servers if !servers.is_empty() => Some(Refusal::Redirected(servers)),
            _ => draining.then_some(Refusal::Draining),
        }
    }
}

/// Servers that take clients in turn.
struct Rotation {
    v4: Vec<SocketAddr>,
    v6: Vec<SocketAddr>,
    /// Clients sent on so far, of either family.
    turns: [AtomicUsize; 2],
}

impl Rotation {
    fn new(servers: &[SocketAddr]) -> Self {
        let (v4, v6) = servers.iter().partition(|server| server.is_ipv4());
        Self {
            v4,
            v6,
            turns: Default::default(),
        }
    }

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// The server for a client of `family`, then one of the other family if there is any. None for a
    /// family without servers, and none where this server is listed itself: clients would come back.
    fn next(&self, family: Family, own: [SocketAddr; 2]) -> Vec<SocketAddr> {
        let [v4, v6] = &self.turns;
        let (turn, first, second) = match family {
            Family::V4 => (v4, &self.v4, &self.v6),
            Family::V6 => (v6, &self.v6, &self.v4),
        };
        let listed = |server: &SocketAddr| self.v4.contains(server) || self.v6.contains(server);
        if first.is_empty() || own.iter().any(listed) {
            return Vec::new();
        }
        let turn = turn.fetch_add(1, Ordering::Relaxed);
        [first, second]
            .into_iter()
            .filter(|servers| !servers.is_empty())
            .map(|servers| servers[turn % servers.len()])
            .collect()
    }
}
