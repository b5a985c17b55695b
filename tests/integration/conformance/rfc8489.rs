//! SHA-256, password algorithms and USERHASH (RFC 8489 §9.2), through the whole server, with another library's codec.

use stun_types::attribute::{
    AttributeType, ErrorCode, MessageIntegrity, Nonce, PasswordAlgorithm, PasswordAlgorithmValue,
    PasswordAlgorithms, Realm, Userhash, Username,
};
use stun_types::message::{
    IntegrityAlgorithm, LongTermKeyCredentials, Message, MessageClass, MessageType, MessageWrite,
    MessageWriteExt, MessageWriteVec, Method, TransactionId,
};
use stun_types::prelude::{Attribute, AttributeFromRaw, AttributeStaticType, AttributeWrite};
use turnd_proto::auth::{self, Features};
use turnd_proto::server::five_tuple::{Path, Transport};
use turnd_proto::server::output::Output;
use turnd_proto::wire;

use crate::support::settings::Settings;
use crate::support::world::{CLIENT, PEER, World, path, path_by};
use crate::support::{PASSWORD, REALM, USER};

/// The usual server, which announces these features.
fn announcing(password_algorithms: bool, username_anonymity: bool) -> impl Fn(&mut Settings) {
    move |settings| {
        settings.auth.features = Features {
            password_algorithms,
            username_anonymity,
        };
    }
}

fn both(settings: &mut Settings) {
    announcing(true, true)(settings);
}

const ALLOCATE: Method = Method::new(3);
const REFRESH: Method = Method::new(4);
const CREATE_PERMISSION: Method = Method::new(8);
const CONNECT: Method = Method::new(10);
const UDP: (u16, &[u8]) = (0x0019, &[17, 0, 0, 0]);
const TCP: (u16, &[u8]) = (0x0019, &[6, 0, 0, 0]);

/// MESSAGE-INTEGRITY-SHA256.
const SIGNED_BY_SHA256: AttributeType = AttributeType::new(0x001C);

const SHA256: PasswordAlgorithmValue = PasswordAlgorithmValue::SHA256;
const MD5: PasswordAlgorithmValue = PasswordAlgorithmValue::MD5;

/// A client that answers a challenge as RFC 8489 §9.2.5 has it, or otherwise where a test says so.
#[derive(Clone)]
struct Client {
    path: Path,
    user: String,
    key: LongTermKeyCredentials,
    nonce: String,
    hashed: bool,
    algorithms: Option<(Vec<PasswordAlgorithmValue>, PasswordAlgorithmValue)>,
    integrity: IntegrityAlgorithm,
}

/// Code of a response, 200 for success, and the algorithm that signs it.
type Answer = (u16, Option<IntegrityAlgorithm>);

const SIGNED_SHA256: Answer = (200, Some(IntegrityAlgorithm::Sha256));
const SIGNED_SHA1: Answer = (200, Some(IntegrityAlgorithm::Sha1));

fn get<'m, A: AttributeFromRaw<'m> + AttributeStaticType>(message: &'m Message<'m>) -> Option<A> {
    message.attribute::<A>().ok()
}

impl Client {
    fn new(world: &mut World, path: &Path, user: &str, password: &str) -> Self {
        let ask = MessageType::from_class_method(MessageClass::Request, ALLOCATE);
        let ask = Message::builder(ask, TransactionId::generate(), MessageWriteVec::new());
        let reply = world.answer(path, &ask.finish());
        let reply = Message::from_bytes(&reply).unwrap();
        assert_eq!(get::<ErrorCode>(&reply).unwrap().code(), 401);
        let nonce = get::<Nonce>(&reply).unwrap().nonce().to_owned();
        let realm = get::<Realm>(&reply).unwrap().realm().to_owned();
        let offered = get::<PasswordAlgorithms>(&reply);
        let algorithms = offered.map(|offered| {
            let offered = offered.algorithms().to_vec();
            let first = offered[0];
            (offered, first)
        });
        let integrity = match algorithms {
            Some(_) => IntegrityAlgorithm::Sha256,
            None => IntegrityAlgorithm::Sha1,
        };
        Self {
            path: *path,
            user: user.into(),
            key: LongTermKeyCredentials::new(user.into(), password.into(), realm),
            hashed: matches!(nonce.as_bytes()[12], b'C' | b'D'),
            nonce,
            algorithms,
            integrity,
        }
    }

    fn request(&self, method: Method, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let typ = MessageType::from_class_method(MessageClass::Request, method);
        let mut message = Message::builder(typ, TransactionId::generate(), MessageWriteVec::new());
        for (typ, value) in attributes {
            let raw = stun_types::attribute::RawAttribute::new((*typ).into(), value);
            message.add_attribute(&raw).unwrap();
        }
        let mut add = |attribute: &dyn AttributeWrite| message.add_attribute(attribute).unwrap();
        if self.hashed {
            add(&Userhash::new(Userhash::compute(&self.user, REALM)));
        } else {
            add(&Username::new(&self.user).unwrap());
        }
        add(&Realm::new(self.key.realm()).unwrap());
        add(&Nonce::new(&self.nonce).unwrap());
        if let Some((offered, chosen)) = &self.algorithms {
            add(&PasswordAlgorithms::new(offered));
            add(&PasswordAlgorithm::new(*chosen));
        }
        let key = self.key.make_key(self.password());
        message
            .add_message_integrity_with_key(&key, self.integrity)
            .unwrap();
        message.finish()
    }

    /// The algorithm that makes the key, as the library calls both.
    fn password(&self) -> IntegrityAlgorithm {
        match self.algorithms {
            Some((_, SHA256)) => IntegrityAlgorithm::Sha256,
            _ => IntegrityAlgorithm::Sha1,
        }
    }

    fn read(&self, bytes: &[u8]) -> Answer {
        let reply = Message::from_bytes(bytes).unwrap();
        let code = get::<ErrorCode>(&reply).map_or(200, |code| code.code());
        let types: Vec<_> = reply.iter_attributes().map(|(_, a)| a.get_type()).collect();
        let signed_by = |typ| types.contains(&typ);
        let integrity = match (
            signed_by(MessageIntegrity::TYPE),
            signed_by(SIGNED_BY_SHA256),
        ) {
            (false, false) => return (code, None),
            (true, false) => IntegrityAlgorithm::Sha1,
            (false, true) => IntegrityAlgorithm::Sha256,
            (true, true) => panic!("never both (A9)"),
        };
        // The library has a key sign with its own algorithm only.
        if integrity == self.password() {
            let key = self.key.make_key(integrity);
            let validated = reply.validate_integrity_with_key(&key).ok();
            assert_eq!(validated, Some(integrity));
        } else {
            let reply = wire::message::Message::parse(bytes).unwrap();
            let algorithm = match self.password() {
                IntegrityAlgorithm::Sha1 => auth::algorithm::PasswordAlgorithm::Md5,
                IntegrityAlgorithm::Sha256 => auth::algorithm::PasswordAlgorithm::Sha256,
            };
            let (user, realm, password) = (&self.user, self.key.realm(), self.key.password());
            let key = auth::key::Key::from_password_with(algorithm, user, realm, password);
            assert!(wire::integrity::verify(&reply, key.unwrap().as_bytes()));
        }
        (code, Some(integrity))
    }

    fn ask(&self, world: &mut World, method: Method, attributes: &[(u16, &[u8])]) -> Answer {
        let reply = world.answer(&self.path, &self.request(method, attributes));
        self.read(&reply)
    }
}

fn client(world: &mut World) -> Client {
    Client::new(world, &path(CLIENT), USER, PASSWORD)
}

#[test]
fn a7_a9_a10_another_library_logs_in_as_the_nonce_says() {
    for (hashed, algorithms, signed) in [
        (false, false, SIGNED_SHA1),
        (false, true, SIGNED_SHA256),
        (true, false, SIGNED_SHA1),
        (true, true, SIGNED_SHA256),
    ] {
        let mut world = World::new(announcing(algorithms, hashed));
        let client = client(&mut world);
        assert_eq!(client.hashed, hashed);
        let offered = client.algorithms.clone().map(|(offered, _)| offered);
        assert_eq!(offered, algorithms.then(|| vec![SHA256, MD5]));
        assert_eq!(client.ask(&mut world, ALLOCATE, &[UDP]), signed);
        assert_eq!(client.ask(&mut world, REFRESH, &[]), signed);
        let peer: &[u8] = &[0, 1, 0x21, 0x13, 0x0c, 0x12, 0xa4, 0x43];
        let permit = client.ask(&mut world, CREATE_PERMISSION, &[(0x0012, peer)]);
        assert_eq!(permit, signed);
        // An error response after authentication is signed likewise.
        let (code, by) = client.ask(&mut world, ALLOCATE, &[UDP]);
        assert_eq!((code, by), (437, signed.1));
        let (code, by) = client.ask(&mut world, REFRESH, &[(0x7FFF, &[])]);
        assert_eq!((code, by), (420, signed.1));
        let end = client.ask(&mut world, REFRESH, &[(0x000D, &[0; 4])]);
        assert_eq!(end, signed);
        world.expect_empty();
    }
}

#[test]
fn a9_d8_the_reply_is_signed_as_the_request_is() {
    let mut world = World::new(both);
    let right = client(&mut world);
    let reply_to = |world: &mut World, client: &Client| client.ask(world, REFRESH, &[]);
    // 437: there is no allocation, which whoever is authenticated hears.
    let by = |integrity| (437, Some(integrity));
    assert_eq!(reply_to(&mut world, &right), by(IntegrityAlgorithm::Sha256));
    // Against RFC 8489 §9.2.5, and still to be understood.
    let sha1 = Client {
        integrity: IntegrityAlgorithm::Sha1,
        ..right.clone()
    };
    assert_eq!(reply_to(&mut world, &sha1), by(IntegrityAlgorithm::Sha1));
    let md5 = Client {
        algorithms: Some((vec![SHA256, MD5], MD5)),
        ..right.clone()
    };
    assert_eq!(reply_to(&mut world, &md5), by(IntegrityAlgorithm::Sha256));
    // Neither attribute: MD5, signed as it comes (D8).
    for integrity in [IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256] {
        let neither = Client {
            algorithms: None,
            integrity,
            ..right.clone()
        };
        assert_eq!(reply_to(&mut world, &neither), by(integrity));
        // Also where nothing is announced.
        let mut plain = World::usual();
        let plain_client = Client {
            integrity,
            ..client(&mut plain)
        };
        assert_eq!(reply_to(&mut plain, &plain_client), by(integrity));
    }
}

#[test]
fn a7_d4_what_was_not_offered_is_400_and_a_stale_nonce_brings_the_list_again() {
    let mut world = World::new(both);
    let right = client(&mut world);
    for algorithms in [
        (vec![MD5], MD5),
        (vec![SHA256], SHA256),
        (vec![MD5, SHA256], MD5),
        (vec![SHA256, MD5, MD5], SHA256),
    ] {
        let client = Client {
            algorithms: Some(algorithms.clone()),
            ..right.clone()
        };
        let answer = client.ask(&mut world, ALLOCATE, &[UDP]);
        assert_eq!(answer, (400, None), "{algorithms:?}");
    }
    world.at_second(601);
    let reply = world.answer(&right.path, &right.request(ALLOCATE, &[UDP]));
    assert_eq!(right.read(&reply), (438, Some(IntegrityAlgorithm::Sha256)));
    let reply = Message::from_bytes(&reply).unwrap();
    let offered = get::<PasswordAlgorithms>(&reply).unwrap();
    assert_eq!(offered.algorithms(), [SHA256, MD5], "D4");
    let nonce = get::<Nonce>(&reply).unwrap().nonce().to_owned();
    assert!(nonce.starts_with("obMatJos2AAAD"));
    let fresh = Client { nonce, ..right };
    assert_eq!(fresh.ask(&mut world, ALLOCATE, &[UDP]), SIGNED_SHA256);
}

#[test]
fn a3_a10_the_hash_of_nobody_and_a_wrong_password_look_the_same() {
    let mut world = World::new(both);
    let mut shapes = Vec::new();
    for (user, password) in [(USER, "wrong"), ("nobody", PASSWORD), ("nobody", "wrong")] {
        let client = Client::new(&mut world, &path(CLIENT), user, password);
        let reply = world.answer(&client.path, &client.request(ALLOCATE, &[UDP]));
        assert_eq!(client.read(&reply), (401, None));
        // The transaction id and the nonce are drawn; with one clock, the nonces are the same.
        shapes.push(reply[20..].to_vec());
    }
    assert!(shapes.iter().all(|shape| *shape == shapes[0]));
    world.expect_empty();
}

#[test]
fn a11_the_user_of_a_hash_owns_what_the_name_made() {
    let mut world = World::new(|settings| {
        both(settings);
        settings.users(&["alice:secret", "bob:hidden"]);
    });
    let hashed = client(&mut world);
    let named = Client {
        hashed: false,
        ..hashed.clone()
    };
    let old = Client {
        algorithms: None,
        integrity: IntegrityAlgorithm::Sha1,
        ..named.clone()
    };
    let bob = Client::new(&mut world, &path(CLIENT), "bob", "hidden");
    for (first, others) in [
        (&hashed, [&named, &old]),
        (&named, [&hashed, &old]),
        (&old, [&hashed, &named]),
    ] {
        assert_eq!(first.ask(&mut world, ALLOCATE, &[UDP]).0, 200);
        assert_eq!(bob.ask(&mut world, REFRESH, &[]).0, 441);
        for other in others {
            assert_eq!(other.ask(&mut world, REFRESH, &[]).0, 200);
        }
        assert_eq!(first.ask(&mut world, REFRESH, &[(0x000D, &[0; 4])]).0, 200);
    }
    world.expect_empty();
}

/// A Connect is answered later, with the key of its request and not that of the allocation's.
#[test]
fn a9_a_late_reply_is_signed_with_the_key_of_its_request() {
    let mut world = World::new(both);
    let path = path_by(Transport::Tcp, CLIENT);
    let sha256 = Client::new(&mut world, &path, USER, PASSWORD);
    let old = Client {
        algorithms: None,
        integrity: IntegrityAlgorithm::Sha1,
        ..sha256.clone()
    };
    assert_eq!(old.ask(&mut world, ALLOCATE, &[TCP]), SIGNED_SHA1);
    let peer = crate::support::messages::addr(PEER);
    let std::net::IpAddr::V4(ip) = peer.ip() else {
        unreachable!()
    };
    let mut value = vec![0, 1];
    value.extend((peer.port() ^ 0x2112).to_be_bytes());
    value.extend((u32::from(ip) ^ 0x2112_A442).to_be_bytes());
    for (client, fails) in [(&sha256, true), (&old, true), (&sha256, false)] {
        let request = client.request(CONNECT, &[(0x0012, &value)]);
        let (_, replies) = world.handle(&client.path, &request);
        assert!(replies.is_empty());
        let Some(Output::Connect { connection, .. }) = world.peer_outputs.pop() else {
            panic!("nothing is connected to");
        };
        let ((), mut replies) =
            world.after(|server, now| server.handle_connected(now, connection, !fails));
        let (_, reply) = replies.remove(0);
        let reply = reply.raw;
        let expected = if fails { 447 } else { 200 };
        assert_eq!(client.read(&reply), (expected, Some(client.integrity)));
    }
}

/// A reload changes what new nonces announce; calls go on with the nonces that they have.
#[test]
fn a7_d9_a_reload_announces_and_calls_go_on() {
    let mut world = World::usual();
    let before = client(&mut world);
    assert_eq!(before.ask(&mut world, ALLOCATE, &[UDP]), SIGNED_SHA1);
    world.reload(both);
    assert_eq!(before.ask(&mut world, REFRESH, &[]), SIGNED_SHA1);
    let after = client(&mut world);
    assert!(after.hashed && after.algorithms.is_some());
    assert_eq!(after.ask(&mut world, REFRESH, &[]), SIGNED_SHA256);
    world.reload(|_| ());
    assert_eq!(after.ask(&mut world, REFRESH, &[]), SIGNED_SHA256);
    assert!(!client(&mut world).hashed);
}

/// A call keeps the realm that it began under, by hash too.
#[test]
fn a10_a_changed_realm_leaves_the_owner_its_hash() {
    let mut world = World::new(both);
    let hashed = client(&mut world);
    assert_eq!(hashed.ask(&mut world, ALLOCATE, &[UDP]), SIGNED_SHA256);
    world.reload(|settings| {
        both(settings);
        settings.auth.realm = "example.net".to_owned();
    });
    assert_eq!(hashed.ask(&mut world, REFRESH, &[]), SIGNED_SHA256);
    let nobody = Client {
        user: "nobody".to_owned(),
        ..hashed.clone()
    };
    assert_eq!(nobody.ask(&mut world, REFRESH, &[]), (401, None));
    let end = hashed.ask(&mut world, REFRESH, &[(0x000D, &[0; 4])]);
    assert_eq!(end, SIGNED_SHA256);
    assert_eq!(hashed.ask(&mut world, REFRESH, &[]), (401, None));
}
