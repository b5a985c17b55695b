//! Every way to tell a command a secret but its command line, which other users can read.

use std::process::Command;

use super::LIMIT;
use crate::support::command_line::{TURND, file, succeeds, turnd};
use crate::support::{Scratch, run};

const SECRET: &str = "a1f09c3de85b42761a3c5e7f9b2d4860";

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
    let secret = file(&scratch, "secret", &format!("{SECRET}\n"));
    let user = file(&scratch, "users", &format!("alice:{SECRET}\n"));
    let config = file(
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
            _ => (&secret, SECRET.to_owned()),
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
