//! Steps of a run, read from as few of the fuzzer's bytes as can be. Every byte has a meaning, so that most inputs
//! get far.

use stun::attributes::{
    ATTR_DONT_FRAGMENT, ATTR_EVEN_PORT, ATTR_LIFETIME, ATTR_REQUESTED_ADDRESS_FAMILY,
    ATTR_REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN, ATTR_USERNAME, ATTR_XOR_PEER_ADDRESS,
    AttrType,
};

/// The rest of the input.
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A number below `bound`.
    fn below(&mut self, bound: usize) -> Option<usize> {
        Some(usize::from(self.next()?) % bound)
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> Option<T> {
        Some(choices[self.below(choices.len())?])
    }

    /// A slice, as long as the next byte says or as there are bytes.
    fn some(&mut self) -> Option<&'a [u8]> {
        let len = usize::from(self.next()?).min(self.0.len());
        let (some, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(some)
    }
}

pub(crate) enum Attribute<'a> {
    Raw(AttrType, &'a [u8]),
    Number(AttrType, u32),
    Peer(usize),
    /// A relayed transport address that is open.
    Relayed(usize),
    /// The last token that any client was told.
    Token,
    /// A connection with a peer.
    Connection(usize),
    Channel(u8),
}

/// Numbers are taken modulo how many there are of what they choose.
pub(crate) enum Step<'a> {
    /// Milliseconds go by.
    Wait(u64),
    /// A client asks for a nonce.
    LogIn(usize),
    Request {
        client: usize,
        method: usize,
        /// Bits: unsigned, FINGERPRINT, with another client's credentials, without what the method needs, TCP.
        how: u8,
        attributes: Vec<Attribute<'a>>,
    },
    Packet(usize, &'a [u8]),
    /// An earlier packet, perhaps of another client.
    Again(usize, usize),
    Send(usize, usize, &'a [u8]),
    Channel(usize, u8, &'a [u8]),
    /// Data from a peer, to a relay that may not be there.
    Peer(u32, usize, u16),
    /// A peer connects to a relay.
    Inbound(u32, usize),
    /// A connection is made or not, gets its data connection, carries data, is closed.
    Connection(usize, u8),
    Disconnect(usize),
    Reload(usize),
    Kill(u8),
    Drain(bool),
}

/// Around lifetimes, in milliseconds.
const WAITS: [u64; 11] = [
    1, 500, 10_000, 29_999, 30_000, 299_999, 300_000, 599_999, 600_001, 1_800_000, 3_600_000,
];

const TYPES: [AttrType; 9] = [
    ATTR_LIFETIME,
    ATTR_EVEN_PORT,
    ATTR_RESERVATION_TOKEN,
    ATTR_REQUESTED_TRANSPORT,
    ATTR_XOR_PEER_ADDRESS,
    ATTR_USERNAME,
    ATTR_DONT_FRAGMENT,
    AttrType(0x8000),
    AttrType(0x7FFF),
];

impl<'a> Step<'a> {
    pub(crate) fn read(bytes: &mut Bytes<'a>) -> Option<Self> {
        let index = |bytes: &mut Bytes| bytes.below(256);
        Some(match bytes.next()? % 20 {
            0 | 1 => Self::Wait(bytes.one_of(&WAITS)?),
            2 => Self::LogIn(index(bytes)?),
            3 => Self::Packet(index(bytes)?, bytes.some()?),
            4 => Self::Again(index(bytes)?, index(bytes)?),
            5 => Self::Send(index(bytes)?, index(bytes)?, bytes.some()?),
            6 => Self::Channel(index(bytes)?, bytes.next()?, bytes.some()?),
            7 => Self::Peer(
                bytes.next()?.into(),
                index(bytes)?,
                u16::from(bytes.next()?) * 8,
            ),
            8 => Self::Inbound(bytes.next()?.into(), index(bytes)?),
            9 => Self::Connection(index(bytes)?, bytes.next()?),
            10 => Self::Disconnect(index(bytes)?),
            11 => Self::Reload(index(bytes)?),
            12 => Self::Kill(bytes.next()?),
            13 => Self::Drain(bytes.next()? & 1 == 1),
            _ => {
                let (client, method, how) = (index(bytes)?, index(bytes)?, bytes.next()?);
                let count = usize::from(how >> 5);
                let attributes = (0..count).map_while(|_| Attribute::read(bytes)).collect();
                Self::Request {
                    client,
                    method,
                    how,
                    attributes,
                }
            }
        })
    }
}

impl<'a> Attribute<'a> {
    fn read(bytes: &mut Bytes<'a>) -> Option<Self> {
        Some(match bytes.next()? % 10 {
            0 | 1 => Self::Peer(bytes.below(256)?),
            2 => Self::Relayed(bytes.below(256)?),
            3 => Self::Token,
            4 => Self::Connection(bytes.below(256)?),
            5 => Self::Channel(bytes.next()?),
            6 => Self::Number(
                ATTR_LIFETIME,
                bytes.one_of(&[0, 1, 600, 601, 3600, u32::MAX])?,
            ),
            7 => Self::Raw(ATTR_EVEN_PORT, bytes.one_of(&[&[0x80], &[0]])?),
            8 => Self::Number(
                ATTR_REQUESTED_ADDRESS_FAMILY,
                bytes.one_of(&[1 << 24, 2 << 24, 3 << 24])?,
            ),
            _ => Self::Raw(bytes.one_of(&TYPES)?, bytes.some()?),
        })
    }
}
