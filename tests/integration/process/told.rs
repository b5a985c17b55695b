//! Every way to tell a command a secret but its command line, which other users can read.

use crate::support::command_line::{file, refused, succeeds, turnd};
use crate::support::{Extras, Scratch, Turnd};

const SECRET: &str = "a1f09c3de85b42761a3c5e7f9b2d4860";
/// The example of RFC 5389 with this user and realm.
const KEY: &str = "0x8493fbc53ba582fb4c044c456bdc40eb\n";

/// Flags, standard input and variables.
type Given<'a> = (&'a [&'a str], &'a str, &'a [(&'a str, &'a str)]);

#[test]
fn a_key_is_made_of_what_standard_input_holds() {
    for words in [
        &["key", "user", "realm"][..],
        &["key", "user", "realm", "-"],
    ] {
        for input in ["pass\n", "pass", "pass\r\nmore\n"] {
            assert_eq!(succeeds(&turnd(words, input, &[])), KEY);
        }
    }
    assert_eq!(
        succeeds(&turnd(&["key", "user", "realm", "pass"], "", &[])),
        KEY
    );
    refused(
        &turnd(&["key", "user", "realm"], "", &[]),
        "the password is empty",
    );
    let scratch = Scratch::new();
    let password = file(&scratch, "password", "pass\n");
    for (path, input) in [(password.as_str(), ""), ("-", "pass\n")] {
        let words = ["key", "user", "realm", "--password-file", path];
        assert_eq!(succeeds(&turnd(&words, input, &[])), KEY);
    }
}

/// RFC 8489 §18.5.1, and §9.2.2 for the key of MD5; the other is hashlib's of Python.
#[test]
fn a8_keys_of_either_hash_and_of_both() {
    const SHA256: &str = "0x07e934117abd40836e7c6329b54731b2b2d2a5f9a71f544922d75e0730d8251b";
    let of = |algorithm: &str| {
        let words = ["key", "--algorithm", algorithm, "user", "realm"];
        succeeds(&turnd(&words, "pass\n", &[]))
    };
    assert_eq!(of("md5"), KEY);
    assert_eq!(of("sha256"), format!("{SHA256}\n"));
    assert_eq!(of("both"), format!("{},{SHA256}\n", KEY.trim_end()));
    let words = ["key", "--algorithm", "sha1", "user", "realm"];
    refused(&turnd(&words, "pass\n", &[]), "sha256");
}

#[test]
fn a_client_is_told_a_password_or_secret_by_file_variable_and_standard_input() {
    let server = Turnd::start(&format!(
        "user = 'alice:correct horse'\nstatic-auth-secret = '{SECRET}'"
    ));
    let uri = format!("turn:{}", server.address());
    let scratch = Scratch::new();
    let password = file(&scratch, "password", "correct horse\n");
    let secret = file(
        &scratch,
        "secret",
        &format!("# newest first\n{SECRET}\nolder\n"),
    );
    let bench = [
        "bench",
        &uri,
        "--load",
        "allocate",
        "--duration",
        "1",
        "--allocations",
        "1",
    ];
    for command in [&["probe", &uri][..], &bench] {
        let ways: [Given<'_>; 8] = [
            (&["--user", "alice", "--password-file", &password], "", &[]),
            (
                &["--user", "alice", "--password-file", "-"],
                "correct horse\n",
                &[],
            ),
            (
                &["--user", "alice", "--password", "-"],
                "correct horse\n",
                &[],
            ),
            (
                &["--user", "alice"],
                "",
                &[("TURND_PASSWORD", "correct horse")],
            ),
            (&["--secret-file", &secret], "", &[]),
            (&["--secret-file", "-"], SECRET, &[]),
            (&["--secret", "-"], SECRET, &[]),
            (&[], "", &[("TURND_SECRET", SECRET)]),
        ];
        for (words, input, variables) in ways {
            succeeds(&turnd(&[command, words].concat(), input, variables));
        }
    }
    refused(
        &turnd(&["probe", &uri, "--user", "alice"], "", &[]),
        "there is no password; give --password-file, --password - for standard input, or TURND_PASSWORD",
    );
    refused(
        &turnd(&["probe", &uri, "--secret", "-"], "", &[]),
        "--secret: is empty",
    );
    refused(
        &turnd(&["probe", &uri, "--secret-file", "/nonexistent"], "", &[]),
        "--secret-file: /nonexistent cannot be read: No such file or directory",
    );
}

#[test]
fn credentials_are_made_of_a_secret_from_anywhere() {
    let scratch = Scratch::new();
    let secret = file(&scratch, "secret", SECRET);
    let ways: [Given<'_>; 4] = [
        (&["--secret-file", &secret], "", &[]),
        (&["--secret-file", "-"], SECRET, &[]),
        (&["--secret", "-"], SECRET, &[]),
        (&[], "", &[("TURND_SECRET", SECRET)]),
    ];
    for (words, input, variables) in ways {
        let words = [&["credentials", "--host", "192.0.2.1"], words].concat();
        let shown = succeeds(&turnd(&words, input, variables));
        assert!(
            shown.contains("turn:192.0.2.1:3478?transport=udp"),
            "{shown}"
        );
    }
    let local = turnd(&["credentials", "--secret-file", &secret], "", &[]);
    let told = String::from_utf8_lossy(&local.stderr);
    assert!(
        told.contains("127.0.0.1 is for this machine alone"),
        "{told}"
    );
    refused(
        &turnd(&["credentials"], "", &[]),
        "--secret - for standard input, or TURND_SECRET",
    );
}

#[test]
fn ctl_is_told_the_token_by_file_variable_and_standard_input() {
    let extras = Extras {
        admin: true,
        ..Extras::default()
    };
    let server = Turnd::start_with(&format!("admin-token = '{SECRET}'"), extras);
    let admin = server.admin().to_string();
    let scratch = Scratch::new();
    let token = file(&scratch, "token", SECRET);
    let ways: [Given<'_>; 4] = [
        (&["--token-file", &token], "", &[]),
        (&["--token-file", "-"], SECRET, &[]),
        (&["--token", "-"], SECRET, &[]),
        (&[], "", &[("TURND_TOKEN", SECRET)]),
    ];
    for (words, input, variables) in ways {
        let words = [&["ctl", "--admin", &admin, "log-level", "info"], words].concat();
        succeeds(&turnd(&words, input, variables));
    }
    let without = turnd(&["ctl", "--admin", &admin, "log-level", "info"], "", &[]);
    assert_eq!(without.status.code(), Some(1));
}

#[test]
fn help_says_that_others_can_read_a_command_line() {
    for (words, count) in [
        (&["serve", "--help"][..], 5),
        (&["check", "--help"], 5),
        (&["credentials", "--help"], 1),
        (&["key", "--help"], 1),
        (&["probe", "--help"], 2),
        (&["bench", "--help"], 2),
        (&["ctl", "--help"], 1),
    ] {
        let shown = succeeds(&turnd(words, "", &[("COLUMNS", "1000")]));
        let words_of_it: Vec<_> = shown.split_whitespace().collect();
        let said = words_of_it
            .join(" ")
            .matches("Others on this machine can read it here")
            .count();
        assert_eq!(said, count, "{words:?}: {shown}");
    }
}
