//! How many connections one source, and all together, may hold open without an allocation.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::peer_filter::canonical_ip;
use super::quota::{Quota, QuotaGuard};

/// Counts connections of strangers; shared between the workers.
#[derive(Debug)]
pub struct StreamLimit(Arc<Quota<IpAddr>>);

/// One counted connection; dropping it gives the place back.
pub type StreamGuard = QuotaGuard<IpAddr>;

impl StreamLimit {
    /// Counters under these limits.
    #[must_use]
    pub fn new(total: u32, per_source: u32) -> Self {
        Self(Arc::new(Quota::new(Some(per_source), Some(total))))
    }

    /// Counts one connection from `source` for as long as the guard lives; `None`: too many.
    #[must_use]
    pub fn acquire(&self, source: IpAddr) -> Option<StreamGuard> {
        self.0.acquire(&network(source)).ok()
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
        let limit = StreamLimit::new(3, 2);
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
        let limit = StreamLimit::new(10, 1);
        let guard = limit.acquire(ip("2001:db8::1")).unwrap();
        assert!(limit.acquire(ip("2001:db8::2")).is_none());
        assert!(limit.acquire(ip("2001:db8:0:1::2")).is_some());
        drop(guard);
        assert_eq!(limit.0.total(), 0);
    }
}
