//! Secrets that can be guessed: told by each who reads the configuration.

use std::process::Command;

use rustix::process::Signal;

use super::{LIMIT, wait_for};
use crate::support::{Turnd, run};

const WARNING: &str = "static-auth-secret: a secret is a placeholder that everybody knows, so it can be guessed; make one with `openssl rand -hex 32`";

#[test]
fn check_serve_and_a_reload_warn() {
    let turnd = Turnd::start("static-auth-secret = 'Your-Secret-Here'");
    wait_for(WARNING, || turnd.log());
    assert!(
        turnd.log().contains(&format!("WARN {WARNING}")),
        "{}",
        turnd.log()
    );
    let script = format!(
        "{} check -c {} 2>&1 >/dev/null",
        env!("CARGO_BIN_EXE_turnd"),
        turnd.config().display()
    );
    let told = run(Command::new("sh").args(["-c", &script]), LIMIT);
    assert!(told.contains(&format!("warning: {WARNING}")), "{told}");

    turnd.configure("user = 'alice:hunter2'");
    turnd.signal(Signal::HUP);
    wait_for(
        "WARN user: the password of \"alice\" has fewer than 8 bytes, so it can be guessed",
        || turnd.log(),
    );
    assert!(!(turnd.log() + &told).contains("hunter2"));
    assert!(!(turnd.log() + &told).contains("Your-Secret"));
}
