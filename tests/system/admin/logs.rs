//! The log under strain: nobody reads it, its disk is full, clients fill it.

use std::fs::{self};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::eventually;
use crate::support::admin::{dropped, guess, sum};
use crate::support::{Extras, Peer, Scratch, StunClient, Turnd, run};

const LIMIT: Duration = Duration::from_secs(20);

/// The file as the server sees it, in a mount namespace of its own.
fn seen_by(turnd: &Turnd, path: &Path) -> PathBuf {
    let root = format!("/proc/{}/root", turnd.pid());
    Path::new(&root).join(path.strip_prefix("/").unwrap())
}

#[test]
fn a_full_disk_costs_lines_and_the_log_goes_on_when_there_is_room() {
    let scratch = Scratch::new();
    let disk = scratch.path().to_str().unwrap().to_owned();
    let path = scratch.path().join("turnd.log");
    let extras = Extras {
        admin: true,
        before: &format!("mount -t tmpfs -o size=16k none {disk}"),
        ..Extras::default()
    };
    let toml = format!("unauthenticated-rate = 0\nlog-file = '{}'", path.display());
    let mut turnd = Turnd::start_with(&toml, extras);
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let (client, _) = StunClient::allocated(turnd.address());
    guess(turnd.address(), 150);
    eventually("the disk is full", || dropped(&turnd) > 0);
    assert!(client.echoes(&echo));
    let log = seen_by(&turnd, &path);
    let full = fs::read_to_string(&log).unwrap();
    assert!(full.len() <= 16 << 10, "{}", full.len());

    let pid = turnd.pid().to_string();
    let mut enlarge = Command::new("nsenter");
    enlarge.args([
        "--target",
        &pid,
        "--mount",
        "mount",
        "-o",
        "remount,size=1m",
        &disk,
    ]);
    run(&mut enlarge, LIMIT);
    client.deallocate();
    let read = || fs::read_to_string(&log).unwrap();
    eventually("a line that tells", || {
        read().contains("log lines were dropped")
    });
    let lines = read();
    assert_eq!(
        sum(&lines, "log lines were dropped", "lines="),
        dropped(&turnd)
    );
    // What did not fit is cut, and spoils no line after it.
    for line in lines.lines() {
        assert!(line.matches(" INFO ").count() <= 1, "{line}");
    }
    turnd.expect_alive();
}
