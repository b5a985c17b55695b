//! Allocations as operators see and choose them.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::allocation::Allocation;
use super::five_tuple::PeerAddr;
use super::output::{Session, Traffic};
use super::shared::Shared;
use super::table::Allocations;
use crate::Now;

/// Choice of allocations; a field that is `None` excludes no allocation.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// [`Session::serial`].
    pub serial: Option<u64>,
    /// The user's name.
    pub user: Option<String>,
    /// The client's address.
    pub client: Option<IpAddr>,
}

/// Effect of a reload on the allocations that live on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Allocations that lost a permission, a channel or a peer connection.
    pub without_peers: usize,
    /// Allocations that were made under another realm than the present one, and keep it.
    pub of_other_realm: usize,
}

impl Filter {
    pub(super) fn matches(&self, allocation: &Allocation) -> bool {
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
    /// User and addresses.
    pub session: Session,
    /// Time since it was made.
    pub age: Duration,
    /// Time until it ends unless it is refreshed.
    pub remaining: Duration,
    /// Data that it has carried.
    pub traffic: Traffic,
    /// Peers with a permission.
    pub permissions: Vec<IpAddr>,
    /// Channel numbers and their peers.
    pub channels: Vec<(u16, SocketAddr)>,
}

impl SessionInfo {
    pub(super) fn new(allocation: &Allocation, shared: &Shared, now: Instant) -> Self {
        let public = |peer: PeerAddr| shared.relays.public(peer.0);
        let channels = allocation.peers.channels().iter();
        Self {
            session: allocation.session(),
            age: now.saturating_duration_since(allocation.created),
            remaining: allocation.expires.saturating_duration_since(now),
            traffic: allocation.traffic,
            permissions: allocation
                .peers
                .permitted()
                .map(|ip| public(PeerAddr((*ip, 0).into())).ip())
                .collect(),
            channels: channels
                .map(|(number, binding)| (number, public(binding.peer)))
                .collect(),
        }
    }
}

/// A live allocation in brief: everything that many of them are sorted and searched by.
#[derive(Clone, Debug)]
pub struct SessionBrief {
    /// User and addresses.
    pub session: Session,
    /// Time since it was made.
    pub age: Duration,
    /// Data that it has carried.
    pub traffic: Traffic,
}

/// Every live allocation in brief, in no order.
pub(super) fn briefs(allocations: &Allocations, now: Now) -> Vec<SessionBrief> {
    let live = allocations.iter().filter(|a| a.opening.is_none());
    let brief = |allocation: &Allocation| SessionBrief {
        session: allocation.session(),
        age: now.mono.saturating_duration_since(allocation.created),
        traffic: allocation.traffic,
    };
    live.map(brief).collect()
}

/// The live allocations with these serials, which are sorted; in no order.
pub(super) fn by_serial(
    allocations: &Allocations,
    shared: &Shared,
    now: Now,
    serials: &[u64],
) -> Vec<SessionInfo> {
    let live = allocations.iter().filter(|a| a.opening.is_none());
    live.filter(|a| serials.binary_search(&a.serial).is_ok())
        .map(|a| SessionInfo::new(a, shared, now.mono))
        .collect()
}

/// One page of the live allocations that a filter chooses, and how many there are in all; `after` is
/// the last serial of the page before.
pub(super) fn sessions(
    allocations: &Allocations,
    shared: &Shared,
    now: Now,
    (filter, after): (&Filter, u64),
    limit: usize,
) -> (Vec<SessionInfo>, usize) {
    let matching = allocations
        .iter()
        .filter(|a| a.opening.is_none() && filter.matches(a));
    let total = matching.clone().count();
    let mut page: Vec<&Allocation> = matching.filter(|a| a.serial > after).collect();
    page.sort_unstable_by_key(|a| a.serial);
    page.truncate(limit);
    let info = |allocation| SessionInfo::new(allocation, shared, now.mono);
    (page.into_iter().map(info).collect(), total)
}
