use std::path::PathBuf;

use super::*;
use crate::config::{Config, from_flags};

fn errors(text: &str) -> String {
    let errors = Config::from_toml(text).unwrap_err();
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    lines.join("\n")
}

/// Warnings about a configuration that works.
fn warnings(text: &str) -> Vec<String> {
    let flags: crate::config::file::FileConfig = toml::from_str(text).unwrap();
    crate::config::from_flags(&flags).unwrap().warnings
}

#[test]
fn a_realm_that_makes_replies_long_is_told_of() {
    let told = |length| {
        warnings(&format!(
            "user = 'a:correct horse battery'\nrealm = '{}'",
            "x".repeat(length)
        ))
    };
    assert!(told(28).is_empty());
    assert!(told(29)[0].starts_with("realm: has 29 bytes, which makes a 401 5.2 times as long"));
    assert!(told(127)[0].contains(" 10.0 times"));
}

fn auth(text: &str) -> Settings {
    Config::from_toml(text).unwrap().auth
}

/// A file that is gone at the end of the test.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, text: &[u8]) -> Self {
        let name = format!("turnd-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn somebody_must_be_able_to_allocate() {
    let nobody = "turnd.toml: nobody may allocate, as there are no credentials; \
                  add user or static-auth-secret, or set no-auth = true";
    assert_eq!(errors(""), nobody);
    assert_eq!(errors("lt-cred-mech = true"), nobody);
    assert_eq!(errors("user = 'a:b'\nlt-cred-mech = false"), nobody);
    assert_eq!(
        errors("user = 'a:b'\nuse-auth-secret = true"),
        "turnd.toml:2: use-auth-secret: there is no secret; \
         add static-auth-secret or static-auth-secret-file"
    );
    assert!(auth("no-auth = true").no_auth);
    assert!(Config::from_toml("stun-only = true").is_ok());
}

#[test]
fn users() {
    let auth = auth(
        "user = ['alice:pass:word', 'bob:0x00112233445566778899AABBCCDDEEFF', 'carol: ', 'ä:🐒']",
    );
    let password = |text| Credential::Password(Secret::new(text));
    assert_eq!(auth.users[0].name, "alice");
    assert_eq!(auth.users[0].credential, password("pass:word"));
    let keys = Keys::from_hex("0x00112233445566778899aabbccddeeff").unwrap();
    assert_eq!(auth.users[1].credential, Credential::Keys(keys));
    assert_eq!(auth.users[2].credential, password(" "));
    assert_eq!(auth.users[3].name, "ä");
}

#[test]
fn wrong_users() {
    let long = format!("user = '{}:b'", "n".repeat(509));
    let shown = "n".repeat(60);
    for (text, message) in [
        (
            "user = 's3cret'",
            "a user has no `:`; write \"name:password\"",
        ),
        (
            "user = ':s3cret'",
            "a user name is empty; write \"name:password\"",
        ),
        (
            "user = 'a:'",
            "the password of user \"a\" is empty; write \"name:password\"",
        ),
        (
            "user = \"a\\u0007:s3cret\"",
            "user \"a\\u{7}\" holds U+0007, which is not allowed; remove that character",
        ),
        (
            "user = \"a:s3cret\\n\"",
            "the password of user \"a\" holds a character that is not allowed; \
             choose one without control or unassigned characters",
        ),
        (
            "user = 'a:0x5ec4e7'",
            "the key of user \"a\" is not 0x and 32 hex digits, or 64 of SHA-256; make one with `turnd key`",
        ),
        (
            "user = 'a:0x+0112233445566778899aabbccddeeff'",
            "the key of user \"a\" is not 0x and 32 hex digits, or 64 of SHA-256; make one with `turnd key`",
        ),
        (
            "user = ['a:b', 'a:c']",
            "user \"a\" is given twice; remove one",
        ),
        // The same name in two normal forms.
        (
            "user = [\"\\u00e4:b\", \"a\\u0308:c\"]",
            "user \"a\u{308}\" is given twice; remove one",
        ),
        (
            &long,
            &format!("user \"{shown}…\" has 509 bytes; shorten the name to 508"),
        ),
    ] {
        let expected = format!("turnd.toml:1: user: {message}");
        assert_eq!(errors(text).replace("\\u{308}", "\u{308}"), expected);
    }
}

#[test]
fn a_file_of_users() {
    let file = Temporary::new(
        "users",
        b"# staff\nalice:one\n\n bob:two\r\nalice:three\n:four\n",
    );
    let path = file.0.display();
    assert_eq!(
        errors(&format!("user-file = '{path}'")),
        format!(
            "{path}:5: user \"alice\" is given twice; remove one\n\
             {path}:6: a user name is empty; write \"name:password\""
        )
    );
    let file = Temporary::new("good-users", b"alice:one\nbob:two");
    let auth = auth(&format!(
        "user-file = '{}'\nuser = 'carol:three'",
        file.0.display()
    ));
    let names: Vec<_> = auth.users.iter().map(|user| &*user.name).collect();
    assert_eq!(names, ["carol", "alice", "bob"]);
}

#[test]
fn files_of_secrets() {
    assert_eq!(
        errors("static-auth-secret-file = '/nonexistent'"),
        "turnd.toml:1: static-auth-secret-file: \"/nonexistent\" cannot be read: \
         No such file or directory (os error 2); name a file that this user may read"
    );
    assert_eq!(
        errors("no-auth = true\nnonce-secret-file = '/'"),
        "turnd.toml:2: nonce-secret-file: \"/\" is a folder; name a file that this user may read"
    );
    assert_eq!(
        errors("static-auth-secret-file = '/dev/null'"),
        "turnd.toml:1: static-auth-secret-file: \"/dev/null\" is empty; write one secret per line"
    );
    let bytes = Temporary::new("not-text", b"one\ntw\xffo\n");
    assert_eq!(
        errors(&format!(
            "static-auth-secret-file = '{}'",
            bytes.0.display()
        )),
        format!(
            "{}:2: is not UTF-8 text; save the file as UTF-8",
            bytes.0.display()
        )
    );
    let two = Temporary::new("secrets", b"new\nold\n");
    let path = two.0.display();
    let found = auth(&format!(
        "static-auth-secret-file = '{path}'\nstatic-auth-secret = 'first'"
    ));
    let texts: Vec<_> = found.secrets.iter().map(Secret::reveal).collect();
    assert_eq!(texts, ["first", "new", "old"]);
    assert_eq!(
        errors(&format!(
            "no-auth = true\nnonce-secret-file = '{path}'\nnonce-secret = 'x'"
        )),
        format!(
            "turnd.toml:2: nonce-secret-file: nonce-secret is given as well; keep one of the two\n\
             turnd.toml:2: nonce-secret-file: \"{path}\" holds 2 lines; keep one"
        )
    );
}

#[test]
fn empty_secrets() {
    assert_eq!(
        errors("static-auth-secret = ['good', '']"),
        "turnd.toml:1: static-auth-secret: a secret is empty; write a long random text"
    );
    assert_eq!(
        errors("no-auth = true\nnonce-secret = ''"),
        "turnd.toml:2: nonce-secret: is empty; write a long random text, or leave it out"
    );
}

#[test]
fn realms() {
    assert_eq!(auth("user = 'a:b'\nserver-name = 's'").realm, "s");
    assert_eq!(
        auth("user = 'a:b'\nserver-name = 's'\nrealm = 'r'").realm,
        "r"
    );
    for (text, message) in [
        (
            "realm = ''",
            "realm: is empty; write the domain name of the service",
        ),
        (
            "server-name = ''",
            "server-name: is empty; write the domain name of the service",
        ),
        (
            "realm = \"a\\tb\"",
            "realm: holds U+0009, which is not allowed; remove that character",
        ),
        (
            &format!("realm = '{}'", "ä".repeat(128)),
            "realm: has 128 characters; shorten it to 127",
        ),
        (
            &format!("realm = '{}'", "漢".repeat(86)),
            "realm: has 258 bytes; shorten it to 255",
        ),
    ] {
        assert_eq!(
            errors(&format!("{text}\nuser = 'a:b'")),
            format!("turnd.toml:1: {message}")
        );
    }
}

#[test]
fn separators() {
    for (text, shown) in [("''", "\"\""), ("'::'", "\"::\""), ("'7'", "\"7\"")] {
        assert_eq!(
            errors(&format!("rest-api-separator = {text}\nno-auth = true")),
            format!(
                "turnd.toml:1: rest-api-separator: {shown} cannot separate time and name; \
                 write one character that is not a digit, such as \":\""
            )
        );
    }
}

#[test]
fn what_is_not_used_is_warned_of() {
    let flags = FileConfig {
        user: Some(vec![Secret::new("a:correct horse")]),
        static_auth_secret: Some(vec![Secret::new("north")]),
        use_auth_secret: Some(false),
        ..FileConfig::default()
    };
    let loaded = from_flags(&flags).unwrap();
    assert!(loaded.config.auth.secrets.is_empty());
    assert_eq!(
        loaded.warnings,
        ["static-auth-secret not used: use-auth-secret is false"]
    );
    let flags = FileConfig {
        no_auth: Some(true),
        use_auth_secret: None,
        ..flags
    };
    assert_eq!(
        from_flags(&flags).unwrap().warnings,
        [
            "no-auth: anyone who reaches this server may relay through it; give user or static-auth-secret instead",
            "user and static-auth-secret not used: no-auth lets anyone allocate",
        ]
    );
}

#[test]
fn random_users_differ_and_are_valid() {
    let config = || {
        let flags = FileConfig::default().with_random_user().unwrap();
        from_flags(&flags).unwrap().config
    };
    let (one, two) = (config(), config());
    assert_eq!(one.auth.users.len(), 1);
    assert_ne!(one.auth.users, two.auth.users);
    assert_eq!(one.auth.realm, "turnd");
}

#[test]
fn debug_shows_no_secret() {
    let text = "user = 'alice:s3cret'\nstatic-auth-secret = 's3cret'\nnonce-secret = 's3cret'";
    let config = Config::from_toml(text).unwrap();
    assert!(!format!("{config:?}").contains("s3cret"));
}
