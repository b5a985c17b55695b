//! Time-limited credentials from a shared secret ("TURN REST API", U1).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;

/// The user name `expiry` or `expiry:name`.
#[must_use]
pub fn username(expiry_unix: u64, name: Option<&str>, separator: char) -> String {
    match name {
        Some(name) => format!("{expiry_unix}{separator}{name}"),
        None => expiry_unix.to_string(),
    }
}

/// The password that belongs to `username`: base64(HMAC-SHA1(secret, username)).
#[must_use]
pub fn password(secret: &str, username: &str) -> String {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret.as_bytes())
        .expect("HMAC takes a key of any length (RFC 2104 §3)");
    mac.update(username.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// A user name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rest<'a> {
    /// The last second in which the credentials are good, since the Unix epoch.
    pub expiry: u64,
    /// The text after the separator, which it may hold again; not empty.
    pub name: Option<&'a str>,
}

/// Takes a user name apart; `None` when it does not start with a number.
#[must_use]
pub fn parse(username: &str, separator: char) -> Option<Rest<'_>> {
    let (expiry, name) = match username.split_once(separator) {
        Some((expiry, name)) => (expiry, Some(name)),
        None => (username, None),
    };
    // `parse` alone would take a sign.
    if !expiry.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Rest {
        expiry: expiry.parse().ok()?,
        name: name.filter(|name| !name.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn u1_password_is_base64_of_hmac_sha1() {
        // RFC 2202 §3, test case 2: key "Jefe", effcdf6ae5eb2fa2d27416d5f184df9c259a7c79.
        assert_eq!(
            password("Jefe", "what do ya want for nothing?"),
            "7/zfauXrL6LSdBbV8YTfnCWafHk="
        );
    }

    #[test]
    fn u1_names_may_be_absent_and_may_hold_the_separator() {
        let rest = |expiry, name| Some(Rest { expiry, name });
        assert_eq!(parse("1700000000", ':'), rest(1_700_000_000, None));
        assert_eq!(
            parse("1700000000:alice", ':'),
            rest(1_700_000_000, Some("alice"))
        );
        assert_eq!(parse("1:a:b:c", ':'), rest(1, Some("a:b:c")));
        assert_eq!(parse("1:", ':'), rest(1, None));
        assert_eq!(parse("1|a:b", '|'), rest(1, Some("a:b")));
        assert_eq!(
            parse("18446744073709551615:x", ':'),
            rest(u64::MAX, Some("x"))
        );
    }

    #[test]
    fn u1_what_is_not_a_number_is_no_expiry() {
        for rubbish in [
            "",
            ":alice",
            "alice",
            "alice:1700000000",
            "+1:a",
            "-1:a",
            " 1:a",
            "1 :a",
            "0x10:a",
            "1.5:a",
            "18446744073709551616:a",
            "\u{661}:a",
            "1|a",
        ] {
            assert_eq!(parse(rubbish, ':'), None, "{rubbish:?}");
        }
    }

    proptest! {
        #[test]
        fn u1_what_is_written_reads_back(expiry: u64, name in ".{1,20}", named: bool) {
            let name = named.then_some(name.as_str());
            let text = username(expiry, name, ':');
            prop_assert_eq!(parse(&text, ':'), Some(Rest { expiry, name }));
        }

        #[test]
        fn no_name_panics(text: String, separator: char) {
            let _ = parse(&text, separator);
        }
    }
}
