//! Values that are hardly what was meant, and what coturn does differently.

use super::*;

fn noted(text: &str, expected: &str) -> bool {
    let notes = import(text).notes;
    notes.iter().any(|note| note.contains(expected))
}

/// Names of a README that people copy, with the certificates of another machine.
#[test]
fn a_certificate_that_cannot_be_read_stays() {
    let text = "listening-port=3478\nserver-name:stun.example.org\nrealm=turn.example.org\nuser=alice:correct-horse\n\
                cert=/etc/letsencrypt/live/nowhere/fullchain.pem\npkey=/etc/letsencrypt/live/nowhere/privkey.pem\n";
    let import = import(text);
    let lines = keys(&import);
    assert!(
        lines.contains(&"cert = [\"/etc/letsencrypt/live/nowhere/fullchain.pem\"]"),
        "{lines:?}"
    );
    assert!(
        lines.contains(&"pkey = [\"/etc/letsencrypt/live/nowhere/privkey.pem\"]"),
        "{lines:?}"
    );
    let note = import
        .notes
        .iter()
        .find(|note| note.starts_with("line 5, cert: "));
    assert!(
        note.unwrap()
            .ends_with("The line stays, and `turnd check` says so until it is right")
    );
    assert!(Config::from_toml(&import.toml).is_err());
    assert_eq!(errors(&import.toml), [""; 0]);
    assert!(
        !keys(&self::import("no-auth\ncert=/a\npkey=/b\nno-udp\nno-tcp"))
            .iter()
            .any(|l| l.starts_with('#'))
    );
}

/// Warnings of everything else are not lost with a certificate.
#[test]
fn a_lost_certificate_hides_no_other_warning() {
    assert!(noted("realm=a\ncert=/a\npkey=/b", "nobody may allocate"));
    assert!(noted(
        "realm=a\ncert=/a\npkey=/b\nno-udp\nuse-auth-secret\nstatic-auth-secret=north",
        "static-auth-secret: a secret is a placeholder"
    ));
}

/// The stock list of Jitsi and BigBlueButton.
#[test]
fn an_unknown_cipher_costs_one_cipher() {
    let list = "cipher-list=\"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
                ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:\
                DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384\"";
    let (verdict, text) = verdict(list);
    assert_eq!(verdict, Verdict::Mapped);
    assert_eq!(
        text,
        "6 of 8 kept, beside those of TLS 1.3; the other 2 are DHE"
    );
    let written: toml::Table = toml(list).parse().unwrap();
    let written = written["cipher-list"].as_str().unwrap();
    assert_eq!(written.split(':').count(), 9);
    assert!(written.starts_with("TLS_"), "{written}");
    assert_eq!(
        self::verdict("cipher-list=HIGH:!aNULL").0,
        Verdict::NotSupported
    );
    assert_eq!(toml("cipher-list=HIGH:!aNULL"), "");
}

#[test]
fn several_options_on_one_line_are_taken_apart() {
    let text =
        "listening-port=3478 tls-listening-port=5349 fingerprint realm=turn.example.org # all\n";
    assert_eq!(
        toml(text),
        "listening-port = 3478\ntls-listening-port = 5349\n# all\nrealm = \"turn.example.org\"\nfingerprint = true"
    );
    let import = import(text);
    assert!(import.entries[0].text.contains("taken apart"), "{import:?}");
    assert_eq!(
        toml("verbose fingerprint"),
        "fingerprint = true\nverbose = true"
    );
    assert_eq!(
        toml("listening-port 3479 realm example.org"),
        "listening-port = 3479\nrealm = \"example.org\""
    );
}

#[test]
fn a_value_with_blanks_is_not_cut() {
    for (line, toml) in [
        (
            "user=alice:one realm=two",
            "user = [\"alice:one realm=two\"]",
        ),
        ("server-name=my realm=x y", "server-name = \"my realm=x y\""),
    ] {
        assert_eq!(super::toml(line), toml);
        assert!(
            noted(line, "write each option on a line of its own"),
            "{line}"
        );
    }
    let database = "mysql-userdb=host=a dbname=b user=c password=d";
    assert!(!noted(database, "line of its own"));
}

#[test]
fn doubtful_values_are_told_of() {
    for (line, doubt) in [
        (
            "pidfile=”/var/run/turnserver.pid”",
            "line 1, pidfile: has curly quotes",
        ),
        ("user=alice:‘s3cret’", "line 1, user: has curly quotes"),
        (
            "static-auth-secret=`openssl rand -hex 32`",
            "line 1, static-auth-secret: holds a command",
        ),
        (
            "external-ip=$(curl -s ifconfig.me)",
            "line 1, external-ip: holds a command",
        ),
        (
            "realm=__turnDomain__",
            "line 1, realm: looks like a placeholder",
        ),
        (
            "static-auth-secret=__turnSecret__",
            "line 1, static-auth-secret: looks like a placeholder",
        ),
        (
            "user=alice:<password>",
            "line 1, user: looks like a placeholder",
        ),
        (
            "realm={{ domain }}",
            "line 1, realm: looks like a placeholder",
        ),
        ("realm=$DOMAIN", "line 1, realm: holds a variable"),
        (
            "log-file=/var/log/turnserver/turnserver.log",
            "log-file: the service may write to /var/log/turnd only",
        ),
        (
            "log-file=/root/log/turn.log",
            "log-file: the service may write",
        ),
        (
            "pidfile=/var/run/turnserver.pid",
            "pidfile: the service may write to /run/turnd only",
        ),
        (
            "log-file=/var/log/turnd/../x",
            "log-file: the service may write",
        ),
        (
            "listening-port=3478",
            "there is no realm: turnd says \"turnd\"",
        ),
    ] {
        assert!(noted(line, doubt), "{line}: {:?}", import(line).notes);
    }
    for (line, doubt) in [
        ("log-file=/var/log/turnd/a.log", "may write"),
        ("pidfile=/run/turnd/turnd.pid", "may write"),
        ("listening-ip=[::1]", "placeholder"),
        ("user=alice:pa$word", "variable"),
        ("server-name=a", "there is no realm"),
    ] {
        assert!(!noted(line, doubt), "{line}: {:?}", import(line).notes);
    }
}

#[test]
fn metrics_are_not_where_they_were() {
    let (verdict, text) = verdict("prometheus");
    assert_eq!(verdict, Verdict::Mapped);
    assert!(text.contains("admin-listen = [\"0.0.0.0:9641\""), "{text}");
    assert_eq!(self::verdict("prometheus=0").0, Verdict::WithoutEffect);
}

#[test]
fn comments_and_reasons_stand_beside_the_keys() {
    let text = "# of the tutorial\n\n# Our realm.\n#\n# Ask Ann.\nrealm=example.org\n#verbose\nlistening-ip=turn.example.org # front\n\
                # the office\ndenied-peer-ip=192.0.2.0-192.0.2.9\n# nobody\ndenied-peer-ip=x\n";
    let import = import(text);
    let expected = "\
### Listening ###

# front
# Not supported: \"turn.example.org\" is not an IP address; ";
    assert!(import.toml.contains(expected), "{}", import.toml);
    assert!(
        import
            .toml
            .contains("\n# Our realm.\n# Ask Ann.\nrealm = \"example.org\"\n"),
        "{}",
        import.toml
    );
    assert!(
        import.toml.contains(
            "\n  # the office\n  \"192.0.2.0-192.0.2.9\",\n  # nobody\n  # Not supported: "
        ),
        "{}",
        import.toml
    );
    assert!(!import.toml.contains("tutorial"));
}

proptest! {
    /// A comment of any text is a comment of the result.
    #[test]
    fn comments_do_not_break_the_result(comment in "\\PC{0,20}[\\x00-\\x1f\\x7f]?\\PC{0,5}") {
        let comment = comment.replace(['\n', '\r'], "");
        let import = translate(&read_conf(&format!("#{comment}\nno-auth\nrealm=a # {comment}")));
        Config::from_toml(&import.toml).unwrap();
    }
}
