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
    for (path, message) in [
        ("/nonexistent", "cannot be read"),
        ("/etc/passwd", "holds no option of coturn's"),
        ("/", "cannot be read"),
    ] {
        let output = turnd(&["import", path]);
        assert_eq!(output.status.code(), Some(2), "{path}");
        assert!(
            text(&output.stderr).contains(message),
            "{}",
            text(&output.stderr)
        );
    }
    assert_eq!(turnd(&["import"]).status.code(), Some(2));
}
