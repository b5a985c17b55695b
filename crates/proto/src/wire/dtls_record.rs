//! Records of DTLS 1.2, and what may be in those that come in the clear (RFC 6347 §4.1, §4.2.2).
//!
//! Anyone can send a record in the clear from an address that has proven itself, and a DTLS library
//! keeps what such a record announces: memory for the whole length of each of the next ten
//! messages. A server that asks for no certificate is told two things in the clear and no more, so
//! all else is dropped before the library sees it.

/// Bytes of a record before its payload.
pub const RECORD_HEADER: usize = 13;
/// Bytes of a handshake message before its body.
pub const HANDSHAKE_HEADER: usize = 12;

const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
/// Content type of a handshake record.
pub(super) const HANDSHAKE: u8 = 22;
/// First byte of every version of DTLS.
pub(super) const VERSION_MAJOR: u8 = 0xFE;

/// Handshake type of a ClientHello.
pub(super) const CLIENT_HELLO: u8 = 1;
const CLIENT_KEY_EXCHANGE: u8 = 16;

/// Number of the ClientHello that repeats a cookie, and of the client's next message.
const HELLO_NUMBER: u16 = 1;
const KEY_EXCHANGE_NUMBER: u16 = 2;

/// Longest body of a ClientHello, in bytes: key shares of post-quantum groups take up to 1,600 each.
pub const MAX_HELLO: usize = 4096;
/// Longest body of a ClientKeyExchange, in bytes: a point on P-521 takes 134 (RFC 8422 §5.7).
const MAX_KEY_EXCHANGE: usize = 256;

/// One record of a datagram, as far as its header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The header and its payload.
    pub bytes: &'a [u8],
    /// Bytes of the datagram behind the record.
    pub rest: &'a [u8],
}

/// Content of a record that a client may send in the clear during a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clear {
    /// Fragments of a ClientHello.
    Hello,
    /// A whole ClientKeyExchange.
    KeyExchange,
    /// The client changes keys: records that follow are encrypted.
    ChangeCipherSpec,
    /// The client gives up.
    Alert,
}

/// The head of a handshake message, and the fragment of it that is at hand (RFC 6347 §4.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment<'a> {
    /// Handshake type.
    pub typ: u8,
    /// Length of the whole body.
    pub length: usize,
    /// `message_seq`.
    pub number: u16,
    /// Place of the fragment in the body.
    pub offset: usize,
    /// The fragment.
    pub bytes: &'a [u8],
    /// Bytes behind it in the record.
    pub rest: &'a [u8],
}

impl<'a> Fragment<'a> {
    /// Reads the fragment at the start of a handshake record's payload; `None` when it is malformed.
    #[must_use]
    pub fn first_of(payload: &'a [u8]) -> Option<Self> {
        let (head, rest) = payload.split_first_chunk::<HANDSHAKE_HEADER>()?;
        let triple =
            |at: usize| u32::from_be_bytes([0, head[at], head[at + 1], head[at + 2]]) as usize;
        let (length, offset) = (triple(1), triple(6));
        let (bytes, rest) = rest.split_at_checked(triple(9))?;
        (offset + bytes.len() <= length).then_some(Self {
            typ: head[0],
            length,
            number: u16::from_be_bytes([head[4], head[5]]),
            offset,
            bytes,
            rest,
        })
    }

    fn is_whole(&self) -> bool {
        self.bytes.len() == self.length
    }
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

    /// Whether the record is not in the clear: of a later epoch than the first.
    #[must_use]
    pub fn is_encrypted(&self) -> bool {
        self.bytes.get(3..5).is_some_and(|epoch| epoch != [0, 0])
    }

    /// The payload of a record that is whole; `None`: it is cut, or no DTLS.
    #[must_use]
    pub fn payload(&self) -> Option<&'a [u8]> {
        let (head, payload) = self.bytes.split_first_chunk::<RECORD_HEADER>()?;
        let len = usize::from(u16::from_be_bytes([head[11], head[12]]));
        (head[1] == VERSION_MAJOR && len == payload.len()).then_some(payload)
    }

    /// Content of a record in the clear that a client may send once its cookie is good; `None`:
    /// nothing that it may.
    #[must_use]
    pub fn clear(&self) -> Option<Clear> {
        let payload = self.payload()?;
        match (self.bytes.first()?, payload) {
            _ if self.is_encrypted() => None,
            (&CHANGE_CIPHER_SPEC, [1]) => Some(Clear::ChangeCipherSpec),
            (&ALERT, [_, _]) => Some(Clear::Alert),
            (&HANDSHAKE, _) => handshake(payload),
            _ => None,
        }
    }
}

/// Kind of the messages of a handshake record, if all of them are of one.
fn handshake(mut payload: &[u8]) -> Option<Clear> {
    let mut found = None;
    while !payload.is_empty() {
        let fragment = Fragment::first_of(payload)?;
        let kind = match (fragment.typ, fragment.number) {
            (CLIENT_HELLO, HELLO_NUMBER) if fragment.length <= MAX_HELLO => Clear::Hello,
            // Every client sends it in one piece, and a piece could be kept for long.
            (CLIENT_KEY_EXCHANGE, KEY_EXCHANGE_NUMBER)
                if fragment.is_whole() && fragment.length <= MAX_KEY_EXCHANGE =>
            {
                Clear::KeyExchange
            }
            _ => return None,
        };
        if found.is_some_and(|found| found != kind) {
            return None;
        }
        found = Some(kind);
        payload = fragment.rest;
    }
    found
}

#[cfg(test)]
mod tests;
