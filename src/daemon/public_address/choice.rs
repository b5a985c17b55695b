//! The relay addresses that need a public form, and the answer that each gets.

use std::net::IpAddr;

use turnd_proto::policy::peer_filter::{PeerFilter, PeerRules};
use turnd_proto::server::settings::ExternalIp;

use crate::config::{Config, Sought, Source};

/// Public address that a source tells, and the local one that it stands for; `None`: the source does
/// not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) public: IpAddr,
    pub(super) local: Option<IpAddr>,
}

impl Pair {
    /// A public address with its local one.
    pub(super) fn tied(public: IpAddr, local: &str) -> Option<Self> {
        let local: IpAddr = local.trim().parse().ok()?;
        (local.is_ipv4() == public.is_ipv4()).then_some(Self {
            public,
            local: Some(local),
        })
    }

    /// A public address by itself.
    pub(super) fn alone(public: &str) -> Option<Self> {
        let public = public.trim().parse().ok()?;
        Some(Self {
            public,
            local: None,
        })
    }
}

/// Whether the Internet can send to an address: the one that a relay may send to by default.
pub(super) fn is_public(ip: IpAddr) -> bool {
    PeerFilter::new(&PeerRules::default()).check(ip).is_ok()
}

/// Relay addresses by what `external-ip = "auto"` has to do for them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Addresses that are public themselves.
    pub(super) own: Vec<IpAddr>,
    /// Addresses whose public form is looked for.
    pub(super) private: Vec<IpAddr>,
}

/// Sorts the relay addresses of `config` on a host with these addresses.
pub(super) fn needs(config: &Config, host: &[IpAddr]) -> Needs {
    let relay = &config.server.relay;
    let sought = &config.public_address.sought;
    let mut needs = Needs::default();
    for auto in sought.iter().filter(|one| one.source == Source::Auto) {
        let locals = match auto.private {
            Some(local) => vec![local],
            None => open(config, host),
        };
        let listed = auto.private.is_some() || !relay.ips.is_empty();
        let (own, private): (Vec<_>, Vec<_>) = locals.into_iter().partition(|ip| is_public(*ip));
        // Bridges and private networks beside a public address are for other programs, unless
        // relay-ip names them.
        let other = |ip: &IpAddr| !listed && own.iter().any(|o| o.is_ipv4() == ip.is_ipv4());
        needs
            .private
            .extend(private.into_iter().filter(|ip| !other(ip)));
        needs.own.extend(own);
    }
    needs
}

/// The relay addresses that no other element of `external-ip` stands for.
fn open(config: &Config, host: &[IpAddr]) -> Vec<IpAddr> {
    let relay = &config.server.relay;
    let listening = &config.listen.ips;
    // As the server has them.
    let ips = if !relay.ips.is_empty() {
        &relay.ips[..]
    } else if listening.iter().any(|ip| !ip.is_unspecified()) {
        &listening[..]
    } else {
        host
    };
    let taken = |ip: &IpAddr| {
        relay.external.iter().any(|entry| match entry.private {
            Some(private) => private == *ip,
            None => entry.public.is_ipv4() == ip.is_ipv4(),
        }) || config
            .public_address
            .sought
            .iter()
            .any(|one: &Sought| one.private == Some(*ip))
    };
    let outward = |ip: &IpAddr| {
        let link_local = matches!(ip, IpAddr::V4(ip) if ip.is_link_local());
        !(ip.is_unspecified() || ip.is_loopback() || link_local)
    };
    ips.iter()
        .copied()
        .filter(|ip| outward(ip) && !taken(ip))
        .collect()
}

/// The public form of `local` among `pairs`, on a host with these addresses: the one that is tied to
/// it, else one that is tied to nothing.
pub(super) fn choose(local: IpAddr, pairs: &[Pair], host: &[IpAddr]) -> Option<IpAddr> {
    // A socket on this interface gets nothing that comes to another one.
    let usable = |pair: &&Pair| {
        pair.public.is_ipv4() == local.is_ipv4()
            && is_public(pair.public)
            && !host.contains(&pair.public)
    };
    let usable = || pairs.iter().filter(usable);
    let tied = usable().find(|pair| pair.local == Some(local));
    let pair = tied.or_else(|| usable().find(|pair| pair.local.is_none()));
    pair.map(|pair| pair.public)
}

/// The addresses of a host name that are announced: one of each family, rather one that is announced
/// already than another.
pub(super) fn of_name(
    ips: &[IpAddr],
    sought: &Sought,
    given: &[ExternalIp],
    before: &[IpAddr],
) -> Vec<ExternalIp> {
    let usable = |ip: &IpAddr| {
        let single = !(ip.is_unspecified() || ip.is_multicast() || ip.is_loopback());
        let fits = match sought.private {
            Some(private) => private.is_ipv4() == ip.is_ipv4(),
            None => !given
                .iter()
                .any(|g| g.private.is_none() && g.public.is_ipv4() == ip.is_ipv4()),
        };
        single && fits
    };
    let mut ips: Vec<_> = ips.iter().copied().filter(usable).collect();
    ips.sort_by_key(|ip| !before.contains(ip));
    [true, false]
        .into_iter()
        .filter_map(|v4| ips.iter().find(|ip| ip.is_ipv4() == v4))
        .map(|ip| ExternalIp {
            public: *ip,
            private: sought.private,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn ips(texts: &[&str]) -> Vec<IpAddr> {
        texts.iter().map(|text| ip(text)).collect()
    }

    fn needs_of(text: &str, host: &[&str]) -> [Vec<IpAddr>; 2] {
        let config = Config::from_toml(&format!("no-auth = true\n{text}")).unwrap();
        let Needs { own, private } = needs(&config, &ips(host));
        [own, private]
    }

    #[test]
    fn an_interface_with_a_public_address_needs_no_other() {
        let auto = "external-ip = 'auto'";
        // A bridge beside it is not looked after.
        let host = ["127.0.0.1", "5.6.7.8", "172.17.0.1", "::1", "fd00::1"];
        assert_eq!(
            needs_of(auto, &host),
            [ips(&["5.6.7.8"]), ips(&["fd00::1"])]
        );
        // One that relay-ip names is.
        let both = "external-ip = 'auto'\nrelay-ip = ['5.6.7.8', '10.0.0.5']";
        assert_eq!(
            needs_of(both, &host),
            [ips(&["5.6.7.8"]), ips(&["10.0.0.5"])]
        );
        assert_eq!(
            needs_of(auto, &["10.0.0.5", "169.254.3.4", "2a01::1"]),
            [ips(&["2a01::1"]), ips(&["10.0.0.5"])]
        );
        assert_eq!(needs_of("", &["10.0.0.5"]), [ips(&[]), ips(&[])]);
    }

    #[test]
    fn what_other_elements_stand_for_is_not_looked_for() {
        let host = ["10.0.0.5", "10.0.0.6", "10.0.0.7", "fd00::5"];
        let paired = "external-ip = ['auto', '5.6.7.8/10.0.0.5', 'turn.example.org/10.0.0.6']";
        assert_eq!(needs_of(paired, &host)[1], ips(&["10.0.0.7", "fd00::5"]));
        let family = "external-ip = ['5.6.7.8', 'auto']";
        assert_eq!(needs_of(family, &host)[1], ips(&["fd00::5"]));
        let one = "external-ip = 'auto/10.0.0.6'";
        assert_eq!(needs_of(one, &host)[1], ips(&["10.0.0.6"]));
        let listening = "external-ip = 'auto'\nlistening-ip = ['10.0.0.7', '::']";
        assert_eq!(needs_of(listening, &host)[1], ips(&["10.0.0.7"]));
    }

    #[test]
    fn the_answer_that_is_tied_to_an_address_comes_first() {
        let tied = |public: &str, local: &str| Pair::tied(ip(public), local).unwrap();
        let pairs = [
            Pair::alone("5.6.7.1").unwrap(),
            tied("5.6.7.2", "10.0.0.2"),
            tied("5.6.7.3", "10.0.0.3"),
        ];
        let choice = |local: &str, host: &[&str]| choose(ip(local), &pairs, &ips(host));
        assert_eq!(choice("10.0.0.2", &[]), Some(ip("5.6.7.2")));
        assert_eq!(choice("10.0.0.3", &[]), Some(ip("5.6.7.3")));
        assert_eq!(choice("10.0.0.9", &[]), Some(ip("5.6.7.1")));
        assert_eq!(choice("10.0.0.9", &["5.6.7.1"]), None);
        assert_eq!(choice("fd00::1", &[]), None);
        // A service that tells an address of this network, or of the machine itself, is not believed.
        for nonsense in [
            "10.1.1.1",
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
        ] {
            let pairs = [Pair::alone(nonsense).unwrap()];
            assert_eq!(choose(ip("10.0.0.2"), &pairs, &[]), None, "{nonsense}");
        }
    }

    #[test]
    fn a_host_name_gives_an_address_of_each_family() {
        let sought = |private: Option<&str>| Sought {
            source: Source::Name("turn.example.org".to_owned()),
            private: private.map(ip),
        };
        let known = ips(&["127.0.1.1", "5.6.7.1", "5.6.7.2", "2a01::1", "2a01::2"]);
        let publics = |sought: &Sought, given: &[ExternalIp], before: &[&str]| -> Vec<IpAddr> {
            let found = of_name(&known, sought, given, &ips(before));
            found.iter().map(|entry| entry.public).collect()
        };
        assert_eq!(
            publics(&sought(None), &[], &[]),
            ips(&["5.6.7.1", "2a01::1"])
        );
        // The order of a name server's answers is no change.
        assert_eq!(
            publics(&sought(None), &[], &["5.6.7.2"]),
            ips(&["5.6.7.2", "2a01::1"])
        );
        assert_eq!(
            publics(&sought(Some("10.0.0.5")), &[], &[]),
            ips(&["5.6.7.1"])
        );
        let given = [ExternalIp {
            public: ip("5.6.7.9"),
            private: None,
        }];
        assert_eq!(publics(&sought(None), &given, &[]), ips(&["2a01::1"]));
    }
}
