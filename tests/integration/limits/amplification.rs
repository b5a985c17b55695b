//! Amplification towards a forged source address, for every kind of reply that needs no proof.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use stun::attributes::{
    ATTR_CHANGE_REQUEST, ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_PADDING, ATTR_REALM,
    ATTR_RESPONSE_PORT, ATTR_USERNAME, AttrType,
};
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING};
use turnd_proto::Now;
use turnd_proto::auth::Authenticator;
use turnd_proto::auth::nonce::NonceKey;
use turnd_proto::server::Server;
use turnd_proto::server::counters::METHODS;
use turnd_proto::server::output::Output;
use turnd_proto::server::settings::{AlternatePorts, Listen};
use turnd_proto::server::shared::Shared;
use turnd_proto::wire::numbers::{Class, MessageType};

use crate::support::messages::{raw, request, transport};
use crate::support::settings::Settings;
use crate::support::world::{UNIX, path};

/// Replies per second to one network.
const RATE: usize = 20;
/// Requests at one moment.
const FLOOD: usize = 5 * RATE;

/// Settings that differ.
#[derive(Clone, Copy, PartialEq)]
enum Variant {
    Usual,
    SecureStun,
    Rfc5780,
}

/// A forger's requests, by name.
fn requests(realm: &str) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut add = |name: &str, bytes: Vec<u8>| all.push((name.to_owned(), bytes));
    for (method, name) in METHODS {
        let mut typ = stun::message::MessageType::default();
        typ.read_value(MessageType::new(method, Class::Request).value());
        let method = typ.method;
        add(name, request(method, vec![]).raw);
        let integrity = || raw(ATTR_MESSAGE_INTEGRITY, &[0; 20]);
        let incomplete = request(method, vec![integrity()]);
        add(&format!("{name}, incomplete"), incomplete.raw);
        let wrong = vec![
            raw(ATTR_USERNAME, b"a"),
            raw(ATTR_REALM, realm.as_bytes()),
            raw(ATTR_NONCE, b"x"),
            integrity(),
        ];
        add(&format!("{name}, wrong"), request(method, wrong).raw);
    }
    let allocate = request(METHOD_ALLOCATE, vec![transport()]);
    add("Allocate as clients send it", allocate.raw);
    for n in [1, 2, 3, 5, 10, 63, 64, 80] {
        let unknown = (0..n).map(|n| raw(AttrType(0x7000 + n), b"")).collect();
        let binding = request(METHOD_BINDING, unknown);
        add(&format!("Binding, {n} unknown"), binding.raw);
    }
    for flags in [0, 2, 4, 6] {
        let change = vec![raw(ATTR_CHANGE_REQUEST, &[0, 0, 0, flags])];
        let binding = request(METHOD_BINDING, change);
        add(&format!("Binding, change {flags}"), binding.raw);
    }
    for len in [0, 100, 1000, 3000] {
        let padding = vec![raw(ATTR_PADDING, &vec![0; len])];
        let binding = request(METHOD_BINDING, padding);
        add(&format!("Binding, padding {len}"), binding.raw);
    }
    let port = vec![raw(ATTR_RESPONSE_PORT, &[0x10, 0, 0, 0])];
    add("Binding, port", request(METHOD_BINDING, port).raw);
    // RFC 3489: no cookie.
    let mut classic = request(METHOD_BINDING, vec![]).raw;
    classic[4..8].fill(7);
    add("Binding, classic", classic.clone());
    classic[3] = 8;
    classic.extend([0x70, 0, 0, 4, 0, 0, 0, 0]);
    add("Binding, classic, unknown", classic);
    all
}

/// A server with two addresses of each family, with and without `rfc5780`.
fn server(variant: Variant, realm: &str, now: Now) -> Server {
    let alternate_ports = AlternatePorts {
        port: 3479,
        tls_port: 5350,
    };
    let listen = Listen {
        ips: ["198.51.100.1", "198.51.100.2", "2001:db8::1", "2001:db8::2"]
            .map(|ip| ip.parse().unwrap())
            .into(),
        port: 3478,
        tls_port: 5349,
        alternate_ports: (variant == Variant::Rfc5780).then_some(alternate_ports),
    };
    let mut settings = Settings::default();
    settings.auth.realm = realm.to_owned();
    settings.protocol.rfc3489 = true;
    settings.protocol.secure_stun = variant == Variant::SecureStun;
    settings.limits.unauthenticated_rate = Some(RATE as u32);
    settings.limits.binding_rate = Some(RATE as u32);
    let ports = |ip: &IpAddr| {
        let ip = *ip;
        listen.ports(ip).map(move |port| SocketAddr::new(ip, port))
    };
    let bound: Vec<_> = listen.ips.iter().flat_map(ports).collect();
    let auth = Authenticator::new(&settings.auth, NonceKey::new(&[7; 32])).unwrap();
    let shared = Shared::new(&settings.server, auth, &listen.ips, &[]);
    Server::new(
        Arc::new(shared.with_other_addresses(&listen, &bound)),
        [7; 32],
        now,
    )
}

/// Bytes of each reply to `count` requests at one moment.
fn replies(variant: Variant, realm: &str, client: &str, bytes: &[u8], count: usize) -> Vec<usize> {
    let now = Now {
        mono: Instant::now(),
        unix: UNIX,
    };
    let mut server = server(variant, realm, now);
    let mut all = Vec::new();
    for _ in 0..count {
        server.handle_client(now, &path(client), bytes);
        while let Some(output) = server.poll_output() {
            if let Output::Transmit { message, .. } = output {
                all.push(message.len());
            }
        }
    }
    all
}

/// Highest factor of a reply to a Binding request, and to others. Where it is more than promised,
/// the replies together have to be no more bytes than the rates allow of usual ones.
fn highest(variant: Variant, realm: &str) -> (f64, f64) {
    let (mut binding, mut others) = (0.0_f64, 0.0_f64);
    for (name, bytes) in requests(realm) {
        for client in ["192.0.2.10:40000", "[2001:db8::10]:40000"] {
            let longest = replies(variant, realm, client, &bytes, 1)
                .pop()
                .unwrap_or_default();
            let factor = longest as f64 / bytes.len() as f64;
            let is_binding =
                name.to_lowercase().starts_with("binding") && variant != Variant::SecureStun;
            let (highest, promise, usual) = if is_binding {
                (&mut binding, 2.2, 44)
            } else {
                (&mut others, 5.0, 100)
            };
            *highest = highest.max(factor);
            if factor > promise {
                let sent: usize = replies(variant, realm, client, &bytes, FLOOD).iter().sum();
                assert!(sent <= RATE * usual + longest, "{name}: {sent} bytes");
            }
        }
    }
    (binding, others)
}

#[test]
fn no_reply_to_whoever_may_be_forged_is_longer_than_promised() {
    for realm in ["turnd", "turn.example.org", "turn.eu-west-1.example.org"] {
        let (binding, others) = highest(Variant::Usual, realm);
        assert!(binding <= 2.2, "{binding}");
        assert!(others <= 5.0, "{others} with {realm}");
        let (_, others) = highest(Variant::SecureStun, realm);
        assert!(others <= 5.0, "{others} with {realm}");
    }
}

/// Such replies there are, and fewer of them.
#[test]
fn replies_that_are_longer_than_promised_count_for_more() {
    let realm = "x".repeat(127);
    let (binding, others) = highest(Variant::Usual, &realm);
    assert!(binding <= 2.2, "{binding}");
    assert!((9.9..=10.0).contains(&others), "{others}");
    let (binding, _) = highest(Variant::Rfc5780, "turnd");
    assert!((5.7..=5.9).contains(&binding), "{binding}");
}

/// As clients send it, whatever the domain name.
#[test]
fn an_allocate_as_clients_send_it_is_answered_five_times_as_long_at_the_most() {
    let allocate = request(METHOD_ALLOCATE, vec![transport()]).raw;
    let realm = format!("{}.example.org", "x".repeat(56));
    let sent = replies(Variant::Usual, &realm, "192.0.2.10:40000", &allocate, 1);
    assert_eq!(sent[0], 5 * allocate.len());
}
