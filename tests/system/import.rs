//! `turnd import`: coturn's files as people have them, and a server that runs on the result.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::browser::{candidates, gather_as};
use crate::support::{Authority, Key, Namespace, Scratch, Turnd, link};

/// The file of the tutorials.
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
cert=CERTIFICATE
pkey=KEY
min-port=49152
max-port=65535
user=jun:123456
";

/// Another, with comments after values, a log file, a password for the console, and no lt-cred-mech.
const COMMENTED: &str = "\
# /etc/turnserver.conf
listening-ip=192.168.0.186 # the address of eth0
relay-ip=192.168.0.186     # the same
external-ip=121.36.105.109 # the address that the world sees
listening-port=3478        # default
min-port=49152
max-port=65535
realm=turn.example.org
user=jun:123456            # name:password
cli-password=qwerty
log-file=LOG
no-multicast-peers
no-tlsv1
pidfile=\"PID\"
";

fn turnd(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_turnd"))
        .args(args)
        .output();
    output.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A certificate for the file that names one.
fn certificate(folder: &Path) {
    let authority = Authority::new();
    authority.issue("server", "turn.example.org", Key::Ecdsa, 2);
    fs::copy(authority.path("server.key"), folder.join("KEY")).unwrap();
    fs::copy(authority.path("server.pem"), folder.join("CERTIFICATE")).unwrap();
}

/// Imports the file, serves with the result on the addresses that it names, and lets a browser beyond gather.
fn serves_a_browser(file: &str) {
    let scratch = Scratch::new();
    let folder = scratch.path();
    certificate(folder);
    let mut file = file.to_owned();
    for name in ["CERTIFICATE", "KEY", "LOG", "PID"] {
        file = file.replace(
            &format!("={name}"),
            &format!("={}", folder.join(name).display()),
        );
        file = file.replace(
            &format!("\"{name}\""),
            &format!("\"{}\"", folder.join(name).display()),
        );
    }
    let conf = folder.join("turnserver.conf");
    fs::write(&conf, file).unwrap();
    let output = turnd(&["import", conf.to_str().unwrap()]);
    let report = text(&output.stderr);
    assert!(output.status.success(), "{report}");
    assert!(!report.contains("unknown"), "{report}");

    let [client, server] = ["client", "server"].map(Namespace::new);
    link([
        (&client, "client", &["192.168.0.7/24"]),
        (&server, "eth0", &["192.168.0.186/24"]),
    ]);
    let address: SocketAddr = "192.168.0.186:3478".parse().unwrap();
    let turnd = Turnd::start_in(&server, address, &text(&output.stdout));
    let result = gather_as(Some(&client), address, "jun", "123456");
    assert_eq!(result["errors"], json!([]), "{}", turnd.log());
    let relays = candidates(&result, "relay");
    assert_eq!(relays.len(), 1, "{result}\n{}", turnd.log());
    assert_eq!(relays[0]["address"], "121.36.105.109");
}

#[test]
fn the_file_of_the_tutorials_serves_a_browser() {
    serves_a_browser(TUTORIAL);
}

#[test]
fn a_file_with_comments_after_values_serves_a_browser() {
    serves_a_browser(COMMENTED);
}

/// Debian's coturn says what its options are: none of them is unknown, in a file or after `--`.
#[test]
fn every_option_of_the_installed_coturn_is_known() {
    let help = Command::new("turnserver").arg("-h").output();
    let help = text(&help.expect("turnserver (tests/setup installs it)").stdout);
    let mut names: Vec<_> = help
        .lines()
        .filter_map(|line| line.trim_start().strip_prefix('-').map(|_| line))
        .flat_map(|line| line.split([' ', ',', '\t', '=', '<', '[']))
        .filter_map(|word| word.strip_prefix("--"))
        .map(|name| name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric()))
        .filter(|name| !name.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    assert!(names.len() > 90, "{names:?}");

    let scratch = Scratch::new();
    let conf = scratch.path().join("turnserver.conf");
    fs::write(&conf, names.join("=1\n") + "=1\n").unwrap();
    let report = text(&turnd(&["import", conf.to_str().unwrap()]).stderr);
    assert!(!report.contains("Unknown:"), "{report}");

    let words: Vec<_> = names.iter().map(|name| format!("--{name}=1")).collect();
    let mut args = vec!["import", "--", "turnserver"];
    args.extend(words.iter().map(String::as_str));
    let report = text(&turnd(&args).stderr);
    assert!(!report.contains("Unknown:"), "{report}");
}

/// The file that Debian installs, with every option in it made one that is given.
#[test]
fn debians_example_file_is_known_throughout() {
    let example = fs::read_to_string("/etc/turnserver.conf");
    let example = example.expect("/etc/turnserver.conf (tests/setup installs coturn)");
    let given: String = example
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line))
        .filter(|line| {
            line.starts_with(|c: char| c.is_ascii_alphabetic()) && !line.starts_with("Local ")
        })
        .filter(|line| *line != "OR:")
        .map(|line| format!("{line}\n"))
        .collect();
    let scratch = Scratch::new();
    let conf = scratch.path().join("turnserver.conf");
    fs::write(&conf, given).unwrap();
    let output = turnd(&["import", conf.to_str().unwrap()]);
    let report = text(&output.stderr);
    assert!(
        output.status.success() && !report.contains("Unknown:"),
        "{report}"
    );
}

/// The unit that Debian installs: its options are those of the file that it names.
#[test]
fn debians_unit_brings_its_file() {
    let unit = "/lib/systemd/system/coturn.service";
    let output = turnd(&["import", unit, "-v"]);
    let report = text(&output.stderr);
    assert!(output.status.success(), "{report}");
    assert!(report.contains(": pidfile: none is written"), "{report}");
    assert!(!report.contains("Unknown:"), "{report}");
}

/// A database that coturn's own tool made: its user, and a credential of its secret, both allocate.
#[cfg(feature = "tools")]
#[test]
fn coturns_database_serves_its_users_and_secrets() {
    let scratch = Scratch::new();
    let db = scratch.path().join("turndb");
    let db = db.to_str().unwrap();
    for args in [
        &["-a", "-u", "alice", "-p", "correct-horse"][..],
        &["-s", "north-of-the-river"],
        &["-a", "-u", "bob", "-p", "battery-staple"],
    ] {
        let output = Command::new("turnadmin")
            .args(args)
            .args(["-b", db, "-r", "example.org"])
            .output();
        let output = output.expect("turnadmin (tests/setup installs coturn)");
        assert!(output.status.success(), "{output:?}");
    }
    let output = turnd(&["import", "--db", db]);
    let report = text(&output.stderr);
    assert!(output.status.success(), "{report}");
    assert!(report.contains("4 options: 4 kept"), "{report}");

    let [client, server] = ["client", "server"].map(Namespace::new);
    link([
        (&client, "client", &["192.168.0.7/24"]),
        (&server, "eth0", &["192.168.0.186/24"]),
    ]);
    let address: SocketAddr = "192.168.0.186:3478".parse().unwrap();
    let turnd = Turnd::start_in(&server, address, &text(&output.stdout));
    let made = self::turnd(&[
        "credentials",
        "--secret",
        "north-of-the-river",
        "--host",
        "turn.example.org",
    ]);
    let made: serde_json::Value = serde_json::from_slice(&made.stdout).unwrap();
    let made = made["iceServers"].as_array().unwrap().iter();
    let made = made
        .filter(|server| server["username"].is_string())
        .map(|server| {
            let text = |key: &str| server[key].as_str().unwrap().to_owned();
            (text("username"), text("credential"))
        })
        .next()
        .unwrap();
    for (user, password) in [
        ("alice", "correct-horse"),
        ("bob", "battery-staple"),
        (&made.0, &made.1),
    ] {
        let result = gather_as(Some(&client), address, user, password);
        assert_eq!(result["errors"], json!([]), "{user}: {}", turnd.log());
        assert_eq!(candidates(&result, "relay").len(), 1, "{result}");
    }
}
