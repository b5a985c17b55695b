use proptest::prelude::*;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn filter(allowed: &[&str], denied: &[&str], allow_loopback: bool) -> PeerFilter {
    let ranges = |texts: &[&str]| texts.iter().map(|t| t.parse().unwrap()).collect();
    PeerFilter::new(&PeerRules {
        allowed: ranges(allowed),
        denied: ranges(denied),
        allow_loopback,
    })
}

fn reason(filter: &PeerFilter, text: &str) -> Option<Reason> {
    filter.check(ip(text)).err().map(|denied| denied.reason)
}

/// P2, security.md: first, last, the one before (where admitted) and the one after.
#[test]
fn p2_every_default_range_is_refused_from_its_first_to_its_last_address() {
    let f = filter(&[], &[], false);
    let table = [
        ("0.0.0.0", "0.255.255.255", "", "1.0.0.0"),
        ("10.0.0.0", "10.255.255.255", "9.255.255.255", "11.0.0.0"),
        (
            "100.64.0.0",
            "100.127.255.255",
            "100.63.255.255",
            "100.128.0.0",
        ),
        (
            "127.0.0.0",
            "127.255.255.255",
            "126.255.255.255",
            "128.0.0.0",
        ),
        (
            "169.254.0.0",
            "169.254.255.255",
            "169.253.255.255",
            "169.255.0.0",
        ),
        (
            "172.16.0.0",
            "172.31.255.255",
            "172.15.255.255",
            "172.32.0.0",
        ),
        ("192.0.0.0", "192.0.0.255", "191.255.255.255", "192.0.1.0"),
        ("192.0.2.0", "192.0.2.255", "192.0.1.255", "192.0.3.0"),
        (
            "192.31.196.0",
            "192.31.196.255",
            "192.31.195.255",
            "192.31.197.0",
        ),
        (
            "192.52.193.0",
            "192.52.193.255",
            "192.52.192.255",
            "192.52.194.0",
        ),
        (
            "192.88.99.0",
            "192.88.99.255",
            "192.88.98.255",
            "192.88.100.0",
        ),
        (
            "192.168.0.0",
            "192.168.255.255",
            "192.167.255.255",
            "192.169.0.0",
        ),
        (
            "192.175.48.0",
            "192.175.48.255",
            "192.175.47.255",
            "192.175.49.0",
        ),
        (
            "198.18.0.0",
            "198.19.255.255",
            "198.17.255.255",
            "198.20.0.0",
        ),
        (
            "198.51.100.0",
            "198.51.100.255",
            "198.51.99.255",
            "198.51.101.0",
        ),
        (
            "203.0.113.0",
            "203.0.113.255",
            "203.0.112.255",
            "203.0.114.0",
        ),
        ("224.0.0.0", "239.255.255.255", "223.255.255.255", ""),
        ("240.0.0.0", "255.255.255.255", "", ""),
        ("::", "::ffff:ffff", "", "::1:0:0"),
        (
            "::ffff:0:0",
            "::ffff:ffff:ffff",
            "::fffe:ffff:ffff",
            "::1:0:0:0",
        ),
        (
            "64:ff9b::",
            "64:ff9b::ffff:ffff",
            "64:ff9a:ffff::",
            "64:ff9b::1:0:0",
        ),
        (
            "64:ff9b:1::",
            "64:ff9b:1:ffff:ffff:ffff:ffff:ffff",
            "64:ff9b:0:ffff::",
            "64:ff9b:2::",
        ),
        ("100::", "100::ffff:ffff:ffff:ffff", "ff:ffff::", ""),
        (
            "100:0:0:1::",
            "100:0:0:1:ffff:ffff:ffff:ffff",
            "",
            "100:0:0:2::",
        ),
        (
            "2001::",
            "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2000:ffff::",
            "2001:200::",
        ),
        (
            "2001:db8::",
            "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:db7:ffff::",
            "2001:db9::",
        ),
        (
            "2002::",
            "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "2001:ffff::",
            "2003::",
        ),
        (
            "2620:4f:8000::",
            "2620:4f:8000:ffff:ffff:ffff:ffff:ffff",
            "2620:4f:7fff::",
            "2620:4f:8001::",
        ),
        (
            "3fff::",
            "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff",
            "3ffe:ffff::",
            "3fff:1000::",
        ),
        (
            "5f00::",
            "5f00:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "5eff:ffff::",
            "5f01::",
        ),
        (
            "fc00::",
            "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "fbff:ffff::",
            "fe00::",
        ),
        (
            "fe80::",
            "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "fe7f:ffff::",
            "",
        ),
        ("fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", ""),
        ("ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "", ""),
    ];
    for (first, last, before, after) in table {
        for refused in [first, last] {
            assert!(f.check(ip(refused)).is_err(), "{refused} was let through");
        }
        for fine in [before, after] {
            if !fine.is_empty() {
                assert_eq!(f.check(ip(fine)), Ok(()), "{fine}");
            }
        }
    }
}

#[test]
fn reasons_name_the_kind_of_address_and_the_key_that_admits_it() {
    let f = filter(&[], &["198.41.0.4"], false).with_own(&[ip("8.8.4.4"), ip("::ffff:9.9.9.9")]);
    for (peer, reason, option) in [
        ("0.0.0.0", Reason::Unspecified, "allowed-peer-ip"),
        ("::", Reason::Unspecified, "allowed-peer-ip"),
        ("127.0.0.1", Reason::Loopback, "allow-loopback-peers"),
        ("::1", Reason::Loopback, "allow-loopback-peers"),
        ("10.0.0.1", Reason::Private, "allowed-peer-ip"),
        ("fd00::1", Reason::Private, "allowed-peer-ip"),
        ("169.254.169.254", Reason::LinkLocal, "allowed-peer-ip"),
        ("fe80::1", Reason::LinkLocal, "allowed-peer-ip"),
        ("224.0.0.1", Reason::Multicast, "allowed-peer-ip"),
        ("ff02::1", Reason::Multicast, "allowed-peer-ip"),
        ("255.255.255.255", Reason::Reserved, "allowed-peer-ip"),
        (
            "2001:0:808:808::f7f7:f7f7",
            Reason::Embedded,
            "allowed-peer-ip",
        ),
        ("8.8.4.4", Reason::Own, "allowed-peer-ip"),
        ("9.9.9.9", Reason::Own, "allowed-peer-ip"),
        ("198.41.0.4", Reason::Listed, "denied-peer-ip"),
    ] {
        assert_eq!(f.check(ip(peer)), Err(Denied { option, reason }), "{peer}");
    }
}

/// security.md, what broke others.
const LOOPBACK_SPELLINGS: [&str; 9] = [
    "0.0.0.0",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::7f00:1",
    "2002:7f00:1::",
    "2001:0:808:808::80ff:fffe",
];

#[test]
fn loopback_is_refused_in_every_spelling() {
    let f = filter(&[], &[], false);
    for spelling in LOOPBACK_SPELLINGS {
        assert!(f.check(ip(spelling)).is_err(), "{spelling}");
    }
}

#[test]
fn allow_loopback_peers_covers_loopback_itself_and_nothing_else() {
    let f = filter(&[], &[], true);
    for fine in ["127.0.0.1", "127.255.255.255", "::1"] {
        assert_eq!(f.check(ip(fine)), Ok(()), "{fine}");
    }
    for spelling in LOOPBACK_SPELLINGS.iter().filter(|s| **s != "::1") {
        assert!(f.check(ip(spelling)).is_err(), "{spelling}");
    }
    // Not even where the form as such was admitted.
    let forms = [
        "::/96",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "2000::/3",
    ];
    let f = filter(&forms, &[], true);
    for spelling in &LOOPBACK_SPELLINGS[4..] {
        assert_eq!(reason(&f, spelling), Some(Reason::Loopback), "{spelling}");
    }
}

#[test]
fn a_form_is_refused_as_such_even_around_a_public_address() {
    let f = filter(&["8.8.8.8"], &[], true);
    for form in [
        "::ffff:8.8.8.8",
        "::8.8.8.8",
        "64:ff9b::8.8.8.8",
        "64:ff9b:1::8.8.8.8",
        "64:ff9b:1:ffff:ffff:ffff:8.8.8.8",
        "2002:808:808::1",
        "2001:0:808:808::f7f7:f7f7",
    ] {
        assert_eq!(reason(&f, form), Some(Reason::Embedded), "{form}");
    }
}

#[test]
fn an_admitted_form_is_still_judged_by_the_ipv4_address_inside() {
    let f = filter(
        &["64:ff9b::/96", "2002::/16", "2001::/32"],
        &["198.41.0.4"],
        false,
    )
    .with_own(&[ip("8.8.4.4")]);
    for (peer, expected) in [
        ("64:ff9b::8.8.8.8", None),
        ("64:ff9b::8.8.4.4", Some(Reason::Own)),
        ("64:ff9b::10.0.0.1", Some(Reason::Private)),
        ("64:ff9b::198.41.0.4", Some(Reason::Listed)),
        ("2002:808:808::1", None),
        ("2002:a00:1::1", Some(Reason::Private)),
        ("2001:0:808:808::f7f7:f7f7", None),
        ("2001:0:808:808::f5ff:fffe", Some(Reason::Private)),
    ] {
        assert_eq!(reason(&f, peer), expected, "{peer}");
    }
}

#[test]
fn the_most_specific_entry_decides_and_of_equals_the_allowed_one() {
    let f = filter(
        &["10.0.0.0/8", "10.1.2.3", "9.9.9.9", "8.0.0.0/8"],
        &["10.1.0.0/16", "9.9.9.9", "8.8.8.1-8.8.8.8", "1.1.1.1"],
        false,
    );
    for (peer, expected) in [
        ("10.2.0.1", None),
        ("10.1.0.1", Some(Reason::Listed)),
        ("10.1.2.3", None),
        ("9.9.9.9", None),
        ("8.8.8.8", Some(Reason::Listed)),
        ("8.8.8.9", None),
        ("1.1.1.1", Some(Reason::Listed)),
        ("1.1.1.2", None),
        ("192.168.0.1", Some(Reason::Private)),
    ] {
        assert_eq!(reason(&f, peer), expected, "{peer}");
    }
}

#[test]
fn the_lists_come_before_loopback_and_own_addresses() {
    let f = filter(&["8.8.4.4", "127.0.0.2"], &["127.0.0.1"], true)
        .with_own(&[ip("8.8.4.4"), ip("::1")]);
    assert_eq!(reason(&f, "8.8.4.4"), None);
    assert_eq!(reason(&f, "127.0.0.1"), Some(Reason::Listed));
    assert_eq!(reason(&f, "127.0.0.2"), None);
    assert_eq!(
        reason(&f, "::1"),
        None,
        "allow-loopback-peers covers an own loopback address"
    );
}

#[test]
fn an_own_loopback_address_is_own_so_that_relays_on_it_reach_each_other() {
    let f = filter(&[], &[], false).with_own(&[ip("127.0.0.1")]);
    let denied = f.check(ip("127.0.0.1")).unwrap_err();
    assert_eq!(
        (denied.reason, denied.option),
        (Reason::Own, "allow-loopback-peers")
    );
    assert_eq!(reason(&f, "127.0.0.2"), Some(Reason::Loopback));
}

#[test]
fn d7_only_mapped_addresses_are_rewritten() {
    assert_eq!(canonical_ip(ip("::ffff:1.2.3.4")), ip("1.2.3.4"));
    for same in ["1.2.3.4", "::1.2.3.4", "64:ff9b::102:304", "::1"] {
        assert_eq!(canonical_ip(ip(same)), ip(same));
    }
    let mapped: SocketAddr = "[::ffff:1.2.3.4]:5".parse().unwrap();
    assert_eq!(canonical_socket(mapped), "1.2.3.4:5".parse().unwrap());
    let scoped: SocketAddr = "[fe80::1%3]:5".parse().unwrap();
    assert_eq!(canonical_socket(scoped), scoped);
}

proptest! {
    /// Whatever wraps a refused IPv4 address is refused, however the forms themselves are listed.
    #[test]
    fn no_form_reaches_a_refused_ipv4_address(n: u32, low in 0u32..4, admit: bool) {
        // Loopback and private networks come up often enough this way.
        let v4 = Ipv4Addr::from(match low {
            0 => n,
            _ => (n >> 8) | [0, 10, 127, 192][low as usize] << 24,
        });
        let [a, b, c, d] = v4.octets();
        let forms: &[&str] = &["::/96", "64:ff9b::/32", "2002::/16", "2001::/32"];
        let allowed = if admit { forms } else { &[] };
        let f = filter(allowed, &[], true);
        let v4_refused = v4.is_loopback() || f.check(IpAddr::V4(v4)).is_err();
        let hi = u16::from_be_bytes([a, b]);
        let lo = u16::from_be_bytes([c, d]);
        for form in [
            Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, hi, lo),
            Ipv6Addr::new(0x2002, hi, lo, 0, 0, 0, 0, 1),
            Ipv6Addr::new(0x2001, 0, 0x808, 0x808, 0, 0, !hi, !lo),
        ] {
            prop_assert_eq!(f.check(IpAddr::V6(form)).is_err(), v4_refused || !admit, "{}", form);
        }
    }
}

/// Whether `peer` may be reached as far as [`PeerFilter::with_never`] is concerned.
fn is_reached(filter: &PeerFilter, peer: &str) -> bool {
    let peer: SocketAddr = peer.parse().unwrap();
    let never = filter.is_never(canonical_socket(peer));
    // Ports are compared only where this says so.
    assert!(
        filter.has_never(canonical_ip(peer.ip())) || !never,
        "{peer}"
    );
    !never
}

#[test]
fn a_service_is_not_reached_by_any_name_of_its_host() {
    let everything = ["0.0.0.0/0", "::/0"];
    let host = [ip("45.0.0.1"), ip("2a00::1"), ip("::ffff:45.0.0.2")];
    for bound in ["127.0.0.1:9641", "[::1]:9641", "0.0.0.0:9641", "[::]:9641"] {
        let f = filter(&everything, &[], true)
            .with_own(&host)
            .with_never(&[bound.parse().unwrap()]);
        for name in [
            "127.0.0.1",
            "127.8.9.10",
            "0.0.0.0",
            "45.0.0.1",
            "45.0.0.2",
            "[::1]",
            "[::]",
            "[2a00::1]",
            "[::ffff:127.0.0.1]",
            "[::127.0.0.1]",
            "[64:ff9b::45.0.0.1]",
            "[64:ff9b:1::127.0.0.1]",
            "[2002:7f00:1::]",
        ] {
            assert!(
                !is_reached(&f, &format!("{name}:9641")),
                "{bound} by {name}"
            );
            assert!(is_reached(&f, &format!("{name}:9640")), "{bound} by {name}");
        }
        for other in ["45.0.0.3", "[2a00::2]", "[64:ff9b::45.0.0.3]"] {
            assert!(
                is_reached(&f, &format!("{other}:9641")),
                "{bound} by {other}"
            );
            assert!(!f.has_never(other.trim_matches(['[', ']']).parse().unwrap()));
        }
    }
}

#[test]
fn a_service_on_one_address_is_there_only() {
    let f = filter(&["10.0.0.0/8"], &[], true)
        .with_own(&[ip("10.0.0.1"), ip("10.0.0.2")])
        .with_never(&["[::ffff:10.0.0.1]:6379".parse().unwrap()]);
    for (peer, reached) in [
        ("10.0.0.1:6379", false),
        ("[::ffff:10.0.0.1]:6379", false),
        ("[64:ff9b::10.0.0.1]:6379", false),
        ("10.0.0.1:6380", true),
        ("10.0.0.2:6379", true),
        ("127.0.0.1:6379", true),
    ] {
        assert_eq!(is_reached(&f, peer), reached, "{peer}");
    }
    assert!(!f.has_never(ip("10.0.0.2")));
}
