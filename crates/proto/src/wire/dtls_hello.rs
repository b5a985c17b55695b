//! The first messages of DTLS 1.2, as far as it takes to check a cookie without keeping anything
//! (RFC 6347 §4.2.1).

use super::dtls_record::{
    CLIENT_HELLO, Fragment, HANDSHAKE, HANDSHAKE_HEADER, MAX_HELLO, Record, VERSION_MAJOR,
};

const HELLO_VERIFY_REQUEST: u8 = 3;
/// Place of the session id's length in a ClientHello: behind version and random.
const SESSION_ID: usize = 2 + 32;
/// DTLS 1.0, which a HelloVerifyRequest says whatever will be negotiated.
const DTLS_1_0: [u8; 2] = [0xFE, 0xFF];

/// A cookie's length: what DTLS 1.0 allows at the most.
pub const COOKIE_LEN: usize = 32;

/// The first fragment of a ClientHello, borrowed from the datagram that it came in.
///
/// A hello with the key shares of post-quantum groups is longer than a path's MTU and comes in
/// several fragments or records. All that a cookie needs is in the first one: RFC 6347 §4.2.1 has
/// the cookie right behind random and session id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// `client_version`, random and session id.
    start: &'a [u8],
    /// The cookie; empty in the client's first hello.
    pub cookie: &'a [u8],
}

impl<'a> ClientHello<'a> {
    /// Reads the datagram; `None` unless it begins with the first fragment of an unencrypted
    /// ClientHello, and that reaches beyond the cookie.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let record = Record::first_of(datagram)?;
        if record.bytes.first() != Some(&HANDSHAKE) || record.is_encrypted() {
            return None;
        }
        let fragment = Fragment::first_of(record.payload()?)?;
        if fragment.typ != CLIENT_HELLO || fragment.offset != 0 || fragment.length > MAX_HELLO {
            return None;
        }
        let body = fragment.bytes;
        let cookie_at = SESSION_ID + 1 + usize::from(*body.get(SESSION_ID)?);
        let cookie_len = usize::from(*body.get(cookie_at)?);
        Some(Self {
            start: &body[..cookie_at],
            cookie: body.get(cookie_at + 1..)?.get(..cookie_len)?,
        })
    }

    /// The client's random value, which tells one handshake from another.
    #[must_use]
    pub fn random(&self) -> &'a [u8] {
        &self.start[2..SESSION_ID]
    }

    /// The part that the cookie vouches for: version, random and session id. Some clients change the rest
    /// when they repeat their hello, though RFC 6347 §4.2.1 has them repeat it as it was.
    #[must_use]
    pub fn parameters(&self) -> &'a [u8] {
        self.start
    }
}

/// A ClientHello without a cookie that offers nothing.
///
/// A DTLS library that keeps to the order of the exchange has to see a first hello before the one
/// that has a cookie. This one is as good as the client's own, of which nothing was kept: the
/// library asks for a cookie before it looks at the rest.
#[must_use]
pub fn first_hello() -> Vec<u8> {
    const BODY: u8 = 2 + 32 + 1 + 1 + 4 + 2;
    let mut record = vec![HANDSHAKE, VERSION_MAJOR, 0xFD];
    record.extend_from_slice(&[0; 8]);
    record.extend_from_slice(&[0, HANDSHAKE_HEADER as u8 + BODY]);
    record.extend_from_slice(&[CLIENT_HELLO, 0, 0, BODY, 0, 0, 0, 0, 0, 0, 0, BODY]);
    record.extend_from_slice(&[VERSION_MAJOR, 0xFD]);
    record.extend_from_slice(&[0; 32]);
    // Neither session id nor cookie; one suite; no compression.
    record.extend_from_slice(&[0, 0, 0, 2, 0xC0, 0x2B, 1, 0]);
    record
}

/// A HelloVerifyRequest with this cookie.
///
/// The record number is always 0: the library that takes over counts on from there, and a client
/// that gets two takes the first.
#[must_use]
pub fn hello_verify_request(cookie: &[u8; COOKIE_LEN]) -> Vec<u8> {
    const BODY: u8 = 3 + COOKIE_LEN as u8;
    const PAYLOAD: u8 = HANDSHAKE_HEADER as u8 + BODY;
    let mut record = vec![HANDSHAKE, DTLS_1_0[0], DTLS_1_0[1]];
    record.extend_from_slice(&[0; 8]);
    record.extend_from_slice(&[0, PAYLOAD]);
    record.extend_from_slice(&[HELLO_VERIFY_REQUEST, 0, 0, BODY]);
    record.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, BODY]);
    record.extend_from_slice(&DTLS_1_0);
    record.push(COOKIE_LEN as u8);
    record.extend_from_slice(cookie);
    record
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A ClientHello with this cookie, as record number `sequence` and message `message`.
    fn hello(sequence: u8, message: u8, session: &[u8], cookie: &[u8]) -> Vec<u8> {
        let mut body = vec![0xFE, 0xFD];
        body.extend_from_slice(&[7; 32]);
        body.push(session.len() as u8);
        body.extend_from_slice(session);
        body.push(cookie.len() as u8);
        body.extend_from_slice(cookie);
        body.extend_from_slice(&[0, 2, 0xC0, 0x2B, 1, 0]);
        let len = body.len() as u8;
        let mut record = vec![22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, sequence, 0, len + 12];
        record.extend_from_slice(&[1, 0, 0, len, 0, message, 0, 0, 0, 0, 0, len]);
        record.extend_from_slice(&body);
        record
    }

    #[test]
    fn x3_the_cookie_is_bound_to_what_every_client_repeats() {
        let first = hello(4, 0, b"session", b"");
        let second = hello(5, 1, b"session", &[9; 32]);
        let parsed = ClientHello::parse(&second).unwrap();
        assert_eq!(parsed.cookie, [9; 32]);
        assert_eq!(parsed.random(), [7; 32]);
        let before = ClientHello::parse(&first).unwrap();
        assert_eq!(before.cookie, b"");
        assert_eq!(parsed.parameters(), before.parameters());
        // Another suite, as of a client that has changed its mind.
        let mut changed = second.clone();
        changed[second.len() - 3] ^= 1;
        let changed = ClientHello::parse(&changed).unwrap();
        assert_eq!(changed.parameters(), before.parameters());
        for at in [25, 27, 60] {
            let mut other = second.clone();
            other[at] ^= 1;
            let other = ClientHello::parse(&other).unwrap();
            assert_ne!(other.parameters(), before.parameters(), "byte {at}");
        }
    }

    /// The message of `record` cut into fragments of at most `len` bytes, each in its own record.
    fn fragments(record: &[u8], len: usize) -> Vec<Vec<u8>> {
        let (head, body) = record[13..].split_at(12);
        let parts = body.chunks(len).enumerate();
        parts
            .map(|(n, part)| {
                let mut cut = record[..11].to_vec();
                cut[10] += n as u8;
                cut.extend_from_slice(&[0, 12 + part.len() as u8]);
                cut.extend_from_slice(head);
                let at = cut.len() - 12;
                cut[at + 8] = (n * len) as u8;
                cut[at + 11] = part.len() as u8;
                cut.extend_from_slice(part);
                cut
            })
            .collect()
    }

    #[test]
    fn x3_the_first_fragment_is_enough() {
        let whole = hello(5, 1, b"session", &[9; 32]);
        let parts = fragments(&whole, 77);
        assert_eq!(parts.len(), 2);
        let first = ClientHello::parse(&parts[0]).unwrap();
        assert_eq!(Some(first), ClientHello::parse(&whole));
        assert_eq!(ClientHello::parse(&parts[1]), None, "no first fragment");
        assert_eq!(
            ClientHello::parse(&parts.concat()),
            Some(first),
            "two records"
        );
        for part in fragments(&whole, 70) {
            assert_eq!(ClientHello::parse(&part), None, "the cookie is cut");
        }
    }

    #[test]
    fn x3_what_is_no_hello_is_none() {
        let good = hello(0, 0, b"", b"");
        assert!(ClientHello::parse(&good).is_some());
        // Type, version, epoch, message type, length, fragment offset, fragment length.
        for at in [0, 1, 4, 13, 15, 21, 24] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert_eq!(ClientHello::parse(&bad), None, "byte {at}");
        }
        for len in 0..good.len() {
            assert_eq!(ClientHello::parse(&good[..len]), None, "{len} bytes");
        }
        let own = first_hello();
        assert_eq!(ClientHello::parse(&own).unwrap().cookie, b"");
    }

    #[test]
    fn x3_the_answer_is_smaller_than_the_question() {
        let question = hello(0, 0, b"", b"");
        let answer = hello_verify_request(&[5; COOKIE_LEN]);
        assert_eq!(answer.len(), 60);
        assert!(answer.len() < question.len() + 20);
        assert_eq!(&answer[answer.len() - COOKIE_LEN..], [5; COOKIE_LEN]);
    }

    proptest! {
        #[test]
        fn x3_no_bytes_make_it_fail(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = ClientHello::parse(&bytes);
            let valid = hello(1, 1, b"abc", b"def");
            bytes.truncate(valid.len());
            let mut mixed = valid.clone();
            for (at, byte) in bytes.iter().enumerate().skip(60) {
                mixed[at.min(valid.len() - 1)] = *byte;
            }
            let _ = ClientHello::parse(&mixed);
        }
    }
}
