//! The first commands of an operator: what they say, and that `check` foretells `serve`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};

use serde_json::Value;

use super::wait_for;
use crate::support::{Namespace, Running, Scratch, link};

const TURND: &str = env!("CARGO_BIN_EXE_turnd");

fn turnd(args: &[&str]) -> Output {
    let scratch = Scratch::new();
    let mut command = Command::new(TURND);
    command.args(args).current_dir(scratch.path());
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs `check` and `serve` with this file to their ends, and returns both codes and what `check` said.
fn both(name: &str, toml: &str) -> (Option<i32>, Option<i32>, String) {
    let scratch = Scratch::new();
    let file = scratch.path().join(name);
    fs::write(&file, toml).unwrap();
    let file = file.to_str().unwrap();
    let check = turnd(&["check", "-c", file]);
    let serve = turnd(&["serve", "-c", file]);
    let (told, served) = (text(&check.stderr), text(&serve.stderr));
    let last = |told: &str| told.lines().last().unwrap_or_default().to_owned();
    // Behind the time, where lines of the log have come before.
    assert!(last(&served).contains("error: "), "{served}");
    (check.status.code(), serve.status.code(), told)
}

#[test]
fn check_foretells_what_serve_cannot_have() {
    let two = (Some(2), Some(2));
    let one = (Some(2), Some(1));
    for (toml, codes, message) in [
        (
            "log-file = '/nonexistent/x.log'",
            two,
            "log-file: /nonexistent/x.log cannot be opened",
        ),
        (
            "pidfile = '/nonexistent/p'",
            two,
            "pidfile: /nonexistent/p cannot be written",
        ),
        (
            "admin-listen = '/nonexistent/s.sock'",
            two,
            "admin-listen: /nonexistent/s.sock is in a folder that does not exist",
        ),
        // The network may be slower than the service.
        (
            "listening-ip = '203.0.113.9'",
            one,
            "203.0.113.9:3478/udp cannot be bound: this host does not have the address",
        ),
        (
            "relay-ip = '203.0.113.9'\nlistening-ip = '127.0.0.77'",
            one,
            "relay-ip 203.0.113.9 cannot be bound",
        ),
    ] {
        let toml = format!("user = 'alice:correct horse'\n{toml}\n");
        let (check, serve, told) = both("turnd.toml", &toml);
        assert_eq!((check, serve), codes, "{toml}{told}");
        let line = format!("error: {message}");
        assert!(told.lines().any(|told| told.starts_with(&line)), "{told}");
    }
}

#[test]
fn ports_below_1024_need_a_right_and_end_with_2() {
    let namespace = Namespace::new("low");
    let scratch = Scratch::new();
    let binary = scratch.path().join("turnd");
    fs::copy(TURND, &binary).unwrap();
    for command in ["check", "serve"] {
        let mut turnd = namespace.command("setpriv");
        turnd.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
        turnd.arg("--bounding-set=-all").arg(&binary).arg(command);
        turnd.args(["--user", "a:correct horse", "--listening-port", "443"]);
        let output = turnd.current_dir(scratch.path()).output().unwrap();
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{command}: {told}");
        assert!(
            told.contains("error: 0.0.0.0:443/udp may not be bound"),
            "{told}"
        );
    }
}

#[test]
fn coturns_file_points_to_the_import() {
    let conf = "listening-port=3478\nfingerprint\nlt-cred-mech\nuser=jun:123456\n";
    let (check, serve, told) = both("turnserver.conf", conf);
    assert_eq!((check, serve), (Some(2), Some(2)));
    assert!(
        told.contains("turnserver.conf: this looks like coturn's configuration; `turnd import "),
        "{told}"
    );
}

#[test]
fn other_peoples_command_lines_get_a_hint() {
    for (words, hint) in [
        (
            &["serve", "-a", "-u", "alice:secret", "-r", "example.org"][..],
            "`turnd import -- turnserver …`",
        ),
        (
            &["serve", "--port", "3478"],
            "--port is --listening-port here",
        ),
        (&["serve", "-v"], "-v is --verbose here"),
        (&["start"], "did you mean `turnd serve`?"),
        (&["turn:foo"], "`turnd probe turn:foo`"),
    ] {
        let output = turnd(words);
        let told = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(
            told.contains("tip: ") && told.contains(hint),
            "{words:?}: {told}"
        );
        assert!(!told.contains("alice:secret"), "{told}");
    }
    let help = turnd(&["help", "--help"]);
    assert!(help.status.success());
    assert!(text(&help.stdout).contains("Diagnose:"));
}

#[test]
fn a_start_that_fails_ends_with_json_where_the_log_is_json() {
    let scratch = Scratch::new();
    let file = scratch.path().join("turnd.toml");
    let config = file.to_str().unwrap();
    for toml in [
        "log-format = 'json'\nlistening-ip = '203.0.113.9'\nno-auth = true",
        "log-format = 'json'\nmin-port = 70000",
    ] {
        fs::write(&file, toml).unwrap();
        let told = text(&turnd(&["serve", "-c", config]).stderr);
        for line in told.lines() {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        }
        let last: Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
        assert_eq!(last["level"], "ERROR", "{told}");
        assert!(last["message"].is_string() && last["timestamp"].is_string());
    }
}

#[test]
fn check_without_a_file_says_where_it_looked() {
    let told = text(&turnd(&["check"]).stderr);
    let first =
        "error: no configuration file (turnd.toml, /etc/turnd/turnd.toml); name one with -c\n";
    assert!(told.starts_with(first), "{told}");
    assert!(told.contains("nobody may allocate"), "{told}");
}

#[test]
fn check_prints_a_verdict_a_summary_and_what_differs() {
    let scratch = Scratch::new();
    let file = scratch.path().join("turnd.toml");
    let toml = "user = 'alice:correct horse'\nrealm = 'example.org'\nlistening-port = 3478\n\
                listening-ip = '127.0.0.78'\nmax-bps = '1 Mbit'\n";
    fs::write(&file, toml).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let config = file.to_str().unwrap();
    let shown = turnd(&["check", "-c", config]);
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    let shown = text(&shown.stdout);
    let expected = format!(
        "# {config} is good\n\
         # listens on:   127.0.0.78:3478, 127.0.0.78:5349 (UDP, TCP)\n\
         # relays from:  the address that the client reached, ports 49152 to 65535\n\
         # may allocate: user alice; realm example.org\n\
         # certificates: none, so no TLS\n\
         listening-ip = [\"127.0.0.78\"]\nrealm = \"example.org\"\nuser = [\"alice:***\"]\nmax-bps = 125000\n"
    );
    assert_eq!(shown, expected);
    let all = text(&turnd(&["check", "--all", "-c", config]).stdout);
    assert!(
        all.contains("listening-port = 3478\n") && all.lines().count() > 50,
        "{all}"
    );
    let quiet = turnd(&["check", "-q", "-c", config]);
    assert!(quiet.status.success() && quiet.stdout.is_empty());
}

#[test]
fn check_tries_the_rights_of_the_user_who_will_serve() {
    let scratch = Scratch::new();
    let binary = scratch.path().join("turnd");
    fs::copy(TURND, &binary).unwrap();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let secret = scratch.path().join("secret");
    fs::write(&secret, "3a7bd3e2360a3d29eea436fcfb7e44c7\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let toml = format!(
        "static-auth-secret-file = '{}'\nlistening-ip = '127.0.0.79'\n",
        secret.display()
    );
    let file = scratch.path().join("turnd.toml");
    fs::write(&file, toml).unwrap();
    let check = |more: &[&str]| {
        let mut check = Command::new(&binary);
        check.args(["check", "-c"]).arg(&file).args(more);
        check.output().unwrap()
    };
    let root = check(&[]);
    assert!(root.status.success(), "{}", text(&root.stderr));
    let nobody = check(&["--as", "nobody"]);
    let told = text(&nobody.stderr);
    assert_eq!(nobody.status.code(), Some(2), "{told}");
    assert!(
        told.contains("as user nobody, which serves")
            && told.contains("cannot be read by user nobody"),
        "{told}"
    );
    let unknown = check(&["--as", "nosuchuser"]);
    assert_eq!(unknown.status.code(), Some(2));
    // The log of a tutorial, in a folder of root's.
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let log = check(&["--as", "nobody", "--log-file", "/var/log/turnserver.log"]);
    let told = text(&log.stderr);
    assert_eq!(log.status.code(), Some(2), "{told}");
    assert!(
        told.contains("log-file: /var/log/turnserver.log cannot be opened"),
        "{told}"
    );
}

/// `turnd check` of /etc/turnd/turnd.toml, on a machine that has the package's user.
fn check_package(scratch: &Scratch, toml: &str) -> Output {
    const SCRIPT: &str = "
        test -d \"$1/etc\" || cp -a /etc \"$1/etc\"
        echo turnd:x:64999:64999::/:/bin/false >>\"$1/etc/passwd\"
        echo turnd:x:64999: >>\"$1/etc/group\"
        mkdir -p \"$1/etc/turnd\"
        cp \"$1/turnd.toml\" \"$1/etc/turnd/turnd.toml\"
        mount --bind \"$1/etc\" /etc
        cd /
        exec \"$2\" check";
    fs::write(scratch.path().join("turnd.toml"), toml).unwrap();
    let mut script = Command::new("unshare");
    script.args(["--mount", "--net", "sh", "-ec", SCRIPT, "sh"]);
    script.arg(scratch.path()).arg(TURND).output().unwrap()
}

#[test]
fn root_checks_the_packages_file_as_the_units_user() {
    let scratch = Scratch::new();
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let secret = scratch.path().join("secret");
    fs::write(&secret, "3a7bd3e2360a3d29eea436fcfb7e44c7\n").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let toml = format!(
        "static-auth-secret-file = '{}'\ntls-listening-port = 443\n\
         log-file = '/var/log/turnd/turnd.log'\nadmin-listen = '/run/turnd/turnd.sock'\n",
        secret.display()
    );
    let output = check_package(&scratch, &toml);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("cannot be read by user turnd"), "{told}");

    // The unit gives the port, and makes the folders.
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let output = check_package(&scratch, &toml);
    let told = text(&output.stderr);
    assert!(output.status.success(), "{told}");
    assert!(
        told.contains("warning: port 443: user turnd needs CAP_NET_BIND_SERVICE"),
        "{told}"
    );
    let shown = text(&output.stdout);
    assert!(
        shown.starts_with("# /etc/turnd/turnd.toml is good\n"),
        "{shown}"
    );

    let toml = toml.replace("/var/log/turnd/turnd.log", "/var/log/turnserver.log");
    let output = check_package(&scratch, &toml);
    let told = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(
        told.contains("log-file: /var/log/turnserver.log cannot be opened"),
        "{told}"
    );
}

#[test]
fn a_server_says_at_the_start_what_it_serves_and_warns_of_no_auth() {
    let namespace = Namespace::new("said");
    let mut serve = namespace.command(TURND);
    serve.args(["serve", "--no-auth", "--listening-ip", "127.0.0.1"]);
    serve.args(["--realm", "example.org", "--external-ip", "203.0.113.7"]);
    let running = Running::start(&mut serve);
    wait_for("INFO serving version=", || running.stderr());
    let log = running.stderr();
    assert!(
        log.contains("WARN no-auth: anyone who reaches this server"),
        "{log}"
    );
    assert!(
        !log.contains("admin not listening address=/run/turnd"),
        "{log}"
    );
    let line = log
        .lines()
        .find(|line| line.contains("INFO serving"))
        .unwrap();
    for part in [
        "realm=\"example.org\"",
        "may_allocate=\"anyone: no-auth\"",
        "listens_on=\"127.0.0.1:3478, 127.0.0.1:5349 (UDP, TCP)\"",
        "relays_from=\"the address that the client reached, ports 49152 to 65535\"",
        "announces=\"203.0.113.7\"",
        "certificates=\"none, so no TLS\"",
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn the_demonstration_tells_this_machines_address_and_the_page() {
    let [server, router] = ["demo", "router"].map(Namespace::new);
    link([
        (&server, "eth0", &["198.51.100.5/24"]),
        (&router, "eth0", &["198.51.100.1/24"]),
    ]);
    let routed = server
        .command("ip")
        .args(["route", "add", "default", "via", "198.51.100.1"])
        .status();
    assert!(routed.unwrap().success());
    let scratch = Scratch::new();
    let mut serve = server.command(TURND);
    serve.arg("serve").current_dir(scratch.path());
    let running = Running::start(&mut serve);
    wait_for("iceServers", || running.stdout());
    let shown = running.stdout();
    assert!(
        shown.contains("turn:198.51.100.5:3478?transport=udp"),
        "{shown}"
    );
    assert!(shown.contains("http://127.0.0.1:9641/#ice"), "{shown}");
}
