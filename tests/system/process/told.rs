//! Every way to tell a command a secret but its command line, which other users can read.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::LIMIT;
use crate::support::{Scratch, run};

const TURND: &str = env!("CARGO_BIN_EXE_turnd");
const SECRET: &str = "a1f09c3de85b42761a3c5e7f9b2d4860";

/// Runs turnd with this standard input and these variables, in a folder without a configuration.
fn turnd(words: &[&str], input: &str, variables: &[(&str, &str)]) -> Output {
    let scratch = Scratch::new();
    let mut command = Command::new(TURND);
    command.args(words).envs(variables.iter().copied());
    let mut child = command
        .current_dir(scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that does not want it may have ended.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

#[track_caller]
fn succeeds(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A file with `text`, and its path.
fn file(scratch: &Scratch, name: &str, text: &str) -> String {
    let path = scratch.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// On a terminal the password is asked for twice and not shown.
#[test]
fn a_prompt_does_not_echo() {
    const SCRIPT: &str = r#"
import os, pty, sys, termios
def session(first, second):
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.argv[1], [sys.argv[1], "key", "user", "realm"])
    shown = b""
    def until(text):
        nonlocal shown
        while text not in shown:
            shown += os.read(terminal, 1000)
    until(b"Password of user: ")
    assert not termios.tcgetattr(terminal)[3] & termios.ECHO, "it echoes"
    os.write(terminal, first + b"\n")
    until(b"Once more: ")
    os.write(terminal, second + b"\n")
    try:
        while True:
            more = os.read(terminal, 1000)
            if not more:
                break
            shown += more
    except OSError:
        pass
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), shown.decode()
code, shown = session(b"pass", b"pass")
assert code == 0 and "0x8493fbc53ba582fb4c044c456bdc40eb" in shown, (code, shown)
assert "pass" not in shown.replace("Password", ""), shown
code, shown = session(b"pass", b"past")
assert code == 2 and "the two passwords differ" in shown, (code, shown)
"#;
    run(Command::new("python3").args(["-c", SCRIPT, TURND]), LIMIT);
}

/// Every key that holds a secret has one that names a file, which may be a pipe, and may be a variable in the file.
#[test]
fn the_server_is_told_by_file_standard_input_and_variable() {
    let scratch = Scratch::new();
    let key = scratch.path().join("key.pem");
    let certificate = scratch.path().join("cert.pem");
    let mut openssl = Command::new("openssl");
    openssl.args(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=x -days 2 -passout"
            .split(' '),
    );
    openssl
        .arg(format!("pass:{SECRET}"))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    run(&mut openssl, LIMIT);
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    let file = file(&scratch, "secret", &format!("{SECRET}\n"));
    let user = self::file(&scratch, "users", &format!("alice:{SECRET}\n"));
    let config = self::file(
        &scratch,
        "turnd.toml",
        "static-auth-secret = '${A}'\nuser = 'alice:${A}'\nnonce-secret = '${A}'\nadmin-token = '${A}'\npkey-pwd = '${A}'\n",
    );
    let tls = ["--cert", certificate, "--pkey", key];
    for name in [
        "user",
        "static-auth-secret",
        "nonce-secret",
        "admin-token",
        "pkey-pwd",
    ] {
        let (path, input) = match name {
            "user" => (&user, format!("alice:{SECRET}")),
            _ => (&file, SECRET.to_owned()),
        };
        let flag = format!("--{name}-file");
        for path in [path, "/dev/stdin"] {
            let mut words = vec!["check", &flag, path];
            if name == "pkey-pwd" {
                words.extend(tls);
            }
            if !["user", "static-auth-secret"].contains(&name) {
                words.push("--no-auth");
            }
            let shown = succeeds(&turnd(&words, &input, &[]));
            assert!(
                shown.contains(&format!("{name}-file = \"{path}\"")),
                "{shown}"
            );
            assert!(!shown.contains(SECRET), "{shown}");
        }
    }
    let words = [&["check", "-c", &config][..], &tls].concat();
    let shown = succeeds(&turnd(&words, "", &[("A", SECRET)]));
    assert!(
        shown.contains("pkey-pwd = \"***\"") && !shown.contains(SECRET),
        "{shown}"
    );
}
