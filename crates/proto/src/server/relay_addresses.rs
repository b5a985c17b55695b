//! Local addresses that relays bind, and their public forms.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::five_tuple::{Family, PeerAddr};
use super::ports::{Bitmap, PortPool};
use super::settings::{ExternalIp, RelaySettings};
use crate::ip::canonical_socket;
use crate::random::Random;

/// The relay addresses, their ports, and `external-ip`.
#[derive(Debug)]
pub struct RelayAddresses {
    ips: Vec<IpAddr>,
    /// In front, those that were named with their local address.
    external: Vec<Arc<Announced>>,
    /// Forms that no new allocation is told, and some allocation still has.
    former: Vec<Arc<Announced>>,
    ports: PortPool,
}

/// The public form of a local address.
#[derive(Debug)]
struct Announced {
    public: IpAddr,
    local: IpAddr,
    /// Ports whose last allocation was told this form.
    told: Bitmap,
}

impl Announced {
    fn is(&self, public: IpAddr, local: IpAddr) -> bool {
        self.public == public && self.local == local
    }

    /// Whether the allocation that has this port of the local address was told this form.
    fn is_told(&self, port: u16, ports: &PortPool) -> bool {
        self.told.has(port) && ports.is_taken(SocketAddr::new(self.local, port))
    }

    /// Whether any allocation has this form.
    fn is_in_use(&self, ports: &PortPool) -> bool {
        self.told
            .ports()
            .any(|port| ports.is_taken(SocketAddr::new(self.local, port)))
    }
}

/// Forms that are kept for old allocations at the most: a public address changes seldom.
const MOST_FORMER: usize = 16;

impl RelayAddresses {
    /// Takes `relay-ip`, else `local`: the addresses that clients can reach the server at.
    ///
    /// `previous` has ports in use that the new ones may overlap.
    #[must_use]
    pub fn new(settings: &RelaySettings, local: &[IpAddr], previous: Option<&Self>) -> Self {
        let mut ips = if settings.ips.is_empty() {
            local.to_vec()
        } else {
            settings.ips.clone()
        };
        ips.retain(|ip| !ip.is_unspecified());
        let (paired, for_all): (Vec<&ExternalIp>, Vec<&ExternalIp>) = settings
            .external
            .iter()
            .partition(|entry| entry.private.is_some());
        let mut forms: Vec<(IpAddr, IpAddr)> = Vec::new();
        for entry in paired.into_iter().chain(for_all) {
            match entry.private {
                Some(private) => forms.push((entry.public, private)),
                None => {
                    let same: Vec<_> = family(&ips, Family::of(entry.public)).collect();
                    let outward: Vec<_> = same.iter().filter(|ip| !ip.is_loopback()).collect();
                    let stands_for = if outward.is_empty() {
                        same.iter().collect()
                    } else {
                        outward
                    };
                    forms.extend(stands_for.into_iter().map(|ip| (entry.public, *ip)));
                }
            }
        }
        let (min, max) = (settings.min_port, settings.max_port);
        let ports = match previous {
            Some(previous) => previous.ports.renew(&ips, min, max),
            None => PortPool::new(&ips, min, max),
        };
        let known: Vec<_> = previous
            .into_iter()
            .flat_map(|previous| previous.external.iter().chain(&previous.former))
            .collect();
        let announced = |(public, local): (IpAddr, IpAddr)| {
            let same = known.iter().find(|form| form.is(public, local));
            same.map_or_else(
                || {
                    Arc::new(Announced {
                        public,
                        local,
                        told: Bitmap::new(),
                    })
                },
                |same| Arc::clone(same),
            )
        };
        let external: Vec<_> = forms.into_iter().map(announced).collect();
        let mut former: Vec<Arc<Announced>> = Vec::new();
        for form in known {
            let again = external.iter().any(|new| Arc::ptr_eq(new, form));
            if !again && form.is_in_use(&ports) && former.len() < MOST_FORMER {
                former.push(Arc::clone(form));
            }
        }
        Self {
            ips,
            external,
            former,
            ports,
        }
    }

    /// The port pool of these addresses.
    #[must_use]
    pub fn ports(&self) -> &PortPool {
        &self.ports
    }

    /// Every relay address, local and public.
    pub fn all(&self) -> impl Iterator<Item = IpAddr> {
        self.ips
            .iter()
            .copied()
            .chain(self.external.iter().map(|form| form.public))
    }

    /// Whether relays bind `ip`, or did and have not all ended there.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.ips.contains(&ip) || self.ports.has_former(ip)
    }

    /// Whether relays bind an address of this family.
    #[must_use]
    pub fn has(&self, wanted: Family) -> bool {
        family(&self.ips, wanted).next().is_some()
    }

    /// The addresses to relay from for a client that reached `server`, the best first: that one if
    /// it is of the family, then those that are as near as it (loopback or not) in an order that
    /// spreads clients over them. Others only where no address is as near. Empty: no such family.
    pub fn choices<'a>(
        &'a self,
        wanted: Family,
        server: IpAddr,
        random: &mut Random,
    ) -> impl Iterator<Item = IpAddr> + use<'a> {
        let is_near = move |ip: &IpAddr| ip.is_loopback() == server.is_loopback();
        let any_near = family(&self.ips, wanted).any(|ip| is_near(&ip));
        let usable = move || family(&self.ips, wanted).filter(move |ip| !any_near || is_near(ip));
        let reached = usable().filter(move |ip| *ip == server);
        let count = usable().count();
        let start = if count > 1 {
            random.below(count as u32) as usize
        } else {
            0
        };
        let rest = usable().chain(usable()).skip(start).take(count);
        reached.chain(rest.filter(move |ip| *ip != server))
    }

    /// The public form of a local transport address: the one that its allocation was told, else
    /// the one of today.
    #[must_use]
    pub fn public(&self, local: SocketAddr) -> SocketAddr {
        let told = |form: &&Arc<Announced>| {
            form.local == local.ip() && form.is_told(local.port(), &self.ports)
        };
        let form = self.former.iter().find(told).or_else(|| self.today(local));
        form.map_or(local, |form| SocketAddr::new(form.public, local.port()))
    }

    /// The public form of a relayed transport address whose allocation is told it now.
    #[must_use]
    pub fn announce(&self, local: SocketAddr) -> SocketAddr {
        for form in self.former.iter().chain(&self.external) {
            if form.local == local.ip() {
                form.told.clear(local.port());
            }
        }
        let Some(form) = self.today(local) else {
            return local;
        };
        form.told.set(local.port());
        SocketAddr::new(form.public, local.port())
    }

    fn today(&self, local: SocketAddr) -> Option<&Arc<Announced>> {
        self.external.iter().find(|form| form.local == local.ip())
    }

    /// Where a peer that a client names is to be reached from here.
    ///
    /// Another client's relayed address is known to this one by its public form, which the host
    /// itself may be unable to reach.
    #[must_use]
    pub fn peer(&self, named: SocketAddr) -> PeerAddr {
        let named = canonical_socket(named);
        let local = |form: &Arc<Announced>| SocketAddr::new(form.local, named.port());
        let has_address = |form: &&Arc<Announced>| form.public == named.ip();
        let told =
            |form: &&Arc<Announced>| has_address(form) && form.is_told(named.port(), &self.ports);
        if let Some(form) = self.former.iter().find(told) {
            return PeerAddr(local(form));
        }
        let mut locals = self.external.iter().filter(has_address).map(local);
        let first = locals.clone().next().unwrap_or(named);
        PeerAddr(
            locals
                .find(|local| self.ports.is_taken(*local))
                .unwrap_or(first),
        )
    }
}

fn family(ips: &[IpAddr], wanted: Family) -> impl Iterator<Item = IpAddr> {
    ips.iter()
        .copied()
        .filter(move |ip| Family::of(*ip) == wanted)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn addresses(ips: &[&str], external: &[(&str, Option<&str>)]) -> RelayAddresses {
        let settings = RelaySettings {
            ips: vec![],
            external: external
                .iter()
                .map(|(public, private)| ExternalIp {
                    public: ip(public),
                    private: private.map(ip),
                })
                .collect(),
            min_port: 50_000,
            max_port: 50_009,
        };
        let ips: Vec<_> = ips.iter().map(|text| ip(text)).collect();
        RelayAddresses::new(&settings, &ips, None)
    }

    #[test]
    fn l6_the_address_that_the_client_reached_comes_first() {
        let relay = addresses(&["127.0.0.1", "10.0.0.1", "10.0.0.2", "::1"], &[]);
        let mut random = Random::new([7; 32]);
        let mut choices =
            |family, server| -> Vec<_> { relay.choices(family, ip(server), &mut random).collect() };
        let ips = |texts: &[&str]| texts.iter().map(|text| ip(text)).collect::<Vec<_>>();
        assert_eq!(
            choices(Family::V4, "10.0.0.2"),
            ips(&["10.0.0.2", "10.0.0.1"])
        );
        assert_eq!(choices(Family::V4, "127.0.0.1"), ips(&["127.0.0.1"]));
        assert_eq!(choices(Family::V6, "127.0.0.1"), ips(&["::1"]));
        let none = addresses(&["10.0.0.1"], &[]);
        assert_eq!(
            none.choices(Family::V6, ip("10.0.0.1"), &mut Random::new([7; 32]))
                .count(),
            0
        );

        // Reached elsewhere: both, and each of them first now and then.
        let first: HashSet<_> = (0..200)
            .map(|_| {
                let mut both = choices(Family::V4, "10.9.9.9");
                let first = both[0];
                both.sort_unstable();
                assert_eq!(both, ips(&["10.0.0.1", "10.0.0.2"]));
                first
            })
            .collect();
        assert_eq!(first.len(), 2);
    }

    #[test]
    fn l11_external_ip_both_ways() {
        let relay = addresses(
            &["127.0.0.1", "10.0.0.1", "10.0.0.2"],
            &[("203.0.113.2", Some("10.0.0.2")), ("203.0.113.1", None)],
        );
        let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
        assert_eq!(relay.public(addr("10.0.0.1:5")), addr("203.0.113.1:5"));
        assert_eq!(relay.public(addr("10.0.0.2:5")), addr("203.0.113.2:5"));
        assert_eq!(relay.public(addr("127.0.0.1:5")), addr("127.0.0.1:5"));
        assert_eq!(relay.peer(addr("203.0.113.2:5")).0, addr("10.0.0.2:5"));
        assert_eq!(
            relay.peer(addr("[::ffff:203.0.113.1]:5")).0,
            addr("10.0.0.1:5")
        );
        assert_eq!(relay.peer(addr("192.0.2.1:5")).0, addr("192.0.2.1:5"));
    }

    #[test]
    fn an_allocation_keeps_the_public_address_that_it_was_told() {
        let settings = |public| RelaySettings {
            ips: vec![ip("10.0.0.1")],
            external: vec![ExternalIp {
                public: ip(public),
                private: None,
            }],
            min_port: 50_000,
            max_port: 50_009,
        };
        let mut random = Random::new([7; 32]);
        let mut take = |relay: &RelayAddresses| {
            let lease = relay
                .ports()
                .take(
                    ip("10.0.0.1"),
                    super::super::ports::Parity::Any,
                    &mut random,
                )
                .unwrap();
            let told = relay.announce(lease.addr());
            (lease, told)
        };
        let first = RelayAddresses::new(&settings("203.0.113.1"), &[], None);
        let (old, old_told) = take(&first);
        let second = RelayAddresses::new(&settings("203.0.113.2"), &[], Some(&first));
        // A worker that has not heard of the change yet tells the old one, and all know.
        let (late, late_told) = take(&first);
        let (new, new_told) = take(&second);
        assert_eq!(old_told.ip(), ip("203.0.113.1"));
        assert_eq!(late_told.ip(), ip("203.0.113.1"));
        assert_eq!(new_told.ip(), ip("203.0.113.2"));
        for (lease, told) in [(&old, old_told), (&late, late_told), (&new, new_told)] {
            assert_eq!(second.public(lease.addr()), told);
            assert_eq!(second.peer(told).0, lease.addr());
        }
        // The old address with a port that nobody has been told is somebody else's.
        let foreign = SocketAddr::new(ip("203.0.113.1"), new.addr().port());
        assert_eq!(second.peer(foreign).0, foreign);

        let third = RelayAddresses::new(&settings("203.0.113.2"), &[], Some(&second));
        assert_eq!(third.peer(old_told).0, old.addr());
        drop((old, late));
        let last = RelayAddresses::new(&settings("203.0.113.2"), &[], Some(&third));
        assert_eq!(last.peer(old_told).0, old_told);
        assert!(last.former.is_empty());
        assert_eq!(last.public(new.addr()), new_told);
    }

    #[test]
    fn a_public_address_of_several_local_ones_leads_to_the_one_with_the_port() {
        let relay = addresses(&["10.0.0.1", "10.0.0.2"], &[("203.0.113.1", None)]);
        let lease = relay
            .ports()
            .take(
                ip("10.0.0.2"),
                super::super::ports::Parity::Any,
                &mut Random::new([7; 32]),
            )
            .unwrap();
        let public = relay.public(lease.addr());
        assert_eq!(public.ip(), ip("203.0.113.1"));
        assert_eq!(relay.peer(public).0, lease.addr());
    }
}
