//! What operators see of a server and do to it while it runs.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use super::Server;
use super::allocation::Allocation;
use super::deadlines::Subject;
use super::five_tuple::{Path, PeerAddr};
use super::output::{Channel, EndReason, Output, RelayId, Session, Traffic};
use super::peer_table::Reach;
use super::ports::Relayed;
use super::shared::Shared;
use crate::Now;
use crate::auth::Standing;

/// Which allocations are meant; what is `None` excludes none.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// [`Session::serial`].
    pub serial: Option<u64>,
    /// The user's name.
    pub user: Option<String>,
    /// The client's address.
    pub client: Option<IpAddr>,
}

impl Filter {
    fn matches(&self, allocation: &Allocation) -> bool {
        let user = allocation.identity.user.as_deref();
        self.serial.is_none_or(|serial| serial == allocation.serial)
            && self.user.as_deref().is_none_or(|name| user == Some(name))
            && self
                .client
                .is_none_or(|ip| ip == allocation.path.tuple.client.ip())
    }
}

/// A live allocation.
#[derive(Clone, Debug)]
pub struct SessionInfo {
    /// Who and where.
    pub session: Session,
    /// For how long it has lived.
    pub age: Duration,
    /// For how long it will live unless it is refreshed.
    pub remaining: Duration,
    /// What it has carried.
    pub traffic: Traffic,
    /// Peers with a permission.
    pub permissions: Vec<IpAddr>,
    /// Channel numbers and their peers.
    pub channels: Vec<(u16, SocketAddr)>,
}

impl Server {
    /// The live allocations that `filter` means and whose serial is above `after`, `limit` of them
    /// at the most, the lowest serials first; and how many there are in all.
    #[must_use]
    pub fn sessions(
        &self,
        now: Now,
        filter: &Filter,
        after: u64,
        limit: usize,
    ) -> (Vec<SessionInfo>, usize) {
        let matching = self
            .allocations
            .iter()
            .filter(|a| a.opening.is_none() && filter.matches(a));
        let total = matching.clone().count();
        let mut page: Vec<&Allocation> = matching.filter(|a| a.serial > after).collect();
        page.sort_unstable_by_key(|a| a.serial);
        page.truncate(limit);
        (page.into_iter().map(|a| self.info(now, a)).collect(), total)
    }

    fn info(&self, now: Now, allocation: &Allocation) -> SessionInfo {
        let public = |peer: PeerAddr| self.shared.relays.public(peer.0);
        SessionInfo {
            session: allocation.session(),
            age: now.mono.saturating_duration_since(allocation.created),
            remaining: allocation.expires.saturating_duration_since(now.mono),
            traffic: allocation.traffic,
            permissions: allocation
                .peers
                .permitted()
                .map(|ip| public(PeerAddr((*ip, 0).into())).ip())
                .collect(),
            channels: allocation
                .peers
                .channels()
                .iter()
                .map(|(number, b)| (number, public(b.peer)))
                .collect(),
        }
    }

    /// Ends the allocations that `filter` means and tells how many those were.
    pub fn handle_kill(&mut self, now: Now, filter: &Filter) -> usize {
        let meant: Vec<RelayId> = self
            .allocations
            .iter()
            .filter(|a| filter.matches(a))
            .map(|a| a.relay)
            .collect();
        for relay in &meant {
            self.end(now, *relay, EndReason::Killed);
        }
        meant.len()
    }

    /// From now on, or no longer, refuses new allocations: 300 where there is an alternate
    /// server, else 508. Those that there are live on.
    pub fn handle_drain(&mut self, draining: bool) {
        self.draining = draining;
    }

    /// Goes on with other settings. Allocations live on, without the peers that are now denied and
    /// unless their users are gone.
    pub fn handle_reload(&mut self, now: Now, shared: Arc<Shared>) {
        shared.begin(now, &mut self.random);
        let same_realm = self.shared.auth.realm() == shared.auth.realm();
        self.shared = shared;
        for relay in self.allocations.relays() {
            if self.review_owner(now, relay, same_realm) {
                self.review(relay);
            }
        }
    }

    /// Ends an allocation whose owner would not be let in now, or bounds its lifetime by that of
    /// the credentials; `false` when it has ended. A key is good for one realm.
    fn review_owner(&mut self, now: Now, relay: RelayId, same_realm: bool) -> bool {
        let Some(allocation) = self.allocations.get_mut(relay) else {
            return false;
        };
        let identity = &allocation.identity;
        let standing = if same_realm || identity.user.is_none() {
            self.shared.auth.standing(now, identity)
        } else {
            Standing::Revoked
        };
        let reason = match standing {
            Standing::Good => {
                if let Some(left) = self.shared.auth.time_left(now, identity) {
                    allocation.expires = allocation.expires.min(now.mono + left);
                }
                return true;
            }
            Standing::Revoked => EndReason::Revoked,
            Standing::RunOut => EndReason::CredentialsExpired,
        };
        self.end(now, relay, reason);
        false
    }

    /// Takes from an allocation what the settings no longer allow it.
    fn review(&mut self, relay: RelayId) {
        let shared = Arc::clone(&self.shared);
        let Some(allocation) = self.allocations.get_mut(relay) else {
            return;
        };
        let Path { tuple, .. } = allocation.path;
        let outputs = &mut self.outputs;
        allocation.peers.retain(
            |ip, permission| match shared.reach(ip) {
                Ok(reach) => {
                    permission.reach = reach;
                    true
                }
                Err(_) => false,
            },
            |binding| match shared.reach(binding.peer.ip()) {
                Ok(reach) => {
                    binding.reach = reach;
                    // A relay that is not open now may be again.
                    reach == Reach::RelayedOnly || shared.reaches(reach, binding.peer, Relayed::Udp)
                }
                Err(_) => false,
            },
            |number, peer| {
                outputs.push_back(Output::ChannelDown(Channel {
                    tuple,
                    relay,
                    number,
                    peer,
                }))
            },
        );
        allocation.settle();
        self.deadlines
            .disarm(allocation.armed, Subject::Allocation(relay.0));
        allocation.armed = allocation.next_deadline();
        self.deadlines
            .arm(allocation.armed, Subject::Allocation(relay.0));
        self.review_connections(relay);
    }
}
