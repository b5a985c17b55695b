//! Messages on a datagram or a stream transport (RFC 8489 §6.2.2, RFC 8656 §12.5).

/// Bytes before the payload of channel data.
const CHANNEL_HEADER: usize = 4;
/// Bytes before the attributes of a STUN message.
const STUN_HEADER: usize = 20;

/// The way messages are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One message in each datagram, which may get lost.
    Datagrams,
    /// Messages one behind the other, padded to four bytes.
    Stream,
}

/// Bytes that begin neither a STUN message nor channel data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotStun;

/// Splits the first message off a stream: its length, and its length with padding.
///
/// `Ok(None)`: more bytes are needed.
///
/// # Errors
/// [`NotStun`]: no later message can be found either.
pub fn split(bytes: &[u8]) -> Result<Option<(usize, usize)>, NotStun> {
    let header = match bytes.first() {
        None => return Ok(None),
        Some(0..=3) => STUN_HEADER,
        Some(64..=79) => CHANNEL_HEADER,
        Some(_) => return Err(NotStun),
    };
    let &[_, _, high, low, ..] = bytes else {
        return Ok(None);
    };
    let len = header + usize::from(u16::from_be_bytes([high, low]));
    let padded = len.next_multiple_of(4);
    Ok((bytes.len() >= padded).then_some((len, padded)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_split_off() {
        assert_eq!(split(&[]), Ok(None));
        assert_eq!(split(&[0, 1]), Ok(None));
        assert_eq!(split(&[&[0, 1, 0, 4][..], &[7; 19]].concat()), Ok(None));
        assert_eq!(
            split(&[&[0, 1, 0, 4][..], &[7; 22]].concat()),
            Ok(Some((24, 24)))
        );
        assert_eq!(split(&[0x40, 0, 0, 1, 9, 0, 0]), Ok(None));
        assert_eq!(split(&[0x40, 0, 0, 1, 9, 0, 0, 0]), Ok(Some((5, 8))));
    }

    #[test]
    fn other_protocols_are_no_messages() {
        assert_eq!(split(b"SSH-2.0"), Err(NotStun));
        assert_eq!(split(&[0x16, 3, 1, 0]), Err(NotStun));
        // By its first letters HTTP is channel data, of a length that never comes.
        assert_eq!(split(b"HTTP/1.1"), Ok(None));
    }
}
