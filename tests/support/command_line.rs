//! Commands of turnd that end by themselves, and what they say.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use super::Scratch;

pub(crate) const TURND: &str = env!("CARGO_BIN_EXE_turnd");

/// Runs turnd with this standard input and these variables, in a folder without a configuration.
pub(crate) fn turnd(words: &[&str], input: &str, variables: &[(&str, &str)]) -> Output {
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

/// Standard output of a command that must have ended well.
#[track_caller]
pub(crate) fn succeeds(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Asserts that a command has ended with 2, and said so.
#[track_caller]
pub(crate) fn refused(output: &Output, message: &str) {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains(message), "{told}");
}

/// A file with `text`, and its path.
pub(crate) fn file(scratch: &Scratch, name: &str, text: &str) -> String {
    let path = scratch.path().join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}
