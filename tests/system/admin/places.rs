//! The pid file beside those of other users.

use std::fs;
use std::os::unix::fs::chown;

use super::refusal;
use crate::support::Scratch;

#[test]
fn the_pidfile_takes_the_place_of_no_file_of_another_user() {
    // Root may write it, and does not.
    let scratch = Scratch::new();
    let foreign = scratch.path().join("foreign");
    fs::write(&foreign, "1\n").unwrap();
    chown(&foreign, Some(65534), None).unwrap();
    let outcome = refusal(&format!("pidfile = '{}'", foreign.display()));
    assert!(
        outcome.err.contains("belongs to another user"),
        "{outcome:?}"
    );
    assert_eq!(fs::read_to_string(&foreign).unwrap(), "1\n");
}
