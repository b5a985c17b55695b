//! The long-term key.

use std::borrow::Cow;
use std::fmt;

use md5::digest;
use md5::{Digest, Md5};
use precis_core::profile::{PrecisFastInvocation, Rules};
use precis_profiles::OpaqueString;
use precis_profiles::precis_core;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::algorithm::PasswordAlgorithm;

/// Bytes of the longest key.
const LONGEST: usize = 32;

/// A long-term credential key: MD5 or SHA-256 of `user:realm:password` (RFC 8489 §18.5.1). Its memory is overwritten
/// when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Key {
    algorithm: PasswordAlgorithm,
    /// The key, and zeros behind a short one.
    bytes: Zeroizing<[u8; LONGEST]>,
}

impl Key {
    /// An MD5 key as it was stored.
    #[must_use]
    pub fn md5(key: [u8; 16]) -> Self {
        let mut bytes = Zeroizing::new([0; LONGEST]);
        bytes[..key.len()].copy_from_slice(&key);
        Self {
            algorithm: PasswordAlgorithm::Md5,
            bytes,
        }
    }

    /// A SHA-256 key as it was stored.
    #[must_use]
    pub fn sha256(key: [u8; 32]) -> Self {
        Self {
            algorithm: PasswordAlgorithm::Sha256,
            bytes: Zeroizing::new(key),
        }
    }

    /// A key of either algorithm, told apart by its length.
    #[must_use]
    pub fn from_bytes(key: &[u8]) -> Option<Self> {
        match key.len() {
            16 => Some(Self::md5(key.try_into().ok()?)),
            32 => Some(Self::sha256(key.try_into().ok()?)),
            _ => None,
        }
    }

    /// The MD5 key of a password, each part put through OpaqueString first (RFC 8265 §4.2).
    ///
    /// # Errors
    /// When a part is empty or holds a character that the profile does not allow.
    pub fn from_password(user: &str, realm: &str, password: &str) -> Result<Self, PrepareError> {
        Self::from_password_with(PasswordAlgorithm::Md5, user, realm, password)
    }

    /// As [`Self::from_password`], with either algorithm.
    ///
    /// # Errors
    /// When a part is empty or holds a character that the profile does not allow.
    pub fn from_password_with(
        algorithm: PasswordAlgorithm,
        user: &str,
        realm: &str,
        password: &str,
    ) -> Result<Self, PrepareError> {
        Ok(Self::from_prepared(
            algorithm,
            &prepare(user, Part::UserName)?,
            &prepare(realm, Part::Realm)?,
            &prepare(password, Part::Password)?,
        ))
    }

    /// The key of parts to which OpaqueString has been applied.
    pub(super) fn from_prepared(
        algorithm: PasswordAlgorithm,
        user: &str,
        realm: &str,
        password: &str,
    ) -> Self {
        let parts = [user, ":", realm, ":", password];
        match algorithm {
            PasswordAlgorithm::Md5 => Self::md5(digest::<Md5>(&parts).into()),
            PasswordAlgorithm::Sha256 => Self::sha256(digest::<Sha256>(&parts).into()),
        }
    }

    /// Reads `0x` and 32 or 64 hexadecimal digits, as `turnd key` prints them.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.strip_prefix("0x")?.as_bytes();
        let digit = |byte: u8| char::from(byte).to_digit(16);
        let mut key = Zeroizing::new([0; LONGEST]);
        let len = digits.len() / 2;
        if digits.len() % 2 != 0 || len > LONGEST {
            return None;
        }
        for (byte, pair) in key.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = u8::try_from(digit(pair[0])? << 4 | digit(pair[1])?).ok()?;
        }
        Self::from_bytes(&key[..len])
    }

    /// The form that the configuration takes in place of a password. It is as secret as that.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let bytes = self.as_bytes().iter();
        let digits: String = bytes.map(|byte| format!("{byte:02x}")).collect();
        format!("0x{digits}")
    }

    /// The key itself, for computing with it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self.algorithm {
            PasswordAlgorithm::Md5 => &self.bytes[..16],
            PasswordAlgorithm::Sha256 => &self.bytes[..],
        }
    }

    /// Algorithm that the key was made with.
    #[must_use]
    pub fn algorithm(&self) -> PasswordAlgorithm {
        self.algorithm
    }
}

/// USERHASH: SHA-256 of `user:realm`, each part put through OpaqueString first (RFC 8489 §14.4).
///
/// # Errors
/// When a part is empty or holds a character that the profile does not allow.
pub fn user_hash(user: &str, realm: &str) -> Result<[u8; 32], PrepareError> {
    let (user, realm) = (prepare(user, Part::UserName)?, prepare(realm, Part::Realm)?);
    Ok(digest::<Sha256>(&[&user, ":", &realm]).into())
}

fn digest<D: Digest>(parts: &[&str]) -> digest::Output<D> {
    let mut digest = D::new();
    for part in parts {
        digest.update(part);
    }
    digest.finalize()
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

/// Text that was being prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    UserName,
    Realm,
    Password,
}

/// A user name, realm or password that OpaqueString does not allow (RFC 8265 §4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrepareError {
    part: Part,
    problem: Problem,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Problem {
    Empty,
    /// The place of the first character that is not allowed, from 1.
    Character(usize),
    /// A character is not allowed where it stands.
    Context,
}

impl fmt::Display for PrepareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let part = match self.part {
            Part::UserName => "user name",
            Part::Realm => "realm",
            Part::Password => "password",
        };
        // No character is shown: it may be part of a secret.
        match self.problem {
            Problem::Empty => write!(f, "the {part} is empty; give one of at least one character"),
            Problem::Character(position) => write!(
                f,
                "character {position} of the {part} is one that STUN does not allow, such as a \
                 control character (RFC 8265); choose a {part} without it"
            ),
            Problem::Context => write!(
                f,
                "the {part} holds a character that STUN does not allow where it stands \
                 (RFC 8265); choose a {part} without it"
            ),
        }
    }
}

impl std::error::Error for PrepareError {}

/// Applies the OpaqueString profile.
pub(super) fn prepare(text: &str, part: Part) -> Result<Cow<'_, str>, PrepareError> {
    // Printable ASCII is its own prepared form, and nearly all there is.
    if !text.is_empty() && text.bytes().all(|b| matches!(b, b' '..=b'~')) {
        return Ok(Cow::Borrowed(text));
    }
    let prepared = OpaqueString::enforce(text).map_err(|error| PrepareError {
        part,
        problem: match error {
            precis_core::Error::BadCodepoint(info) => Problem::Character(info.position + 1),
            precis_core::Error::Invalid => Problem::Empty,
            precis_core::Error::Unexpected(_) => Problem::Context,
        },
    })?;
    // Normalization can make a forbidden character of an allowed one (U+0387 becomes U+00B7); RFC 8264 §7 refuses
    // what the rules do not leave as it is.
    if OpaqueString::enforce(prepared.as_ref()).is_ok_and(|again| again == prepared) {
        Ok(prepared)
    } else {
        Err(PrepareError {
            part,
            problem: Problem::Context,
        })
    }
}

/// A client's user name as it is looked up, in time linear in its length; `None`: no user has it.
///
/// OpaqueString without its checks, of which those of the context take the square of the length:
/// the names that it is compared with have passed them.
pub(super) fn lookup_form(name: &str) -> Option<Cow<'_, str>> {
    if name.is_empty() || name.chars().any(char::is_control) {
        return None;
    }
    if name.is_ascii() {
        return Some(Cow::Borrowed(name));
    }
    let profile = OpaqueString::new();
    let spaced = profile.additional_mapping_rule(name).ok()?;
    profile.normalization_rule(spaced).ok()
}

/// The name by which the user of a request is looked up; `None`: no user has it.
pub(crate) fn lookup_name(username: &[u8]) -> Option<Cow<'_, str>> {
    lookup_form(std::str::from_utf8(username).ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(user: &str, realm: &str, password: &str) -> String {
        Key::from_password(user, realm, password).unwrap().to_hex()
    }

    #[test]
    fn a8_key_of_the_rfc_5389_example() {
        assert_eq!(
            hex("user", "realm", "pass"),
            "0x8493fbc53ba582fb4c044c456bdc40eb"
        );
    }

    #[test]
    fn a8_the_sha_256_key_and_the_user_hash_of_rfc_8489_b_1() {
        let (user, realm) = ("マトリックス", "example.org");
        let sha256 = PasswordAlgorithm::Sha256;
        let key = Key::from_password_with(sha256, user, realm, "TheMatrIX").unwrap();
        assert_eq!((key.algorithm(), key.as_bytes().len()), (sha256, 32));
        // Computed with hashlib of Python.
        assert_eq!(
            key.to_hex(),
            "0xdd295a613b9058c3c23d6dc7165bda072304d989c9d0af3a8c7e184b4f9bb4a1"
        );
        assert_eq!(Key::from_hex(&key.to_hex()), Some(key.clone()));
        assert_eq!(Key::from_bytes(key.as_bytes()), Some(key));
        let hash = Key::sha256(user_hash(user, realm).unwrap()).to_hex();
        assert_eq!(
            hash,
            "0x4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704"
        );
    }

    #[test]
    fn a8_user_and_password_are_put_through_opaque_string() {
        // Decomposed and composed spellings are one text; a non-ASCII space is a space.
        assert_eq!(
            hex("Jose\u{301}", "realm", "a\u{a0}b"),
            hex("Jos\u{e9}", "realm", "a b")
        );
        assert_ne!(hex("User", "realm", "pass"), hex("user", "realm", "pass"));
        // Full width is kept: OpaqueString normalises to NFC, not NFKC.
        assert_ne!(hex("user", "realm", "\u{ff21}"), hex("user", "realm", "A"));
    }

    #[test]
    fn a8_what_the_profile_forbids_is_refused_without_showing_it() {
        for (user, realm, password, text) in [
            ("", "r", "p", "the user name is empty"),
            ("u", "", "p", "the realm is empty"),
            ("u", "r", "", "the password is empty"),
            ("u\n", "r", "p", "character 2 of the user name"),
            ("u", "r", "The\u{ad}M", "character 4 of the password"),
            ("u", "r", "\u{7f}", "character 1 of the password"),
            (
                "u",
                "r",
                "\u{387}",
                "the password holds a character that STUN does not allow where it stands",
            ),
        ] {
            let error = Key::from_password(user, realm, password)
                .unwrap_err()
                .to_string();
            assert!(error.starts_with(text), "{error}");
        }
    }

    #[test]
    fn hex_reads_back_and_rubbish_does_not_read() {
        let text = "0x8493fbc53ba582fb4c044c456bdc40eb";
        assert_eq!(Key::from_hex(text).unwrap().to_hex(), text);
        assert_eq!(
            Key::from_hex("0x8493FBC53BA582FB4C044C456BDC40EB")
                .unwrap()
                .to_hex(),
            text
        );
        for rubbish in [
            "",
            "0x",
            "8493fbc53ba582fb4c044c456bdc40eb",
            "0x8493fbc53ba582fb4c044c456bdc40",
            "0x8493fbc53ba582fb4c044c456bdc40eb0",
            "0x8493fbc53ba582fb4c044c456bdc40eb00",
            "0x8493fbc53ba582fb4c044c456bdc40eb8493fbc53ba582fb4c044c456bdc40ebff",
            "0x+493fbc53ba582fb4c044c456bdc40eb",
            "0x8493fbc53ba582fb4c044c456bdc40\u{e9}",
        ] {
            assert!(Key::from_hex(rubbish).is_none(), "{rubbish}");
        }
    }

    #[test]
    fn a8_a_name_is_looked_up_without_the_checks_of_the_profile() {
        for name in [
            "alice",
            "a b",
            "Jos\u{e9}",
            "Jose\u{301}",
            "a\u{a0}b",
            "\u{212b}",
        ] {
            let prepared = prepare(name, Part::UserName).unwrap();
            assert_eq!(lookup_form(name), Some(prepared), "{name:?}");
        }
        // Names that the context rules refuse are looked up as written, and belong to nobody.
        for name in ["a\u{b7}b", "\u{30fb}", "\u{660}\u{6f0}", "\u{5f3}"] {
            assert!(prepare(name, Part::UserName).is_err(), "{name:?}");
            assert_eq!(lookup_form(name).as_deref(), Some(name));
        }
        for name in ["", "a\n", "\u{85}", "\u{7f}"] {
            assert_eq!(lookup_form(name), None, "{name:?}");
        }
    }

    #[test]
    fn debug_does_not_show_the_key() {
        assert_eq!(format!("{:?}", Key::md5([7; 16])), "Key(…)");
    }

    proptest! {
        #[test]
        fn preparing_never_panics_and_is_stable(text: String) {
            if let Ok(once) = prepare(&text, Part::Password) {
                prop_assert_eq!(prepare(&once, Part::Password).unwrap(), once.clone());
            }
        }

        #[test]
        fn every_name_that_can_be_configured_is_found(text: String) {
            if let Ok(name) = prepare(&text, Part::UserName) {
                prop_assert_eq!(lookup_form(&text), Some(name.clone()));
                prop_assert_eq!(lookup_form(&name), Some(name.clone()));
            }
        }

        #[test]
        fn the_fast_path_agrees_with_the_profile(text in "[ -~]{1,40}") {
            let profile = OpaqueString::enforce(text.as_str()).unwrap();
            prop_assert_eq!(prepare(&text, Part::UserName).unwrap(), profile);
        }
    }
}
