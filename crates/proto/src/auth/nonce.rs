//! Nonces that need no memory.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::features::{COOKIE_LEN, Features};
use super::secret::Secret;
use crate::ip::{canonical_ip, canonical_socket};

/// Time of issue and port of the client, which the tag vouches for.
const STAMP_LEN: usize = 4 + 2;
const TAG_LEN: usize = 11;
/// The length of every nonce's text: three bytes are four characters. 36 in all, without padding
/// in the attribute.
const TEXT_LEN: usize = COOKIE_LEN + ((STAMP_LEN + TAG_LEN) * 4).div_ceil(3);

/// The key that makes nonces this server's own (A5).
///
/// Servers with the same key accept each other's nonces.
#[derive(Clone)]
pub struct NonceKey(Hmac<Sha256>);

impl NonceKey {
    /// A key of these bytes, which the caller has from a random source and tells nobody.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self::from_bytes(bytes)
    }

    /// The key that belongs to a `nonce-secret`, the same on every node and after a restart.
    #[must_use]
    pub fn from_secret(secret: &Secret) -> Self {
        let mut mac = Self::from_bytes(secret.reveal().as_bytes()).0;
        mac.update(b"turnd nonce key");
        Self::from_bytes(&mac.finalize().into_bytes())
    }

    fn from_bytes(bytes: &[u8]) -> Self {
        Self(Hmac::new_from_slice(bytes).expect("HMAC takes a key of any length (RFC 2104 §3)"))
    }

    /// The nonce for a request that came from `source` at `unix` seconds, which announces `features`.
    ///
    /// The port only makes it differ from those of other clients behind the same address, as
    /// RFC 8489 §9.2.4 wants. It is not checked: a TCP data connection (RFC 6062 §4.3) and a
    /// moved client (RFC 8016) use the nonce from another port.
    #[must_use]
    pub fn issue(&self, unix: u64, source: SocketAddr, features: Features) -> String {
        let source = canonical_socket(source);
        let mut bytes = [0; STAMP_LEN + TAG_LEN];
        bytes[..4].copy_from_slice(&wrapped(unix).to_be_bytes());
        bytes[4..STAMP_LEN].copy_from_slice(&source.port().to_be_bytes());
        let cookie = features.cookie();
        let tag = self.mac(cookie.as_bytes(), &bytes[..STAMP_LEN], source.ip());
        let tag = tag.finalize();
        bytes[STAMP_LEN..].copy_from_slice(&tag.into_bytes()[..TAG_LEN]);
        let mut text = cookie.to_owned();
        URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        text
    }

    /// Whether `nonce` was issued to this address no longer than `lifetime` ago, with the features that it announces:
    /// a reload that announces others leaves it as good as it was.
    ///
    /// A clock that was set back makes it come from the future: that is forgiven for as long
    /// as `lifetime`, so that a step loses no session and no nonce lives for years either.
    #[must_use]
    pub fn is_fresh(&self, nonce: &[u8], unix: u64, source: IpAddr, lifetime: Duration) -> bool {
        let mut bytes = [0; STAMP_LEN + TAG_LEN];
        if nonce.len() != TEXT_LEN {
            return false;
        }
        let (cookie, text) = nonce.split_at(COOKIE_LEN);
        let decoded = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes);
        if !matches!(decoded, Ok(n) if n == bytes.len()) {
            return false;
        }
        let (stamp, tag) = bytes.split_at(STAMP_LEN);
        // Compares in constant time (A12).
        let genuine = self
            .mac(cookie, stamp, canonical_ip(source))
            .verify_truncated_left(tag);
        let issued = u32::from_be_bytes([stamp[0], stamp[1], stamp[2], stamp[3]]);
        let age = wrapped(unix)
            .wrapping_sub(issued)
            .cast_signed()
            .unsigned_abs();
        genuine.is_ok() && u64::from(age) <= lifetime.as_secs()
    }

    fn mac(&self, cookie: &[u8], stamp: &[u8], ip: IpAddr) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(cookie);
        mac.update(stamp);
        // The lengths tell the families apart: everything before has a fixed one.
        match ip {
            IpAddr::V4(v4) => mac.update(&v4.octets()),
            IpAddr::V6(v6) => mac.update(&v6.octets()),
        }
        mac
    }
}

impl fmt::Debug for NonceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceKey(…)")
    }
}

/// Seconds as the nonce holds them: after 2106 they start anew, and differences stay right.
#[expect(clippy::cast_possible_truncation, reason = "wraps on purpose")]
fn wrapped(unix: u64) -> u32 {
    unix as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const T: u64 = 1_800_000_000;
    const LIFETIME: Duration = Duration::from_secs(600);

    const NONE: Features = Features {
        password_algorithms: false,
        username_anonymity: false,
    };
    const BOTH: Features = Features {
        password_algorithms: true,
        username_anonymity: true,
    };

    fn key() -> NonceKey {
        NonceKey::from_secret(&Secret::new("a nonce secret"))
    }

    fn socket(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a6_d1_the_nonce_starts_with_the_cookie_and_is_short() {
        let nonce = key().issue(T, socket("192.0.2.1:5000"), NONE);
        assert!(nonce.starts_with("obMatJos2AAAA"));
        assert_eq!(nonce.len(), TEXT_LEN);
        assert!(
            nonce
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
    }

    #[test]
    fn a5_it_lives_for_its_lifetime_and_survives_a_clock_step() {
        let nonce = key().issue(T, socket("192.0.2.1:5000"), NONE);
        let fresh = |unix| key().is_fresh(nonce.as_bytes(), unix, ip("192.0.2.1"), LIFETIME);
        assert!(fresh(T));
        assert!(fresh(T + 600));
        assert!(!fresh(T + 601));
        assert!(fresh(T - 600));
        assert!(!fresh(T - 601));
        assert!(!fresh(0));
        assert!(!fresh(u64::MAX));
    }

    #[test]
    fn a5_it_is_bound_to_the_address_and_not_to_the_port() {
        let key = key();
        let nonce = key.issue(T, socket("192.0.2.1:5000"), NONE);
        let fresh = |nonce: &str, source| key.is_fresh(nonce.as_bytes(), T, ip(source), LIFETIME);
        assert!(fresh(&nonce, "192.0.2.1"));
        assert!(fresh(&nonce, "::ffff:192.0.2.1"), "D7");
        assert!(!fresh(&nonce, "192.0.2.2"));
        assert!(!fresh(&nonce, "::192.0.2.1"));
        let mapped = key.issue(T, socket("[::ffff:192.0.2.1]:5000"), NONE);
        assert_eq!(nonce, mapped, "D7");
        let v6 = key.issue(T, socket("[2001:db8::1]:5000"), NONE);
        assert!(fresh(&v6, "2001:db8::1"));
        assert!(!fresh(&v6, "2001:db8::2"));
        // RFC 8489 §9.2.4: never the same for two clients.
        assert_ne!(nonce, key.issue(T, socket("192.0.2.1:5001"), NONE));
    }

    #[test]
    fn a5_a_node_with_the_same_secret_accepts_it_and_another_does_not() {
        let nonce = key().issue(T, socket("192.0.2.1:5000"), NONE);
        let fresh = |key: &NonceKey| key.is_fresh(nonce.as_bytes(), T, ip("192.0.2.1"), LIFETIME);
        assert!(fresh(&NonceKey::from_secret(&Secret::new(
            "a nonce secret"
        ))));
        assert!(!fresh(&NonceKey::from_secret(&Secret::new("another"))));
        assert!(!fresh(&NonceKey::new(&[7; 32])));
    }

    #[test]
    fn a5_a_changed_character_anywhere_makes_it_stale() {
        let key = key();
        let nonce = key.issue(T, socket("192.0.2.1:5000"), NONE);
        for i in 0..nonce.len() {
            for other in *b"Aa0_\x00\xff" {
                let mut forged = nonce.clone().into_bytes();
                if forged[i] != other {
                    forged[i] = other;
                    assert!(
                        !key.is_fresh(&forged, T, ip("192.0.2.1"), LIFETIME),
                        "at {i}"
                    );
                }
            }
            assert!(!key.is_fresh(&nonce.as_bytes()[..i], T, ip("192.0.2.1"), LIFETIME));
        }
        assert!(!key.is_fresh(format!("{nonce}A").as_bytes(), T, ip("192.0.2.1"), LIFETIME));
    }

    #[test]
    fn a7_d1_features_cannot_be_taken_off_a_nonce_nor_added_to_it() {
        let (key, source) = (key(), socket("192.0.2.1:5000"));
        let fresh = |nonce: &str| key.is_fresh(nonce.as_bytes(), T, source.ip(), LIFETIME);
        for features in [NONE, BOTH] {
            let nonce = key.issue(T, source, features);
            assert_eq!(nonce.len(), TEXT_LEN);
            assert_eq!(Features::of(nonce.as_bytes()), features);
            let (cookie, rest) = nonce.split_at(COOKIE_LEN);
            for last in ["A", "B", "C", "D", "E"] {
                let altered = format!("{}{last}{rest}", &cookie[..COOKIE_LEN - 1]);
                assert_eq!(fresh(&altered), altered == nonce, "{altered}");
            }
        }
    }

    #[test]
    fn it_stays_right_when_32_bits_of_seconds_wrap() {
        let key = key();
        let wrap = u64::from(u32::MAX);
        let nonce = key.issue(wrap - 10, socket("192.0.2.1:1"), NONE);
        assert!(key.is_fresh(nonce.as_bytes(), wrap + 10, ip("192.0.2.1"), LIFETIME));
        assert!(!key.is_fresh(nonce.as_bytes(), wrap + 1000, ip("192.0.2.1"), LIFETIME));
    }

    #[test]
    fn debug_does_not_show_the_key() {
        assert_eq!(format!("{:?}", key()), "NonceKey(…)");
    }

    proptest! {
        #[test]
        fn no_nonce_and_no_clock_panics(
            nonce in prop::collection::vec(any::<u8>(), 0..80),
            tail in "[A-Za-z0-9_-]{24}",
            issued: u64,
            now: u64,
            lifetime: u64,
        ) {
            let (key, source) = (key(), socket("192.0.2.1:1"));
            let lifetime = Duration::from_secs(lifetime);
            prop_assert!(!key.is_fresh(&nonce, now, source.ip(), lifetime));
            let forged = format!("{}{tail}", BOTH.cookie());
            prop_assert!(!key.is_fresh(forged.as_bytes(), now, source.ip(), lifetime));
            let issued = key.issue(issued, source, NONE);
            let _ = key.is_fresh(issued.as_bytes(), now, source.ip(), lifetime);
        }
    }
}
