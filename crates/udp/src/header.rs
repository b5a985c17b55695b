//! Bytes around a payload.

/// Bytes in front of a payload, and zero bytes behind it, held inline.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; Self::MAX_LEN],
    len: u8,
    padding: u8,
}

impl Header {
    /// Length of the longest header, in bytes.
    pub const MAX_LEN: usize = 48;
    /// Length of the longest padding, in bytes.
    pub const MAX_PADDING: usize = ZEROS.len();

    /// Neither header nor padding: the payload is the datagram.
    pub const NONE: Self = Self {
        bytes: [0; Self::MAX_LEN],
        len: 0,
        padding: 0,
    };

    /// A copy of `bytes`, and `padding` zero bytes for the end of the datagram.
    ///
    /// # Panics
    /// When `bytes` is longer than [`Self::MAX_LEN`], or `padding` than [`Self::MAX_PADDING`].
    pub fn new(bytes: &[u8], padding: usize) -> Self {
        assert!(padding <= Self::MAX_PADDING, "{padding} bytes of padding");
        let mut header = Self {
            len: bytes.len() as u8,
            padding: padding as u8,
            ..Self::NONE
        };
        header.bytes[..bytes.len()].copy_from_slice(bytes);
        header
    }

    /// The bytes in front of the payload.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// The zero bytes behind the payload.
    pub fn padding(&self) -> &'static [u8] {
        &ZEROS[..usize::from(self.padding)]
    }
}

static ZEROS: [u8; 3] = [0; 3];

impl std::fmt::Debug for Header {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Header")
            .field("bytes", &self.as_bytes())
            .field("padding", &self.padding)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back() {
        assert!(Header::NONE.as_bytes().is_empty());
        assert_eq!(Header::NONE, Header::new(&[], 0));
        let longest = Header::new(&[7; Header::MAX_LEN], Header::MAX_PADDING);
        assert_eq!(longest.as_bytes(), [7; 48]);
        assert_eq!(longest.padding(), [0; 3]);
    }

    #[test]
    #[should_panic(expected = "4 bytes of padding")]
    fn more_padding_than_fits_is_refused() {
        let _ = Header::new(&[1], 4);
    }

    #[test]
    #[should_panic(expected = "49")]
    fn a_longer_header_than_fits_is_refused() {
        let _ = Header::new(&[0; 49], 0);
    }
}
