//! Bad input from clients without an allocation: each ends within its limit, and others do not notice.

use std::fs;
use std::io::Read;
use std::time::{Duration, Instant};

use stun::message::METHOD_ALLOCATE;

use super::memory;
use crate::support::messages::{status, transport};
use crate::support::transports::wait_until;
use crate::support::{PASSWORD, StreamClient, StunClient, Turnd, USER, connect};

/// Whether the other side has ended a connection at once.
fn is_reset(end: &std::io::Result<usize>) -> bool {
    let kind = end.as_ref().err().map(std::io::Error::kind);
    kind == Some(std::io::ErrorKind::ConnectionReset)
}

/// As many connections as the limit on open files allows the two processes.
#[test]
fn ten_thousand_silent_connections_are_held_back_and_cost_little() {
    let limits = fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let hard: u64 = line
        .and_then(|line| line.split_whitespace().nth(4))
        .unwrap()
        .parse()
        .unwrap();
    let wanted = 10_000.min(hard.saturating_sub(1000));
    let (_, hard_now) = rlimit::Resource::NOFILE.get().unwrap();
    rlimit::Resource::NOFILE.set(hard_now, hard_now).unwrap();
    let held = wanted / 2;
    let turnd = Turnd::start(&format!(
        "max-idle-streams = {held}\nmax-idle-streams-per-ip = {held}"
    ));
    let before = memory(&turnd);
    // A client that is there already stays.
    let mut early = StreamClient::new(turnd.address());
    early.log_in(USER, PASSWORD);
    assert_eq!(
        status(&early.ask_signed(METHOD_ALLOCATE, vec![transport()])),
        200
    );
    let start = Instant::now();
    let mut streams: Vec<_> = (0..wanted).map(|_| connect(turnd.address())).collect();
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    let grown = memory(&turnd).saturating_sub(before);
    assert!(grown < wanted * 4, "{grown} KiB for {held} connections");
    early.binding();
    assert!(StunClient::new(turnd.address()).binding().is_some());
    // The first connections have made room, and the others end when their time is over.
    let mut byte = [0];
    for stream in [0, wanted as usize - 1] {
        let stream = &mut streams[stream];
        stream
            .set_read_timeout(Some(Duration::from_secs(15)))
            .unwrap();
        let end = stream.read(&mut byte);
        assert!(matches!(&end, Ok(0)) || is_reset(&end), "{end:?}");
    }
    let mut late = StreamClient::new(turnd.address());
    late.binding();
    early.binding();
    // The streams in between end in the same seconds.
    wait_until("200 descriptors and more are left", &turnd, || {
        let open = fs::read_dir(format!("/proc/{}/fd", turnd.pid()));
        open.unwrap().count() < 200
    });
}
