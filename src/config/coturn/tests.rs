#[cfg(feature = "tools")]
mod database;
mod doubts;
mod sources;

use clap::Args;
use proptest::prelude::*;

use super::rule::Rule;
use super::*;
use crate::config::Config;
use crate::config::file::FileConfig;

fn import(text: &str) -> Import {
    translate(&read(text).unwrap().given)
}

/// The lines of the TOML that hold something, but for the reasons of those that are comments.
fn keys(import: &Import) -> Vec<&str> {
    let lines = import.toml.lines().skip(1);
    lines
        .filter(|line| !line.is_empty() && !line.starts_with("###"))
        .filter(|line| !line.trim_start().starts_with("# Not supported: "))
        .collect()
}

/// Errors of a result, but for those that are left to the operator: credentials and certificates.
fn errors(toml: &str) -> Vec<String> {
    let theirs = |error: &crate::config::ConfigError| {
        let key = error.key.as_deref();
        key == Some("cert")
            || key == Some("pkey")
            || error.line.is_none() && error.to_string().contains("nobody")
    };
    let errors = Config::from_toml(toml).err().unwrap_or_default();
    let ours = errors.iter().filter(|error| !theirs(error));
    ours.map(ToString::to_string).collect()
}

fn toml(text: &str) -> String {
    keys(&import(text)).join("\n")
}

fn verdict(text: &str) -> (Verdict, String) {
    let import = import(text);
    assert_eq!(import.entries.len(), 1, "{:?}", import.entries);
    (import.entries[0].verdict, import.entries[0].text.clone())
}

/// The file that people copy from tutorials.
const TUTORIAL: &str = "\
server-name=turn.example.org
realm=turn.example.org
fingerprint
relay-device=eth0
listening-ip=192.168.0.186
listening-port=3478
tls-listening-port=5349
relay-ip=192.168.0.186
external-ip=121.36.105.109
relay-threads=50
lt-cred-mech
no-cli
verbose
min-port=49152
max-port=65535
user=jun:123456
";

#[test]
fn the_tutorials_file() {
    let import = import(TUTORIAL);
    assert_eq!(
        keys(&import),
        [
            "listening-port = 3478",
            "tls-listening-port = 5349",
            "listening-ip = [\"192.168.0.186\"]",
            "relay-threads = 0",
            "relay-ip = [\"192.168.0.186\"]",
            "external-ip = [\"121.36.105.109\"]",
            "min-port = 49152",
            "max-port = 65535",
            "realm = \"turn.example.org\"",
            "server-name = \"turn.example.org\"",
            "user = [\"jun:123456\"]",
            "lt-cred-mech = true",
            "fingerprint = true",
            "verbose = true",
        ]
    );
    let lost = |entry: &&Entry| !matches!(entry.verdict, Verdict::Kept);
    let lost: Vec<_> = import
        .entries
        .iter()
        .filter(lost)
        .map(|e| &e.name)
        .collect();
    assert_eq!(lost, ["relay-device", "relay-threads", "no-cli"]);
    Config::from_toml(&import.toml).unwrap();
}

#[test]
fn an_address_that_a_script_finds_is_auto() {
    for (value, key) in [
        ("$(detect-external-ip)", "external-ip = [\"auto\"]"),
        ("$(detect-external-ip --ipv4)", "external-ip = [\"auto\"]"),
        (
            "`detect-external-ip`/10.0.0.5",
            "external-ip = [\"auto/10.0.0.5\"]",
        ),
        ("auto", "external-ip = [\"auto\"]"),
        (
            "192.0.2.1/10.0.0.5",
            "external-ip = [\"192.0.2.1/10.0.0.5\"]",
        ),
    ] {
        let import = import(&format!("no-auth\nexternal-ip={value}"));
        assert!(keys(&import).contains(&key), "{value}: {import:?}");
        Config::from_toml(&import.toml).unwrap();
    }
}

/// Every option of coturn from 4.5 to 4.18 by name, also those that a later version removed.
#[test]
fn every_option_of_coturn_is_known() {
    let names = include_str!("coturn-options.txt");
    let unknown: Vec<_> = names
        .lines()
        .filter(|name| options::find(name).is_none())
        .collect();
    assert_eq!(unknown, [""; 0]);
    assert!(names.lines().count() > 120);
}

#[test]
fn no_option_stands_twice_in_the_table() {
    let mut names: Vec<_> = options::all().iter().map(|option| option.name).collect();
    names.sort_unstable();
    let before = names.len();
    names.dedup();
    assert_eq!(names.len(), before);
}

#[test]
fn every_key_that_the_table_names_is_there() {
    let keys = FileConfig::augment_args(clap::Command::new("turnd"));
    for option in options::all() {
        let key = match option.rule {
            Rule::Keep => option.name,
            Rule::As(key) | Rule::Opposite(key) => key,
            _ => continue,
        };
        assert!(translate::key(&keys, key).is_some(), "{key}");
    }
}

#[test]
fn a_flag_that_turnd_lacks_is_not_missed_where_it_is_off() {
    for (text, expected) in [
        (
            "mobility",
            (Verdict::NotSupported, "turnd has no mobility yet"),
        ),
        (
            "mobility=0",
            (Verdict::WithoutEffect, "there is no mobility to turn off"),
        ),
        (
            "tlsv1=off",
            (Verdict::WithoutEffect, "there is no tlsv1 to turn off"),
        ),
    ] {
        let (verdict, told) = verdict(text);
        assert_eq!((verdict, told.as_str()), expected, "{text}");
    }
}

#[test]
fn lines_are_split_as_coturn_splits_them() {
    for (line, value) in [
        ("realm=a", "a"),
        ("  realm = a  ", "a"),
        ("realm a", "a"),
        ("realm\ta", "a"),
        ("realm==a", "a"),
        ("realm=a\r", "a"),
        ("realm=\"a b\"", "a b"),
        ("realm=\"a", "a"),
        ("realm=a=b", "a=b"),
        ("realm=a # comment", "a"),
        ("realm=\"a # b\" # comment", "a # b"),
        ("realm=a#b", "a#b"),
        ("realm=#b", "#b"),
        ("realm=\"a\"#b\"", "a\"#b"),
    ] {
        let expected = toml::Value::from(value);
        let table: toml::Table = toml(line).parse().unwrap();
        assert_eq!(table["realm"], expected, "{line}");
    }
    for line in ["", "   ", "# realm=a", "\t#", "\u{feff}# realm=a"] {
        assert!(import(line).entries.is_empty(), "{line}");
    }
}

#[test]
fn comments_after_flags_and_values_are_none_of_them() {
    let text = "fingerprint # as browsers like it\nmin-port=50000 # low\nuser=a:b#c # Ann\n";
    assert_eq!(
        toml(text),
        "# low\nmin-port = 50000\n# Ann\nuser = [\"a:b#c\"]\n# as browsers like it\nfingerprint = true"
    );
    assert_eq!(import(text).entries[1].text, "without the comment after it");
}

#[test]
fn switches_are_read_as_coturn_reads_them() {
    for on in ["", "=1", "=yes", "=on", "=true", "=T", " on", "=9"] {
        assert_eq!(
            toml(&format!("fingerprint{on}")),
            "fingerprint = true",
            "{on}"
        );
    }
    for off in ["=0", "=no", "=off", "=OFF", "=false", "=f"] {
        assert_eq!(
            toml(&format!("fingerprint{off}")),
            "fingerprint = false",
            "{off}"
        );
    }
    assert_eq!(verdict("fingerprint=maybe").0, Verdict::NotSupported);
}

#[test]
fn opposites() {
    assert_eq!(toml("no-loopback-peers"), "allow-loopback-peers = false");
    assert_eq!(toml("no-software-attribute=0"), "software-attribute = true");
    assert_eq!(
        toml("no-stun-backward-compatibility"),
        "rfc3489-compatibility = false"
    );
}

/// On in coturn before 4.17, off since.
#[test]
fn dtls_is_served_when_the_file_asks_for_it() {
    let off = (Verdict::WithoutEffect, "off unless dtls = true".to_owned());
    assert_eq!(verdict("no-dtls"), off);
    assert_eq!(toml("no-dtls"), "dtls = false");
    let on = "dtls = true";
    // The line is commented out where the program or the file lacks what DTLS needs.
    assert_eq!(toml("dtls").trim_start_matches("# "), on);
    assert_eq!(toml("no-dtls=false").trim_start_matches("# "), on);
    assert_eq!(verdict("dtls").0, Verdict::NotSupported);
    assert_eq!(toml("dtls\nno-dtls"), "dtls = false");
    assert_eq!(toml("no-dtls\ndtls").trim_start_matches("# "), on);
}

#[test]
fn a_file_that_leaves_dtls_to_coturn_is_told_that_it_is_off() {
    let told = |text: &str| {
        let notes = import(text).notes;
        notes
            .iter()
            .any(|note| note.contains("here it is off unless dtls = true"))
    };
    assert!(told("cert=a.pem\npkey=a.key"));
    assert!(!told("cert=a.pem\npkey=a.key\nno-dtls"));
    assert!(!told("cert=a.pem\npkey=a.key\ndtls"));
    assert!(!told("listening-port=3478"), "it served no TLS either");
}

#[cfg(feature = "dtls")]
#[test]
fn dtls_arrives_with_a_certificate() {
    let name = format!("turnd-import-{}.pem", std::process::id());
    let path = std::env::temp_dir().join(name);
    let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
    std::fs::write(&path, made.cert.pem() + &made.signing_key.serialize_pem()).unwrap();
    let text = format!(
        "user=x:y\nrealm=z\ncert={0}\npkey={0}\ndtls",
        path.display()
    );
    let import = import(&text);
    std::fs::remove_file(path).unwrap();
    let last = import.entries.last().unwrap();
    assert_eq!((last.name.as_str(), last.verdict), ("dtls", Verdict::Kept));
    assert!(keys(&import).contains(&"dtls = true"), "{}", import.toml);
}

#[test]
fn numbers_end_where_digits_end() {
    assert_eq!(toml("max-bps=64000;"), "max-bps = 64000");
    assert_eq!(toml("bps-capacity=1000000"), "bps-capacity = 1000000");
    for (text, problem) in [
        ("listening-port=x", "is not a number"),
        ("listening-port=-1", "is not a number"),
        ("listening-port=70000", "is above 65535"),
        ("user-quota=99999999999999999999999", "is above 4294967295"),
        ("listening-port", "has no value"),
    ] {
        assert_eq!(
            verdict(text),
            (Verdict::NotSupported, problem.to_owned()),
            "{text}"
        );
    }
}

#[test]
fn values_beyond_turnds_limits_are_brought_within() {
    for (text, line) in [
        ("stale-nonce", "stale-nonce = 600"),
        ("stale-nonce=0", "stale-nonce = 3600"),
        ("stale-nonce=86400", "stale-nonce = 3600"),
        ("max-allocate-lifetime=60", "max-allocate-lifetime = 600"),
        ("relay-threads=0", "relay-threads = 1"),
        ("relay-threads=100000", "relay-threads = 0"),
        ("rest-api-separator=::", "rest-api-separator = \":\""),
        (
            "keep-address-family",
            "allocation-default-address-family = \"keep\"",
        ),
        ("unauthorized-ratelimit=off", "unauthenticated-rate = 0"),
        ("unauthorized-ratelimit-rps=10", "unauthenticated-rate = 10"),
        ("stateless-nonce-secret=s", "nonce-secret = \"s\""),
        ("syslog", "syslog = true"),
        ("log-file=syslog", "syslog = true"),
        ("log-min-level=WARNING", "log-min-level = \"warning\""),
        ("log-min-level=debug", "log-min-level = \"debug\""),
    ] {
        assert_eq!(toml(text), line);
    }
    for text in [
        "relay-ip=0.0.0.0",
        "log-file=stdout",
        "keep-address-family=no",
    ] {
        assert_eq!(verdict(text).0, Verdict::WithoutEffect, "{text}");
        assert_eq!(toml(text), "");
    }
}

#[test]
fn repeated_keys_are_a_list_or_the_last_of_them() {
    let import =
        import("realm=a\nrealm=b\nlistening-ip=127.0.0.1\nlistening-ip=::1\nlistening-ip=::1");
    assert_eq!(
        keys(&import),
        [
            "listening-ip = [",
            "  \"127.0.0.1\",",
            "  \"::1\",",
            "]",
            "realm = \"b\""
        ]
    );
    assert_eq!(import.entries[0].verdict, Verdict::WithoutEffect);
    assert_eq!(import.entries[0].text, "line 2 comes after it");
    assert_eq!(import.entries[3].text, "line 5 comes after it");
    assert_eq!(
        toml("user=a:b\nuser=a:c\nuser=b:b"),
        "user = [\n  \"a:c\",\n  \"b:b\",\n]"
    );
}

#[test]
fn what_belongs_together_is_refused_together() {
    let import = import(
        "no-auth\nexternal-ip=192.0.2.1/10.0.0.2\nexternal-ip=192.0.2.2/10.0.0.3\nrelay-ip=10.0.0.1",
    );
    let lines = "relay-ip = [\"10.0.0.1\"]\n# external-ip = [\"192.0.2.1/10.0.0.2\", \"192.0.2.2/10.0.0.3\"]";
    assert!(
        keys(&import).join("\n").starts_with(lines),
        "{}",
        import.toml
    );
    // One pair of certificate and key, in coturn the last.
    let import =
        self::import("cert=/nonexistent/a\ncert=/nonexistent/b\npkey=/nonexistent/c\nno-auth");
    assert_eq!(import.entries[0].verdict, Verdict::WithoutEffect);
    assert_eq!(import.entries[1].verdict, Verdict::Kept);
    assert!(keys(&import).contains(&"cert = [\"/nonexistent/b\"]"));
}

#[test]
fn what_turnd_refuses_stays_as_a_comment() {
    let import = import(
        "user=a:b\nlistening-ip=turn.example.org\ndenied-peer-ip=10.0.0.0-1\ndenied-peer-ip=10.0.0.0/8",
    );
    assert_eq!(
        keys(&import),
        [
            "# listening-ip = [\"turn.example.org\"]",
            "user = [\"a:b\"]",
            "denied-peer-ip = [",
            "  # \"10.0.0.0-1\",",
            "  \"10.0.0.0/8\",",
            "]",
        ]
    );
    assert_eq!(import.entries[1].verdict, Verdict::NotSupported);
    assert!(import.entries[1].text.contains("is not an IP address"));
    Config::from_toml(&import.toml).unwrap();
}

#[test]
fn relay_ports_hold_no_listening_port() {
    for (text, lines) in [
        ("min-port=1024", "min-port = 5350\nmax-port = 65535"),
        (
            "min-port=1000\nmax-port=3500",
            "min-port = 1000\nmax-port = 3477",
        ),
        (
            "min-port=3478\nmax-port=3478",
            "min-port = 3478\nmax-port = 3478",
        ),
        (
            "listening-port=65535",
            "listening-port = 65535\nmin-port = 49152\nmax-port = 65534",
        ),
    ] {
        assert_eq!(
            toml(&format!("no-auth\n{text}")).replace("\nno-auth = true", ""),
            match lines {
                // Nothing is left of such a range, and turnd says so.
                "min-port = 3478\nmax-port = 3478" => "# min-port = 3478\n# max-port = 3478",
                lines => lines,
            }
        );
    }
}

#[test]
fn one_port_for_everything_becomes_two() {
    assert_eq!(
        toml("listening-port=443\ntls-listening-port=443"),
        "listening-port = 443\ntls-listening-port = 5349"
    );
    assert_eq!(
        toml("listening-port=5349"),
        "listening-port = 5349\ntls-listening-port = 3478"
    );
}

#[test]
fn one_user_for_all_clients_is_told_of_the_quota() {
    let told = |text: &str| {
        let notes = import(text).notes;
        notes.iter().any(|note| note.contains("user-quota = 0"))
    };
    assert!(told("user=jun:123456"));
    assert!(!told("user=jun:123456\nuser-quota=12"));
}

#[test]
fn credentials_that_are_elsewhere_are_missed() {
    let import = import("use-auth-secret\nredis-userdb=\"ip=127.0.0.1 password=s3cret\"");
    assert_eq!(import.entries[0].verdict, Verdict::NotSupported);
    assert_eq!(import.entries[1].verdict, Verdict::NotSupported);
    assert!(
        import.notes[0].starts_with("nobody may allocate"),
        "{:?}",
        import.notes
    );
    assert!(!format!("{:?}", import.entries).contains("s3cret"));
    assert!(!import.toml.contains("s3cret"));
}

#[test]
fn the_user_of_the_process_is_kept_where_it_exists() {
    let kept = import("proc-user=nobody\nproc-group=mail\nno-auth");
    assert!(
        kept.entries
            .iter()
            .all(|entry| entry.verdict == Verdict::Kept),
        "{:?}",
        kept.entries
    );
    let config = Config::from_toml(&kept.toml).unwrap();
    assert_eq!(config.user.unwrap().name, "nobody");
    let gone = import("proc-user=nosuchuser\nproc-group=mail\nno-auth");
    assert_eq!(gone.entries[0].verdict, Verdict::NotSupported);
    assert!(
        gone.entries[0].text.contains("useradd --system"),
        "{:?}",
        gone.entries
    );
    assert!(Config::from_toml(&gone.toml).unwrap().user.is_none());
}

#[test]
fn dollars_stay_what_they_are() {
    let import = import("static-auth-secret=a${b}\nuser=x:${HOME}");
    let config = Config::from_toml(&import.toml).unwrap();
    assert_eq!(config.auth.secrets[0].reveal(), "a${b}");
    assert_eq!(
        config.auth.users[0].credential,
        turnd_proto::auth::Credential::Password(crate::config::Secret::new("${HOME}"))
    );
}

#[test]
fn unknown_options_get_a_suggestion() {
    let (verdict, text) = verdict("listening_port=3478");
    assert_eq!(verdict, Verdict::Unknown);
    assert_eq!(text, "coturn ignores it too; was listening-port meant?");
}

/// A file that is no configuration at all: one word of this length.
#[test]
fn a_long_unknown_name_takes_no_longer_than_a_long_value() {
    let long = "a".repeat(200_000);
    let time = |text: &str| {
        let start = std::time::Instant::now();
        assert_eq!(import(text).entries.len(), 1);
        start.elapsed()
    };
    let (value, name) = (time(&format!("realm={long}")), time(&long));
    assert!(
        name < 20 * value,
        "{name:?} for a name, {value:?} for a value"
    );
}

#[test]
fn command_lines() {
    let expected = "listening-port = 3479\nlistening-ip = [\"127.0.0.1\"]\nrealm = \"example.org\"\n\
                    user = [\"x:y z\"]\nlt-cred-mech = true\nfingerprint = true\nverbose = true";
    for line in [
        "turnserver -a -f -v -u 'x:y z' -r example.org -L 127.0.0.1 -p 3479",
        "/usr/bin/turnserver -vfa -u'x:y z' -rexample.org -L127.0.0.1 -p3479",
        "turnserver --lt-cred-mech --fingerprint --verbose --user \"x:y z\" --realm=example.org \\\n \
         --listening-ip 127.0.0.1 --listening-port=3479",
        "sudo nohup turnserver --lt-cr --finger --verb --user=x:y\\ z --real example.org -L 127.0.0.1 -p 3479",
        "docker run -d --network=host coturn/coturn:4.6 -afv --user='x:y z' -r example.org -L 127.0.0.1 -p 3479",
        "#!/bin/sh\n# coturn\nset -e\nexec turnserver -afv -u \"x:y z\" -r example.org -L 127.0.0.1 -p 3479 # go",
        "[Service]\nType=simple\nExecStart=/usr/bin/turnserver -afv -u \"x:y z\" -r example.org -L 127.0.0.1 -p 3479",
        "-a -f -v\n-u \"x:y z\"\n-r example.org -L 127.0.0.1 -p 3479",
    ] {
        assert_eq!(toml(line), expected, "{line}");
    }
    assert_eq!(verdict("turnserver -k").0, Verdict::Unknown);
    assert_eq!(verdict("turnserver stray").0, Verdict::Unknown);
    assert_eq!(
        verdict("turnserver -p"),
        (Verdict::NotSupported, "has no value".to_owned())
    );
    let file = read("server-name=turnserver\nrealm turnserver").unwrap();
    assert_eq!(file.given[1].place, Place::Line(2));
}

/// Lines of options with plausible and implausible values.
fn file() -> impl Strategy<Value = String> {
    let names: Vec<_> = options::all().iter().map(|option| option.name).collect();
    let value = prop_oneof![
        Just(String::new()),
        "[0-9]{1,6}",
        "[a-z]{1,8}:[ -~]{1,12}",
        "[0-9]{1,3}(\\.[0-9]{1,3}){3}(/[0-9]{1,3}(\\.[0-9]{1,3}){3})?",
        "[0-9a-f:]{2,12}",
        "[ -~]{0,20}",
        "\\PC{0,20}",
    ];
    let line = (proptest::sample::select(names), "[ =\t]{1,2}", value);
    let line = line.prop_map(|(name, separator, value)| format!("{name}{separator}{value}"));
    proptest::collection::vec(line, 0..30).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_text_panics(text in "(?s).{0,400}") {
        if let Ok(source) = read(&text) {
            let _ = translate(&source.given);
        }
        let words: Vec<_> = text.split('x').map(str::to_owned).collect();
        let _ = translate(&command_line(&words).given);
    }

    #[test]
    fn the_result_is_a_configuration(text in file()) {
        let import = import(&text);
        // Whether anyone may allocate is for the operator to say.
        let toml = if import.toml.contains("\nno-auth = ") { import.toml } else { format!("no-auth = true\n{}", import.toml) };
        prop_assert_eq!(errors(&toml), [""; 0], "{}", toml);
    }

    #[test]
    fn no_secret_is_reported(secret in "[A-Za-z0-9+/]{16}") {
        let text = format!("user={secret}\nuser=a:0x{secret}\nstatic-auth-secret=\ncli-password={secret}\npkey-pwd={secret}\nstatic-auth-secret={secret}\nmysql-userdb=\"password={secret}\"");
        let import = import(&text);
        let told = format!("{:?}{:?}", import.entries, import.notes);
        prop_assert!(!told.contains(&secret));
    }
}
