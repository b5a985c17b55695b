//! Secrets that can be guessed.

use super::Secret;
use super::error::shown;
use super::problems::Problems;

/// Fewest bytes of a secret that clients' passwords or nonces are made with, or that opens the admin listener.
const SECRET: usize = 16;

/// Fewest bytes of a user's password.
const PASSWORD: usize = 8;

/// Fewest different characters of a secret or password.
const VARIETY: usize = 4;

/// Most users that a warning names.
const NAMED: usize = 5;

/// Placeholders of the files in `deploy/`: nobody ever serves with one.
const SHIPPED: [&str; 2] = ["REPLACE-ME", "change-me"];

/// Texts of tutorials and of other programs' examples, in small letters and digits.
const WELL_KNOWN: [&str; 28] = [
    "0123456789",
    "0123456789abcdef",
    "123456789",
    "1234567890",
    "abcdefghijklmnop",
    "admin",
    "coturn",
    "default",
    "example",
    "guest",
    "letmein",
    "logen",
    "longrandomtext",
    "mysecret",
    "north",
    "passw0rd",
    "password",
    "qwertyuiop",
    "secret",
    "sharedsecret",
    "south",
    "staticauthsecret",
    "test",
    "turnpassword",
    "turnsecret",
    "turnserver",
    "webrtc",
    "youhavetochooseitcarefully",
];

/// Words that only a placeholder holds.
const PLACEHOLDER: [&str; 11] = [
    "changeit",
    "changeme",
    "changethis",
    "insertyour",
    "longandcryptic",
    "opensslrand",
    "placeholder",
    "replaceme",
    "replacethis",
    "yourpassword",
    "yoursecret",
];

/// Reason why a secret can be guessed, as it follows a name; `None`: none is known.
fn weakness(secret: &Secret, least: usize) -> Option<&'static str> {
    let text = secret.reveal();
    let plain: String = text
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    let plain = zeroize::Zeroizing::new(plain);
    // A well-known text that is repeated is known as well.
    let known = |word: &&str| {
        let rest = plain.replace(*word, "");
        !plain.is_empty() && rest.is_empty()
    };
    if WELL_KNOWN.iter().any(known) || PLACEHOLDER.iter().any(|word| plain.contains(word)) {
        return Some("is a placeholder that everybody knows");
    }
    if text.len() < least {
        return Some(if least == SECRET {
            "has fewer than 16 bytes"
        } else {
            "has fewer than 8 bytes"
        });
    }
    let mut characters: Vec<char> = text.chars().collect();
    characters.sort_unstable();
    characters.dedup();
    let uniform = characters.len() < VARIETY;
    zeroize::Zeroize::zeroize(&mut characters);
    uniform.then_some("repeats a few characters")
}

/// Refuses a placeholder of `deploy/`, and warns of a secret that can be guessed.
pub(super) fn check_secret(key: &str, secret: &Secret, problems: &mut Problems<'_>) {
    const REMEDY: &str = "make one with `openssl rand -hex 32`";
    let in_file = format!("{key}-file");
    let key = problems.given(&[key, &in_file]);
    if SHIPPED.contains(&secret.reveal()) {
        problems.wrong(
            key,
            None,
            "is the placeholder that turnd is shipped with",
            REMEDY,
        );
    } else if let Some(why) = weakness(secret, SECRET) {
        problems.warn([format!(
            "{key}: a secret {why}, so it can be guessed; {REMEDY}"
        )]);
    }
}

/// Refuses the placeholders among the passwords of users, and warns of those that can be guessed in one line for all.
pub(super) fn check_passwords<'u>(
    users: impl Iterator<Item = (&'u str, &'u Secret)>,
    problems: &mut Problems<'_>,
) {
    const REMEDY: &str = "make others with `openssl rand -base64 18`";
    let key = problems.given(&["user", "user-file"]);
    let mut weak = Vec::new();
    for (name, password) in users {
        if SHIPPED.contains(&password.reveal()) {
            let problem = format!(
                "the password of user {} is the placeholder that turnd is shipped with",
                shown(name)
            );
            problems.wrong(key, None, problem, REMEDY);
        } else if let Some(why) = weakness(password, PASSWORD) {
            weak.push((name, why));
        }
    }
    let Some((_, why)) = weak.first() else {
        return;
    };
    let names: Vec<_> = weak.iter().map(|(name, _)| *name).collect();
    let names = listed(&names);
    let warning = match weak.len() {
        1 => format!("{key}: the password of {names} {why}, so it can be guessed; {REMEDY}"),
        _ => format!(
            "{key}: the passwords of {names} are short or well known, so they can be guessed; {REMEDY}"
        ),
    };
    problems.warn([warning]);
}

/// Users as a warning names them: a few, and the number of the others.
pub(super) fn listed(names: &[&str]) -> String {
    let first: Vec<_> = names.iter().take(NAMED).map(|name| shown(name)).collect();
    let first = first.join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => first,
        rest => format!("{first} and {rest} more"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::file::FileConfig;
    use crate::config::{Loaded, from_flags};

    fn of(text: &str, least: usize) -> Option<&'static str> {
        weakness(&Secret::new(text), least)
    }

    #[test]
    fn what_can_be_guessed() {
        let known = Some("is a placeholder that everybody knows");
        for text in [
            "north",
            "logen",
            "SECRET",
            "change_me",
            "Change-Me!!",
            "your-secret-here",
            "0123456789abcdef",
            "0123456789ABCDEF0123456789abcdef",
            "secretsecretsecret",
            "replace-me-with-a-long-random-text",
            "long-and-cryptic",
            "static-auth-secret",
            "please insert your secret",
            "password!password!",
            "CHANGE_ME",
            "`openssl rand -hex 32`",
            "$(openssl rand -hex 32)",
            "[your secret key here]",
            "$turnsecret",
            "${TURN_SECRET}",
        ] {
            assert_eq!(of(text, SECRET), known, "{text}");
        }
        for text in ["x", "123456789012345", "ünïcödé"] {
            assert_eq!(of(text, SECRET), Some("has fewer than 16 bytes"), "{text}");
        }
        assert_eq!(of("hunter2", PASSWORD), Some("has fewer than 8 bytes"));
        for text in [
            "aaaaaaaaaaaaaaaa",
            "abababababababab",
            "----------------",
            "0x0x0x0x0x0x0x0x0x",
        ] {
            assert_eq!(of(text, SECRET), Some("repeats a few characters"), "{text}");
        }
        assert_eq!(of("correct horse", PASSWORD), None);
    }

    fn loaded(config: FileConfig) -> Loaded {
        from_flags(&config).unwrap()
    }

    fn secrets(texts: &[&str]) -> Option<Vec<Secret>> {
        Some(texts.iter().copied().map(Secret::new).collect())
    }

    #[test]
    fn a_warning_names_the_key_and_the_user_and_never_the_secret() {
        let weak = Some(Secret::new("s3cret"));
        let config = FileConfig {
            static_auth_secret: secrets(&["s3cret", "3a7bd3e2360a3d29eea436fcfb7e44c7"]),
            nonce_secret: weak.clone(),
            admin_token: weak.clone(),
            user: secrets(&["alice:s3cret", "bob:0x00112233445566778899aabbccddeeff"]),
            ..FileConfig::default()
        };
        let why =
            "has fewer than 16 bytes, so it can be guessed; make one with `openssl rand -hex 32`";
        assert_eq!(
            loaded(config.clone()).warnings,
            [
                "user: the password of \"alice\" has fewer than 8 bytes, so it can be guessed; make others with `openssl rand -base64 18`".to_owned(),
                format!("static-auth-secret: a secret {why}"),
                format!("nonce-secret: a secret {why}"),
                format!("admin-token: a secret {why}"),
            ]
        );
        let users: Vec<_> = (0..7)
            .map(|n| Secret::new(format!("user{n}:s3cret")))
            .collect();
        let config = FileConfig {
            user: Some(users),
            ..FileConfig::default()
        };
        assert_eq!(
            loaded(config).warnings,
            [
                "user: the passwords of \"user0\", \"user1\", \"user2\", \"user3\", \"user4\" and 2 more are short or well \
              known, so they can be guessed; make others with `openssl rand -base64 18`"
            ]
        );
    }

    #[test]
    fn the_shipped_placeholder_is_refused() {
        let errors = |config: FileConfig| -> Vec<String> {
            let errors = from_flags(&config).unwrap_err();
            errors.iter().map(ToString::to_string).collect()
        };
        for placeholder in SHIPPED {
            let config = FileConfig {
                static_auth_secret: secrets(&[placeholder]),
                user: secrets(&[&format!("a:{placeholder}")]),
                ..FileConfig::default()
            };
            assert_eq!(
                errors(config),
                [
                    "--user: the password of user \"a\" is the placeholder that turnd is shipped with; make others with `openssl rand -base64 18`",
                    "--static-auth-secret: is the placeholder that turnd is shipped with; make one with `openssl rand -hex 32`",
                ]
            );
        }
    }

    proptest! {
        #[test]
        fn what_is_made_as_told_is_not_warned_of(bytes: [u8; 32]) {
            let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            let different = hex.chars().collect::<std::collections::HashSet<_>>().len();
            prop_assume!(different >= VARIETY);
            prop_assert_eq!(of(&hex, SECRET), None);
        }
    }
}
