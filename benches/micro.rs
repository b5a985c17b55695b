//! Cost of single steps: `cargo bench`. The figures that count are those of `benches/compare`.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use stun::agent::TransactionId as NewTransaction;
use stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::{
    BINDING_REQUEST, CLASS_REQUEST, METHOD_ALLOCATE, METHOD_CHANNEL_BIND, Message, MessageType,
    Setter,
};
use turn::proto::PROTO_UDP;
use turn::proto::channum::ChannelNumber;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::reqtrans::RequestedTransport;
use turnd::config::file::FileConfig;
use turnd_proto::Now;
use turnd_proto::auth::Authenticator;
use turnd_proto::auth::key::Key;
use turnd_proto::auth::nonce::NonceKey;
use turnd_proto::server::Server;
use turnd_proto::server::five_tuple::Path;
use turnd_proto::server::output::{ClientVerdict, Output, PeerVerdict, RelayId};
use turnd_proto::server::shared::Shared;
use turnd_proto::wire::indication::{Header, parse_send};
use turnd_proto::wire::numbers::TransactionId;
use turnd_proto::wire::{channel_data, classify, integrity, message};

fn now() -> Now {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH);
    Now {
        mono: Instant::now(),
        unix: unix.unwrap().as_secs(),
    }
}

fn request(typ: MessageType, attributes: Vec<Box<dyn Setter>>) -> Message {
    let mut setters: Vec<Box<dyn Setter>> = vec![Box::new(NewTransaction::new()), Box::new(typ)];
    setters.extend(attributes);
    let mut message = Message::new();
    message.build(&setters).unwrap();
    message
}

fn sign(message: &mut Message, key: &Key) {
    MessageIntegrity(key.as_bytes().to_vec())
        .add_to(message)
        .unwrap();
}

fn peer() -> Box<dyn Setter> {
    Box::new(PeerAddress {
        ip: [192, 0, 2, 7].into(),
        port: 9,
    })
}

fn allocate() -> Vec<u8> {
    let transport = RequestedTransport {
        protocol: PROTO_UDP,
    };
    let typ = MessageType::new(METHOD_ALLOCATE, CLASS_REQUEST);
    request(typ, vec![Box::new(transport)]).raw
}

fn server() -> Server {
    let flags = FileConfig {
        no_auth: Some(true),
        // Addresses set aside for documentation are no peers otherwise.
        allowed_peer_ip: Some(vec!["192.0.2.7".into()]),
        listening_ip: Some(vec!["192.0.2.1".into()]),
        // 65,536 ports in all.
        relay_ip: Some((1..=4).map(|n| format!("192.0.2.{n}")).collect()),
        ..FileConfig::default()
    };
    let config = turnd::config::from_flags(&flags).unwrap().config;
    let auth = Authenticator::new(&config.auth, NonceKey::new(&[7; 32])).unwrap();
    let reachable = [[192, 0, 2, 1].into()];
    let shared = Arc::new(Shared::new(&config.server, auth, &reachable, &reachable));
    Server::new(shared, [7; 32], now())
}

/// The path of client `n`.
fn path(n: u32) -> Path {
    let port = (n % 10_000 + 1) as u16;
    let client = SocketAddr::from(([198, 51, 100, (n / 10_000) as u8], port));
    Path::udp(0, client, ([192, 0, 2, 1], 3478).into())
}

/// Does what a driver does, without sockets.
fn drain(server: &mut Server, now: Now) -> Option<RelayId> {
    let mut opened = None;
    while let Some(output) = server.poll_output() {
        if let Output::OpenRelay { relay, .. } = output {
            server.handle_relay_opened(now, relay, Ok(()));
            opened = Some(relay);
        }
    }
    opened
}

fn wire(c: &mut Criterion) {
    let mut frame = channel_data::header(0x4000, 160).to_vec();
    frame.resize(164, 7);
    let binding = request(BINDING_REQUEST, vec![Box::new(FINGERPRINT)]).raw;
    let addr: SocketAddr = ([192, 0, 2, 7], 9).into();
    let id = TransactionId([7; 12]);
    c.bench_function("classify", |b| {
        b.iter(|| classify::classify(black_box(&frame)));
    });
    c.bench_function("channel data, parse", |b| {
        b.iter(|| channel_data::parse(black_box(&frame)).is_some());
    });
    c.bench_function("channel data, header", |b| {
        b.iter(|| Header::channel_data(black_box(0x4000), black_box(160)));
    });
    c.bench_function("data indication, header", |b| {
        b.iter(|| Header::data_indication(black_box(&id), black_box(addr), 160));
    });
    let mut send = Header::data_indication(&id, addr, 160).as_bytes().to_vec();
    send[1] = 0x16;
    send.resize(send.len() + 160, 7);
    c.bench_function("send indication, parse", |b| {
        b.iter(|| parse_send(black_box(&send)).is_some());
    });
    c.bench_function("message, decode", |b| {
        b.iter(|| message::Message::parse(black_box(&binding)).is_ok());
    });
}

fn auth(c: &mut Criterion) {
    let key = Key::from_password("alice", "example.org", "secret").unwrap();
    let mut signed = request(BINDING_REQUEST, vec![]);
    sign(&mut signed, &key);
    let signed = message::Message::parse(&signed.raw).unwrap();
    c.bench_function("integrity, verify", |b| {
        b.iter(|| assert!(integrity::verify(black_box(&signed), key.as_bytes())));
    });
    c.bench_function("integrity, key", |b| {
        b.iter(|| Key::from_password(black_box("alice"), "example.org", "secret").is_ok());
    });
}

/// A refused name costs what its length says, whatever it holds: within 3 times an ASCII one's.
fn names(c: &mut Criterion) {
    let flags = FileConfig {
        user: Some(vec!["alice:secret".to_owned().into()]),
        realm: Some("example.org".into()),
        ..FileConfig::default()
    };
    let config = turnd::config::from_flags(&flags).unwrap().config;
    let auth = Authenticator::new(&config.auth, NonceKey::new(&[7; 32])).unwrap();
    let key = Key::from_password("alice", "example.org", "guess").unwrap();
    for (kind, part, end) in [
        ("ASCII", "a", ""),
        ("katakana middle dots", "\u{30fb}", "\u{30ab}"),
        ("Arabic-Indic digits", "\u{660}", ""),
        ("Hebrew geresh", "\u{5d0}\u{5f3}", ""),
        ("middle dots", "l\u{b7}l", ""),
        ("composed vowels", "\u{390}", ""),
        ("spaces", "\u{3000}", ""),
        ("combining marks", "\u{301}\u{323}\u{344}\u{338}", ""),
        ("marks in the wrong order", "\u{345}\u{301}\u{5b0}", ""),
    ] {
        let room = 513 - end.len();
        let name = part.repeat(room / part.len()) + end;
        let mut message = Message::new();
        message.write_header();
        for (typ, value) in [
            (ATTR_USERNAME, &*name),
            (ATTR_REALM, "example.org"),
            (ATTR_NONCE, "x"),
        ] {
            message.add(typ, value.as_bytes());
        }
        sign(&mut message, &key);
        let request = message::Message::parse(&message.raw).unwrap();
        let (now, source) = (now(), [192, 0, 2, 1].into());
        c.bench_function(&format!("refused name, 513 bytes of {kind}"), |b| {
            b.iter(|| {
                let refused = auth.authenticate(now, source, black_box(&request), None);
                assert!(refused.is_err());
            });
        });
    }
}

/// Allocates for client `n` and binds its channel.
fn allocated(server: &mut Server, now: Now, n: u32) -> (Path, RelayId) {
    let path = path(n);
    server.handle_client(now, &path, &allocate());
    let relay = drain(server, now).unwrap();
    let typ = MessageType::new(METHOD_CHANNEL_BIND, CLASS_REQUEST);
    let bind = request(typ, vec![Box::new(ChannelNumber(0x4000)), peer()]).raw;
    server.handle_client(now, &path, &bind);
    drain(server, now);
    (path, relay)
}

/// One packet each of many allocations in turn: what is looked up is not in the cache.
fn relay_of(c: &mut Criterion, count: u32) {
    let (mut server, now) = (server(), now());
    let flows: Vec<_> = (0..count).map(|n| allocated(&mut server, now, n)).collect();
    let mut frame = channel_data::header(0x4000, 160).to_vec();
    frame.resize(164, 7);
    let source = SocketAddr::from(([192, 0, 2, 7], 9));
    // A stride that is prime to the count, so that neighbours in memory are not neighbours in time.
    let mut next = (0..flows.len()).map(|n| n * 7919 % flows.len()).cycle();
    c.bench_function(
        &format!("relay, client to peer, {count} allocations"),
        |b| {
            b.iter(|| {
                let (path, _) = &flows[next.next().unwrap()];
                let verdict = server.handle_client(now, path, black_box(&frame));
                assert!(matches!(verdict, ClientVerdict::ToPeer { .. }));
            });
        },
    );
    c.bench_function(
        &format!("relay, peer to client, {count} allocations"),
        |b| {
            b.iter(|| {
                let (_, relay) = flows[next.next().unwrap()];
                let verdict = server.handle_peer(now, relay, black_box(source), 160);
                assert!(matches!(verdict, PeerVerdict::ToClient { .. }));
            });
        },
    );
}

fn relay(c: &mut Criterion) {
    for count in [1, 100, 10_000, 50_000] {
        relay_of(c, count);
    }
    let now = now();
    c.bench_function("allocate", |b| {
        let mut client = 0;
        let mut server = None;
        b.iter_batched_ref(
            allocate,
            |request| {
                // The relay ports last for so many.
                if client % 50_000 == 0 {
                    server = Some(self::server());
                }
                let server = server.as_mut().unwrap();
                server.handle_client(now, &self::path(client % 50_000), request);
                client += 1;
                drain(server, now);
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(micro, wire, auth, names, relay);
criterion_main!(micro);
