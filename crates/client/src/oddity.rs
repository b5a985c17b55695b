//! Bytes that came in place of an answer.

use std::fmt;
use std::net::SocketAddr;

/// Something odd that came in place of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// An answer from this address, which is not the one that was asked.
    WrongSource(SocketAddr),
    /// Bytes that are no STUN message.
    NotStun,
    /// A damaged message, or an answer without an address in it.
    Damaged,
    /// A message that answers nothing that was asked.
    Forged,
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongSource(from) => write!(
                f,
                "an answer came from {from}, which was not asked: the server has several addresses, or something between changes them"
            ),
            Self::NotStun => f.write_str("what answers there is not a STUN server"),
            Self::Damaged => f.write_str("its answers are damaged"),
            Self::Forged => f.write_str(
                "what came was no answer to what was asked: forged, or not from a STUN server",
            ),
        }
    }
}
