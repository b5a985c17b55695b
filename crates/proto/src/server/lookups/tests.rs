use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stun::attributes::{ATTR_LIFETIME, ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, AttrType};
use stun::integrity::MessageIntegrity;
use stun::message::{
    CLASS_REQUEST, METHOD_ALLOCATE, METHOD_REFRESH, Message as Encoded, MessageType, Method, Setter,
};

use super::*;
use crate::Now;
use crate::auth::{self, Authenticator, Credential, Features, Lookup, User};
use crate::server::output::{DropReason, Output};
use crate::server::{Server, Settings};
use crate::wire::message::Message;
use crate::wire::numbers::AttributeType;
use crate::{NonceKey, Secret, Shared, Transport};

const REALM: &str = "example.org";
const TRANSPORT: (AttrType, &[u8]) = (AttrType(0x0019), &[17, 0, 0, 0]);
const PADDING: AttrType = AttrType(0x8026);
const TIMEOUT: Duration = Duration::from_secs(5);
const STALE: Duration = Duration::from_secs(600);

/// Two requests wait at a time; alice's password is in the settings.
fn settings() -> auth::Settings {
    auth::Settings {
        realm: REALM.into(),
        users: vec![user("alice", "secret")],
        stale_nonce: STALE,
        lookup: Some(Lookup {
            pending: 2,
            per_source: 10,
            rate: None,
            timeout: TIMEOUT,
        }),
        ..auth::Settings::default()
    }
}

fn user(name: &str, password: &str) -> User {
    User {
        name: name.into(),
        credential: Credential::Password(Secret::new(password)),
    }
}

fn nonces() -> NonceKey {
    NonceKey::new(&[7; 32])
}

fn key(user: &str, password: &str) -> Key {
    Key::from_password(user, REALM, password).unwrap()
}

fn found(user: &str, password: &str) -> UserAnswer {
    UserAnswer::Found(key(user, password))
}

fn path(port: u16) -> Path {
    path_from("192.0.2.1", port)
}

fn path_from(ip: &str, port: u16) -> Path {
    let client = SocketAddr::new(ip.parse().unwrap(), port);
    Path::udp(0, client, "198.51.100.1:3478".parse().unwrap())
}

/// A server, a driver that opens every relay, and what came out.
struct Bench {
    server: Server,
    shared: Arc<Shared>,
    now: Now,
    asked: Vec<(LookupId, String, String)>,
    replies: Vec<Vec<u8>>,
    /// Every output as text.
    trace: Vec<String>,
}

impl Bench {
    fn new(settings: &auth::Settings) -> Self {
        let auth = Authenticator::new(settings, nonces()).unwrap();
        let reachable = ["198.51.100.1".parse().unwrap()];
        let shared = Arc::new(Shared::new(&Settings::default(), auth, &reachable, &[]));
        let now = Now {
            mono: Instant::now(),
            unix: 1_800_000_000,
        };
        Self {
            server: Server::new(Arc::clone(&shared), [7; 32], now),
            shared,
            now,
            asked: Vec::new(),
            replies: Vec::new(),
            trace: Vec::new(),
        }
    }

    fn reload(&mut self, settings: &auth::Settings) {
        let auth = Authenticator::new(settings, nonces()).unwrap();
        let reachable = ["198.51.100.1".parse().unwrap()];
        let shared = self
            .shared
            .renew(&Settings::default(), auth, &reachable, &[]);
        self.shared = Arc::new(shared);
        self.server
            .handle_reload(self.now, Arc::clone(&self.shared));
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            self.trace.push(format!("{output:?}"));
            match output {
                Output::OpenRelay { relay, .. } => {
                    self.server.handle_relay_opened(self.now, relay, Ok(()));
                }
                Output::Transmit { message, .. } => self.replies.push(message),
                Output::LookupUser { id, user, realm } => {
                    self.asked.push((id, user.to_string(), realm.to_string()));
                }
                _ => {}
            }
        }
    }

    /// A signed request with a nonce of this age.
    fn request(&self, method: Method, path: &Path, id: u8, login: (&str, &str)) -> Vec<u8> {
        self.request_with(method, path, id, login, Duration::ZERO, &[TRANSPORT])
    }

    fn request_with(
        &self,
        method: Method,
        path: &Path,
        id: u8,
        (user, password): (&str, &str),
        age: Duration,
        attributes: &[(AttrType, &[u8])],
    ) -> Vec<u8> {
        let nonce = nonces().issue(
            self.now.unix - age.as_secs(),
            path.tuple.client,
            Features::default(),
        );
        let mut message = Encoded::new();
        message.transaction_id.0 = [id; 12];
        message.typ = MessageType::new(method, CLASS_REQUEST);
        message.write_header();
        for (typ, value) in attributes {
            message.add(*typ, value);
        }
        message.add(ATTR_USERNAME, user.as_bytes());
        message.add(ATTR_REALM, REALM.as_bytes());
        message.add(ATTR_NONCE, nonce.as_bytes());
        let key = key(user, password).as_bytes().to_vec();
        MessageIntegrity(key).add_to(&mut message).unwrap();
        message.raw
    }

    fn send(&mut self, path: &Path, bytes: &[u8]) {
        self.server.handle_client(self.now, path, bytes);
        self.drain();
    }

    /// Sends an Allocate request.
    fn allocate(&mut self, path: &Path, id: u8, login: (&str, &str)) {
        let request = self.request(METHOD_ALLOCATE, path, id, login);
        self.send(path, &request);
    }

    fn answer(&mut self, id: LookupId, answer: UserAnswer) {
        self.server.handle_user(self.now, id, answer);
        self.drain();
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now.after(time);
        self.server.handle_timeout(self.now);
        self.drain();
    }

    /// The status of the one reply that there is, 200 for success, and whether it is signed.
    fn reply(&mut self) -> (u16, bool) {
        assert_eq!(self.replies.len(), 1);
        let reply = self.replies.remove(0);
        let message = Message::parse(&reply).unwrap();
        let code = message.get(AttributeType::ERROR_CODE);
        let status = code.map_or(200, |code| u16::from(code[2]) * 100 + u16::from(code[3]));
        (status, message.is_signed())
    }

    fn dropped(&self) -> u64 {
        self.server.counters().drops[DropReason::UserLookup as usize]
    }

    /// Look-ups asked for, requests parked, deadlines, replies.
    fn state(&self) -> (usize, usize, usize, usize) {
        let server = &self.server;
        let replies = self.replies.len();
        (
            self.asked.len(),
            server.lookups(),
            server.deadlines(),
            replies,
        )
    }
}

#[test]
fn a_user_who_is_found_is_served_and_needs_no_other_look_up() {
    let mut bench = Bench::new(&settings());
    let path = path(4000);
    bench.allocate(&path, 1, ("Jose\u{301}", "tango"));
    assert_eq!(bench.state(), (1, 1, 1, 0));
    let (id, user, realm) = bench.asked[0].clone();
    assert_eq!((user.as_str(), realm.as_str()), ("Jos\u{e9}", REALM));
    bench.answer(id, found("Jos\u{e9}", "tango"));
    assert_eq!(bench.reply(), (200, true));
    assert_eq!((bench.server.allocations(), bench.server.lookups()), (1, 0));

    // The answer again, to the same request; and requests of the owner.
    bench.allocate(&path, 1, ("Jose\u{301}", "tango"));
    assert_eq!(bench.reply(), (200, true));
    let refresh = bench.request(METHOD_REFRESH, &path, 2, ("Jose\u{301}", "tango"));
    bench.send(&path, &refresh);
    // Refresh knows no REQUESTED-TRANSPORT, which it leaves alone.
    assert_eq!(bench.reply(), (200, true));
    let age = STALE + Duration::from_secs(1);
    let old = bench.request_with(METHOD_REFRESH, &path, 3, ("Jos\u{e9}", "tango"), age, &[]);
    bench.send(&path, &old);
    assert_eq!(bench.reply(), (438, true));
    assert_eq!(bench.asked.len(), 1);

    let end: [(AttrType, &[u8]); 1] = [(ATTR_LIFETIME, &[0; 4])];
    let login = ("Jos\u{e9}", "tango");
    let end = bench.request_with(METHOD_REFRESH, &path, 4, login, Duration::ZERO, &end);
    bench.send(&path, &end);
    assert_eq!(bench.reply(), (200, true));
    assert_eq!(bench.state(), (1, 0, 0, 0));
}

#[test]
fn an_unknown_user_and_a_wrong_password_look_the_same() {
    let mut answers = Vec::new();
    let mut bench = Bench::new(&settings());
    for answer in [UserAnswer::Unknown, found("bob", "other")] {
        bench.allocate(&path(4000), 1, ("bob", "wrong"));
        bench.answer(bench.asked.last().unwrap().0, answer);
        answers.append(&mut bench.replies);
    }
    bench.allocate(&path(4000), 1, ("alice", "wrong"));
    assert_eq!(bench.asked.len(), 2, "alice is in the settings");
    answers.append(&mut bench.replies);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    bench.replies = answers.drain(..1).collect();
    assert_eq!(bench.reply(), (401, false));
    assert_eq!((answers.len(), bench.server.allocations()), (2, 0));
    let failures = bench.server.counters().auth_failures;
    assert_eq!(failures[auth::Unauthorized::UnknownUser as usize], 1);
    assert_eq!(failures[auth::Unauthorized::WrongKey as usize], 2);
}

#[test]
fn a_failed_look_up_is_silent_and_the_next_try_is_looked_up() {
    let mut bench = Bench::new(&settings());
    for tries in 1..4 {
        bench.allocate(&path(4000), 1, ("bob", "tango"));
        assert_eq!(bench.state(), (tries, 1, 1, 0));
        bench.answer(bench.asked[tries - 1].0, UserAnswer::Failed);
        assert_eq!(
            (bench.state(), bench.dropped()),
            ((tries, 0, 0, 0), tries as u64)
        );
    }
    bench.allocate(&path(4000), 1, ("bob", "tango"));
    bench.answer(bench.asked[3].0, found("bob", "tango"));
    assert_eq!(bench.reply(), (200, true));
}

#[test]
fn a_retransmission_is_absorbed_and_other_transactions_and_clients_are_not() {
    let settings = auth::Settings {
        lookup: Some(Lookup {
            pending: 10,
            per_source: 10,
            rate: None,
            timeout: TIMEOUT,
        }),
        ..settings()
    };
    let mut bench = Bench::new(&settings);
    for _ in 0..3 {
        bench.allocate(&path(4000), 1, ("bob", "tango"));
    }
    assert_eq!((bench.state(), bench.dropped()), ((1, 1, 1, 0), 0));
    bench.allocate(&path(4000), 2, ("bob", "tango"));
    bench.allocate(&path(4001), 1, ("bob", "tango"));
    assert_eq!(bench.state(), (3, 3, 3, 0));
    let ids: Vec<u64> = bench.asked.iter().map(|(id, ..)| id.0).collect();
    assert_eq!(ids, [1, 2, 3]);
    bench.answer(LookupId(1), found("bob", "tango"));
    assert_eq!(bench.reply(), (200, true));
    bench.answer(LookupId(2), found("bob", "tango"));
    assert_eq!(bench.reply(), (437, true), "another transaction");
}

#[test]
fn no_more_wait_than_the_bound_and_a_place_that_is_free_is_taken() {
    let mut bench = Bench::new(&settings());
    for port in 4000..4100 {
        bench.allocate(&path(port), 1, ("bob", "tango"));
    }
    assert_eq!((bench.state(), bench.dropped()), ((2, 2, 2, 0), 98));
    bench.allocate(&path(5000), 1, ("alice", "secret"));
    assert_eq!(bench.reply(), (200, true), "alice needs no place");
    bench.answer(LookupId(1), UserAnswer::Unknown);
    bench.replies.clear();
    bench.allocate(&path(4002), 1, ("bob", "tango"));
    assert_eq!((bench.asked.len(), bench.server.lookups()), (3, 2));
}

#[test]
fn a_source_network_has_its_share_of_the_places_and_leaves_the_others_to_others() {
    let mut bench = Bench::new(&auth::Settings {
        lookup: Some(Lookup {
            pending: 20,
            per_source: 2,
            rate: None,
            timeout: TIMEOUT,
        }),
        ..settings()
    });
    for port in 4000..4010 {
        bench.allocate(&path(port), 1, ("bob", "tango"));
        // Written in another way, it is the same address.
        let mapped = path_from("::ffff:192.0.2.1", port);
        bench.allocate(&mapped, 2, ("bob", "tango"));
    }
    assert_eq!((bench.state(), bench.dropped()), ((2, 2, 2, 0), 18));
    bench.allocate(&path_from("192.0.2.2", 4000), 1, ("bob", "tango"));
    assert_eq!(bench.server.lookups(), 3);
    // A /64 has as much, and its /48 four times that.
    for subnet in 0..10 {
        for host in 1..10 {
            let ip = format!("2001:db8:1:{subnet}::{host}");
            bench.allocate(&path_from(&ip, 4000), 1, ("bob", "tango"));
            let most = 3 + (2 * subnet + host.min(2)).min(8);
            assert_eq!(bench.server.lookups(), most, "{ip}");
        }
    }
    bench.allocate(&path_from("2001:db8:2::1", 4000), 1, ("bob", "tango"));
    assert_eq!(bench.server.lookups(), 12);
    // Places come back, by an answer or at the deadline.
    bench.answer(LookupId(1), UserAnswer::Failed);
    bench.allocate(&path(5000), 1, ("bob", "tango"));
    bench.allocate(&path(5001), 1, ("bob", "tango"));
    assert_eq!(bench.server.lookups(), 12);
    bench.wait(TIMEOUT);
    assert_eq!(bench.server.lookups(), 0);
    for port in 4000..4010 {
        bench.allocate(&path(port), 3, ("bob", "tango"));
    }
    assert_eq!(bench.server.lookups(), 2);
}

#[test]
fn a_source_network_has_so_many_look_ups_in_a_second() {
    let settings = auth::Settings {
        lookup: Some(Lookup {
            pending: 100,
            per_source: 100,
            rate: Some(3),
            timeout: TIMEOUT,
        }),
        ..settings()
    };
    let mut bench = Bench::new(&settings);
    let asked = |bench: &mut Bench, ip: &str| {
        let before = bench.asked.len();
        for port in 4000..4010 {
            bench.allocate(&path_from(ip, port), 1, ("bob", "tango"));
            if let Some((id, ..)) = bench.asked.last() {
                bench.answer(*id, UserAnswer::Unknown);
            }
        }
        bench.replies.clear();
        bench.asked.len() - before
    };
    assert_eq!(asked(&mut bench, "192.0.2.1"), 3);
    assert_eq!(bench.dropped(), 7);
    assert_eq!(asked(&mut bench, "203.0.113.1"), 3);
    bench.wait(Duration::from_secs(1));
    assert_eq!(asked(&mut bench, "192.0.2.1"), 3);
    // A reload that leaves the rate as it is gives nobody more.
    bench.reload(&settings);
    assert_eq!(asked(&mut bench, "192.0.2.1"), 0);
}

#[test]
fn a_request_waits_until_its_deadline_and_a_late_answer_is_ignored() {
    let mut bench = Bench::new(&settings());
    bench.allocate(&path(4000), 1, ("bob", "tango"));
    assert_eq!(bench.server.poll_timeout(), Some(bench.now.mono + TIMEOUT));
    bench.wait(TIMEOUT - Duration::from_millis(1));
    assert_eq!(bench.state(), (1, 1, 1, 0));
    // The answer comes at the deadline, before the driver has told the time.
    bench.now = bench.now.after(Duration::from_millis(1));
    bench.answer(LookupId(1), found("bob", "tango"));
    assert_eq!((bench.state(), bench.dropped()), ((1, 0, 0, 0), 1));

    bench.allocate(&path(4000), 1, ("bob", "tango"));
    for id in [0, 1, 3, u64::MAX] {
        bench.answer(LookupId(id), found("bob", "tango"));
        assert_eq!(bench.state(), (2, 1, 1, 0), "{id}");
    }
    bench.answer(LookupId(2), found("bob", "tango"));
    assert_eq!(bench.reply(), (200, true));
    bench.answer(LookupId(2), found("bob", "tango"));
    assert_eq!(bench.replies.len(), 0, "answered twice");
}

#[test]
fn a_reload_while_a_request_waits_holds_for_it() {
    // The same settings; the same and bob; another realm; look-ups off.
    let with_bob = auth::Settings {
        users: vec![user("bob", "static")],
        ..settings()
    };
    let elsewhere = auth::Settings {
        realm: "example.net".into(),
        ..settings()
    };
    for (after, password, expected) in [
        (settings(), "tango", (200, true)),
        (with_bob.clone(), "static", (200, true)),
        (with_bob, "tango", (401, false)),
        (elsewhere, "tango", (401, false)),
    ] {
        let mut bench = Bench::new(&settings());
        bench.allocate(&path(4000), 1, ("bob", password));
        bench.reload(&after);
        assert_eq!(bench.state(), (1, 1, 1, 0));
        bench.answer(LookupId(1), found("bob", "tango"));
        assert_eq!(bench.reply(), expected, "{after:?}");
    }
    let off = auth::Settings {
        lookup: None,
        ..settings()
    };
    let mut bench = Bench::new(&settings());
    bench.allocate(&path(4000), 1, ("bob", "tango"));
    bench.reload(&off);
    assert_eq!(bench.reply(), (401, false));
    assert_eq!(bench.state(), (1, 0, 0, 0));
}

#[test]
fn an_allocation_of_a_looked_up_user_outlives_reloads_while_users_are_looked_up() {
    let mut bench = Bench::new(&settings());
    for (port, login) in [(4000, ("bob", "tango")), (4001, ("alice", "secret"))] {
        bench.allocate(&path(port), 1, login);
    }
    bench.answer(LookupId(1), found("bob", "tango"));
    assert_eq!(bench.server.allocations(), 2);
    let without_alice = auth::Settings {
        users: vec![],
        ..settings()
    };
    bench.reload(&without_alice);
    assert!(bench.server.has_allocation(&path(4000)), "bob's");
    assert!(!bench.server.has_allocation(&path(4001)), "alice's");
    bench.reload(&auth::Settings {
        lookup: None,
        ..settings()
    });
    assert_eq!(bench.server.allocations(), 0);
}

#[test]
fn nobody_is_looked_up_for_a_stale_nonce_and_the_answer_is_the_same_for_everyone() {
    let mut bench = Bench::new(&settings());
    let age = STALE + Duration::from_secs(1);
    for login in [("bob", "tango"), ("alice", "wrong")] {
        let path = path(4000);
        let request = bench.request_with(METHOD_ALLOCATE, &path, 1, login, age, &[TRANSPORT]);
        bench.send(&path, &request);
        assert_eq!(bench.reply(), (438, false), "{login:?}");
    }
    assert_eq!(bench.state(), (0, 0, 0, 0));

    // A nonce that goes stale while the request waits.
    let path = path(4000);
    let request = bench.request_with(
        METHOD_ALLOCATE,
        &path,
        2,
        ("bob", "tango"),
        STALE,
        &[TRANSPORT],
    );
    bench.send(&path, &request);
    assert_eq!(bench.state(), (1, 1, 1, 0));
    bench.wait(Duration::from_secs(1));
    bench.answer(LookupId(1), found("bob", "tango"));
    assert_eq!(bench.reply(), (438, true));
}

#[test]
fn nothing_is_left_of_a_client_who_is_gone_nor_after_the_end() {
    let mut bench = Bench::new(&settings());
    let (mut gone, other) = (path(4000), path(4001));
    gone.tuple.transport = Transport::Tcp;
    gone.socket = ClientSocket::Stream(3);
    bench.allocate(&gone, 1, ("bob", "tango"));
    bench.allocate(&other, 1, ("bob", "tango"));
    assert!(bench.server.uses(ClientSocket::Stream(3)));
    bench.server.handle_disconnect(bench.now, &gone);
    assert_eq!(bench.state(), (2, 1, 1, 0));
    assert!(!bench.server.uses(ClientSocket::Stream(3)));
    bench.answer(LookupId(1), found("bob", "tango"));
    assert_eq!(bench.state(), (2, 1, 1, 0));
    bench.server.handle_shutdown(bench.now);
    assert_eq!(bench.state(), (2, 0, 0, 0));
}

#[test]
fn what_needs_no_look_up_has_none() {
    let with_secret = auth::Settings {
        secrets: vec![Secret::new("shared")],
        ..settings()
    };
    let mut bench = Bench::new(&with_secret);
    bench.allocate(&path(4000), 1, ("1900000000:bob", "wrong"));
    assert_eq!(bench.reply(), (401, false));
    // Longer than any first request.
    let long: [(AttrType, &[u8]); 1] = [(PADDING, &[0; MAX_REQUEST])];
    let path = path(4000);
    let long = bench.request_with(
        METHOD_ALLOCATE,
        &path,
        1,
        ("bob", "tango"),
        Duration::ZERO,
        &long,
    );
    bench.send(&path, &long);
    assert_eq!((bench.state(), bench.dropped()), ((0, 0, 0, 0), 1));
    // A name that no user can have.
    let control = bench.request(METHOD_ALLOCATE, &path, 1, ("bob", "tango"));
    let at = control.windows(3).position(|w| w == b"bob").unwrap();
    let mut control = control;
    control[at] = 7;
    bench.send(&path, &control);
    assert_eq!(bench.reply(), (401, false));
    let mut off = Bench::new(&auth::Settings {
        lookup: None,
        ..settings()
    });
    off.allocate(&path, 1, ("bob", "tango"));
    assert_eq!(off.reply(), (401, false));
    assert_eq!((bench.asked.len(), off.asked.len()), (0, 0));
}

#[test]
fn the_same_inputs_give_the_same_outputs() {
    let run = |bench: &mut Bench| {
        for (port, id) in [(4000, 1), (4001, 1), (4002, 1), (4000, 1)] {
            bench.allocate(&path(port), id, ("bob", "tango"));
        }
        bench.answer(LookupId(2), found("bob", "tango"));
        bench.wait(TIMEOUT);
        bench.allocate(&path(4002), 1, ("bob", "tango"));
        bench.answer(LookupId(3), UserAnswer::Unknown);
        std::mem::take(&mut bench.trace)
    };
    let first = run(&mut Bench::new(&settings()));
    assert_eq!(first, run(&mut Bench::new(&settings())));
    assert!(first.len() > 5);
}
