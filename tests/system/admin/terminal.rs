//! `turnd ctl` on a terminal.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{start, usual_session};
use crate::support::{Turnd, run};

const LIMIT: Duration = Duration::from_secs(90);

/// The outcome of a `turnd ctl` whose terminal gets these keys when it shows `drawn`.
fn on_terminal(turnd: &Turnd, drawn: &str, keys: &str, words: &[&str]) -> Value {
    let script = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/system/admin/terminal.py"
    );
    let mut command = Command::new("python3");
    command.args([
        script,
        drawn,
        keys,
        env!("CARGO_BIN_EXE_turnd"),
        "ctl",
        "--admin",
    ]);
    command.arg(turnd.admin_socket()).args(words);
    serde_json::from_str(&run(&mut command, LIMIT)).unwrap()
}

#[test]
fn a_terminal_is_as_it_was_before() {
    let turnd = start("");
    let _clients = [0; 30].map(|_| usual_session(&turnd));
    for (drawn, keys, words) in [
        ("PEERS NOW", "q", &["top"][..]),
        // Ctrl-C, and a key that means nothing.
        ("PEERS NOW", "x\\x03", &["top"]),
        ("allocations", "q", &["status", "--watch"]),
    ] {
        let outcome = on_terminal(&turnd, drawn, keys, words);
        assert_eq!(outcome["code"], 0, "{words:?}: {outcome}");
        assert_eq!(outcome["restored"], true, "{words:?}: {outcome}");
        assert_eq!(outcome["unseen"], true, "{words:?}: {outcome}");
        let output = outcome["output"].as_str().unwrap();
        assert!(output.starts_with("\x1b[?1049h"), "{output:?}");
        assert!(output.ends_with("\x1b[?1049l"), "{output:?}");
    }
    // Ten lines fit: five of them are sessions.
    let outcome = on_terminal(&turnd, "PEERS NOW", "q", &["top"]);
    let output = outcome["output"].as_str().unwrap();
    let first = output.split("\x1b[J").next().unwrap();
    assert_eq!(first.matches("alice").count(), 5, "{first:?}");
}
