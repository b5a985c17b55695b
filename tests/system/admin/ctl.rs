//! `turnd ctl` as a program: output, exit codes, errors.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use super::{Outcome, ctl_at, start};
use crate::support::Scratch;
use crate::support::admin::turnd_with;

const NOBODY: u32 = 65534;

#[test]
fn without_permission_it_says_so() {
    let turnd = start("");
    let mode = fs::metadata(turnd.admin_socket())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
    // Another user needs a place from which the program can be run.
    let scratch = Scratch::new();
    let program = scratch.path().join("turnd");
    fs::copy(env!("CARGO_BIN_EXE_turnd"), &program).unwrap();
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new(&program);
        Outcome::of(command.uid(NOBODY).gid(NOBODY).arg("ctl").args(words))
    };
    let socket = turnd.admin_socket();
    let outcome = as_nobody(&["status", "--admin", socket.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    assert!(
        outcome.err.contains("permission denied\nrun this as root"),
        "{outcome:?}"
    );
    // Where TCP is there as well, but without a token, both say what to do.
    let file = scratch.path().join("places.toml");
    let places = format!(
        "no-auth = true\nadmin-listen = ['{}', '{}']",
        turnd.admin(),
        socket.display()
    );
    fs::write(&file, places).unwrap();
    let outcome = as_nobody(&["status", "-c", file.to_str().unwrap()]);
    assert_eq!(outcome.code, Some(1), "{outcome:?}");
    for part in [
        "this server has no admin-token",
        "or add admin-token to the configuration",
        "permission denied\nrun this as root",
    ] {
        assert!(outcome.err.contains(part), "{part} is not in {outcome:?}");
    }
    // Users who may open the socket get in by it, though TCP is named first.
    turnd_with(&["ctl", "status", "-c", file.to_str().unwrap()]).ok();
    // TCP alone says what to do.
    let place = turnd.admin().to_string();
    for words in [
        &["status"][..],
        &["drain"],
        &["reload"],
        &["credentials"],
        &["log-level", "error"],
    ] {
        let outcome = ctl_at(Path::new(&place), words);
        assert_eq!((outcome.code, outcome.out.as_str()), (Some(1), ""));
        let start = format!("error: {place}: this server has no admin-token");
        assert!(outcome.err.starts_with(&start), "{outcome:?}");
        assert!(
            outcome
                .err
                .contains("use turnd ctl, which takes the unix socket")
        );
    }
}
