//! Clients without an allocation: whoever fills the server up displaces itself, and others are served.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_REFRESH};

use super::{memory, wait_until};
use crate::support::messages::{lifetime, status, transport};
use crate::support::transports::{closed, connect_from, host, is_closed};
use crate::support::{Authority, Key, PASSWORD, StreamClient, StunClient, Turnd, USER, request};

/// The longest that a test waits for what has to happen.
const LIMIT: Duration = Duration::from_secs(20);

fn allocated(turnd: &Turnd) -> StreamClient {
    let mut client = StreamClient::new(turnd.address());
    client.log_in(USER, PASSWORD);
    let reply = client.ask_signed(METHOD_ALLOCATE, vec![transport()]);
    assert_eq!(status(&reply), 200, "{}", turnd.log());
    client
}

#[test]
fn x4_ten_addresses_that_hold_every_place_keep_nobody_out() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let tls = authority.toml(&["server"]);
    let turnd = Turnd::start(&format!("max-idle-streams = 100\n{tls}"));
    let mut honest = StreamClient::new(turnd.address());
    honest.binding();
    let mut silent: Vec<_> = (0..200)
        .map(|n| connect_from(host(1 + n % 10), turnd.address()))
        .collect();
    wait_until("the oldest of them are not closed", &turnd, || {
        closed(&mut silent) >= 100
    });
    // The newcomer's place is the oldest one's of those ten.
    for _ in 0..20 {
        StreamClient::new(turnd.address()).binding();
    }
    StreamClient::secure(turnd.address(), &authority.certificate(), "localhost").binding();
    let mut call = allocated(&turnd);
    assert!(StunClient::new(turnd.address()).binding().is_some());
    honest.binding();
    // However many come later, a client that speaks and is alone in its network stays.
    silent.extend((0..200).map(|n| connect_from(host(1 + n % 10), turnd.address())));
    wait_until("the later ones are not closed", &turnd, || {
        closed(&mut silent) >= 300
    });
    honest.binding();
    call.binding();
}

#[test]
fn x4_a_source_that_has_all_its_places_gives_up_its_oldest() {
    let turnd = Turnd::start("max-idle-streams-per-ip = 2");
    // In this order, whichever worker has which.
    let mut first = StreamClient::new(turnd.address());
    first.binding();
    let mut second = StreamClient::new(turnd.address());
    second.binding();
    let mut third = StreamClient::new(turnd.address());
    third.binding();
    let start = Instant::now();
    assert!(first.try_receive().is_err(), "the oldest one");
    assert!(start.elapsed() < Duration::from_secs(2), "not by itself");
    second.binding();
    third.binding();
    // Another address has its own.
    let mut others = StreamClient::over(connect_from(host(1), turnd.address()));
    others.binding();
    second.binding();
}

#[test]
fn x4_whoever_says_nothing_has_a_few_seconds_and_whoever_speaks_has_a_minute() {
    let turnd = Turnd::start("");
    let start = Instant::now();
    let mut silent = connect_from(host(1), turnd.address());
    let mut half = connect_from(host(1), turnd.address());
    half.write_all(&request(METHOD_BINDING, vec![]).raw[..10])
        .unwrap();
    let mut speaker = StreamClient::new(turnd.address());
    speaker.binding();
    for stream in [&mut silent, &mut half] {
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        assert!(
            start.elapsed() > Duration::from_secs(4),
            "{:?}",
            start.elapsed()
        );
    }
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    speaker.binding();
}

#[test]
fn a_connection_whose_allocation_has_ended_counts_again() {
    let turnd = Turnd::start("max-idle-streams-per-ip = 4\nuser-quota = 1");
    let mut streams = Vec::new();
    for _ in 0..40 {
        let mut client = allocated(&turnd);
        let reply = client.ask_signed(METHOD_REFRESH, vec![lifetime(0)]);
        assert_eq!(status(&reply), 200);
        streams.push(client.stream);
    }
    wait_until("those whose allocation has ended stay", &turnd, || {
        closed(&mut streams) >= 36
    });
    assert!(!is_closed(streams.last_mut().unwrap()));
    // One whose allocation lives is none of them.
    let mut live = allocated(&turnd);
    for _ in 0..10 {
        StreamClient::new(turnd.address()).binding();
    }
    live.binding();
}

#[test]
fn memory_of_clients_that_ask_and_do_not_read_is_bounded_for_all_of_them() {
    const CLIENTS: u8 = 12;
    let turnd = Turnd::start("max-idle-memory = 1048576");
    let mut honest = StreamClient::new(turnd.address());
    honest.binding();
    let questions: Vec<u8> = (0..400)
        .flat_map(|_| request(METHOD_BINDING, vec![]).raw)
        .collect();
    let before = memory(&turnd);
    let mut greedy: Vec<_> = (0..CLIENTS)
        .map(|n| connect_from(host(1 + n % 10), turnd.address()))
        .collect();
    for stream in &mut greedy {
        stream.set_nonblocking(true).unwrap();
    }
    let start = Instant::now();
    while greedy.len() == usize::from(CLIENTS) {
        assert!(start.elapsed() < LIMIT, "none had to go");
        // As much as each takes, until it is closed.
        greedy.retain_mut(|stream| match stream.write(&questions) {
            Ok(_) => true,
            Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
        });
    }
    let grown = memory(&turnd).saturating_sub(before);
    // The budget, and what the memory manager makes of it.
    assert!(grown < 6 << 10, "{grown} KiB more");
    assert!(!greedy.is_empty(), "all had to go");
    honest.binding();
    StreamClient::new(turnd.address()).binding();
}
