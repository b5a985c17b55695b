//! Clients that are connected and have no allocation: how many there may be, how much memory they
//! may hold, and which of them ends so that a newcomer is served.
//!
//! Streams, TLS and DTLS handshakes and clients behind a proxy all count here, those of every
//! worker together. Nobody is turned away: room is made by ending the client that has been silent
//! longest in the network that holds most. So whoever fills the server up displaces itself.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::network::{Network, networks, share};
use crate::ip::canonical_ip;

/// Limits on clients without an allocation.
#[derive(Clone, Copy, Debug)]
pub struct UnallocatedLimits {
    /// Clients, all together (`max-idle-streams`).
    pub clients: u32,
    /// Clients of one IPv4 address or one IPv6 /64 (`max-idle-streams-per-ip`).
    pub per_source: u32,
    /// Bytes that all together may hold (`max-idle-memory`).
    pub bytes: u64,
}

/// A client that has to end. `C` is the caller's name for a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the client holds its memory until it is ended"]
pub struct Displaced<C> {
    /// Name of the client.
    pub client: C,
    /// [`Place::serial`] of its place: the name may be another client's by now.
    pub serial: u64,
}

/// All clients without an allocation, by names of type `C`; shared between the workers.
#[derive(Debug)]
pub struct Unallocated<C>(Mutex<Table<C>>);

#[derive(Debug)]
struct Table<C> {
    limits: UnallocatedLimits,
    clients: HashMap<u64, Client<C>>,
    /// Clients by IPv4 address, by /64 and by /48.
    networks: HashMap<Network, Members>,
    /// The IPv4 addresses and /48 that hold anything, the heaviest last; of equals, the one whose
    /// silence is longest.
    by_weight: BTreeSet<(u64, Reverse<u64>, Network)>,
    bytes: u64,
    next_serial: u64,
    /// Counts arrivals and signs of life, in place of a clock.
    tick: u64,
}

#[derive(Debug)]
struct Client<C> {
    id: C,
    source: IpAddr,
    /// The tick at which it was heard last.
    heard: u64,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Members {
    bytes: u64,
    /// Ticks and serials, the longest silent first.
    by_age: BTreeSet<(u64, u64)>,
}

/// A client's place among those without an allocation; dropping it gives the place back.
#[derive(Debug)]
pub struct Place<C> {
    all: Arc<Unallocated<C>>,
    serial: u64,
}

impl<C> Unallocated<C> {
    /// No clients, under these limits.
    #[must_use]
    pub fn new(limits: UnallocatedLimits) -> Self {
        Self(Mutex::new(Table {
            limits,
            clients: HashMap::new(),
            networks: HashMap::new(),
            by_weight: BTreeSet::new(),
            bytes: 0,
            next_serial: 0,
            tick: 0,
        }))
    }

    /// Takes in a newcomer from `source` that holds so many bytes. Who has to end for it is added
    /// to `displaced`.
    pub fn admit(
        self: &Arc<Self>,
        id: C,
        source: IpAddr,
        bytes: usize,
        displaced: &mut Vec<Displaced<C>>,
    ) -> Place<C> {
        let mut table = self.lock();
        let source = canonical_ip(source);
        let bytes = bytes as u64;
        table.make_room(source, bytes, displaced);
        let serial = table.next_serial;
        table.next_serial += 1;
        table.tick += 1;
        let heard = table.tick;
        table.add(
            serial,
            Client {
                id,
                source,
                heard,
                bytes,
            },
        );
        Place {
            all: Arc::clone(self),
            serial,
        }
    }

    /// Ends one client, where the process lacks something else that it holds, such as a descriptor.
    pub fn displace_one(&self, displaced: &mut Vec<Displaced<C>>) {
        let mut table = self.lock();
        if let Some(serial) = table.longest_silent() {
            table.displace(serial, displaced);
        }
    }

    /// Clients, and the bytes that they hold.
    #[must_use]
    pub fn held(&self) -> (usize, u64) {
        let table = self.lock();
        (table.clients.len(), table.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Table<C>> {
        // A worker's panic ends the process; until then the others go on.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C> Place<C> {
    /// Number that no other place of this process has had.
    #[must_use]
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// Notes that the client has said something whole.
    pub fn heard(&self) {
        let mut table = self.all.lock();
        table.tick += 1;
        let heard = table.tick;
        table.change(self.serial, |client| client.heard = heard);
    }

    /// Notes that the client holds so many bytes from now on. Who has to end for that is added to
    /// `displaced`; it may be the client itself.
    pub fn set_bytes(&self, bytes: usize, displaced: &mut Vec<Displaced<C>>) {
        let mut table = self.all.lock();
        table.change(self.serial, |client| client.bytes = bytes as u64);
        while table.bytes > table.limits.bytes
            && let Some(serial) = table.longest_silent()
        {
            table.displace(serial, displaced);
        }
    }
}

impl<C> Drop for Place<C> {
    fn drop(&mut self) {
        // Gone already when it was displaced.
        self.all.lock().remove(self.serial);
    }
}

impl<C> Table<C> {
    fn make_room(&mut self, source: IpAddr, bytes: u64, displaced: &mut Vec<Displaced<C>>) {
        for network in networks(source) {
            let limit = share(network, self.limits.per_source);
            while let Some(members) = self.networks.get(&network)
                && members.by_age.len() >= limit as usize
                && let Some((_, serial)) = members.by_age.first().copied()
            {
                self.displace(serial, displaced);
            }
        }
        while self.clients.len() >= self.limits.clients as usize
            || self.bytes + bytes > self.limits.bytes
        {
            let Some(serial) = self.longest_silent() else {
                break;
            };
            self.displace(serial, displaced);
        }
    }

    /// The client that has been silent longest in the network that holds most.
    fn longest_silent(&self) -> Option<u64> {
        let (_, _, network) = self.by_weight.last()?;
        let (_, serial) = self.networks.get(network)?.by_age.first()?;
        Some(*serial)
    }

    fn displace(&mut self, serial: u64, displaced: &mut Vec<Displaced<C>>) {
        if let Some(client) = self.remove(serial) {
            displaced.push(Displaced {
                client: client.id,
                serial,
            });
        }
    }

    fn change(&mut self, serial: u64, change: impl FnOnce(&mut Client<C>)) {
        if let Some(mut client) = self.remove(serial) {
            change(&mut client);
            self.add(serial, client);
        }
    }

    fn add(&mut self, serial: u64, client: Client<C>) {
        self.bytes += client.bytes;
        for network in networks(client.source) {
            self.weigh(network, |members| {
                members.bytes += client.bytes;
                members.by_age.insert((client.heard, serial));
            });
        }
        self.clients.insert(serial, client);
    }

    fn remove(&mut self, serial: u64) -> Option<Client<C>> {
        let client = self.clients.remove(&serial)?;
        self.bytes -= client.bytes;
        for network in networks(client.source) {
            self.weigh(network, |members| {
                members.bytes -= client.bytes;
                members.by_age.remove(&(client.heard, serial));
            });
        }
        Some(client)
    }

    /// Changes the members of a network, and its rank with them.
    fn weigh(&mut self, network: Network, change: impl FnOnce(&mut Members)) {
        let members = self.networks.entry(network).or_default();
        let before = members.rank(network);
        change(members);
        let after = members.rank(network);
        if members.by_age.is_empty() {
            self.networks.remove(&network);
        }
        // A /64 is within a /48, which is the one that is ranked.
        if !matches!(network, (IpAddr::V6(_), 64)) {
            before.map(|rank| self.by_weight.remove(&rank));
            after.map(|rank| self.by_weight.insert(rank));
        }
    }
}

impl Members {
    /// The network's place in `by_weight`; `None`: it has no members.
    fn rank(&self, network: Network) -> Option<(u64, Reverse<u64>, Network)> {
        let (oldest, _) = self.by_age.first()?;
        Some((self.bytes, Reverse(*oldest), network))
    }
}

#[cfg(test)]
mod tests;
