use super::*;

fn env(name: &str) -> Option<OsString> {
    (name == "SECRET").then(|| "n0rth-of-the-river".into())
}

fn source(bytes: &[u8]) -> Source {
    Source {
        path: "turnd.toml".into(),
        bytes: bytes.to_vec().into(),
        public: false,
    }
}

fn with_flags(text: &str, flags: &FileConfig) -> Result<Loaded, String> {
    assemble(Some(source(text.as_bytes())), flags, &env, InUse::Nothing).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        lines.join("\n")
    })
}

fn loaded(text: &str) -> Result<Loaded, String> {
    with_flags(text, &FileConfig::default())
}

fn errors(text: &str) -> String {
    loaded(text).map(drop).unwrap_err()
}

#[test]
fn an_unknown_key_is_named_with_the_nearest() {
    assert_eq!(
        errors("user = 'a:b'\nmin_port = 1\n"),
        "turnd.toml:2: unknown key \"min_port\"; did you mean `min-port`?"
    );
    assert_eq!(
        errors("usr = 'a:b'"),
        "turnd.toml:1: unknown key \"usr\"; did you mean `user`?"
    );
    assert_eq!(
        errors("static-auth-secrets = 'a'"),
        "turnd.toml:1: unknown key \"static-auth-secrets\"; did you mean `static-auth-secret`?"
    );
    assert_eq!(
        errors("\"no\\u001bthing\" = 1"),
        "turnd.toml:1: unknown key \"no\\u{1b}thing\"; `turnd serve --help` lists every key"
    );
}

#[test]
fn sections_are_refused() {
    assert_eq!(
        errors("user = 'a:b'\n[server]\nmin-port = 1\n"),
        "turnd.toml:2: section \"server\" is not known; write all keys without sections"
    );
}

#[test]
fn wrong_types() {
    for (text, message) in [
        (
            "min-port = 'x'",
            "min-port: \"x\" is not a port from 1 to 65535; write it as min-port = 49152",
        ),
        (
            "min-port = 70000",
            "min-port: 70000 is not a port from 1 to 65535; write it as min-port = 49152",
        ),
        (
            "user-quota = -1",
            "user-quota: -1 is not a number from 0 to 4294967295; write it as user-quota = 100",
        ),
        (
            "max-bps = 1.5",
            "max-bps: a fraction is not bytes, or an amount as \"64 MiB\", \"1.5M\" or \"10 Mbit\"; write it as max-bps = \"10 Mbit\"",
        ),
        (
            "max-bps = 99999999999999999999",
            "max-bps: 99999999999999999999 is not bytes, or an amount as \"64 MiB\", \"1.5M\" or \"10 Mbit\"; write it as max-bps = \"10 Mbit\"",
        ),
        (
            "drain-timeout = '1 fortnight'",
            "drain-timeout: \"1 fortnight\" is not seconds, or a time as \"90s\", \"30m\", \"24h\" or \"7d\"; write it as drain-timeout = \"1h\"",
        ),
        (
            "fingerprint = 1",
            "fingerprint: 1 is not true or false; write it as fingerprint = true",
        ),
        (
            "realm = true",
            "realm: true or false is not a text; write it as realm = \"…\"",
        ),
        (
            "realm = ['a']",
            "realm: this list is not a text; write it as realm = \"…\"",
        ),
        (
            "realm.name = 'a'",
            "realm: a table is not a text; write it as realm = \"…\"",
        ),
        (
            "pidfile = 1979-05-27",
            "pidfile: a date is not a text; write it as pidfile = \"…\"",
        ),
        (
            "static-auth-secret = 12345",
            "static-auth-secret: a number is not a text or a list of texts; \
             write it as static-auth-secret = [\"…\"]",
        ),
        (
            "user = ['a:b', 5]",
            "user: this list is not a text or a list of texts; write it as user = [\"…\"]",
        ),
    ] {
        assert_eq!(errors(text), format!("turnd.toml:1: {message}"));
    }
}

#[test]
fn what_is_not_toml() {
    assert_eq!(
        errors("user = 'a:b'\nfingerprint\n"),
        "turnd.toml:2: fingerprint has no value; write fingerprint = true"
    );
    assert_eq!(
        errors("realm = 'a"),
        "turnd.toml:1: invalid literal string, expected `'`; write `key = value`, and text in quotes"
    );
}

#[test]
fn times_and_amounts_are_read_as_people_write_them() {
    let text = "no-auth = true\ndrain-timeout = '1h'\nstale-nonce = 60\nmax-bps = '10 Mbit'\n\
                user-bps = 1500\nmax-idle-memory = '8 MiB'";
    let resolved = loaded(text).unwrap().resolved;
    assert_eq!(resolved.drain_timeout, Some(3600));
    assert_eq!(resolved.stale_nonce, Some(60));
    assert_eq!(resolved.max_bps, Some(1_250_000));
    assert_eq!(resolved.user_bps, Some(1500));
    assert_eq!(resolved.max_idle_memory, Some(8 << 20));
}

#[test]
fn what_is_not_text() {
    let wrong = assemble(
        Some(source(b"realm = 'a'\nuser = '\xff:b'")),
        &FileConfig::default(),
        &env,
        InUse::Nothing,
    );
    let errors = wrong.map(drop).unwrap_err();
    assert_eq!(
        errors[0].to_string(),
        "turnd.toml:2: is not UTF-8 text; save the file as UTF-8"
    );
}

#[test]
fn files_that_cannot_be_read() {
    let message = |path: &str| {
        let errors = load(Some(Path::new(path)), &FileConfig::default()).map(drop);
        errors.unwrap_err()[0].to_string()
    };
    assert_eq!(
        message("/nonexistent/turnd.toml"),
        "/nonexistent/turnd.toml: cannot be read: No such file or directory (os error 2); \
         name a TOML file that this user may read with -c"
    );
    assert_eq!(
        message("/"),
        "/: is a folder; name a TOML file that this user may read with -c"
    );
    assert_eq!(
        message("/dev/zero"),
        "/dev/zero: is larger than 16 MiB; name a TOML file that this user may read with -c"
    );
}

#[test]
fn flags_override_the_file_and_errors_name_the_flag() {
    let flags = FileConfig {
        min_port: Some(50000),
        user: Some(vec!["c:d".to_owned().into()]),
        ..FileConfig::default()
    };
    let loaded = with_flags("min-port = 60000\nuser = ['a:b', 'e:f']", &flags).unwrap();
    assert_eq!(loaded.config.server.relay.min_port, 50000);
    assert_eq!(loaded.config.auth.users.len(), 1);
    assert_eq!(loaded.config.auth.users[0].name, "c");
    assert_eq!(
        with_flags("user = 'a:b'\nmax-port = 40000", &flags).map(drop),
        Err("--min-port: 50000 is above max-port 40000; lower min-port or raise max-port".into())
    );
}

#[test]
fn variables_are_expanded_in_every_text() {
    let text = "user = ['a:${SECRET}', 'b:$${SECRET}']\nrealm = 'r-${SECRET}'";
    let auth = loaded(text).unwrap().config.auth;
    assert_eq!(auth.realm, "r-n0rth-of-the-river");
    let password = |n: usize| match &auth.users[n].credential {
        turnd_proto::auth::Credential::Password(password) => password.reveal(),
        turnd_proto::auth::Credential::Keys(_) => unreachable!(),
    };
    assert_eq!(password(0), "n0rth-of-the-river");
    assert_eq!(password(1), "${SECRET}");
    assert_eq!(
        errors("user = [\n 'a:b',\n 'c:${MISSING}',\n]"),
        "turnd.toml:3: user: the environment has no variable MISSING; \
         set it, or write $${ for a plain ${"
    );
}

#[test]
fn every_error_is_told_in_the_order_of_the_lines() {
    assert_eq!(
        errors("min-port = 'x'\nzzzzzz = 1\nstale-nonce = 0\nmax-channels = 0\n"),
        "turnd.toml:1: min-port: \"x\" is not a port from 1 to 65535; write it as min-port = 49152\n\
         turnd.toml:2: unknown key \"zzzzzz\"; `turnd serve --help` lists every key\n\
         turnd.toml:3: stale-nonce: 0 is below 1; write 1 or more\n\
         turnd.toml:4: max-channels: 0 is below 1; write 1 or more"
    );
}

#[test]
fn a_file_that_shows_secrets_to_everyone_is_warned_of() {
    let warnings = |text: &str| {
        let mut source = source(text.as_bytes());
        source.public = true;
        let loaded = assemble(Some(source), &FileConfig::default(), &env, InUse::Nothing);
        loaded.unwrap().warnings
    };
    assert_eq!(
        warnings("user = 'a:correct horse'"),
        [
            "turnd.toml: holds secrets and every user of this machine can read it; \
          run `chmod o= turnd.toml`"
        ]
    );
    assert!(warnings("static-auth-secret = '${SECRET}'").is_empty());
    assert!(warnings("stun-only = true").is_empty());
}

#[test]
fn nothing_in_a_file_panics() {
    use proptest::prelude::*;
    let keys: Vec<String> = FileConfig::defaults()
        .to_table()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let value = prop_oneof![
        any::<i64>().prop_map(|n| n.to_string()),
        any::<String>().prop_map(|text| Value::String(text).to_string()),
        "[-a-z0-9.:/${}\"'\\[\\], #]{0,20}",
    ];
    let line = (prop::sample::select(keys), value).prop_map(|(k, v)| format!("{k} = {v}\n"));
    let file = prop::collection::vec(line, 0..6).prop_map(|lines| lines.concat());
    proptest!(|(text in file, bytes in any::<Vec<u8>>())| {
        let _ = loaded(&text);
        let _ = assemble(Some(source(&bytes)), &FileConfig::default(), &env, InUse::Nothing);
    });
}

/// Keys that the running server keeps, of a configuration that follows `before`; it follows all keys
/// but these.
fn kept(before: &str, after: &str, fixed: &[&str]) -> (Config, Vec<String>) {
    let [before, after] = [before, after].map(|text| loaded(text).unwrap());
    let tls = before.config.tls.clone();
    let follows = |key: &str| !fixed.contains(&key);
    let in_force = after.in_force(&before, &tls, follows).unwrap();
    let in_force = in_force.expect("something needs a restart");
    let kept = in_force.written.differing(&after.written);
    (in_force.config, kept)
}

#[test]
fn what_is_wrong_beside_a_running_value_stays_with_it() {
    // An address for everyone needs the token for as long as it is listened on.
    let before = "user = 'a:b'\nadmin-listen = '0.0.0.0:9641'\nadmin-token = 'south'";
    let after = "user = 'c:d'\nadmin-listen = '127.0.0.1:9641'\nrelay-threads = 3";
    let fixed = ["admin-listen", "relay-threads"];
    let (config, waiting) = kept(before, after, &fixed);
    assert_eq!(waiting, ["admin-listen", "admin-token", "relay-threads"]);
    assert_eq!(config.auth.users[0].name, "c");
    assert!(config.operation.admin_token.is_some());

    // The relay ports would hold a port that is still listened on.
    let two = "rfc5780 = true\nlistening-ip = ['127.0.0.1', '127.0.0.2']";
    let before = format!("user = 'a:b'\n{two}");
    let after = format!(
        "user = 'c:d'\nmax-bps = 9\n{two}\nalt-listening-port = 5000\nmin-port = 3479\nmax-port = 4000"
    );
    let (config, waiting) = kept(&before, &after, &["alt-listening-port"]);
    assert_eq!(waiting, ["alt-listening-port", "max-port", "min-port"]);
    assert_eq!(config.auth.users[0].name, "c");
    assert_eq!(config.server.limits.max_bps, Some(9));
    assert_eq!(config.server.relay.max_port, 65_535);
}

#[test]
fn a_configuration_that_can_be_followed_is_in_force_as_a_whole() {
    let [before, after] = ["user = 'a:b'", "user = 'c:d'"].map(|text| loaded(text).unwrap());
    let tls = before.config.tls.clone();
    let in_force = after.in_force(&before, &tls, |_| true).unwrap();
    assert!(in_force.is_none());
}
