//! SHA-256, password algorithms and USERHASH (RFC 8489 §9.2, A6 to A10).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use super::*;

const SHA256: PasswordAlgorithm = PasswordAlgorithm::Sha256;
const MD5: PasswordAlgorithm = PasswordAlgorithm::Md5;
const MESSAGE_INTEGRITY_SHA256: AttrType = AttrType(0x001C);
const PASSWORD_ALGORITHM: AttrType = AttrType(0x001D);
const USERHASH: AttrType = AttrType(0x001E);
const PASSWORD_ALGORITHMS: AttrType = AttrType(0x8002);

const LIST: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];
const CHOOSE_SHA256: &[u8] = &[0, 2, 0, 0];
const CHOOSE_MD5: &[u8] = &[0, 1, 0, 0];

const ALGORITHMS: Features = Features {
    password_algorithms: true,
    username_anonymity: false,
};
const ANONYMITY: Features = Features {
    password_algorithms: false,
    username_anonymity: true,
};
const BOTH: Features = Features {
    password_algorithms: true,
    username_anonymity: true,
};

fn with(features: Features) -> Settings {
    Settings {
        features,
        ..settings()
    }
}

fn sha256_key(user: &str, password: &str) -> Key {
    Key::from_password_with(SHA256, user, REALM, password).unwrap()
}

fn hash(user: &str) -> Vec<u8> {
    Sha256::digest(format!("{user}:{REALM}")).to_vec()
}

/// A request that is made attribute by attribute.
#[derive(Clone)]
struct Asking {
    attributes: Vec<(AttrType, Vec<u8>)>,
    sha1: bool,
}

impl Asking {
    /// A request as RFC 8489 has it of a client that was sent a nonce with these features.
    fn new(user: &str, features: Features) -> Self {
        let nonce = nonce_key().issue(T, source(), features);
        let mut attributes = vec![if features.username_anonymity {
            (USERHASH, hash(user))
        } else {
            (ATTR_USERNAME, user.into())
        }];
        attributes.push((ATTR_REALM, REALM.into()));
        attributes.push((ATTR_NONCE, nonce.into()));
        if features.password_algorithms {
            attributes.push((PASSWORD_ALGORITHMS, LIST.into()));
            attributes.push((PASSWORD_ALGORITHM, CHOOSE_SHA256.into()));
        }
        Self {
            attributes,
            sha1: false,
        }
    }

    /// The same with one attribute changed, or taken away.
    fn with(mut self, typ: AttrType, value: Option<&[u8]>) -> Self {
        let at = self.attributes.iter().position(|(own, _)| *own == typ);
        match (at, value) {
            (Some(at), Some(value)) => self.attributes[at].1 = value.into(),
            (Some(at), None) => drop(self.attributes.remove(at)),
            (None, Some(value)) => self.attributes.push((typ, value.into())),
            (None, None) => {}
        }
        self
    }

    /// Signed with MESSAGE-INTEGRITY in place of MESSAGE-INTEGRITY-SHA256.
    fn sha1(mut self) -> Self {
        self.sha1 = true;
        self
    }

    fn sign(&self, key: &Key) -> Vec<u8> {
        let mut msg = Message::new();
        msg.write_header();
        for (typ, value) in &self.attributes {
            msg.add(*typ, value);
        }
        if self.sha1 {
            let key = key.as_bytes().to_vec();
            MessageIntegrity(key).add_to(&mut msg).unwrap();
        } else {
            let mut covered = msg.raw.clone();
            let length = (covered.len() - 20 + 36) as u16;
            covered[2..4].copy_from_slice(&length.to_be_bytes());
            let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
            mac.update(&covered);
            msg.add(MESSAGE_INTEGRITY_SHA256, &mac.finalize().into_bytes());
        }
        msg.raw
    }
}

fn ask(settings: &Settings, now: Now, bytes: &[u8]) -> Result<Identity, Rejected> {
    let msg = wire::message::Message::parse(bytes).unwrap();
    build(settings).authenticate(now, source().ip(), &msg, None)
}

/// The user who is let in, or the code of the refusal.
fn outcome(settings: &Settings, asking: &Asking, key: &Key) -> Result<String, u16> {
    match ask(settings, now(), &asking.sign(key)) {
        Ok(identity) => Ok(identity.user.unwrap().to_string()),
        Err(rejected) => Err(rejected.rejection.code().0),
    }
}

#[test]
fn a9_a10_sha_256_and_user_hash_let_the_user_in() {
    let alice = || Ok("alice".to_owned());
    for features in [ALGORITHMS, ANONYMITY, BOTH] {
        let key = if features.password_algorithms {
            sha256_key("alice", "secret")
        } else {
            key("alice", "secret")
        };
        let asking = Asking::new("alice", features);
        let settings = with(features);
        assert_eq!(outcome(&settings, &asking, &key), alice(), "{features:?}");
        // RFC 8489 §9.2.4: MESSAGE-INTEGRITY where there is nothing else.
        let sha1 = asking.clone().sha1();
        assert_eq!(outcome(&settings, &sha1, &key), alice(), "{features:?}");
        let wrong = Asking::new("alice", features);
        let other = sha256_key("alice", "guess");
        assert_eq!(outcome(&settings, &wrong, &other), Err(401));
    }
}

#[test]
fn a9_the_key_of_the_algorithm_signs_the_response() {
    let settings = with(ALGORITHMS);
    let sha256 = Asking::new("alice", ALGORITHMS).sign(&sha256_key("alice", "secret"));
    let identity = ask(&settings, now(), &sha256).unwrap();
    assert_eq!(identity.key, Some(sha256_key("alice", "secret")));
    let md5 = Asking::new("alice", ALGORITHMS).with(PASSWORD_ALGORITHM, Some(CHOOSE_MD5));
    let identity = ask(&settings, now(), &md5.sign(&key("alice", "secret"))).unwrap();
    assert_eq!(identity.key, Some(key("alice", "secret")));
    let stale = ask(&settings, at(T + 601), &sha256).unwrap_err();
    assert_eq!(stale.rejection.code(), ErrorCode(438));
    assert_eq!(
        stale.rejection.key(),
        Some(&sha256_key("alice", "secret")),
        "438 too"
    );
}

#[test]
fn a7_neither_attribute_is_md5_and_a_mixed_up_key_is_401() {
    let settings = with(ALGORITHMS);
    let neither = Asking::new("alice", ALGORITHMS)
        .with(PASSWORD_ALGORITHM, None)
        .with(PASSWORD_ALGORITHMS, None);
    let md5 = key("alice", "secret");
    let sha256 = sha256_key("alice", "secret");
    for asking in [neither.clone(), neither.sha1()] {
        assert_eq!(outcome(&settings, &asking, &md5), Ok("alice".into()));
        assert_eq!(outcome(&settings, &asking, &sha256), Err(401));
    }
    let chosen = Asking::new("alice", ALGORITHMS);
    assert_eq!(outcome(&settings, &chosen, &md5), Err(401));
}

#[test]
fn a7_a_list_that_was_altered_or_a_choice_outside_it_is_400() {
    let settings = with(ALGORITHMS);
    let good = Asking::new("alice", ALGORITHMS);
    let mut altered: Vec<Asking> = Vec::new();
    for list in [
        &b""[..],
        &[0, 1, 0, 0],
        &[0, 2, 0, 0],
        &[0, 1, 0, 0, 0, 2, 0, 0],
        &[0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0],
        &[0, 2, 0, 4, 0, 0, 0, 0, 0, 1, 0, 0],
        &[0, 2, 0, 0, 0, 1, 0],
        &[0, 2, 0, 0, 0, 1, 0, 0, 0],
    ] {
        altered.push(good.clone().with(PASSWORD_ALGORITHMS, Some(list)));
    }
    // Cut at every byte, and a bit changed in every byte.
    for at in 0..LIST.len() {
        altered.push(good.clone().with(PASSWORD_ALGORITHMS, Some(&LIST[..at])));
        let mut list = LIST.to_vec();
        list[at] ^= 1;
        altered.push(good.clone().with(PASSWORD_ALGORITHMS, Some(&list)));
    }
    for choice in [
        &b""[..],
        &[0],
        &[0, 2],
        &[0, 2, 0],
        &[0, 0, 0, 0],
        &[0, 3, 0, 0],
        &[0, 2, 0, 4, 0, 0, 0, 0],
        &[0, 2, 0, 0, 0, 0, 0, 0],
        &[0, 2, 0, 1],
    ] {
        altered.push(good.clone().with(PASSWORD_ALGORITHM, Some(choice)));
    }
    altered.push(good.clone().with(PASSWORD_ALGORITHM, None));
    altered.push(good.clone().with(PASSWORD_ALGORITHMS, None));
    for asking in altered {
        for key in [key("alice", "secret"), sha256_key("alice", "secret")] {
            let rejected = ask(&settings, now(), &asking.sign(&key)).unwrap_err();
            assert_eq!(rejected.rejection, Rejection::NotOffered);
            assert_eq!(rejected.rejection.code(), ErrorCode(400));
            assert!(!rejected.rejection.challenges() && rejected.rejection.key().is_none());
        }
    }
    assert!(outcome(&settings, &good, &sha256_key("alice", "secret")).is_ok());
}

/// A client to whom somebody on the way sent the 401 without its features is told the truth, in a 438 that is signed.
#[test]
fn a7_d9_a_downgraded_nonce_is_stale() {
    let settings = with(BOTH);
    let genuine = nonce_key().issue(T, source(), BOTH);
    for cookie in [
        "obMatJos2AAAA",
        "obMatJos2AAAB",
        "obMatJos2AAAC",
        "obMatJos",
    ] {
        let nonce = format!("{cookie}{}", &genuine[13..]);
        let features = Features::of(nonce.as_bytes());
        let asking = Asking::new("alice", features).with(ATTR_NONCE, Some(nonce.as_bytes()));
        let key = if features.password_algorithms {
            sha256_key("alice", "secret")
        } else {
            key("alice", "secret")
        };
        let Rejected {
            rejection,
            fresh_nonce,
        } = ask(&settings, now(), &asking.sign(&key)).unwrap_err();
        assert!(matches!(rejection, Rejection::StaleNonce(_)), "{nonce}");
        assert_eq!((rejection.key(), fresh_nonce), (Some(&key), false));
    }
    let fresh = build(&settings).nonce(now(), source());
    assert!(fresh.starts_with("obMatJos2AAAD"));
}

/// The attributes count for nothing with a nonce that does not announce them.
#[test]
fn a7_a10_what_was_not_offered_is_not_obeyed() {
    let none = Features::default();
    let asking = Asking::new("alice", none)
        .with(PASSWORD_ALGORITHMS, Some(LIST))
        .with(PASSWORD_ALGORITHM, Some(CHOOSE_SHA256));
    let settings = settings();
    assert_eq!(
        outcome(&settings, &asking, &key("alice", "secret")),
        Ok("alice".into())
    );
    assert_eq!(
        outcome(&settings, &asking, &sha256_key("alice", "secret")),
        Err(401)
    );
    let hashed = Asking::new("alice", none)
        .with(ATTR_USERNAME, None)
        .with(USERHASH, Some(&hash("alice")));
    assert_eq!(
        outcome(&settings, &hashed, &key("alice", "secret")),
        Err(400)
    );
}

#[test]
fn a10_the_hash_of_nobody_is_refused_as_a_wrong_password_is() {
    let settings = with(BOTH);
    let rejection = |asking: &Asking, key: &Key| {
        let rejected = ask(&settings, now(), &asking.sign(key)).unwrap_err();
        assert!(rejected.fresh_nonce);
        assert_eq!(rejected.rejection.code(), ErrorCode(401));
        assert!(rejected.rejection.key().is_none() && rejected.rejection.challenges());
        rejected.rejection
    };
    let nobody = Asking::new("carol", BOTH);
    for key in [
        sha256_key("carol", "guess"),
        sha256_key("alice", "secret"),
        Key::sha256([0; 32]),
    ] {
        assert_eq!(
            rejection(&nobody, &key),
            Rejection::Unauthorized(Unauthorized::UnknownUser)
        );
    }
    let alice = Asking::new("alice", BOTH);
    assert_eq!(
        rejection(&alice, &sha256_key("alice", "guess")),
        Rejection::Unauthorized(Unauthorized::WrongKey)
    );
    // Bob has no key but MD5: nobody's key is not his.
    assert_eq!(
        rejection(&Asking::new("bob", BOTH), &Key::sha256([0; 32])),
        Rejection::Unauthorized(Unauthorized::WrongKey)
    );
    // The hash of the name without the realm, of the name itself, and cut at every byte.
    let right = hash("alice");
    for value in (0..32).map(|end| &right[..end]) {
        let asking = alice.clone().with(USERHASH, Some(value));
        assert_eq!(
            rejection(&asking, &sha256_key("alice", "secret")),
            Rejection::Unauthorized(Unauthorized::MalformedName)
        );
    }
    for value in [
        Sha256::digest("alice").to_vec(),
        Sha256::digest("alice:example.com").to_vec(),
        vec![0; 32],
    ] {
        let asking = alice.clone().with(USERHASH, Some(&value));
        assert_eq!(
            rejection(&asking, &sha256_key("alice", "secret")),
            Rejection::Unauthorized(Unauthorized::UnknownUser)
        );
    }
}

#[test]
fn a10_a_name_beside_the_hash_is_the_user() {
    let settings = with(ANONYMITY);
    let asking = Asking::new("alice", ANONYMITY).with(ATTR_USERNAME, Some(b"bob"));
    assert_eq!(
        outcome(&settings, &asking, &key("bob", "hidden")),
        Ok("bob".into())
    );
    assert_eq!(
        outcome(&settings, &asking, &key("alice", "secret")),
        Err(401)
    );
}

#[test]
fn a10_names_are_hashed_as_opaque_strings() {
    let mut settings = with(ANONYMITY);
    settings.users = vec![user("Jose\u{301}", "secret")];
    let composed = "Jos\u{e9}";
    let asking = Asking::new(composed, ANONYMITY);
    assert_eq!(
        outcome(&settings, &asking, &key(composed, "secret")),
        Ok(composed.into())
    );
}

/// REST names are not known before they come, so no hash finds them; their names do.
#[test]
fn a10_u1_rest_credentials_have_no_hash_and_sha_256_as_any() {
    let settings = with(BOTH);
    let name = "1900000000:carol";
    let password = rest::password("old", name);
    let hashed = Asking::new(name, BOTH);
    assert_eq!(
        outcome(&settings, &hashed, &sha256_key(name, &password)),
        Err(401)
    );
    let named = hashed
        .with(USERHASH, None)
        .with(ATTR_USERNAME, Some(name.as_bytes()));
    assert_eq!(
        outcome(&settings, &named, &sha256_key(name, &password)),
        Ok(name.into())
    );
    let identity = ask(&settings, now(), &named.sign(&sha256_key(name, &password))).unwrap();
    let auth = build(&settings);
    assert_eq!(auth.standing(now(), &identity), Standing::Good);
    // The call outlives the credentials, with the algorithm that it began with and no other.
    let later = at(1_900_000_001);
    let nonce = nonce_key().issue(later.unix, source(), BOTH);
    let named = named.with(ATTR_NONCE, Some(nonce.as_bytes()));
    let again = |asking: &Asking, key: &Key| {
        let bytes = asking.sign(key);
        let msg = wire::message::Message::parse(&bytes).unwrap();
        let again = auth.authenticate(later, source().ip(), &msg, Some(&identity));
        again.map_err(|rejected| rejected.rejection.code().0)
    };
    assert!(again(&named, &sha256_key(name, &password)).is_ok());
    let md5 = named.with(PASSWORD_ALGORITHM, Some(CHOOSE_MD5));
    assert_eq!(again(&md5, &key(name, &password)), Err(401));
}

#[test]
fn a8_a_stored_key_serves_its_own_algorithm_alone() {
    let mut settings = with(ALGORITHMS);
    let stored = |name: &str, keys: Keys| User {
        name: name.into(),
        credential: Credential::Keys(keys),
    };
    settings.users = vec![
        stored("old", key("old", "pass").into()),
        stored("new", sha256_key("new", "pass").into()),
        stored("both", Keys::from_password("both", REALM, "pass").unwrap()),
    ];
    for (name, algorithm, good) in [
        ("old", MD5, true),
        ("old", SHA256, false),
        ("new", MD5, false),
        ("new", SHA256, true),
        ("both", MD5, true),
        ("both", SHA256, true),
    ] {
        let choice = match algorithm {
            MD5 => CHOOSE_MD5,
            SHA256 => CHOOSE_SHA256,
        };
        let key = Key::from_password_with(algorithm, name, REALM, "pass").unwrap();
        let asking = Asking::new(name, ALGORITHMS).with(PASSWORD_ALGORITHM, Some(choice));
        let expected = if good { Ok(name.to_owned()) } else { Err(401) };
        assert_eq!(outcome(&settings, &asking, &key), expected, "{name}");
        if good {
            let identity = ask(&settings, now(), &asking.sign(&key)).unwrap();
            assert_eq!(build(&settings).standing(now(), &identity), Standing::Good);
            let mut changed = settings.clone();
            changed.users = vec![user(name, "another")];
            assert_eq!(
                build(&changed).standing(now(), &identity),
                Standing::Revoked
            );
        }
    }
}

/// A reload changes what is announced, and leaves the nonces that clients have as good as they were.
#[test]
fn a7_d9_a_nonce_counts_as_it_was_sent() {
    let sha256 = sha256_key("alice", "secret");
    let asking = Asking::new("alice", BOTH);
    for after in [Features::default(), ALGORITHMS, ANONYMITY] {
        assert_eq!(outcome(&with(after), &asking, &sha256), Ok("alice".into()));
    }
    let before = Asking::new("alice", Features::default()).sha1();
    assert_eq!(
        outcome(&with(BOTH), &before, &key("alice", "secret")),
        Ok("alice".into())
    );
}

#[test]
fn a9_no_auth_holds_a_sha_256_signature_to_its_word() {
    let mut settings = with(BOTH);
    settings.no_auth = true;
    let asking = Asking::new("alice", BOTH);
    assert_eq!(
        outcome(&settings, &asking, &sha256_key("alice", "guess")),
        Err(401)
    );
    assert!(outcome(&settings, &asking, &sha256_key("alice", "secret")).is_ok());
}

proptest! {
    /// A request that was altered anywhere before the end of its signature is refused.
    #[test]
    fn a3_a9_an_altered_request_is_refused(
        at in 0usize..400,
        with_bits in 1u8..,
        algorithms: bool,
        anonymity: bool,
        sha1: bool,
    ) {
        let features = Features { password_algorithms: algorithms, username_anonymity: anonymity };
        let key = if algorithms { sha256_key("alice", "secret") } else { key("alice", "secret") };
        let mut asking = Asking::new("alice", features);
        asking.sha1 = sha1;
        let mut bytes = asking.sign(&key);
        let at = at % bytes.len();
        bytes[at] ^= with_bits;
        if let Ok(msg) = wire::message::Message::parse(&bytes) {
            let auth = build(&with(features));
            prop_assert!(auth.authenticate(now(), source().ip(), &msg, None).is_err());
        }
    }

    /// No attributes of any length or order make it panic or let anyone in without the key.
    #[test]
    fn a9_no_message_with_the_new_attributes_panics_or_gets_in(
        attributes in prop::collection::vec(
            (prop::sample::select(vec![
                 ATTR_USERNAME, ATTR_REALM, ATTR_NONCE, ATTR_MESSAGE_INTEGRITY,
                 MESSAGE_INTEGRITY_SHA256, PASSWORD_ALGORITHM, PASSWORD_ALGORITHMS, USERHASH,
             ]),
             prop_oneof![
                 prop::collection::vec(any::<u8>(), 0..40),
                 Just(b"alice".to_vec()),
                 Just(REALM.as_bytes().to_vec()),
                 Just(hash("alice")),
                 Just(LIST.to_vec()),
                 Just(CHOOSE_SHA256.to_vec()),
                 Just(vec![0; 32]),
                 Just(nonce_key().issue(T, source(), BOTH).into_bytes()),
             ]),
            0..10),
    ) {
        let mut msg = Message::new();
        msg.write_header();
        for (typ, value) in attributes {
            msg.add(typ, &value);
        }
        prop_assert!(ask(&with(BOTH), now(), &msg.raw).is_err());
    }
}
