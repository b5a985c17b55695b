//! Notifications to systemd.

use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::status;
use crate::support::{Extras, Scratch, Turnd};

/// Datagrams until this one has come.
fn until(socket: &UnixDatagram, wanted: &str) -> Vec<String> {
    let mut heard = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut buffer = [0; 256];
    while heard.last().map(String::as_str) != Some(wanted) {
        assert!(Instant::now() < deadline, "no {wanted} in {heard:?}");
        if let Ok(len) = socket.recv(&mut buffer) {
            heard.push(String::from_utf8(buffer[..len].to_vec()).unwrap());
        }
    }
    heard
}

#[test]
fn the_service_manager_is_told() {
    let scratch = Scratch::new();
    let path = scratch.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let env = [
        ("NOTIFY_SOCKET", path.to_str().unwrap()),
        ("WATCHDOG_USEC", "200000"),
    ];
    let extras = Extras {
        admin: true,
        env: &env,
        ..Extras::default()
    };
    let mut turnd = Turnd::start_with("", extras);
    assert_eq!(until(&socket, "READY=1"), ["READY=1"]);
    // Twice, at the pace that was asked for.
    until(&socket, "WATCHDOG=1");
    let first = Instant::now();
    until(&socket, "WATCHDOG=1");
    assert!(first.elapsed() < Duration::from_secs(5));

    turnd.signal(Signal::HUP);
    until(&socket, "RELOADING=1");
    until(&socket, "READY=1");
    assert_eq!(status(&turnd)["reloads"], 1);

    turnd.signal(Signal::TERM);
    until(&socket, "STOPPING=1");
    assert_eq!(turnd.exit_code(Duration::from_secs(15)), Some(0));
}
