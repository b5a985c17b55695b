//! Messages of clients without credentials.

use stun::attributes::{ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, AttrType};
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_REFRESH};

use crate::support::Dice;
use crate::support::messages::{Attributes, Login, channel_data, raw, request, send, transport};
use crate::support::server::{REALM, USER};

const MESSAGE_INTEGRITY_SHA256: AttrType = AttrType(0x001C);
const PASSWORD_ALGORITHM: AttrType = AttrType(0x001D);
const USERHASH: AttrType = AttrType(0x001E);
const PASSWORD_ALGORITHMS: AttrType = AttrType(0x8002);

/// PASSWORD-ALGORITHMS as the server sends it.
const OFFERED: &[u8] = &[0, 2, 0, 0, 0, 1, 0, 0];

/// One kind of message, without good credentials.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) bytes: Vec<u8>,
}

/// An Allocate with these credentials and a MAC that is wrong.
fn allocate(user: &str, nonce: &str) -> Vec<u8> {
    let mut attributes: Attributes = vec![transport(), raw(ATTR_USERNAME, user.as_bytes())];
    attributes.extend([
        raw(ATTR_REALM, REALM.as_bytes()),
        raw(ATTR_NONCE, nonce.as_bytes()),
    ]);
    attributes.push(raw(ATTR_MESSAGE_INTEGRITY, &[7; 20]));
    request(METHOD_ALLOCATE, attributes).raw
}

/// The same of a client of RFC 8489, with this user in USERHASH or USERNAME and this choice of algorithms.
fn allocate_sha256(user: (AttrType, &[u8]), nonce: &str, algorithms: &[u8]) -> Vec<u8> {
    let attributes = vec![
        transport(),
        raw(user.0, user.1),
        raw(ATTR_REALM, REALM.as_bytes()),
        raw(ATTR_NONCE, nonce.as_bytes()),
        raw(PASSWORD_ALGORITHMS, algorithms),
        raw(PASSWORD_ALGORITHM, &[0, 2, 0, 0]),
        raw(MESSAGE_INTEGRITY_SHA256, &[7; 32]),
    ];
    request(METHOD_ALLOCATE, attributes).raw
}

/// A record with a whole ClientHello of DTLS 1.2, without a cookie.
pub(crate) fn dtls_hello() -> Vec<u8> {
    let mut body = vec![0xFE, 0xFD];
    body.extend((1..=32).collect::<Vec<u8>>());
    // No session, no cookie, two suites, no compression; supported groups, formats and signatures.
    body.extend([0, 0, 0, 4, 0xC0, 0x2B, 0xC0, 0x2F, 1, 0, 0, 24]);
    body.extend([
        0, 10, 0, 4, 0, 2, 0, 23, 0, 11, 0, 2, 1, 0, 0, 13, 0, 6, 0, 4, 4, 3, 8, 4,
    ]);
    let len = body.len() as u8;
    let mut record = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, len + 12];
    record.extend([1, 0, 0, len, 0, 0, 0, 0, 0, 0, 0, len]);
    record.extend(body);
    record
}

/// A header of the PROXY protocol, version 2, for UDP over IPv4.
pub(crate) fn proxy_header() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0C".to_vec();
    header.extend([192, 0, 2, 1, 192, 0, 2, 2, 0x9C, 0x40, 0x0D, 0x96]);
    header
}

/// Every kind; `nonce` is the server's own for who will send them, `expired` is of that form.
pub(crate) fn kinds(nonce: &str, expired: &str) -> Vec<Kind> {
    let known = |user: &str, password: &str, nonce: &str| {
        let mut login = Login::answer(&challenge(nonce), user, password);
        login.nonce = nonce.to_owned();
        login.sign(METHOD_ALLOCATE, vec![transport()]).raw
    };
    let long = "a".repeat(508);
    let dots = "\u{30FB}".repeat(168) + "\u{30A2}";
    let digits = "\u{661}".repeat(250);
    let many: Attributes = (0..100)
        .map(|n| raw(AttrType(0x8000 + n), b"abcd"))
        .collect();
    let unknown: Attributes = (0..100)
        .map(|n| raw(AttrType(0x7000 + n), b"abcd"))
        .collect();
    let mut dice = Dice(3);
    let kind = |name, bytes| Kind { name, bytes };
    vec![
        kind(
            "Allocate, bare",
            request(METHOD_ALLOCATE, vec![transport()]).raw,
        ),
        kind("Binding", request(METHOD_BINDING, vec![]).raw),
        kind(
            "Binding, 100 optional attributes",
            request(METHOD_BINDING, many).raw,
        ),
        kind(
            "Binding, 100 unknown attributes",
            request(METHOD_BINDING, unknown).raw,
        ),
        kind("Refresh, bare", request(METHOD_REFRESH, vec![]).raw),
        kind(
            "Allocate, MAC and nothing else",
            request(METHOD_ALLOCATE, vec![raw(ATTR_MESSAGE_INTEGRITY, &[7; 20])]).raw,
        ),
        kind("Allocate, unknown user", allocate("mallory", nonce)),
        kind(
            "Allocate, unknown user of 508 bytes",
            allocate(&long, nonce),
        ),
        kind(
            "Allocate, unknown user, 7 bytes, not ASCII",
            allocate("\u{30FB}\u{30A2}a", nonce),
        ),
        kind(
            "Allocate, unknown user, 64 bytes of Arabic digits",
            allocate(&"\u{661}".repeat(32), nonce),
        ),
        kind(
            "Allocate, unknown user, 507 bytes of middle dots",
            allocate(&dots, nonce),
        ),
        kind(
            "Allocate, unknown user, 500 bytes of Arabic digits",
            allocate(&digits, nonce),
        ),
        kind(
            "Allocate, expired REST name",
            allocate("1000000000:mallory", nonce),
        ),
        kind("Allocate, wrong password", known(USER, "wrong", nonce)),
        kind(
            "Allocate, unknown user, SHA-256",
            allocate_sha256((ATTR_USERNAME, b"mallory"), nonce, OFFERED),
        ),
        kind(
            "Allocate, hash of nobody, SHA-256",
            allocate_sha256((USERHASH, &[7; 32]), nonce, OFFERED),
        ),
        kind(
            "Allocate, wrong password, SHA-256",
            allocate_sha256((ATTR_USERNAME, USER.as_bytes()), nonce, OFFERED),
        ),
        kind(
            "Allocate, algorithms that were not offered",
            allocate_sha256((ATTR_USERNAME, USER.as_bytes()), nonce, &OFFERED[..4]),
        ),
        kind(
            "Allocate, wrong password, no nonce of ours",
            known(USER, "wrong", "no-such-nonce"),
        ),
        kind(
            "Allocate, right password, expired nonce",
            known(USER, crate::support::server::PASSWORD, expired),
        ),
        kind("Allocate, wrong realm", known_elsewhere(nonce)),
        kind("unknown method", unknown_method()),
        kind(
            "Send without allocation",
            send("198.51.100.9:9", &[7; 160]).raw,
        ),
        kind(
            "channel data without allocation",
            channel_data(0x4000, &[7; 160]),
        ),
        kind(
            "garbage, 100 bytes",
            (0..100).map(|_| dice.next() as u8 | 0x80).collect(),
        ),
        kind(
            "STUN header and garbage, 1200 bytes",
            header_and_garbage(&mut dice),
        ),
        kind("PROXY header", proxy_header()),
        kind("DTLS ClientHello without cookie", dtls_hello()),
    ]
}

/// A request of a method that nobody has registered.
fn unknown_method() -> Vec<u8> {
    let mut bytes = request(METHOD_BINDING, vec![]).raw;
    bytes[..2].copy_from_slice(&[0x02, 0xEF]);
    bytes
}

/// A 401 of the server's realm.
fn challenge(nonce: &str) -> stun::message::Message {
    let attributes: Attributes = vec![
        raw(ATTR_REALM, REALM.as_bytes()),
        raw(ATTR_NONCE, nonce.as_bytes()),
    ];
    request(METHOD_ALLOCATE, attributes)
}

fn known_elsewhere(nonce: &str) -> Vec<u8> {
    let attributes: Attributes = vec![
        raw(ATTR_REALM, b"elsewhere"),
        raw(ATTR_NONCE, nonce.as_bytes()),
    ];
    let elsewhere = request(METHOD_ALLOCATE, attributes);
    let login = Login::answer(&elsewhere, USER, "wrong");
    login.sign(METHOD_ALLOCATE, vec![transport()]).raw
}

fn header_and_garbage(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = request(METHOD_ALLOCATE, vec![]).raw;
    bytes.extend((0..1180).map(|_| dice.next() as u8));
    bytes[2..4].copy_from_slice(&1180u16.to_be_bytes());
    bytes
}

/// A message of some kind with a few bytes changed, cut, or made longer.
pub(crate) fn malformed(dice: &mut Dice, kinds: &[Kind], into: &mut Vec<u8>) {
    into.clear();
    into.extend_from_slice(&kinds[dice.below(kinds.len())].bytes);
    for _ in 0..=dice.below(6) {
        let at = dice.below(into.len());
        into[at] ^= 1 << dice.below(8);
    }
    match dice.below(4) {
        0 => into.truncate(dice.below(into.len())),
        1 => {
            let length = (dice.next() as u16).to_be_bytes();
            into.iter_mut()
                .skip(2)
                .zip(length)
                .for_each(|(byte, new)| *byte = new);
        }
        2 => into.extend((0..dice.below(40)).map(|_| 0xA5)),
        _ => {}
    }
}
