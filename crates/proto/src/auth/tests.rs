use std::time::Instant;

use proptest::prelude::*;
use stun::attributes::{
    ATTR_LIFETIME, ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, AttrType,
};
use stun::fingerprint::FINGERPRINT;
use stun::integrity::MessageIntegrity;
use stun::message::{Message, Setter};

use super::*;
use crate::wire;
use crate::wire::numbers::ErrorCode;

mod rfc8489;

const T: u64 = 1_800_000_000;
const REALM: &str = "example.org";

fn now() -> Now {
    at(T)
}

fn at(unix: u64) -> Now {
    Now {
        mono: Instant::now(),
        unix,
    }
}

fn source() -> SocketAddr {
    "192.0.2.1:5000".parse().unwrap()
}

fn user(name: &str, password: &str) -> User {
    User {
        name: name.into(),
        credential: Credential::Password(Secret::new(password)),
    }
}

fn settings() -> Settings {
    Settings {
        realm: REALM.into(),
        no_auth: false,
        users: vec![
            user("alice", "secret"),
            User {
                name: "bob".into(),
                credential: Credential::Keys(key("bob", "hidden").into()),
            },
            user("12:34", "static"),
        ],
        secrets: vec![Secret::new("new"), Secret::new("old")],
        rest_separator: ':',
        rest_expiry: RestExpiry::Keep,
        stale_nonce: Duration::from_secs(600),
        features: Features::default(),
        nonce_secret: None,
        lookup: None,
    }
}

fn nonce_key() -> NonceKey {
    NonceKey::from_secret(&Secret::new("nonce secret"))
}

fn build(auth: &Settings) -> Authenticator {
    Authenticator::new(auth, nonce_key()).unwrap()
}

fn key(user: &str, password: &str) -> Key {
    Key::from_password(user, REALM, password).unwrap()
}

/// A request with these attributes, signed, as it comes off the wire.
fn request(attributes: &[(AttrType, &[u8])], key: &Key) -> Message {
    let mut msg = Message::new();
    msg.write_header();
    for (typ, value) in attributes {
        msg.add(*typ, value);
    }
    MessageIntegrity(key.as_bytes().to_vec())
        .add_to(&mut msg)
        .unwrap();
    decode(&msg)
}

fn decode(msg: &Message) -> Message {
    let mut decoded = Message::new();
    decoded.unmarshal_binary(&msg.raw).unwrap();
    decoded
}

fn parsed(msg: &Message) -> wire::message::Message<'_> {
    wire::message::Message::parse(&msg.raw).unwrap()
}

fn nonce() -> String {
    nonce_key().issue(T, source(), Features::default())
}

fn login(user: &str, key: &Key) -> Message {
    let nonce = nonce();
    let attributes: [(AttrType, &[u8]); 3] = [
        (ATTR_USERNAME, user.as_bytes()),
        (ATTR_REALM, REALM.as_bytes()),
        (ATTR_NONCE, nonce.as_bytes()),
    ];
    request(&attributes, key)
}

fn authenticate(auth: &Settings, now: Now, msg: Message) -> Result<Identity, Rejection> {
    let result = build(auth).authenticate(now, source().ip(), &parsed(&msg), None);
    result.map_err(|rejected| rejected.rejection)
}

fn unauthorized(result: Result<Identity, Rejection>) -> Option<Unauthorized> {
    match result {
        Err(rejection @ Rejection::Unauthorized(reason)) => {
            assert_eq!(
                (rejection.code(), rejection.challenges()),
                (ErrorCode(401), true)
            );
            assert!(rejection.key().is_none(), "401 is not signed");
            Some(reason)
        }
        _ => None,
    }
}

#[test]
fn a_static_user_is_known_by_password_and_by_stored_key() {
    for (name, password) in [("alice", "secret"), ("bob", "hidden")] {
        let key = key(name, password);
        let identity = authenticate(&settings(), now(), login(name, &key)).unwrap();
        assert_eq!(identity.user.as_deref(), Some(name));
        assert_eq!(&*identity.quota_id, name);
        assert_eq!(identity.key.unwrap().as_bytes(), key.as_bytes());
        assert_eq!(identity.expires, None);
    }
}

#[test]
fn a1_a_request_without_integrity_is_challenged() {
    let mut msg = Message::new();
    msg.write_header();
    msg.add(ATTR_USERNAME, b"alice");
    let result = authenticate(&settings(), now(), decode(&msg));
    assert_eq!(unauthorized(result), Some(Unauthorized::NoIntegrity));
}

#[test]
fn a2_integrity_without_username_realm_or_nonce_is_a_bare_400() {
    let nonce = nonce();
    let all: [(AttrType, &[u8]); 3] = [
        (ATTR_USERNAME, b"alice"),
        (ATTR_REALM, REALM.as_bytes()),
        (ATTR_NONCE, nonce.as_bytes()),
    ];
    for missing in 0..3 {
        let mut some = all.to_vec();
        let (typ, value) = some.remove(missing);
        let msg = request(&some, &key("alice", "secret"));
        let rejection = authenticate(&settings(), now(), msg.clone()).unwrap_err();
        assert_eq!(rejection, Rejection::BadRequest);
        assert_eq!(
            (rejection.code(), rejection.challenges()),
            (ErrorCode(400), false)
        );
        assert!(rejection.key().is_none());
        // S8: after the signature it counts as missing.
        let mut late = msg;
        late.add(typ, value);
        let rejection = authenticate(&settings(), now(), decode(&late)).unwrap_err();
        assert_eq!(rejection, Rejection::BadRequest);
    }
}

#[test]
fn a3_unknown_user_and_wrong_password_look_the_same() {
    let wrong = authenticate(&settings(), now(), login("alice", &key("alice", "guess")));
    let unknown = authenticate(&settings(), now(), login("carol", &key("carol", "guess")));
    assert_eq!(unauthorized(wrong), Some(Unauthorized::WrongKey));
    assert_eq!(unauthorized(unknown), Some(Unauthorized::UnknownUser));
}

#[test]
fn a3_nobodys_key_lets_nobody_in() {
    let [nobody, _] = build(&settings()).nobody;
    for name in ["carol", "alice", "1900000000:carol"] {
        let result = authenticate(&settings(), now(), login(name, &nobody));
        assert!(unauthorized(result).is_some(), "{name}");
    }
}

#[test]
fn d6_another_realm_is_challenged() {
    let nonce = nonce();
    for realm in ["example.com", "EXAMPLE.ORG", ""] {
        let attributes: [(AttrType, &[u8]); 3] = [
            (ATTR_USERNAME, b"alice"),
            (ATTR_REALM, realm.as_bytes()),
            (ATTR_NONCE, nonce.as_bytes()),
        ];
        let msg = request(&attributes, &key("alice", "secret"));
        let result = authenticate(&settings(), now(), msg);
        assert_eq!(unauthorized(result), Some(Unauthorized::Realm));
    }
}

#[test]
fn a4_a5_a_stale_or_foreign_nonce_is_438_signed_with_the_users_key() {
    let key = key("alice", "secret");
    let auth = build(&settings());
    let stale = |now, ip: &str| {
        let msg = login("alice", &key);
        let Rejected {
            rejection,
            fresh_nonce,
        } = auth
            .authenticate(now, ip.parse().unwrap(), &parsed(&msg), None)
            .unwrap_err();
        assert!(!fresh_nonce);
        assert_eq!(
            (rejection.code(), rejection.challenges()),
            (ErrorCode(438), true)
        );
        assert_eq!(rejection.key().unwrap().as_bytes(), key.as_bytes());
    };
    stale(at(T + 601), "192.0.2.1");
    stale(now(), "192.0.2.2");
    let msg = login("alice", &key);
    assert!(
        auth.authenticate(at(T + 600), source().ip(), &parsed(&msg), None)
            .is_ok()
    );
    let mapped = "::ffff:192.0.2.1".parse().unwrap();
    assert!(
        auth.authenticate(now(), mapped, &parsed(&msg), None)
            .is_ok(),
        "D7"
    );
}

#[test]
fn d2_wrong_password_and_stale_nonce_together_are_401() {
    let msg = login("alice", &key("alice", "guess"));
    let result = authenticate(&settings(), at(T + 9999), msg);
    assert_eq!(unauthorized(result), Some(Unauthorized::WrongKey));
}

#[test]
fn a_fresh_nonce_proves_the_address_whatever_else_is_wrong() {
    let auth = build(&settings());
    let genuine = nonce();
    let proven = |now, ip: &str, nonce: &str, realm: &str| {
        let mut attributes = vec![
            (ATTR_USERNAME, &b"carol"[..]),
            (ATTR_NONCE, nonce.as_bytes()),
        ];
        if !realm.is_empty() {
            attributes.push((ATTR_REALM, realm.as_bytes()));
        }
        let msg = request(&attributes, &key("carol", "guess"));
        let result = auth.authenticate(now, ip.parse().unwrap(), &parsed(&msg), None);
        result.unwrap_err().fresh_nonce
    };
    for realm in [REALM, "example.com", ""] {
        assert!(proven(now(), "192.0.2.1", &genuine, realm), "{realm:?}");
        assert!(!proven(now(), "192.0.2.2", &genuine, realm), "{realm:?}");
        assert!(!proven(at(T + 601), "192.0.2.1", &genuine, realm));
        assert!(!proven(now(), "192.0.2.1", "no-such-nonce", realm));
    }
    let mut msg = Message::new();
    msg.write_header();
    msg.add(ATTR_NONCE, genuine.as_bytes());
    let result = auth.authenticate(now(), source().ip(), &parsed(&msg), None);
    assert!(
        !result.unwrap_err().fresh_nonce,
        "it is not looked for there"
    );
}

#[test]
fn a8_names_are_compared_as_opaque_strings() {
    let mut auth = settings();
    auth.users = vec![user("Jose\u{301}", "a\u{a0}b")];
    let composed = "Jos\u{e9}";
    let identity = authenticate(&auth, now(), login(composed, &key(composed, "a b"))).unwrap();
    assert_eq!(identity.user.as_deref(), Some(composed));
}

#[test]
fn a_name_that_no_user_can_have_is_401() {
    let long = [b'a'; 514];
    for name in [&b"\xff\xfe"[..], b"", b"alice\n", &long] {
        let nonce = nonce();
        let attributes: [(AttrType, &[u8]); 3] = [
            (ATTR_USERNAME, name),
            (ATTR_REALM, REALM.as_bytes()),
            (ATTR_NONCE, nonce.as_bytes()),
        ];
        let msg = request(&attributes, &key("alice", "secret"));
        let result = authenticate(&settings(), now(), msg);
        assert_eq!(unauthorized(result), Some(Unauthorized::MalformedName));
    }
}

/// The checks would take the square of the name's length, before anything is known of its sender.
#[test]
fn a3_a_name_that_the_context_rules_refuse_is_that_of_an_unknown_user() {
    for name in ["a\u{b7}b", "\u{660}\u{6f0}", "\u{5f3}", "\u{30fb}"] {
        let result = authenticate(&settings(), now(), login(name, &key("alice", "guess")));
        assert_eq!(
            unauthorized(result),
            Some(Unauthorized::UnknownUser),
            "{name:?}"
        );
    }
}

fn rest_login(secret: &str, name: &str) -> Message {
    login(name, &key(name, &rest::password(secret, name)))
}

#[test]
fn u1_every_secret_is_good_and_the_quota_goes_by_the_name() {
    for secret in ["new", "old"] {
        for (name, quota_id) in [
            ("1800000001:carol", "carol"),
            ("1800000001:a:b", "a:b"),
            ("1800000001", "1800000001"),
            ("1800000001:", "1800000001:"),
        ] {
            let identity = authenticate(&settings(), now(), rest_login(secret, name)).unwrap();
            assert_eq!(identity.user.as_deref(), Some(name));
            assert_eq!(&*identity.quota_id, quota_id);
            assert_eq!(identity.expires, Some(1_800_000_001));
        }
    }
}

#[test]
fn u1_expired_foreign_and_unnumbered_credentials_are_401() {
    let result =
        |now, secret, name| unauthorized(authenticate(&settings(), now, rest_login(secret, name)));
    assert_eq!(
        result(at(T), "new", "1800000000:carol"),
        None,
        "good in its last second"
    );
    assert_eq!(
        result(at(T + 1), "new", "1800000000:carol"),
        Some(Unauthorized::Expired)
    );
    assert_eq!(
        result(now(), "stolen", "1900000000:carol"),
        Some(Unauthorized::WrongKey)
    );
    assert_eq!(
        result(now(), "stolen", "1:carol"),
        Some(Unauthorized::WrongKey)
    );
    assert_eq!(
        result(now(), "new", "carol"),
        Some(Unauthorized::UnknownUser)
    );
    assert_eq!(
        result(now(), "new", "carol:1900000000"),
        Some(Unauthorized::UnknownUser)
    );
    assert_eq!(
        result(now(), "new", "99999999999999999999:carol"),
        Some(Unauthorized::UnknownUser)
    );
}

#[test]
fn u1_a_call_outlives_the_credentials_that_it_began_with() {
    let auth = build(&settings());
    let name = "1800000100:carol";
    let owner = authenticate(&settings(), at(T), rest_login("new", name)).unwrap();
    let later = at(T + 400);
    let again = |name: &str| {
        let msg = rest_login("new", name);
        auth.authenticate(later, source().ip(), &parsed(&msg), Some(&owner))
    };
    assert_eq!(again(name).unwrap(), owner);
    assert!(again("1800000100:dave").is_err(), "nobody else's do");
}

#[test]
fn u1_static_users_and_secrets_work_together() {
    // Even a static user whose name could be an expired REST one.
    let identity =
        authenticate(&settings(), now(), login("12:34", &key("12:34", "static"))).unwrap();
    assert_eq!(identity.expires, None);
    let result = authenticate(&settings(), now(), rest_login("new", "12:34"));
    assert_eq!(unauthorized(result), Some(Unauthorized::Expired));
}

#[test]
fn u1_another_separator() {
    let mut auth = settings();
    auth.rest_separator = '|';
    let identity = authenticate(&auth, now(), rest_login("new", "1900000000|a:b")).unwrap();
    assert_eq!(&*identity.quota_id, "a:b");
}

#[test]
fn no_auth_takes_anyone_and_holds_a_signature_to_its_word() {
    let mut auth = settings();
    auth.no_auth = true;
    let mut msg = Message::new();
    msg.write_header();
    let anyone = authenticate(&auth, now(), decode(&msg)).unwrap();
    assert_eq!(
        (&anyone.user, &*anyone.quota_id),
        (&None, "anonymous@192.0.2.1")
    );
    assert!(anyone.key.is_none());
    let alice = authenticate(&auth, now(), login("alice", &key("alice", "secret"))).unwrap();
    assert!(alice.key.is_some());
    assert_ne!(anyone, alice);
    let result = authenticate(&auth, now(), login("alice", &key("alice", "guess")));
    assert_eq!(unauthorized(result), Some(Unauthorized::WrongKey));
}

#[test]
fn a11_identities_are_equal_when_their_users_are() {
    let alice =
        || authenticate(&settings(), now(), login("alice", &key("alice", "secret"))).unwrap();
    let bob = authenticate(&settings(), now(), login("bob", &key("bob", "hidden"))).unwrap();
    assert_eq!(alice(), alice());
    assert_ne!(alice(), bob);
    // The same person with another credential is another user: quotas join them, ownership not.
    let one = authenticate(&settings(), now(), rest_login("new", "1900000000:carol")).unwrap();
    let two = authenticate(&settings(), now(), rest_login("new", "1900000001:carol")).unwrap();
    assert_ne!(one, two);
    assert_eq!(one.quota_id, two.quota_id);
}

#[test]
fn s8_what_follows_the_signature_does_not_matter() {
    let mut msg = login("alice", &key("alice", "secret"));
    msg.add(ATTR_USERNAME, b"bob");
    msg.add(ATTR_LIFETIME, &[0, 0, 0, 1]);
    FINGERPRINT.add_to(&mut msg).unwrap();
    let msg = decode(&msg);
    let identity = authenticate(&settings(), now(), msg.clone()).unwrap();
    assert_eq!(identity.user.as_deref(), Some("alice"));
    let mut truncated = msg;
    truncated.attributes.0.truncate(4);
    truncated.encode();
    assert!(authenticate(&settings(), now(), truncated).is_ok());
}

#[test]
fn s9_the_first_of_two_attributes_counts() {
    let nonce = nonce();
    let attributes: [(AttrType, &[u8]); 4] = [
        (ATTR_USERNAME, b"alice"),
        (ATTR_USERNAME, b"bob"),
        (ATTR_REALM, REALM.as_bytes()),
        (ATTR_NONCE, nonce.as_bytes()),
    ];
    let msg = request(&attributes, &key("alice", "secret"));
    assert!(authenticate(&settings(), now(), msg).is_ok());
}

#[test]
fn credentials_that_stun_cannot_use_are_refused_at_the_start() {
    let new = |auth: &Settings| {
        Authenticator::new(auth, nonce_key())
            .unwrap_err()
            .to_string()
    };
    let mut auth = settings();
    auth.users.push(user("al\nice", "x"));
    assert!(new(&auth).starts_with("user \"al\\nice\": character 3 of the user name"));
    auth.users = vec![user("Jose\u{301}", "x"), user("Jos\u{e9}", "y")];
    assert!(new(&auth).contains("twice"));
    auth.realm = String::new();
    assert!(new(&auth).starts_with("realm: "));
}

#[test]
fn debug_shows_no_secret() {
    let text = format!("{:?}", build(&settings()));
    for secret in ["secret\"", "\"new\"", "\"old\"", "[0, 0"] {
        assert!(!text.contains(secret), "{text}");
    }
}

proptest! {
    /// No message that decodes makes it panic or lets anyone in.
    #[test]
    fn no_message_panics_or_gets_in(
        attributes in prop::collection::vec(
            (prop::sample::select(vec![
                 ATTR_USERNAME, ATTR_REALM, ATTR_NONCE, ATTR_MESSAGE_INTEGRITY,
             ]),
             prop_oneof![
                 prop::collection::vec(any::<u8>(), 0..30),
                 Just(b"alice".to_vec()),
                 Just(REALM.as_bytes().to_vec()),
                 "[0-9]{1,25}:?.{0,5}".prop_map(String::into_bytes),
                 Just(vec![0; 20]),
                 Just(nonce().into_bytes()),
             ]),
            0..8),
        unix: u64,
    ) {
        let mut msg = Message::new();
        msg.write_header();
        for (typ, value) in attributes {
            msg.add(typ, &value);
        }
        prop_assert!(authenticate(&settings(), at(unix), decode(&msg)).is_err());
    }
}
