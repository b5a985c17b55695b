//! The client under virtual time, against a server that says what the test says.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use stun::attributes::{
    ATTR_CONNECTION_ID, ATTR_DATA, ATTR_ERROR_CODE, ATTR_MAPPED_ADDRESS, ATTR_MESSAGE_INTEGRITY,
    ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, ATTR_XORMAPPED_ADDRESS, AttrType,
};
use stun::integrity::MessageIntegrity;
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_INDICATION, CLASS_SUCCESS_RESPONSE, METHOD_BINDING,
    METHOD_CONNECTION_ATTEMPT, METHOD_DATA, Message, MessageClass, MessageType, Method, Setter,
};
use turnd_proto::auth::Keys;
use turnd_proto::auth::algorithm::{OFFERED, PasswordAlgorithm};
use turnd_proto::auth::key::Key;
use turnd_proto::auth::secret::Secret;

use super::message::{Attributes, decode, message, peer, plain_address, raw, verify, xor_address};
use super::*;
use crate::Oddity;

const PEER: &str = "203.0.113.7:9";

fn login(password: &str) -> Login {
    Login {
        user: "alice".to_owned(),
        proof: Proof::Password(Secret::new(password)),
    }
}

/// A response of the server to a request.
fn response(request: &[u8], class: MessageClass, attributes: Attributes) -> Message {
    let request = decode(request).unwrap();
    let typ = MessageType::new(request.typ.method, class);
    let mut response = message(typ, Vec::new());
    response.transaction_id = request.transaction_id;
    response.write_transaction_id();
    for attribute in attributes {
        attribute.add_to(&mut response).unwrap();
    }
    response
}

fn success(request: &[u8]) -> Vec<u8> {
    response(request, CLASS_SUCCESS_RESPONSE, Vec::new()).raw
}

fn error(request: &[u8], code: u16, nonce: &str) -> Vec<u8> {
    let attributes: Attributes = vec![
        raw(
            ATTR_ERROR_CODE,
            &[0, 0, (code / 100) as u8, (code % 100) as u8],
        ),
        raw(ATTR_REALM, b"example.org"),
        raw(ATTR_NONCE, nonce.as_bytes()),
    ];
    response(request, CLASS_ERROR_RESPONSE, attributes).raw
}

fn indication(method: Method, attributes: Attributes) -> Message {
    message(MessageType::new(method, CLASS_INDICATION), attributes)
}

/// The code of the response that the client tells of.
fn told(client: &mut Client) -> Option<u16> {
    match client.poll_event() {
        Some(Event::Response(_, response)) => response.error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_request_is_repeated_as_the_rfc_says_until_it_has_failed() {
    let start = Instant::now();
    let mut client = Client::new(Framing::Datagrams);
    let id = client.ask(start, Request::Binding);
    let mut sent = Vec::new();
    while let Some(now) = client.poll_timeout() {
        client.handle_timeout(now);
        while let Some(bytes) = client.poll_transmit(now) {
            sent.push(((now - start).as_millis(), bytes));
        }
    }
    let times: Vec<_> = sent.iter().map(|(at, _)| *at).collect();
    assert_eq!(times, [0, 500, 1500, 3500, 7500, 15_500, 31_500]);
    assert!(sent.iter().all(|(_, bytes)| *bytes == sent[0].1));
    assert_eq!(client.retransmitted(), 6);
    match client.poll_event() {
        Some(Event::TimedOut(late, METHOD_BINDING)) => assert_eq!(late, id),
        other => panic!("{other:?}"),
    }
    assert!(client.poll_event().is_none());
}

#[test]
fn the_time_of_a_request_ends_it_whatever_is_still_to_be_sent() {
    let start = Instant::now();
    let mut client = Client::new(Framing::Datagrams);
    client.set_timing(Timing {
        rto: Duration::from_millis(250),
        sends: u32::MAX,
        timeout: Duration::from_secs(3),
    });
    client.ask(start, Request::Binding);
    let mut ends = start;
    while let Some(now) = client.poll_timeout() {
        client.handle_timeout(now);
        while client.poll_transmit(now).is_some() {}
        ends = now;
    }
    assert_eq!(ends - start, Duration::from_secs(3));
    assert_eq!(client.retransmitted(), 3);
}

#[test]
fn a_stream_is_cut_into_messages_however_it_arrives() {
    let start = Instant::now();
    for chunk in [1, 3, 7, 1000] {
        let mut client = Client::new(Framing::Stream);
        client.ask(start, Request::ChannelBind(0x4000, PEER.parse().unwrap()));
        let request = client.poll_transmit(start).unwrap();
        assert_eq!(client.poll_timeout(), Some(start + Timing::STREAM.timeout));
        let mut bytes = success(&request);
        bytes.extend([0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0]);
        bytes.extend([0x40, 0, 0, 4, 1, 2]);
        bytes
            .chunks(chunk)
            .for_each(|chunk| client.handle_input(start, chunk));
        assert_eq!(told(&mut client), None);
        match client.poll_event() {
            Some(Event::ChannelData(0x4000, payload)) => assert_eq!(payload, [1, 2, 3, 4, 5]),
            other => panic!("{other:?}"),
        }
        assert!(client.poll_event().is_none() && client.has_partial_message());
    }
}

#[test]
fn messages_on_a_stream_are_padded_and_other_protocols_are_told() {
    let start = Instant::now();
    let mut client = Client::new(Framing::Stream);
    client.send_channel(0x4000, b"five!");
    let padded = client.poll_transmit(start).unwrap();
    assert_eq!(padded, b"\x40\0\0\x05five!\0\0\0");
    client.handle_input(start, b"SSH-2.0");
    assert!(matches!(
        client.poll_event(),
        Some(Event::Odd(Oddity::NotStun))
    ));
}

#[test]
fn challenges_are_answered_for_who_can_and_reported_to_who_asks_once() {
    let now = Instant::now();
    let mut client = Client::new(Framing::Datagrams);
    client.set_login(login("a password"));
    let id = client.ask(now, Request::ALLOCATE);
    let bare = client.poll_transmit(now).unwrap();
    assert!(!decode(&bare).unwrap().contains(ATTR_USERNAME));
    client.handle_input(now, &error(&bare, 401, "one"));
    let signed = client.poll_transmit(now).unwrap();
    assert_ne!(bare[8..20], signed[8..20], "a transaction of its own");
    client.handle_input(now, &error(&signed, 438, "two"));
    let renewed = client.poll_transmit(now).unwrap();
    let renewed = decode(&renewed).unwrap();
    assert_eq!(renewed.get(ATTR_NONCE).unwrap(), b"two");
    assert_eq!(renewed.get(ATTR_REALM).unwrap(), b"example.org");
    let key = MessageIntegrity::new_long_term_integrity(
        "alice".into(),
        "example.org".into(),
        "a password".into(),
    );
    assert!(verify(&renewed, &key.0));
    let mut granted = response(&renewed.raw, CLASS_SUCCESS_RESPONSE, Vec::new());
    key.add_to(&mut granted).unwrap();
    client.handle_input(now, &granted.raw);
    match client.poll_event() {
        Some(Event::Response(of, response)) => {
            assert_eq!((of, response.error, response.signed), (id, None, true));
        }
        other => panic!("{other:?}"),
    }
    // A nonce that is stale at once is not renewed for ever.
    client.ask(now, Request::Refresh(Duration::ZERO));
    for _ in 0..3 {
        let request = client.poll_transmit(now).unwrap();
        client.handle_input(now, &error(&request, 438, "three"));
    }
    assert_eq!(told(&mut client), Some(438));
    client.ask_once(now, &Request::ALLOCATE);
    let request = client.poll_transmit(now).unwrap();
    client.handle_input(now, &error(&request, 438, "four"));
    assert_eq!(told(&mut client), Some(438));
    assert!(client.poll_transmit(now).is_none());
}

#[test]
fn a_wrong_password_is_tried_once() {
    let now = Instant::now();
    let mut client = Client::new(Framing::Datagrams);
    client.set_login(login("wrong"));
    client.ask(now, Request::ALLOCATE);
    for nonce in ["one", "two"] {
        let request = client.poll_transmit(now).unwrap();
        client.handle_input(now, &error(&request, 401, nonce));
    }
    assert_eq!(told(&mut client), Some(401));
    assert!(client.poll_transmit(now).is_none() && client.poll_timeout().is_none());
}

const USERHASH: AttrType = AttrType(0x001E);
const PASSWORD_ALGORITHM: AttrType = AttrType(0x001D);
const PASSWORD_ALGORITHMS: AttrType = AttrType(0x8002);

/// A 401 or 438 with this list of password algorithms.
fn offer(request: &[u8], code: u16, nonce: &str, list: &[u8]) -> Vec<u8> {
    let mut message = decode(&error(request, code, nonce)).unwrap();
    message.add(PASSWORD_ALGORITHMS, list);
    message.raw
}

/// The request of a client that answers what it is sent, and its answer to a second challenge.
fn answers(challenge: impl Fn(&[u8]) -> Vec<u8>, proof: Proof) -> Option<Message> {
    let now = Instant::now();
    let mut client = Client::new(Framing::Datagrams);
    client.set_login(Login {
        proof,
        ..login("secret")
    });
    client.ask(now, Request::ALLOCATE);
    let request = client.poll_transmit(now).unwrap();
    client.handle_input(now, &challenge(&request));
    client
        .poll_transmit(now)
        .map(|bytes| decode(&bytes).unwrap())
}

#[test]
fn sha_256_and_the_hash_of_the_name_are_used_where_they_are_announced() {
    let keys = Keys::from_password("alice", "example.org", "secret").unwrap();
    let key = |algorithm| keys.get(algorithm).unwrap().clone();
    let (md5, sha256) = (key(PasswordAlgorithm::Md5), key(PasswordAlgorithm::Sha256));
    let password = || Proof::Password(Secret::new("secret"));
    let unknown_first = &[0, 9, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0];
    for (nonce, list, proof, expected) in [
        ("obMatJos2AAABn", &OFFERED[..], password(), &sha256),
        (
            "obMatJos2AAABn",
            &OFFERED,
            Proof::Key(keys.clone()),
            &sha256,
        ),
        (
            "obMatJos2AAABn",
            &OFFERED,
            Proof::Key(md5.clone().into()),
            &md5,
        ),
        ("obMatJos2AAADn", &OFFERED, password(), &sha256),
        ("obMatJos2AAABn", unknown_first, password(), &md5),
    ] {
        let challenge = |request: &[u8]| offer(request, 401, nonce, list);
        let signed = answers(challenge, proof).unwrap();
        assert!(verify(&signed, expected.as_bytes()), "{nonce}");
        assert!(!signed.contains(ATTR_MESSAGE_INTEGRITY));
        assert_eq!(signed.get(PASSWORD_ALGORITHMS).unwrap(), list);
        let chosen = signed.get(PASSWORD_ALGORITHM).unwrap();
        assert_eq!(chosen, expected.algorithm().value());
        let hashed = nonce.starts_with("obMatJos2AAAD");
        assert_eq!(signed.contains(USERHASH), hashed);
        assert_eq!(signed.contains(ATTR_USERNAME), !hashed);
    }
    // Not announced: as ever.
    for nonce in ["n", "obMatJos2AAAAn"] {
        let signed = answers(|request| offer(request, 401, nonce, &OFFERED), password()).unwrap();
        assert!(verify(&signed, md5.as_bytes()) && signed.contains(ATTR_MESSAGE_INTEGRITY));
        assert!(!signed.contains(PASSWORD_ALGORITHM) && !signed.contains(PASSWORD_ALGORITHMS));
    }
}

#[test]
fn an_offer_that_was_taken_out_or_fits_no_key_is_not_answered() {
    let md5 = || Proof::Key(Key::md5([7; 16]).into());
    let sha256_only = [0, 2, 0, 0];
    assert!(answers(|request| error(request, 401, "obMatJos2AAABn"), md5()).is_none());
    assert!(
        answers(
            |request| offer(request, 401, "obMatJos2AAABn", &sha256_only),
            md5()
        )
        .is_none()
    );
    assert!(answers(|request| offer(request, 401, "obMatJos2AAABn", &[]), md5()).is_none());
    let request = Request::ALLOCATE.encode().raw;
    let challenge = decode(&error(&request, 401, "obMatJos2AAABn")).unwrap();
    let mut client = Client::new(Framing::Datagrams);
    assert_eq!(
        client.log_in(&login("secret"), &challenge),
        Err(ChallengeError::Altered)
    );
}

#[test]
fn a_nonce_that_announces_something_else_is_answered_with_other_credentials() {
    let now = Instant::now();
    let mut client = Client::new(Framing::Datagrams);
    client.set_login(login("secret"));
    client.ask(now, Request::ALLOCATE);
    let request = client.poll_transmit(now).unwrap();
    client.handle_input(now, &error(&request, 401, "obMatJos2AAAAn"));
    let old = client.poll_transmit(now).unwrap();
    assert!(decode(&old).unwrap().contains(ATTR_MESSAGE_INTEGRITY));
    client.handle_input(now, &offer(&old, 438, "obMatJos2AAADn", &OFFERED));
    let new = decode(&client.poll_transmit(now).unwrap()).unwrap();
    assert!(new.contains(USERHASH) && !new.contains(ATTR_MESSAGE_INTEGRITY));
    let key = Key::from_password_with(PasswordAlgorithm::Sha256, "alice", "example.org", "secret");
    assert!(verify(&new, key.unwrap().as_bytes()));
}

#[test]
fn a_challenge_that_cannot_be_answered_is_told() {
    let now = Instant::now();
    let mut client = Client::new(Framing::Datagrams);
    client.ask(now, Request::ALLOCATE);
    let request = client.poll_transmit(now).unwrap();
    let mut bare = response(&request, CLASS_ERROR_RESPONSE, Vec::new());
    bare.add(ATTR_ERROR_CODE, &[0, 0, 4, 1]);
    client.handle_input(now, &bare.raw);
    assert_eq!(told(&mut client), Some(401));
    assert_eq!(
        client.log_in(&login("a"), &bare),
        Err(ChallengeError::Challenge)
    );
    let challenge = decode(&error(&request, 401, "n")).unwrap();
    assert!(matches!(
        client.log_in(&login("a\u{7f}"), &challenge),
        Err(ChallengeError::Credentials(_))
    ));
    let long = decode(&error(&request, 401, &"n".repeat(764))).unwrap();
    assert_eq!(
        client.log_in(&login("a"), &long),
        Err(ChallengeError::Challenge)
    );
}

#[test]
fn odd_bytes_are_told_and_late_answers_are_not_odd() {
    let now = Instant::now();
    let mut client = Client::new(Framing::Datagrams);
    client.ask(now, Request::Binding);
    let request = client.poll_transmit(now).unwrap();
    let mut other = success(&request);
    other[8] ^= 1;
    let mut cut = success(&request);
    cut.truncate(6);
    for (bytes, oddity) in [
        (&b"HTTP/1.1 400 Bad Request"[..], Oddity::NotStun),
        // Nobody has asked for a peer.
        (&[0x40, 0, 0, 0], Oddity::NotStun),
        (&[], Oddity::NotStun),
        (&cut, Oddity::Damaged),
        (&request, Oddity::Damaged),
        (&other, Oddity::Forged),
    ] {
        client.handle_input(now, bytes);
        match client.poll_event() {
            Some(Event::Odd(odd)) => assert_eq!(odd, oddity, "{bytes:?}"),
            other => panic!("{other:?}"),
        }
    }
    client.handle_input(now, &success(&request));
    client.handle_input(now, &success(&request));
    assert_eq!(told(&mut client), None);
    assert!(client.poll_event().is_none());
}

#[test]
fn data_and_connections_of_peers_are_told() {
    let now = Instant::now();
    let mut client = Client::new(Framing::Stream);
    let from: SocketAddr = PEER.parse().unwrap();
    let data = indication(METHOD_DATA, vec![peer(from), raw(ATTR_DATA, b"hello")]);
    let attempt = indication(
        METHOD_CONNECTION_ATTEMPT,
        vec![peer(from), raw(ATTR_CONNECTION_ID, &[0, 0, 1, 2])],
    );
    client.handle_input(now, &[data.raw, attempt.raw].concat());
    match client.poll_event() {
        Some(Event::Data(peer, payload)) => assert_eq!((peer, &payload[..]), (from, &b"hello"[..])),
        other => panic!("{other:?}"),
    }
    match client.poll_event() {
        Some(Event::ConnectionAttempt(id, peer)) => assert_eq!((id, peer), (258, from)),
        other => panic!("{other:?}"),
    }
    client.ask(now, Request::Connect(from));
    let connect = client.poll_transmit(now).unwrap();
    let id = raw(ATTR_CONNECTION_ID, &[0, 0, 0, 9]);
    let connected = response(&connect, CLASS_SUCCESS_RESPONSE, vec![id]);
    client.handle_input(now, &connected.raw);
    match client.poll_event() {
        Some(Event::Response(_, response)) => assert_eq!(response.connection_id(), Some(9)),
        other => panic!("{other:?}"),
    }
    let bind = Request::ConnectionBind(9).encode();
    assert_eq!(bind.get(ATTR_CONNECTION_ID).unwrap(), [0, 0, 0, 9]);
}

#[test]
fn signatures_are_checked_without_what_stands_behind_them() {
    let (key, other) = (b"key", b"other");
    let mut message = Request::Refresh(Duration::from_secs(600)).encode();
    assert!(!verify(&message, key));
    MessageIntegrity(key.to_vec()).add_to(&mut message).unwrap();
    message.add(ATTR_DATA, b"behind it");
    let message = decode(&message.raw).unwrap();
    assert!(verify(&message, key) && !verify(&message, other));
    for wrong in [&[7; 20][..], &[7; 19], &[], &[7; 64]] {
        let mut message = Request::Binding.encode();
        message.add(ATTR_MESSAGE_INTEGRITY, wrong);
        assert!(!verify(&message, key));
    }
}

#[test]
fn addresses_of_the_wrong_length_or_family_are_none() {
    for (value, found) in [
        (&[0, 1, 0x21, 0x12, 0x21, 0x12, 0xA4, 0x42][..], true),
        (&[0, 1, 0x21, 0x12, 0x21, 0x12, 0xA4], false),
        (&[0, 2, 0x21, 0x12, 0x21, 0x12, 0xA4, 0x42], false),
        (&[0, 3, 0, 0, 0, 0, 0, 0], false),
        (&[], false),
    ] {
        let mut message = Request::Binding.encode();
        message.add(ATTR_XORMAPPED_ADDRESS, value);
        message.add(ATTR_MAPPED_ADDRESS, value);
        let xor = xor_address(&message, ATTR_XORMAPPED_ADDRESS);
        assert_eq!(xor, found.then(|| "0.0.0.0:0".parse().unwrap()));
        let plain = plain_address(&message, ATTR_MAPPED_ADDRESS);
        assert_eq!(plain.is_some(), found, "{value:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_much(bytes in proptest::collection::vec(any::<u8>(), 0..200), keep in 0..30usize) {
        let now = Instant::now();
        for framing in [Framing::Datagrams, Framing::Stream] {
            let mut client = Client::new(framing);
            client.set_login(login("a password"));
            client.ask(now, Request::CreatePermission(vec![PEER.parse().unwrap()]));
            let mut reply = success(&client.poll_transmit(now).unwrap());
            // Sometimes a message of the client's own transaction with anything behind it.
            reply.truncate(keep);
            reply.extend(&bytes);
            client.handle_input(now, &bytes);
            client.handle_input(now, &reply);
            while client.poll_event().is_some() {}
        }
    }
}
