//! Where one message ends and the next begins on a stream (RFC 8489 §6.2.2, RFC 8656 §12.5).

use super::channel_data::HEADER_LEN;
use super::classify::{Class, classify_with};
use super::numbers::{MAGIC_COOKIE, MESSAGE_HEADER_LEN};

/// The longest frame there is: a STUN message of 65,532 bytes behind its header.
pub const MAX_FRAME: usize = MESSAGE_HEADER_LEN + 65_532;

/// Reading of the bytes that have come so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole frame.
    Frame {
        /// The frame without its padding.
        frame: &'a [u8],
        /// Bytes that the frame takes on the stream.
        taken: usize,
    },
    /// Part of a frame, or nothing.
    Partial,
    /// Something else, or a frame above the limit: nobody can say where the next one begins.
    Broken,
}

/// Frames that a stream may carry.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// The longest frame, padding included.
    pub max_len: usize,
    /// Channel data is welcome.
    pub channel_data: bool,
    /// Channel numbers go up to 0x7FFF.
    pub rfc5766_channels: bool,
}

impl Rules {
    /// Whatever a frame can be.
    pub const ANY: Self = Self {
        max_len: MAX_FRAME,
        channel_data: true,
        rfc5766_channels: true,
    };
}

/// Finds the first frame of `bytes`. It is broken as early as its bytes show it.
#[must_use]
pub fn next<'a>(bytes: &'a [u8], rules: &Rules) -> Next<'a> {
    if bytes.is_empty() {
        return Next::Partial;
    }
    let class = classify_with(bytes, rules.rfc5766_channels);
    let broken = match class {
        Class::Stun => stun_is_broken(bytes),
        Class::ChannelData => !rules.channel_data,
        Class::Tls | Class::Unknown => true,
    };
    if broken {
        return Next::Broken;
    }
    let Some(&[_, _, high, low]) = bytes.first_chunk() else {
        return Next::Partial;
    };
    let header = if class == Class::Stun {
        MESSAGE_HEADER_LEN
    } else {
        HEADER_LEN
    };
    let len = header + usize::from(u16::from_be_bytes([high, low]));
    let taken = len.next_multiple_of(4);
    if taken > rules.max_len {
        Next::Broken
    } else if bytes.len() < taken {
        Next::Partial
    } else {
        Next::Frame {
            frame: &bytes[..len],
            taken,
        }
    }
}

/// A length that is no multiple of four, or a wrong cookie, as far as they have come.
fn stun_is_broken(bytes: &[u8]) -> bool {
    let cookie = MAGIC_COOKIE.to_be_bytes();
    let got = bytes.get(4..).unwrap_or_default();
    bytes.get(3).is_some_and(|low| low % 4 != 0) || got.iter().zip(cookie).any(|(a, b)| *a != b)
}

#[cfg(test)]
mod tests;
