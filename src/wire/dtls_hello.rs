//! The first messages of DTLS 1.2, as far as it takes to check a cookie without keeping anything
//! (RFC 6347 §4.2.1).

/// Bytes of a record before its payload.
const RECORD_HEADER: usize = 13;
/// Bytes of a handshake message before its body.
const HANDSHAKE_HEADER: usize = 12;
const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const HELLO_VERIFY_REQUEST: u8 = 3;
/// DTLS 1.0, which a HelloVerifyRequest says whatever will be negotiated.
const DTLS_1_0: [u8; 2] = [0xFE, 0xFF];

/// A cookie's length: what DTLS 1.0 allows at the most.
pub const COOKIE_LEN: usize = 32;

/// A ClientHello that fits one record, borrowed from the datagram that it came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// The record, header included.
    record: &'a [u8],
    /// Where the cookie's length byte is in `record`.
    cookie_at: usize,
    /// The cookie; empty in the first one.
    pub cookie: &'a [u8],
}

impl<'a> ClientHello<'a> {
    /// Reads the datagram; `None` unless it begins with a whole, unencrypted ClientHello.
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let header = datagram.get(..RECORD_HEADER)?;
        let len = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let record = datagram.get(..RECORD_HEADER + len)?;
        let epoch = &header[3..5];
        if header[0] != HANDSHAKE || header[1] != DTLS_1_0[0] || epoch != [0, 0] {
            return None;
        }
        let message = &record[RECORD_HEADER..];
        let (header, body) = message.split_at_checked(HANDSHAKE_HEADER)?;
        let whole = header[1..4] == header[9..12] && header[6..9] == [0; 3];
        let length = u32::from_be_bytes([0, header[1], header[2], header[3]]);
        if header[0] != CLIENT_HELLO || !whole || length as usize != body.len() {
            return None;
        }
        // client_version, random, session_id
        let session_len = usize::from(*body.get(34)?);
        let cookie_at = 35 + session_len;
        let cookie_len = usize::from(*body.get(cookie_at)?);
        let cookie = body.get(cookie_at + 1..)?.get(..cookie_len)?;
        Some(Self {
            record,
            cookie_at: RECORD_HEADER + HANDSHAKE_HEADER + cookie_at,
            cookie,
        })
    }

    /// The client's random value, which tells one handshake from another.
    #[must_use]
    pub fn random(&self) -> &'a [u8] {
        &self.record[RECORD_HEADER + HANDSHAKE_HEADER + 2..][..32]
    }

    /// What the cookie vouches for: all that the client says and must repeat.
    pub fn parameters(&self) -> impl Iterator<Item = &'a [u8]> {
        let body = RECORD_HEADER + HANDSHAKE_HEADER;
        let after = self.cookie_at + 1 + self.cookie.len();
        [&self.record[body..self.cookie_at], &self.record[after..]].into_iter()
    }

    /// The ClientHello as it was before the client knew the cookie: what a DTLS library that has
    /// not seen the exchange has to see first. `None` if no record can have come before.
    #[must_use]
    pub fn without_cookie(&self) -> Option<Vec<u8>> {
        let after = self.cookie_at + 1 + self.cookie.len();
        let mut record = self.record[..self.cookie_at].to_vec();
        record.push(0);
        record.extend_from_slice(&self.record[after..]);

        let sequence = u64::from_be_bytes(record[3..11].try_into().ok()?).checked_sub(1)?;
        record[3..11].copy_from_slice(&sequence.to_be_bytes());
        let payload = record.len() - RECORD_HEADER;
        record[11..13].copy_from_slice(&(payload as u16).to_be_bytes());
        let body = (payload - HANDSHAKE_HEADER) as u32;
        let [_, length @ ..] = body.to_be_bytes();
        let message = &mut record[RECORD_HEADER..];
        message[1..4].copy_from_slice(&length);
        message[4..6].copy_from_slice(&[0, 0]);
        message[9..12].copy_from_slice(&length);
        Some(record)
    }
}

/// One record of a datagram, as far as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The header and what it is for.
    pub bytes: &'a [u8],
    /// What comes behind it.
    pub rest: &'a [u8],
}

impl<'a> Record<'a> {
    /// The first record of `datagram`: all of it where a header or its length is not right; `None`
    /// if it is empty.
    #[must_use]
    pub fn first_of(datagram: &'a [u8]) -> Option<Self> {
        let len = match datagram {
            [] => return None,
            [_, _, _, _, _, _, _, _, _, _, _, high, low, ..] => {
                RECORD_HEADER + usize::from(u16::from_be_bytes([*high, *low]))
            }
            _ => datagram.len(),
        };
        let (bytes, rest) = datagram.split_at(len.min(datagram.len()));
        Some(Self { bytes, rest })
    }

    /// Whether it is not in the clear: of a later epoch than the first.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.bytes.get(3..5).is_some_and(|epoch| epoch != [0, 0])
    }

    /// Whether those that follow are encrypted.
    #[must_use]
    pub fn is_change_cipher_spec(&self) -> bool {
        self.bytes.first() == Some(&CHANGE_CIPHER_SPEC)
    }
}

/// A HelloVerifyRequest with this cookie.
///
/// Its record number is always 0: the library that takes over counts on from there, and a client
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

    #[test]
    fn records_are_taken_off_one_by_one_and_what_is_none_is_the_last() {
        let change = [20, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 3, 0, 1, 1];
        let finished = [22, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2, 7, 7];
        let datagram = [&change[..], &finished, &[0; 5]].concat();
        let first = Record::first_of(&datagram).unwrap();
        assert_eq!(first.bytes, change);
        assert!(first.is_change_cipher_spec() && !first.is_encrypted());
        let second = Record::first_of(first.rest).unwrap();
        assert_eq!(second.bytes, finished);
        assert!(!second.is_change_cipher_spec() && second.is_encrypted());
        let third = Record::first_of(second.rest).unwrap();
        assert_eq!((third.bytes, third.rest), (&[0; 5][..], &[][..]));
        assert!(!third.is_encrypted());
        assert_eq!(Record::first_of(third.rest), None);
        let cut = Record::first_of(&finished[..14]).unwrap();
        assert_eq!((cut.bytes, cut.rest), (&finished[..14], &[][..]));
    }

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
    fn x3_the_first_hello_is_found_again_in_the_second() {
        let first = hello(4, 0, b"session", b"");
        let second = hello(5, 1, b"session", &[9; 32]);
        let parsed = ClientHello::parse(&second).unwrap();
        assert_eq!(parsed.cookie, [9; 32]);
        assert_eq!(parsed.random(), [7; 32]);
        assert_eq!(parsed.without_cookie(), Some(first.clone()));
        let before: Vec<_> = ClientHello::parse(&first).unwrap().parameters().collect();
        assert_eq!(parsed.parameters().collect::<Vec<_>>(), before);
        let none_before = hello(0, 1, b"", &[9; 32]);
        assert_eq!(
            ClientHello::parse(&none_before).unwrap().without_cookie(),
            None
        );
    }

    #[test]
    fn x3_what_is_not_one_whole_hello_is_none() {
        let good = hello(0, 0, b"", b"");
        assert!(ClientHello::parse(&good).is_some());
        // Type, version, epoch, message type, length, fragment offset, fragment length.
        for at in [0, 1, 4, 13, 16, 21, 24] {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert_eq!(ClientHello::parse(&bad), None, "byte {at}");
        }
        for len in 0..good.len() {
            assert_eq!(ClientHello::parse(&good[..len]), None, "{len} bytes");
        }
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
            if let Some(hello) = ClientHello::parse(&mixed) {
                let _ = hello.without_cookie();
            }
        }
    }
}
