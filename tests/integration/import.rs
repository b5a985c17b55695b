//! `turnd import`: coturn's files as people have them, and a server that runs on the result.

use std::fs;
use std::process::{Command, Output};

use toml::Table;

use crate::support::Scratch;

fn turnd(args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_turnd"))
        .args(args)
        .output();
    output.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_result_goes_to_a_new_file_that_others_cannot_read() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::new();
    let path = scratch.path().join("turnd.toml");
    let path = path.to_str().unwrap();
    let args = ["import", "-o", path, "--", "turnserver", "-a", "-u", "x:y"];
    assert!(turnd(&args).status.success());
    let toml: Table = fs::read_to_string(path).unwrap().parse().unwrap();
    assert_eq!(toml["user"].as_array().unwrap()[0].as_str(), Some("x:y"));
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o007, 0);
    assert!(turnd(&["check", "-c", path]).status.success());
    let again = turnd(&args);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("remove it, or choose another name"));
}

#[test]
fn a_command_line_brings_the_file_that_it_names() {
    let scratch = Scratch::new();
    let conf = scratch.path().join("turnserver.conf");
    fs::write(&conf, "realm=a\nuser=x:y\nlistening-port=3479\n").unwrap();
    let unit = scratch.path().join("coturn.service");
    let start = format!(
        "[Service]\nExecStart=/usr/bin/turnserver -c {} -r b\n",
        conf.display()
    );
    fs::write(&unit, start).unwrap();
    let output = turnd(&["import", unit.to_str().unwrap()]);
    let toml: Table = text(&output.stdout).parse().unwrap();
    assert_eq!(toml["realm"].as_str(), Some("b"));
    assert_eq!(toml["listening-port"].as_integer(), Some(3479));
}

#[test]
fn what_is_not_coturns_is_refused() {
    for (path, code, message) in [
        ("/nonexistent", 2, "cannot be read"),
        ("/", 2, "cannot be read"),
        (
            "/etc/passwd",
            1,
            "holds no option of coturn's that is in force",
        ),
    ] {
        let output = turnd(&["import", path]);
        let report = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{path}: {report}");
        assert!(report.contains(message), "{report}");
    }
    assert_eq!(turnd(&["import"]).status.code(), Some(2));
}

/// Imports a file of this name, and returns exit code, TOML and report.
fn import(name: &str, contents: &str, args: &[&str]) -> (Option<i32>, String, String) {
    let scratch = Scratch::new();
    let path = scratch.path().join(name);
    fs::write(&path, contents).unwrap();
    let mut all = vec!["import", path.to_str().unwrap()];
    all.extend(args);
    let output = turnd(&all);
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn where_nothing_is_found_is_an_error() {
    for (name, contents) in [
        ("turnserver.conf", "# listening-port=3478\n#realm=x\n"),
        (
            "docker-compose.yml",
            "services:\n  web:\n    image: nginx\n",
        ),
        (
            "nginx.service",
            "[Service]\nUser=turnserver\nExecStart=/usr/sbin/nginx\n",
        ),
    ] {
        let (code, toml, report) = import(name, contents, &[]);
        assert_eq!((code, toml.as_str()), (Some(1), ""), "{name}: {report}");
        assert!(
            report.contains("a unit file") && report.contains("docker-compose"),
            "{report}"
        );
    }
    let (code, toml, report) = import(
        "turnd.toml",
        "realm = \"example.org\"\nstatic-auth-secret = [\"galene-secret\"]\n",
        &[],
    );
    assert_eq!((code, toml.as_str()), (Some(1), ""));
    assert!(
        report.contains("is turnd's own configuration already"),
        "{report}"
    );
}

#[test]
fn a_compose_file_brings_the_configuration_beside_it() {
    let scratch = Scratch::new();
    fs::create_dir(scratch.path().join("turn")).unwrap();
    fs::write(
        scratch.path().join("turn/turnserver.conf"),
        "user=alice:correct-horse\nrealm=a\n",
    )
    .unwrap();
    let compose = scratch.path().join("compose.yaml");
    let file = "services:\n  coturn:\n    image: coturn/coturn\n    volumes: ['./turn/turnserver.conf:/etc/coturn/turnserver.conf']\n    command: [--realm=b]\n";
    fs::write(&compose, file).unwrap();
    let output = turnd(&["import", compose.to_str().unwrap()]);
    let toml: Table = text(&output.stdout).parse().unwrap();
    assert_eq!(toml["realm"].as_str(), Some("b"));
    assert_eq!(toml["user"][0].as_str(), Some("alice:correct-horse"));
    let report = text(&output.stderr);
    assert!(
        report.contains("line 2: realm: start line 5 comes after it"),
        "{report}"
    );
}

#[test]
fn the_report_is_ordered_by_weight() {
    let conf = "realm=example.org\nuser=alice:correct-horse\nno-cli\nmobility\nrelay-threads=100000\n\
                denied-peer-ip=10.0.0.0/8\ndenied-peer-ip=192.168.0.0/16\npidfile=”/run/x”\n";
    let (code, _, report) = import("turnserver.conf", conf, &[]);
    assert_eq!(code, Some(0), "{report}");
    let order = [
        "Not supported:\n  line 4: mobility: turnd has no mobility yet\n",
        "Changed:\n  line 5: relay-threads: 0",
        "No effect here:\n  line 3: no-cli: ",
        "Kept: 5 options; -v lists them\n",
        "Before you serve:\n",
        "  - line 8, pidfile: has curly quotes",
        "8 options: 1 not supported, 1 changed, 1 without effect, 5 kept\n",
    ];
    let places: Vec<_> = order.iter().map(|part| report.find(part)).collect();
    assert!(places.iter().all(Option::is_some), "{places:?}\n{report}");
    assert!(places.is_sorted(), "{report}");
    assert!(!report.contains('\x1b'), "{report}");
    assert!(!report.contains("line 6: denied-peer-ip"), "{report}");
    let (_, _, all) = import("turnserver.conf", conf, &["-v"]);
    assert!(all.contains("line 6, line 7: denied-peer-ip"), "{all}");
}

#[test]
fn headings_are_coloured_on_a_terminal() {
    let scratch = Scratch::new();
    let conf = scratch.path().join("turnserver.conf");
    fs::write(&conf, "mobility\nrealm=a\n").unwrap();
    let program = env!("CARGO_BIN_EXE_turnd");
    let line = format!("{program} import {}", conf.display());
    let on_a_terminal = |no_color: &str| {
        let mut script = Command::new("script");
        script
            .args(["-qec", &line, "/dev/null"])
            .env("NO_COLOR", no_color);
        text(&script.output().unwrap().stdout)
    };
    assert!(on_a_terminal("").contains("\x1b[31mNot supported:\x1b[0m"));
    let plain = on_a_terminal("1");
    assert!(
        plain.contains("Not supported:") && !plain.contains('\x1b'),
        "{plain}"
    );
}
