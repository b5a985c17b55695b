//! How many connections one source, and all together, may hold open without an allocation.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::peer_filter::canonical_ip;

/// Counts connections of strangers; shared between the workers.
#[derive(Debug)]
pub struct StreamLimit {
    total: u32,
    per_source: u32,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    total: u32,
    /// Holds nobody who has none: no larger than `total`.
    sources: HashMap<IpAddr, u32>,
}

impl StreamLimit {
    /// Counters under these limits.
    #[must_use]
    pub fn new(total: u32, per_source: u32) -> Self {
        Self {
            total,
            per_source,
            held: Mutex::default(),
        }
    }

    /// Counts one connection from `source` for as long as the guard lives; `None`: too many.
    #[must_use]
    pub fn acquire(self: &Arc<Self>, source: IpAddr) -> Option<StreamGuard> {
        let source = network(source);
        let mut held = self.lock();
        let of_source = held.sources.get(&source).copied().unwrap_or(0);
        if held.total >= self.total || of_source >= self.per_source {
            return None;
        }
        held.total += 1;
        held.sources.insert(source, of_source + 1);
        Some(StreamGuard {
            limit: Arc::clone(self),
            source,
        })
    }

    fn release(&self, source: IpAddr) {
        let mut held = self.lock();
        held.total = held.total.saturating_sub(1);
        if let Entry::Occupied(mut count) = held.sources.entry(source) {
            if *count.get() > 1 {
                *count.get_mut() -= 1;
            } else {
                count.remove();
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        // Another worker's panic leaves plain counters behind, and service must go on.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One counted connection; dropping it gives the place back.
#[derive(Debug)]
#[must_use = "the place is given back as soon as this is dropped"]
pub struct StreamGuard {
    limit: Arc<StreamLimit>,
    source: IpAddr,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        self.limit.release(self.source);
    }
}

/// An IPv4 address, or the /64 that one IPv6 host has.
fn network(ip: IpAddr) -> IpAddr {
    match canonical_ip(ip) {
        IpAddr::V6(ip) => IpAddr::V6(Ipv6Addr::from(u128::from(ip) & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn x4_a_source_and_all_together_get_no_more_than_their_limit() {
        let limit = Arc::new(StreamLimit::new(3, 2));
        let first = limit.acquire(ip("192.0.2.1")).unwrap();
        let _second = limit.acquire(ip("::ffff:192.0.2.1")).unwrap();
        assert!(limit.acquire(ip("192.0.2.1")).is_none());
        let _third = limit.acquire(ip("192.0.2.2")).unwrap();
        assert!(limit.acquire(ip("192.0.2.3")).is_none());
        drop(first);
        assert!(limit.acquire(ip("192.0.2.1")).is_some());
    }

    #[test]
    fn x4_an_ipv6_host_is_its_64_and_nobody_is_remembered() {
        let limit = Arc::new(StreamLimit::new(10, 1));
        let guard = limit.acquire(ip("2001:db8::1")).unwrap();
        assert!(limit.acquire(ip("2001:db8::2")).is_none());
        assert!(limit.acquire(ip("2001:db8:0:1::2")).is_some());
        drop(guard);
        assert_eq!(limit.lock().sources.len(), 0);
        assert_eq!(limit.lock().total, 0);
    }
}
