//! Whatever clients and peers send, in whatever order and at whatever time: the server neither panics nor keeps anything.

use proptest::collection::vec;
use proptest::prelude::*;
use stun::attributes::{
    ATTR_CHANNEL_NUMBER, ATTR_DONT_FRAGMENT, ATTR_EVEN_PORT, ATTR_LIFETIME,
    ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN,
    ATTR_XOR_PEER_ADDRESS, AttrType,
};
use stun::fingerprint::FINGERPRINT;
use stun::message::{
    METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, METHOD_CREATE_PERMISSION, METHOD_REFRESH,
    Method, Setter,
};
use turnd_proto::random::Seed;
use turnd_proto::server::OpenError;

use crate::support::messages::{Login, channel_data, decode, peer, raw, request, send, status};
use crate::support::settings::Settings;
use crate::support::world::{Caller, World, path};
use crate::support::{PASSWORD, USER};

fn few(settings: &mut Settings) {
    settings.users(&["alice:secret", "bob:hidden"]);
    settings.ports(50000, 50030);
    settings.protocol.rfc3489 = true;
    let limits = &mut settings.server.limits;
    (limits.user_quota, limits.total_quota) = (Some(6), Some(8));
    (limits.permissions, limits.channels) = (4, 3);
    limits.max_bps = Some(5000);
}

const CLIENTS: [(&str, &str, &str); 5] = [
    ("192.0.2.10:1000", USER, PASSWORD),
    ("192.0.2.10:2000", USER, PASSWORD),
    ("[2001:db8::10]:1000", USER, PASSWORD),
    ("127.0.0.1:1000", "bob", "hidden"),
    ("192.0.2.77:1000", USER, "wrong"),
];

const PEERS: [&str; 10] = [
    "45.0.0.7:7000",
    "45.0.0.7:7001",
    "45.0.0.8:7000",
    "[2a00::7]:7000",
    "[2a00::8]:7000",
    "[::ffff:45.0.0.7]:7000",
    "10.0.0.1:1",
    "127.0.0.1:1",
    "198.51.100.1:3478",
    "[2001:db8::1]:50001",
];

const METHODS: [Method; 5] = [
    METHOD_BINDING,
    METHOD_ALLOCATE,
    METHOD_REFRESH,
    METHOD_CREATE_PERMISSION,
    METHOD_CHANNEL_BIND,
];

#[derive(Clone, Debug)]
enum Attribute {
    Raw(AttrType, Vec<u8>),
    Peer(usize),
    /// A relayed address of this server that is open now.
    Relayed(usize),
    /// The last token that any client was told.
    Token,
}

/// A change of bytes that were good.
#[derive(Clone, Debug)]
enum Change {
    Flip(prop::sample::Index),
    Truncate(prop::sample::Index),
    Length(u16),
    Insert(prop::sample::Index, Vec<u8>),
    /// The end of an earlier packet behind the beginning of this one.
    Splice(prop::sample::Index, prop::sample::Index),
}

#[derive(Clone, Debug)]
enum Packet {
    Bytes(Vec<u8>),
    /// A STUN header of this type, and anything behind it.
    Stun(u16, Vec<u8>),
    Request {
        method: usize,
        attributes: Vec<Attribute>,
        signed: bool,
        fingerprint: bool,
    },
    Send(usize, Vec<u8>),
    Channel(u16, Vec<u8>),
    /// An earlier packet, perhaps of another client.
    Again(prop::sample::Index),
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    LogIn(usize),
    Client(usize, Packet, Option<Change>),
    Peer(prop::sample::Index, usize, usize),
}

/// Mostly the same few, so that what one packet makes the next one uses.
fn client() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0), 2 => 0..CLIENTS.len()]
}

fn peer_number() -> impl Strategy<Value = usize> {
    prop_oneof![2 => 0usize..3, 1 => 0..PEERS.len()]
}

fn attribute() -> impl Strategy<Value = Attribute> {
    let of = |typ| move |value: Vec<u8>| Attribute::Raw(typ, value);
    let number = prop_oneof![0x3FFEu16..0x4004, any::<u16>()];
    let lifetime = prop_oneof![Just(0), 500u32..800, any::<u32>()];
    prop_oneof![
        6 => peer_number().prop_map(Attribute::Peer),
        2 => (0usize..8).prop_map(Attribute::Relayed),
        4 => number.prop_map(|n| vec![(n >> 8) as u8, n as u8, 0, 0]).prop_map(of(ATTR_CHANNEL_NUMBER)),
        2 => lifetime.prop_map(|n| n.to_be_bytes().to_vec()).prop_map(of(ATTR_LIFETIME)),
        2 => any::<bool>().prop_map(|r| vec![u8::from(r) << 7]).prop_map(of(ATTR_EVEN_PORT)),
        2 => Just(Attribute::Token),
        1 => (0u8..4).prop_map(|f| vec![f, 0, 0, 0]).prop_map(of(ATTR_REQUESTED_ADDRESS_FAMILY)),
        1 => Just(Attribute::Raw(ATTR_DONT_FRAGMENT, vec![])),
        1 => prop::sample::select(vec![
                ATTR_CHANNEL_NUMBER, ATTR_LIFETIME, ATTR_EVEN_PORT, ATTR_RESERVATION_TOKEN,
                ATTR_REQUESTED_TRANSPORT, ATTR_XOR_PEER_ADDRESS, AttrType(0x8000), AttrType(0x7FFF),
            ]).prop_flat_map(move |typ| vec(any::<u8>(), 0..24).prop_map(of(typ))),
    ]
}

/// The attributes that the method requires; few requests would get beyond the first check otherwise.
fn needed(method: Method) -> BoxedStrategy<Vec<Attribute>> {
    let peer = || peer_number().prop_map(Attribute::Peer);
    let channel = |n: u8| Attribute::Raw(ATTR_CHANNEL_NUMBER, vec![0x40, n, 0, 0]);
    match method {
        METHOD_ALLOCATE => Just(vec![Attribute::Raw(
            ATTR_REQUESTED_TRANSPORT,
            vec![17, 0, 0, 0],
        )])
        .boxed(),
        METHOD_CREATE_PERMISSION => vec(peer(), 1..3).boxed(),
        METHOD_CHANNEL_BIND => ((0u8..4).prop_map(channel), peer())
            .prop_map(|(number, peer)| vec![number, peer])
            .boxed(),
        _ => Just(vec![]).boxed(),
    }
}

fn signed_request() -> impl Strategy<Value = Packet> {
    (0..METHODS.len()).prop_flat_map(|method| {
        let signed = prop::bool::weighted(0.95);
        let more = prop_oneof![2 => Just(vec![]), 1 => vec(attribute(), 0..4)];
        (needed(METHODS[method]), more, signed, any::<bool>()).prop_map(
            move |(mut attributes, more, signed, fingerprint)| {
                attributes.extend(more);
                Packet::Request {
                    method,
                    attributes,
                    signed,
                    fingerprint,
                }
            },
        )
    })
}

fn packet() -> impl Strategy<Value = Packet> {
    let bytes = || vec(any::<u8>(), 0..80);
    prop_oneof![
        1 => bytes().prop_map(Packet::Bytes),
        1 => (any::<u16>(), bytes()).prop_map(|(typ, bytes)| Packet::Stun(typ & 0x3FFF, bytes)),
        10 => signed_request(),
        2 => (peer_number(), bytes()).prop_map(|(peer, data)| Packet::Send(peer, data)),
        2 => (0x3FFFu16..0x4008, bytes()).prop_map(|(number, data)| Packet::Channel(number, data)),
        1 => any::<prop::sample::Index>().prop_map(Packet::Again),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        index().prop_map(Change::Flip),
        index().prop_map(Change::Truncate),
        any::<u16>().prop_map(Change::Length),
        (index(), vec(any::<u8>(), 1..9)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (index(), index()).prop_map(|(at, other)| Change::Splice(at, other)),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let wait = prop_oneof![6 => 0u64..2000, 3 => 0u64..60_000, 1 => 0u64..700_000];
    prop_oneof![
        2 => wait.prop_map(Step::Wait),
        1 => client().prop_map(Step::LogIn),
        12 => (client(),packet(), prop::option::weighted(0.2, change()))
            .prop_map(|(client, packet, change)| Step::Client(client, packet, change)),
        3 => (any::<prop::sample::Index>(), peer_number(), 0usize..2000)
            .prop_map(|(relay, peer, len)| Step::Peer(relay, peer, len)),
    ]
}

/// The clients and what they have seen so far.
struct Run {
    world: World,
    callers: Vec<Caller>,
    millis: u64,
    sent: Vec<Vec<u8>>,
    token: Vec<u8>,
}

impl Run {
    fn new(seed: Seed) -> Self {
        let mut world = World::seeded(few, seed);
        // Some ports are another program's, and on some the system gives up.
        world.bind = |addr| match addr.port() {
            port if port % 5 == 0 => Err(OpenError::InUse),
            port if port % 11 == 0 => Err(OpenError::Failed),
            _ => Ok(()),
        };
        let callers = CLIENTS.map(|(client, user, password)| world.log_in(client, user, password));
        Self {
            world,
            callers: callers.into(),
            millis: 0,
            sent: vec![vec![]],
            token: vec![0; 8],
        }
    }

    fn setter(&self, attribute: &Attribute) -> Box<dyn Setter> {
        match attribute {
            Attribute::Raw(typ, value) => raw(*typ, value),
            Attribute::Peer(n) => peer(PEERS[*n]),
            Attribute::Relayed(n) => match self.world.open.values().nth(*n) {
                Some(relayed) => peer(&relayed.to_string()),
                None => peer(PEERS[*n]),
            },
            Attribute::Token => raw(ATTR_RESERVATION_TOKEN, &self.token),
        }
    }

    fn bytes(&self, client: usize, packet: &Packet) -> Vec<u8> {
        match packet {
            Packet::Bytes(bytes) => bytes.clone(),
            Packet::Stun(typ, body) => {
                let mut bytes = request(METHOD_BINDING, vec![]).raw;
                bytes[..2].copy_from_slice(&typ.to_be_bytes());
                bytes.extend_from_slice(&body[..body.len() & !3]);
                let length = (bytes.len() - 20) as u16;
                bytes[2..4].copy_from_slice(&length.to_be_bytes());
                bytes
            }
            Packet::Request {
                method,
                attributes,
                signed,
                fingerprint,
            } => {
                let attributes = attributes
                    .iter()
                    .map(|attribute| self.setter(attribute))
                    .collect();
                let mut message = match signed {
                    true => self.callers[client]
                        .login
                        .sign(METHODS[*method], attributes),
                    false => request(METHODS[*method], attributes),
                };
                if *fingerprint {
                    FINGERPRINT.add_to(&mut message).unwrap();
                }
                message.raw
            }
            Packet::Send(peer, data) => send(PEERS[*peer], data).raw,
            Packet::Channel(number, data) => channel_data(*number, data),
            Packet::Again(index) => index.get(&self.sent).clone(),
        }
    }

    fn change(&self, mut bytes: Vec<u8>, change: &Change) -> Vec<u8> {
        let len = bytes.len();
        match change {
            Change::Flip(at) if len > 0 => {
                let bit = at.index(len * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
            Change::Truncate(at) => bytes.truncate(at.index(len + 1)),
            Change::Length(length) if len >= 4 => {
                bytes[2..4].copy_from_slice(&length.to_be_bytes())
            }
            Change::Insert(at, more) => {
                let at = at.index(len + 1);
                bytes.splice(at..at, more.iter().copied());
            }
            Change::Splice(at, other) => {
                let other = other.get(&self.sent);
                bytes.truncate(at.index(len + 1));
                bytes.extend_from_slice(&other[at.index(other.len() + 1)..]);
            }
            Change::Flip(_) | Change::Length(_) => {}
        }
        bytes
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait(millis) => {
                self.millis += millis;
                self.world.at_milli(self.millis);
            }
            Step::LogIn(client) => {
                let (address, user, password) = CLIENTS[*client];
                self.callers[*client] = self.world.log_in(address, user, password);
            }
            Step::Client(client, packet, change) => {
                let mut bytes = self.bytes(*client, packet);
                if let Some(change) = change {
                    bytes = self.change(bytes, change);
                }
                let path = self.callers[*client].path;
                // The world decodes every reply and looks at its length.
                let (_, replies) = self.world.handle(&path, &bytes);
                assert!(replies.len() <= 1);
                for reply in replies
                    .iter()
                    .filter(|reply| reply[4..8] == [0x21, 0x12, 0xA4, 0x42])
                {
                    let reply = decode(reply);
                    if let Ok(token) = reply.get(ATTR_RESERVATION_TOKEN) {
                        self.token = token;
                    }
                    if reply.contains(stun::attributes::ATTR_NONCE) {
                        let (_, user, password) = CLIENTS[*client];
                        self.callers[*client].login = Login::answer(&reply, user, password);
                    }
                }
                self.sent.push(bytes);
            }
            Step::Peer(relay, peer, len) => {
                if !self.world.open.is_empty() {
                    let open: Vec<_> = self.world.open.values().copied().collect();
                    self.world
                        .peer_sends(*relay.get(&open), PEERS[*peer], &vec![0; *len]);
                }
            }
        }
        let (allocations, ports, reserved, _) = self.world.holds();
        assert_eq!(allocations, self.world.open.len());
        assert_eq!(ports as usize, allocations + reserved);
        assert!(ports <= 8, "no more than total-quota");
    }

    /// Everything ends, and all of the quotas can be used again.
    fn finish(mut self) {
        self.world.at_milli(self.millis + 3_600_000);
        self.world.expect_empty();
        self.world.bind = |_| Ok(());
        let mut allocate = |n: u16, user: &str, password: &str| {
            let caller = self.world.log_in(&format!("127.0.0.2:{n}"), user, password);
            status(&self.world.try_allocate(&caller, vec![]))
        };
        let alices = [1, 2, 3, 4, 5, 6, 7].map(|n| allocate(n, USER, PASSWORD));
        assert_eq!(alices, [200, 200, 200, 200, 200, 200, 486]);
        let bobs = [8, 9, 10].map(|n| allocate(n, "bob", "hidden"));
        assert_eq!(bobs, [200, 200, 486]);
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn no_sequence_of_packets_panics_or_leaves_anything(
        seed: Seed,
        steps in vec(step(), 1..250),
    ) {
        let mut run = Run::new(seed);
        for step in &steps {
            run.step(step);
        }
        run.finish();
    }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn no_datagram_panics_or_leaves_anything(bytes in vec(any::<u8>(), 0..200), stun: bool) {
        let mut world = World::new(few);
        let mut bytes = bytes;
        if stun && bytes.len() >= 20 {
            let length = (bytes.len() as u16 - 20) & !3;
            bytes[0] &= 3;
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes[4..8].copy_from_slice(&[0x21, 0x12, 0xA4, 0x42]);
        }
        world.handle(&path("192.0.2.10:1000"), &bytes);
        world.expect_empty();
    }
}

/// A failure can be replayed: the seed and the steps decide everything.
#[test]
fn the_same_seed_and_steps_do_the_same() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut differ = 0;
    for number in 0..40 {
        let steps = vec(step(), 1..250).new_tree(&mut runner).unwrap().current();
        let mut done = [number, number, 200].map(|seed| {
            let mut run = Run::new([seed; 32]);
            for step in &steps {
                run.step(step);
            }
            let channels = run.world.channels.iter();
            let channels: Vec<_> = channels
                .map(|c| (c.relay, c.number, c.peer, c.until - run.world.start))
                .collect();
            let events = format!("{:?}", run.world.events);
            (run.world.binds.clone(), channels, events)
        });
        assert_eq!(done[0], done[1]);
        // Another seed gives other ports.
        differ += usize::from(std::mem::take(&mut done[2].0) != done[1].0);
    }
    assert!(differ > 10, "{differ}");
}

/// The sequences would prove little if nearly all of them were refused.
#[test]
fn the_sequences_get_far() {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut created, mut relayed, mut channels, mut reserved) = (0, 0, 0, 0);
    for number in 0..100 {
        let steps = vec(step(), 1..250).new_tree(&mut runner).unwrap().current();
        let mut run = Run::new([number as u8; 32]);
        for step in &steps {
            let before = run.world.channels.len();
            run.step(step);
            channels += usize::from(run.world.channels.len() > before);
            reserved += usize::from(!run.world.shared.reservations.is_empty());
        }
        created += run.world.server.counters().created;
        for event in &run.world.events {
            if let turnd_proto::server::output::Event::Ended { traffic, .. } = event {
                relayed += traffic.to_peers + traffic.to_client;
            }
        }
        run.finish();
    }
    assert!(
        created > 100 && channels > 30 && reserved > 30 && relayed > 20,
        "{created} {channels} {reserved} {relayed}"
    );
}
