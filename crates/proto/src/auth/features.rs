//! STUN security features that a nonce announces (RFC 8489 §9.2 and §18.1).

/// The start of every nonce: "obMatJos2", and the first 18 of the 24 bits, of which none is in use.
const PREFIX: &[u8] = b"obMatJos2AAA";

/// Bytes of the nonce cookie.
pub(super) const COOKIE_LEN: usize = PREFIX.len() + 1;

/// Security features, in the nonce cookie counted from the least significant bit: the verified erratum
/// 6290, and what clients do (D1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Features {
    /// Bit 0, password algorithms: PASSWORD-ALGORITHMS goes into 401 and 438.
    pub password_algorithms: bool,
    /// Bit 1, username anonymity: a client sends USERHASH in place of USERNAME.
    pub username_anonymity: bool,
}

impl Features {
    /// The nonce cookie.
    pub(super) fn cookie(self) -> &'static str {
        match (self.password_algorithms, self.username_anonymity) {
            (false, false) => "obMatJos2AAAA",
            (true, false) => "obMatJos2AAAB",
            (false, true) => "obMatJos2AAAC",
            (true, true) => "obMatJos2AAAD",
        }
    }

    /// The features that a nonce announces, genuine or not.
    #[must_use]
    pub fn of(nonce: &[u8]) -> Self {
        let bits = match nonce.strip_prefix(PREFIX) {
            Some([last @ b'A'..=b'D', ..]) => last - b'A',
            _ => 0,
        };
        Self {
            password_algorithms: bits & 1 != 0,
            username_anonymity: bits & 2 != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn d1_a6_the_bits_are_counted_from_the_least_significant() {
        for (password_algorithms, username_anonymity, cookie) in [
            (false, false, "obMatJos2AAAA"),
            (true, false, "obMatJos2AAAB"),
            (false, true, "obMatJos2AAAC"),
            (true, true, "obMatJos2AAAD"),
        ] {
            let features = Features {
                password_algorithms,
                username_anonymity,
            };
            assert_eq!(features.cookie(), cookie);
            assert_eq!(cookie.len(), COOKIE_LEN);
            let nonce = format!("{cookie}rest");
            assert_eq!(Features::of(nonce.as_bytes()), features);
            assert_eq!(Features::of(cookie.as_bytes()), features);
        }
    }

    #[test]
    fn what_is_no_cookie_of_ours_announces_nothing() {
        let none = Features::default();
        for nonce in [
            "",
            "obMatJos2",
            "obMatJos2AAA",
            "obMatJos2AAAE",
            "obMatJos2wAAA",
            "obMatJos3AAAD",
            "f//499k954d6OL34oL9FSTvy64sA",
        ] {
            assert_eq!(Features::of(nonce.as_bytes()), none, "{nonce}");
        }
    }
}
