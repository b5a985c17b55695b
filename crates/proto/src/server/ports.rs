//! The relay ports: one pool for all workers, without a lock.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use crate::random::Random;

/// How an allocation wants its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parity {
    /// Any port.
    Any,
    /// An even one (EVEN-PORT).
    Even,
}

/// Kind of data that a relayed transport address relays; the two have port numbers of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relayed {
    /// Datagrams.
    Udp,
    /// Connections (RFC 6062).
    Tcp,
}

/// One bit for each port of an address.
#[derive(Debug)]
pub(super) struct Bitmap([AtomicU64; 1024]);

impl Bitmap {
    pub(super) fn new() -> Self {
        Self([const { AtomicU64::new(0) }; 1024])
    }

    fn bit(&self, port: u16) -> (&AtomicU64, u64) {
        (&self.0[usize::from(port / 64)], 1 << (port % 64))
    }

    pub(super) fn has(&self, port: u16) -> bool {
        let (word, bit) = self.bit(port);
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// Sets a port's bit and tells whether it was set before.
    pub(super) fn set(&self, port: u16) -> bool {
        let (word, bit) = self.bit(port);
        word.fetch_or(bit, Ordering::AcqRel) & bit != 0
    }

    pub(super) fn clear(&self, port: u16) {
        let (word, bit) = self.bit(port);
        word.fetch_and(!bit, Ordering::AcqRel);
    }

    /// The ports whose bits are set.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        (0..=u16::MAX).filter(|port| self.has(*port))
    }
}

/// The ports of one address.
#[derive(Debug)]
struct Ports {
    /// Ports that have a lease.
    leased: Bitmap,
    /// Leased ports that a UDP relay socket of ours is bound to.
    udp: Bitmap,
    tcp: Bitmap,
}

impl Ports {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            leased: Bitmap::new(),
            udp: Bitmap::new(),
            tcp: Bitmap::new(),
        })
    }

    fn open(&self, relayed: Relayed) -> &Bitmap {
        match relayed {
            Relayed::Udp => &self.udp,
            Relayed::Tcp => &self.tcp,
        }
    }
}

/// The ports `min..=max` on every relay address.
///
/// Ports are drawn at random (RFC 6056); the search goes on from there, so that a free port is
/// found if there is one.
#[derive(Debug)]
pub struct PortPool {
    min: u16,
    max: u16,
    addresses: Vec<(IpAddr, Arc<Ports>)>,
    /// Addresses that relays no longer bind, as long as some port there is leased.
    former: Vec<(IpAddr, Weak<Ports>)>,
}

impl PortPool {
    /// A pool of the ports `min..=max` on each of `ips`.
    #[must_use]
    pub fn new(ips: &[IpAddr], min: u16, max: u16) -> Self {
        Self {
            min,
            max,
            addresses: ips.iter().map(|ip| (*ip, Ports::new())).collect(),
            former: Vec::new(),
        }
    }

    /// A pool of other ports or addresses that knows what is in use in this one.
    #[must_use]
    pub fn renew(&self, ips: &[IpAddr], min: u16, max: u16) -> Self {
        let current = self.addresses.iter();
        let mut former: Vec<_> = current
            .map(|(ip, ports)| (*ip, Arc::downgrade(ports)))
            .chain(self.former.iter().cloned())
            .collect();
        // An address can come back, and then its sockets are still there.
        let known = |ip| {
            let ports = former.iter().find(|(own, _)| *own == ip);
            let ports = ports.and_then(|(_, ports)| ports.upgrade());
            ports.unwrap_or_else(Ports::new)
        };
        let addresses = ips.iter().map(|ip| (*ip, known(*ip))).collect();
        former.retain(|(ip, ports)| !ips.contains(ip) && ports.strong_count() > 0);
        Self {
            min,
            max,
            addresses,
            former,
        }
    }

    fn ports(&self, ip: IpAddr) -> Option<&Arc<Ports>> {
        self.addresses
            .iter()
            .find(|(own, _)| *own == ip)
            .map(|(_, ports)| ports)
    }

    /// Whether relays no longer bind `ip`, and some have not ended there yet.
    #[must_use]
    pub fn has_former(&self, ip: IpAddr) -> bool {
        self.former(ip).is_some()
    }

    fn former(&self, ip: IpAddr) -> Option<Arc<Ports>> {
        let mut former = self.former.iter();
        former.find(|(own, _)| *own == ip)?.1.upgrade()
    }

    /// Takes a free port on `ip`, or `None`.
    #[must_use]
    pub fn take(&self, ip: IpAddr, parity: Parity, random: &mut Random) -> Option<PortLease> {
        self.search(parity, random, |port| self.claim(ip, port))
    }

    /// Takes an even port N and N + 1 on `ip`, or `None`.
    #[must_use]
    pub fn take_pair(&self, ip: IpAddr, random: &mut Random) -> Option<(PortLease, PortLease)> {
        self.search(Parity::Even, random, |port| {
            let even = self.claim(ip, port)?;
            Some((even, self.claim(ip, port.checked_add(1)?)?))
        })
    }

    fn search<T>(
        &self,
        parity: Parity,
        random: &mut Random,
        claim: impl Fn(u16) -> Option<T>,
    ) -> Option<T> {
        let count = u32::from(self.max) - u32::from(self.min) + 1;
        let start = random.below(count);
        (0..count)
            .map(|step| self.min + ((start + step) % count) as u16)
            .filter(|port| parity == Parity::Any || port.is_multiple_of(2))
            .find_map(claim)
    }

    /// Whether `addr` is a relayed transport address in use, or reserved, or about to be either.
    #[must_use]
    pub fn is_taken(&self, addr: SocketAddr) -> bool {
        self.ports(addr.ip())
            .is_some_and(|ports| ports.leased.has(addr.port()))
    }

    /// Whether a relay socket of ours is bound to `addr`, which relays may no longer bind: what is
    /// sent there comes to no other program.
    #[must_use]
    pub fn is_open(&self, addr: SocketAddr, relayed: Relayed) -> bool {
        let has = |ports: &Ports| ports.open(relayed).has(addr.port());
        match self.ports(addr.ip()) {
            Some(ports) => has(ports),
            None => self.former(addr.ip()).is_some_and(|ports| has(&ports)),
        }
    }

    /// Ports in use on all addresses.
    #[must_use]
    pub fn taken(&self) -> u32 {
        let words = self.addresses.iter().flat_map(|(_, ports)| &ports.leased.0);
        words
            .map(|word| word.load(Ordering::Relaxed).count_ones())
            .sum()
    }

    /// Ports that can be in use on all addresses together.
    #[must_use]
    pub fn total(&self) -> u32 {
        let ports = u32::from(self.max) - u32::from(self.min) + 1;
        ports * self.addresses.len() as u32
    }

    /// Relay addresses, each with all ports.
    #[must_use]
    pub fn addresses(&self) -> u32 {
        self.addresses.len() as u32
    }

    /// Takes this port on `ip`, if it is free and one of the pool's.
    pub(super) fn claim(&self, ip: IpAddr, port: u16) -> Option<PortLease> {
        if !(self.min..=self.max).contains(&port) {
            return None;
        }
        let ports = self.ports(ip)?;
        (!ports.leased.set(port)).then(|| PortLease {
            ports: Arc::clone(ports),
            addr: SocketAddr::new(ip, port),
        })
    }
}

/// The right to one port, given back when dropped.
#[derive(Debug)]
pub struct PortLease {
    ports: Arc<Ports>,
    addr: SocketAddr,
}

impl PortLease {
    /// The transport address to bind.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Tells that the relay socket is bound.
    pub fn opened(&self, relayed: Relayed) {
        self.ports.open(relayed).set(self.addr.port());
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        let port = self.addr.port();
        self.ports.udp.clear(port);
        self.ports.tcp.clear(port);
        // Last: from now on the port can be another's.
        self.ports.leased.clear(port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::net::Ipv4Addr;

    fn random() -> Random {
        Random::new([7; 32])
    }

    const IP: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn l12_every_port_once_none_lost_after_churn() {
        let pool = PortPool::new(&[IP], 50_000, 50_199);
        for _ in 0..3 {
            let leases: Vec<_> = (0..200)
                .map(|_| pool.take(IP, Parity::Any, &mut random()).unwrap())
                .collect();
            let ports: HashSet<_> = leases.iter().map(|lease| lease.addr().port()).collect();
            assert_eq!(ports.len(), 200);
            assert!(ports.iter().all(|port| (50_000..=50_199).contains(port)));
            assert!(pool.take(IP, Parity::Any, &mut random()).is_none());
            assert_eq!(pool.taken(), 200);
            drop(leases);
            assert_eq!(pool.taken(), 0);
        }
    }

    #[test]
    fn l12_ports_are_random() {
        let pool = PortPool::new(&[IP], 10_000, 60_000);
        let mut random = random();
        let ports: Vec<_> = (0..20)
            .map(|_| pool.take(IP, Parity::Any, &mut random).unwrap())
            .collect();
        let rising = ports
            .windows(2)
            .filter(|w| w[0].addr().port() < w[1].addr().port())
            .count();
        assert!((1..19).contains(&rising), "{ports:?}");
    }

    #[test]
    fn l7_even_ports_and_pairs() {
        let pool = PortPool::new(&[IP], 50_001, 50_004);
        let (even, odd) = pool.take_pair(IP, &mut random()).unwrap();
        assert_eq!((even.addr().port(), odd.addr().port()), (50_002, 50_003));
        assert!(
            pool.take_pair(IP, &mut random()).is_none(),
            "50004 has no partner"
        );
        assert_eq!(pool.taken(), 2, "the failed pair leaks nothing");
        assert_eq!(
            pool.take(IP, Parity::Even, &mut random())
                .unwrap()
                .addr()
                .port(),
            50_004
        );
        drop(odd);
        assert!(pool.take_pair(IP, &mut random()).is_none());
        assert_eq!(pool.taken(), 1);
    }

    #[test]
    fn a_single_port_and_the_end_of_the_range() {
        let pool = PortPool::new(&[IP], 65_535, 65_535);
        assert!(pool.take_pair(IP, &mut random()).is_none());
        assert!(pool.take(IP, Parity::Even, &mut random()).is_none());
        let lease = pool.take(IP, Parity::Any, &mut random()).unwrap();
        assert!(pool.is_taken(lease.addr()));
        assert!(!pool.is_taken(SocketAddr::new(IP, 1)));
        assert!(
            pool.take(
                IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)),
                Parity::Any,
                &mut random()
            )
            .is_none()
        );
    }

    #[test]
    fn a_renewed_pool_knows_what_is_in_use() {
        let pool = PortPool::new(&[IP], 50_000, 50_001);
        let old = pool.take(IP, Parity::Even, &mut random()).unwrap();
        let other = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
        let renewed = pool.renew(&[other, IP], 49_999, 50_000);
        assert!(renewed.is_taken(old.addr()));
        assert!(renewed.take(IP, Parity::Even, &mut random()).is_none());
        assert_eq!(
            renewed
                .take(IP, Parity::Any, &mut random())
                .unwrap()
                .addr()
                .port(),
            49_999
        );
        assert_eq!(
            renewed
                .take(other, Parity::Even, &mut random())
                .unwrap()
                .addr()
                .ip(),
            other
        );
        drop(old);
        assert_eq!(renewed.taken(), 0);
        assert!(renewed.take(IP, Parity::Even, &mut random()).is_some());
    }

    #[test]
    fn an_address_that_comes_back_has_what_was_in_use_there() {
        let pool = PortPool::new(&[IP], 50_000, 50_001);
        let old = pool.take(IP, Parity::Even, &mut random()).unwrap();
        let gone = pool.renew(&[], 50_000, 50_001);
        assert!(!gone.is_taken(old.addr()));
        drop(pool);
        let back = gone.renew(&[], 50_000, 50_001).renew(&[IP], 50_000, 50_001);
        assert!(back.is_taken(old.addr()));
        assert!(back.take(IP, Parity::Even, &mut random()).is_none());

        drop(old);
        drop(gone);
        let gone = back.renew(&[], 50_000, 50_001);
        drop(back);
        assert_eq!(gone.renew(&[], 50_000, 50_001).former.len(), 0);
    }

    #[test]
    fn workers_never_share_a_port() {
        let pool = PortPool::new(&[IP], 40_000, 40_999);
        let taken: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    let pool = &pool;
                    scope.spawn(move || {
                        (0..250)
                            .map(|_| pool.take(IP, Parity::Any, &mut random()).unwrap())
                            .collect::<Vec<_>>()
                    })
                })
                .collect();
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap())
                .collect()
        });
        let ports: HashSet<_> = taken.iter().map(PortLease::addr).collect();
        assert_eq!(ports.len(), 1000);
    }
}
