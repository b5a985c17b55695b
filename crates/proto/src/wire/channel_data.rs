//! Channel data framing (RFC 8656 §12.4).

/// Bytes before the payload: number and length.
pub const HEADER_LEN: usize = 4;

/// The lowest number that a client may bind.
pub const MIN_NUMBER: u16 = 0x4000;
/// The highest one (RFC 8656 §12).
pub const MAX_NUMBER: u16 = 0x4FFF;
/// The highest one of RFC 5766, for old clients.
pub const MAX_NUMBER_RFC5766: u16 = 0x7FFF;

/// Reads a datagram as channel data: number and payload.
///
/// `None` when the length field says more than there is; surplus bytes are padding or noise and
/// are ignored (§12.5).
#[must_use]
pub fn parse(datagram: &[u8]) -> Option<(u16, &[u8])> {
    let (header, rest) = datagram.split_at_checked(HEADER_LEN)?;
    let number = u16::from_be_bytes([header[0], header[1]]);
    let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
    Some((number, rest.get(..len)?))
}

/// The header of a channel data message with `len` payload bytes.
#[must_use]
pub fn header(number: u16, len: u16) -> [u8; HEADER_LEN] {
    let [n0, n1] = number.to_be_bytes();
    let [l0, l1] = len.to_be_bytes();
    [n0, n1, l0, l1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c4_length_decides_what_the_payload_is() {
        assert_eq!(parse(&[0x40, 0, 0, 2, 7, 8]), Some((0x4000, &[7, 8][..])));
        assert_eq!(
            parse(&[0x40, 0, 0, 2, 7, 8, 0, 0]),
            Some((0x4000, &[7, 8][..]))
        );
        assert_eq!(parse(&[0x40, 0, 0, 0]), Some((0x4000, &[][..])));
        assert_eq!(parse(&[0x40, 0, 0, 3, 7, 8]), None);
        assert_eq!(parse(&[0x40, 0, 0]), None);
        assert_eq!(parse(&[]), None);
    }

    #[test]
    fn header_reads_back() {
        let mut frame = header(0x4FFF, 3).to_vec();
        frame.extend_from_slice(b"abc");
        assert_eq!(parse(&frame), Some((0x4FFF, &b"abc"[..])));
    }
}
