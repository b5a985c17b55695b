//! Local addresses that relays bind, and their public forms.

use std::net::{IpAddr, SocketAddr};

use super::five_tuple::{Family, PeerAddr};
use super::ports::PortPool;
use super::settings::RelaySettings;
use crate::ip::canonical_socket;
use crate::random::Random;

/// The relay addresses, their ports, and `external-ip`.
#[derive(Debug)]
pub struct RelayAddresses {
    ips: Vec<IpAddr>,
    /// (public, local): in front, those that were named with their local address.
    external: Vec<(IpAddr, IpAddr)>,
    ports: PortPool,
}

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
        let mut external = Vec::new();
        for entry in &settings.external {
            match entry.private {
                Some(private) => external.push((entry.public, private)),
                None => {
                    let same: Vec<_> = family(&ips, Family::of(entry.public)).collect();
                    let outward: Vec<_> = same.iter().filter(|ip| !ip.is_loopback()).collect();
                    let stands_for = if outward.is_empty() {
                        same.iter().collect()
                    } else {
                        outward
                    };
                    external.extend(stands_for.into_iter().map(|ip| (entry.public, *ip)));
                }
            }
        }
        let (min, max) = (settings.min_port, settings.max_port);
        let ports = match previous {
            Some(previous) => previous.ports.renew(&ips, min, max),
            None => PortPool::new(&ips, min, max),
        };
        Self {
            ips,
            external,
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
            .chain(self.external.iter().map(|(public, _)| *public))
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

    /// The public form of a local transport address.
    #[must_use]
    pub fn public(&self, local: SocketAddr) -> SocketAddr {
        let named = self
            .external
            .iter()
            .find(|(_, private)| *private == local.ip());
        named.map_or(local, |(public, _)| SocketAddr::new(*public, local.port()))
    }

    /// Where a peer that a client names is to be reached from here.
    ///
    /// Another client's relayed address is known to this one by its public form, which the host
    /// itself may be unable to reach.
    #[must_use]
    pub fn peer(&self, named: SocketAddr) -> PeerAddr {
        let named = canonical_socket(named);
        let mut locals = self
            .external
            .iter()
            .filter(|(public, _)| *public == named.ip())
            .map(|(_, private)| SocketAddr::new(*private, named.port()));
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
    use crate::server::settings::ExternalIp;

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
