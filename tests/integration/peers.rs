//! The refused peers, all of them: every range, every disguise, every way to reach one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use stun::attributes::ATTR_REQUESTED_ADDRESS_FAMILY;
use stun::message::{METHOD_ALLOCATE, METHOD_CONNECT};
use turn::proto::PROTO_TCP;
use turn::proto::reqtrans::RequestedTransport;
use turnd_proto::server::Reloaded;
use turnd_proto::server::five_tuple::Transport;
use turnd_proto::server::output::{DropReason, Output};

use crate::support::messages::{
    Attributes, channel_data, peer, raw, relayed_address, send, status,
};
use crate::support::world::{Caller, PEER, PEER_V6, SERVER_V4, World};

/// IPv4 networks that are refused as peers by default.
const REFUSED_V4: [&str; 18] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
];

/// IPv6 networks likewise, those of disguises apart.
const REFUSED_V6: [&str; 13] = [
    "::1/128",
    "::/128",
    "100::/64",
    "100:0:0:1::/64",
    "2001:20::/28",
    "2001:db8::/32",
    "2620:4f:8000::/48",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
    "fec0::/10",
    "fe80::/10",
    "ff00::/8",
];

/// First, last and an inner address of a network.
fn samples(network: &str) -> [IpAddr; 3] {
    let (ip, len) = network.split_once('/').unwrap();
    let len: u32 = len.parse().unwrap();
    match ip.parse().unwrap() {
        IpAddr::V4(first) => {
            let (first, rest) = (u32::from(first), u32::MAX.checked_shr(len).unwrap_or(0));
            [first, first | rest, first | (rest / 3)].map(|ip| Ipv4Addr::from(ip).into())
        }
        IpAddr::V6(first) => {
            let (first, rest) = (u128::from(first), u128::MAX.checked_shr(len).unwrap_or(0));
            [first, first | rest, first | (rest / 3)].map(|ip| Ipv6Addr::from(ip).into())
        }
    }
}

/// An IPv4 address in every IPv6 form that a stack or a translator may take for it.
fn disguises(ip: Ipv4Addr) -> Vec<Ipv6Addr> {
    let bits = u128::from(u32::from(ip));
    let at = |prefix: &str, bits: u128| {
        let prefix: Ipv6Addr = prefix.parse().unwrap();
        Ipv6Addr::from(u128::from(prefix) | bits)
    };
    vec![
        // Compatible (RFC 4291 §2.5.5.1); translated (RFC 6052, RFC 8215); 6to4 (RFC 3056); Teredo
        // (RFC 4380), once as the client and once as the server.
        at("::", bits),
        at("64:ff9b::", bits),
        at("64:ff9b:1::", bits),
        at("64:ff9b:1:fffe:ffff::", bits),
        at("2002::", bits << 80),
        at("2002::1", bits << 80),
        at("2001::", u128::from(!u32::from(ip))),
        at("2001::", bits << 64 | u128::from(!u32::from(ip))),
    ]
}

fn every_refused() -> Vec<IpAddr> {
    let mut all = Vec::new();
    for network in REFUSED_V4 {
        for ip in samples(network) {
            let IpAddr::V4(v4) = ip else { unreachable!() };
            all.extend([ip, v4.to_ipv6_mapped().into()]);
            all.extend(disguises(v4).into_iter().map(IpAddr::from));
        }
    }
    all.extend(REFUSED_V6.iter().flat_map(|network| samples(network)));
    all
}

/// Whether a relay of IPv6 is the one that reaches it: a mapped address is the IPv4 one that it holds.
fn is_v6(ip: IpAddr) -> bool {
    ip.to_canonical().is_ipv6()
}

/// A UDP and a TCP allocation of one family.
struct Pair {
    udp: Caller,
    relayed: SocketAddr,
    tcp: Caller,
    good: &'static str,
}

impl Pair {
    fn new(world: &mut World, v6: bool) -> Self {
        let family = || -> Attributes {
            vec![raw(
                ATTR_REQUESTED_ADDRESS_FAMILY,
                &[1 + u8::from(v6), 0, 0, 0],
            )]
        };
        let udp = world.caller(if v6 { "192.0.2.10:46" } else { "192.0.2.10:44" });
        let relayed = relayed_address(&world.try_allocate(&udp, family()));
        let mut tcp = world.caller(if v6 { "192.0.2.10:66" } else { "192.0.2.10:64" });
        tcp.path.tuple.transport = Transport::Tcp;
        let mut attributes = family();
        attributes.push(Box::new(RequestedTransport {
            protocol: PROTO_TCP,
        }));
        assert_eq!(status(&world.ask(&tcp, METHOD_ALLOCATE, attributes)), 200);
        let good = if v6 { PEER_V6 } else { PEER };
        Self {
            udp,
            relayed,
            tcp,
            good,
        }
    }
}

/// Asks for `peer` in every way, and sends as if it had been granted.
fn expect_refused(world: &mut World, pair: &Pair, to: &str) {
    let Pair { udp, tcp, good, .. } = pair;
    assert_eq!(world.permit(udp, &[to]), 403, "permission for {to}");
    assert_eq!(world.permit(udp, &[good, to]), 403, "{to} beside another");
    assert!(!world.send(udp, good, "x"), "{to} took another along");
    assert_eq!(world.bind_channel(udp, 0x4000, to), 403, "channel to {to}");
    expect_nothing_passes(world, pair, to);
    let connect = world.ask(tcp, METHOD_CONNECT, vec![peer(to)]);
    assert_eq!(status(&connect), 403, "connection to {to}");
    assert!(world.peer_outputs.is_empty(), "connection to {to}");
}

fn expect_nothing_passes(world: &mut World, pair: &Pair, to: &str) {
    let path = &pair.udp.path;
    assert!(world.is_silent(path, &send(to, b"x").raw), "Send to {to}");
    let data = channel_data(0x4000, b"x");
    assert!(world.is_silent(path, &data), "channel data to {to}");
    assert_eq!(
        world.peer_sends(pair.relayed, to, b"x"),
        None,
        "data from {to}"
    );
}

#[test]
fn no_way_and_no_disguise_reaches_a_refused_peer() {
    let mut world = World::usual();
    let pairs = [false, true].map(|v6| Pair::new(&mut world, v6));
    let refused = every_refused();
    assert!(refused.len() > 500, "{}", refused.len());
    for ip in refused {
        for port in [22, 3478] {
            let to = SocketAddr::new(ip, port).to_string();
            expect_refused(&mut world, &pairs[usize::from(is_v6(ip))], &to);
        }
    }
    assert!(world.channels.is_empty());
    for pair in &pairs {
        assert_eq!(world.permit(&pair.udp, &[pair.good]), 200);
    }
}

#[test]
fn a_reload_takes_away_whatever_it_refuses_however_it_was_granted() {
    for ip in every_refused() {
        let mut world = World::new(|s| {
            s.allow(&["0.0.0.0/0", "::/0"]);
            s.peers.allow_loopback = true;
        });
        let pair = Pair::new(&mut world, is_v6(ip));
        let to = SocketAddr::new(ip, 22).to_string();
        // The server's own network is not in the way of this one.
        let shared = World::usual().shared;
        assert_eq!(world.bind_channel(&pair.udp, 0x4000, &to), 200, "{to}");
        assert!(world.send(&pair.udp, &to, "x"), "{to}");
        let connect = pair.tcp.login.sign(METHOD_CONNECT, vec![peer(&to)]);
        assert!(world.is_silent(&pair.tcp.path, &connect.raw));
        let Some(Output::Connect { connection, .. }) = world.peer_outputs.pop() else {
            panic!("no connection to {to}");
        };
        world.after(|server, now| server.handle_connected(now, connection, true));
        let dropped = |world: &World| {
            let drops = &world.server.counters().drops;
            drops[DropReason::PeerRefused as usize]
        };
        assert_eq!(dropped(&world), 0);
        let (told, _) = world.after(|server, now| server.handle_reload(now, shared));
        assert_eq!((told.without_peers, told.of_other_realm), (2, 0), "{to}");
        let closed = world.peer_outputs.drain(..);
        let closed: Vec<_> = closed
            .filter(|output| matches!(output, Output::CloseConnection { connection: c } if *c == connection))
            .collect();
        assert_eq!(closed.len(), 1, "the connection to {to}");
        assert!(world.channels.is_empty(), "the channel to {to}");
        expect_nothing_passes(&mut world, &pair, &to);
        // Send, channel data, and the peer's data: each for this reason and no other.
        assert_eq!(dropped(&world), 3, "{to}");
        let number = channel_data(0x4001, b"x");
        assert!(world.is_silent(&pair.udp.path, &number));
        assert_eq!(dropped(&world), 3, "a channel that never was");
    }
}

#[test]
fn a_call_from_relay_to_relay_outlives_a_change_of_the_relay_addresses() {
    let (old, new) = ("198.51.100.1", "198.51.100.2");
    let others = ["198.51.100.2".parse().unwrap()];
    let mut world = World::at(|s| s.relay_ips(&[old]), &[SERVER_V4], &others);
    let (one, _) = world.allocated("192.0.2.10:4000");
    let (two, far) = world.allocated("192.0.2.11:4000");
    let far = far.to_string();
    assert_eq!(world.bind_channel(&one, 0x4000, &far), 200);
    for ip in [new, old, new] {
        let told = world.reload(|s| s.relay_ips(&[ip]));
        assert_eq!(told, Reloaded::default(), "{ip}");
        assert!(world.send_on(&one, 0x4000, "data").is_some(), "{ip}");
        assert!(world.send(&one, &far, "data"), "{ip}");
        assert_eq!(world.bind_channel(&one, 0x4000, &far), 200, "{ip}");
        // Its relay is there, and nothing else at that address.
        assert_eq!(world.permit(&one, &[&far]), 200);
        assert!(!world.send(&one, "198.51.100.1:22", "data"));
    }
    // With the last relay the address is the host's alone.
    assert_eq!(status(&world.refresh(&two, Some(0))), 200);
    assert!(world.send_on(&one, 0x4000, "data").is_none());
    assert_eq!(status(&world.refresh(&one, Some(0))), 200);
    let (late, _) = world.allocated("192.0.2.12:4000");
    assert_eq!(world.permit(&late, &[&far]), 403);
}
