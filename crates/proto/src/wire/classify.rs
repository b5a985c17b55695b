//! Class of a datagram or of a stream's next frame, told by its first byte (RFC 7983 §7, RFC 8656 §12).

/// The protocol that a first byte announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// 0–3: a STUN message.
    Stun,
    /// 20–63: DTLS on a datagram, TLS on a stream.
    Tls,
    /// 64–79: TURN channel data.
    ChannelData,
    /// Everything else, which is dropped.
    Unknown,
}

/// Tells the class of `bytes`; an empty slice is [`Class::Unknown`].
#[must_use]
pub fn classify(bytes: &[u8]) -> Class {
    match bytes.first() {
        Some(0..=3) => Class::Stun,
        Some(20..=63) => Class::Tls,
        Some(64..=79) => Class::ChannelData,
        _ => Class::Unknown,
    }
}

/// Class of a packet, with the channel numbers of RFC 5766 (0x4000–0x7FFF) when `rfc5766_channels`.
#[must_use]
pub fn classify_with(bytes: &[u8], rfc5766_channels: bool) -> Class {
    match bytes.first() {
        Some(80..=127) if rfc5766_channels => Class::ChannelData,
        _ => classify(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn x1_first_byte_decides() {
        for first in 0..=255u8 {
            let expected = match first {
                0..=3 => Class::Stun,
                20..=63 => Class::Tls,
                64..=79 => Class::ChannelData,
                _ => Class::Unknown,
            };
            assert_eq!(classify(&[first, 0]), expected, "{first}");
        }
        assert_eq!(classify(&[]), Class::Unknown);
    }

    #[test]
    fn c1_old_channel_numbers_need_the_switch() {
        assert_eq!(classify_with(&[0x7F, 0xFF], true), Class::ChannelData);
        assert_eq!(classify_with(&[0x50, 0x00], false), Class::Unknown);
        assert_eq!(classify_with(&[0x80, 0x00], true), Class::Unknown);
    }
}
