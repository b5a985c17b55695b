//! Faults that turnd must live through, and those with which it must not start.

mod sending;

use std::fs;
use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use crate::support::messages::status;
use crate::support::{PASSWORD, Peer, StunClient, Turnd, run};

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn without_file_descriptors_what_is_there_goes_on() {
    let turnd = Turnd::start("");
    let pid = turnd.pid().to_string();
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let (first, _) = StunClient::allocated(turnd.address());
    // It may have as many more as there are numbers left below the limit.
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = format!("--nofile={0}:{0}", open + 5);
    run(Command::new("prlimit").args(["--pid", &pid, &limit]), LIMIT);

    let mut clients = vec![first];
    let refused = loop {
        let mut client = StunClient::new(turnd.address());
        client.log_in("alice", PASSWORD);
        match status(&client.try_allocate()) {
            200 => clients.push(client),
            508 => break client,
            other => panic!("{other}\n{}", turnd.log()),
        }
        assert!(clients.len() < 50, "no end of it\n{}", turnd.log());
    };
    assert!(clients.len() > 1, "{}", turnd.log());
    turnd.log_with("Too many open files");
    for client in &clients {
        assert!(client.echoes(&echo), "{}", turnd.log());
        assert!(client.binding().is_some());
    }
    assert_eq!(status(&refused.try_allocate()), 508);
    clients[0].deallocate();
    assert_eq!(status(&refused.try_allocate()), 200);
    assert!(refused.echoes(&echo));
}
