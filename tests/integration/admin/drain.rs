//! Draining: nobody new, nobody thrown out, and the end when all have gone.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::json;
use stun::attributes::AttrType;
use stun::message::CLASS_SUCCESS_RESPONSE;

use super::{allocate, api, ctl, eventually, is_alive, refresh, start, status, usual_session};
use crate::support::{PASSWORD, Running, StunClient, Turnd, USER, error_code};

const ATTR_ALTERNATE_SERVER: AttrType = AttrType(0x8023);
const LEAVES: Duration = Duration::from_secs(15);

fn newcomer(turnd: &Turnd) -> stun::message::Message {
    allocate(&mut StunClient::new(turnd.address()), USER, PASSWORD)
}

#[test]
fn a_drain_keeps_the_old_and_refuses_the_new() {
    let turnd = start("");
    let old = usual_session(&turnd);
    assert_eq!(api(&turnd).get("/readyz").status, 200);
    let text = ctl(&turnd, &["drain"]).ok();
    assert_eq!(text, "draining: new sessions are refused\n");
    let ready = api(&turnd).get("/readyz");
    assert_eq!((ready.status, ready.body.as_str()), (503, "draining\n"));
    assert_eq!(api(&turnd).get("/healthz").status, 200);
    assert_eq!(status(&turnd)["draining"], true);
    assert_eq!(error_code(&newcomer(&turnd)), Some(508));
    assert!(is_alive(&old));
    // A reload is no end of it.
    ctl(&turnd, &["reload"]).ok();
    assert_eq!(error_code(&newcomer(&turnd)), Some(508));

    assert_eq!(
        ctl(&turnd, &["drain", "--off"]).ok(),
        "new sessions are accepted\n"
    );
    assert_eq!(api(&turnd).get("/readyz").status, 200);
    assert_eq!(newcomer(&turnd).typ.class, CLASS_SUCCESS_RESPONSE);
    assert!(is_alive(&old));
}

#[test]
fn s14_a_drain_names_the_servers_that_take_the_clients() {
    let turnd = start("drain-alternate-server = ['192.0.2.7:3479', '[2001:db8::7]:3479']");
    let body = json!({ "drain": true });
    assert_eq!(api(&turnd).post("/api/v1/drain", &body).json(), body);
    for server in [turnd.address(), turnd.address_v6()] {
        let reply = allocate(&mut StunClient::new(server), USER, PASSWORD);
        assert_eq!(error_code(&reply), Some(300), "{reply}");
        let value = reply.get(ATTR_ALTERNATE_SERVER).unwrap();
        let (family, port) = if server.is_ipv4() {
            (1, 3479_u16)
        } else {
            (2, 3479)
        };
        assert_eq!(value[1], family);
        assert_eq!(value[2..4], port.to_be_bytes());
        assert_eq!(value.len(), if family == 1 { 8 } else { 20 });
    }
}

#[test]
fn ctl_waits_until_the_last_has_gone() {
    let turnd = start("");
    let clients = [0; 2].map(|_| usual_session(&turnd));
    let mut waiting = waiting_ctl(&turnd);
    eventually("a drain", || status(&turnd)["draining"] == true);
    assert_eq!(refresh(&clients[0], 0), None);
    thread::sleep(Duration::from_millis(700));
    assert!(waiting.ended().is_none());
    assert_eq!(refresh(&clients[1], 0), None);
    let ended = waiting.wait(LEAVES).unwrap();
    assert_eq!(ended.code(), Some(0));
    assert_eq!(waiting.stdout(), "drained: no session is left\n");
    assert!(waiting.stderr().contains("draining, 1 left"));

    ctl(&turnd, &["drain", "--off"]).ok();
    let _client = usual_session(&turnd);
    let mut waiting = waiting_ctl(&turnd);
    eventually("a drain", || status(&turnd)["draining"] == true);
    ctl(&turnd, &["drain", "--off"]).ok();
    let ended = waiting.wait(LEAVES).unwrap();
    assert_eq!(ended.code(), Some(1));
    assert!(waiting.stderr().contains("somebody has ended the drain"));
}

/// `ctl drain --wait`, which takes as long as it takes.
fn waiting_ctl(turnd: &Turnd) -> Running {
    let mut command = Command::new(env!("CARGO_BIN_EXE_turnd"));
    command.args(["ctl", "--admin"]).arg(turnd.admin_socket());
    Running::start(command.args(["drain", "--wait"]))
}

#[test]
fn term_with_a_drain_timeout_waits_for_calls_and_ends_well() {
    let mut turnd = start("drain-timeout = 300");
    let client = usual_session(&turnd);
    turnd.signal(Signal::TERM);
    eventually("a drain", || api(&turnd).get("/readyz").status == 503);
    assert_eq!(error_code(&newcomer(&turnd)), Some(508));
    thread::sleep(Duration::from_millis(500));
    assert!(is_alive(&client) && turnd.is_alive());
    assert_eq!(refresh(&client, 0), None);
    assert_eq!(turnd.exit_code(LEAVES), Some(0));
    assert!(turnd.log().contains("drained"), "{}", turnd.log());
}

#[test]
fn a_drain_timeout_ends_calls_that_stay_and_follows_a_reload() {
    let mut turnd = start("");
    turnd.configure("drain-timeout = 2");
    ctl(&turnd, &["reload"]).ok();
    let _client = usual_session(&turnd);
    let asked = Instant::now();
    turnd.signal(Signal::TERM);
    assert_eq!(turnd.exit_code(LEAVES), Some(0));
    assert!(asked.elapsed() >= Duration::from_secs(2));
    assert!(
        turnd.log().contains("drain-timeout is over"),
        "{}",
        turnd.log()
    );
    assert!(
        turnd.log().contains("reason=\"shutdown\""),
        "{}",
        turnd.log()
    );
}

#[test]
fn a_second_term_does_not_wait() {
    let mut turnd = start("drain-timeout = 300");
    let _client = usual_session(&turnd);
    turnd.signal(Signal::TERM);
    eventually("a drain", || api(&turnd).get("/readyz").status == 503);
    turnd.signal(Signal::TERM);
    assert_eq!(turnd.exit_code(LEAVES), Some(0));
}

#[test]
fn usr1_leaves_when_empty() {
    let mut turnd = start("");
    let client = usual_session(&turnd);
    turnd.signal(Signal::USR1);
    eventually("a drain", || api(&turnd).get("/readyz").status == 503);
    assert_eq!(error_code(&newcomer(&turnd)), Some(508));
    // A reload meanwhile is heard.
    turnd.signal(Signal::HUP);
    eventually("a reload", || status(&turnd)["reloads"] == 1);
    assert!(is_alive(&client) && turnd.is_alive());
    assert_eq!(refresh(&client, 0), None);
    assert_eq!(turnd.exit_code(LEAVES), Some(0));
}

#[test]
fn the_socket_file_goes_with_the_server() {
    let mut turnd = start("");
    let socket = turnd.admin_socket();
    assert!(socket.exists());
    turnd.signal(Signal::TERM);
    assert_eq!(turnd.exit_code(LEAVES), Some(0));
    assert!(!socket.exists());
}
