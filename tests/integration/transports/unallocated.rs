//! Clients without an allocation: whoever fills the server up displaces itself, and others are served.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::json;
use socket2::{Domain, Socket, Type};
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_REFRESH};

use super::{memory, wait_until};

use crate::support::messages::{lifetime, status, transport};
use crate::support::{
    Authority, Key, Namespace, PASSWORD, Scratch, StreamClient, StunClient, Turnd, USER, dropped,
    link, node, request,
};

/// The longest that a test waits for what has to happen.
const LIMIT: Duration = Duration::from_secs(20);

/// A loopback address that is not the tests' usual one.
pub(super) fn host(number: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 1, number).into()
}

fn connect_from(source: IpAddr, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    // What the kernel holds for a client that does not read is none of the server's memory.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&server.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream
}

/// Whether the server has closed the connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let closed = match stream.read(&mut [0]) {
        Ok(0) => true,
        Ok(_) => false,
        Err(error) => error.kind() != std::io::ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).unwrap();
    closed
}

fn closed(streams: &mut [TcpStream]) -> usize {
    let mut closed = 0;
    for stream in streams {
        closed += usize::from(is_closed(stream));
    }
    closed
}

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

#[test]
fn without_descriptors_a_silent_client_gives_up_its_own() {
    let turnd = Turnd::start("");
    let pid = turnd.pid().to_string();
    let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = format!("--nofile={0}:{0}", open + 20);
    let limited = std::process::Command::new("prlimit")
        .args(["--pid", &pid, &limit])
        .status();
    assert!(limited.unwrap().success());
    let mut silent: Vec<_> = (0..40)
        .map(|_| connect_from(host(1), turnd.address()))
        .collect();
    let start = Instant::now();
    StreamClient::new(turnd.address()).binding();
    assert!(start.elapsed() < Duration::from_secs(4), "not by itself");
    assert!(closed(&mut silent) > 0);
}

/// A stranger's network and the server, joined by a cable.
fn strangers() -> (Namespace, Namespace) {
    let (stranger, server) = (Namespace::new("stranger"), Namespace::new("server"));
    link([
        (&stranger, "cable", &["198.51.100.2/24"]),
        (&server, "cable", &["198.51.100.1/24"]),
    ]);
    (stranger, server)
}

#[test]
fn one_network_begins_so_many_tls_handshakes_and_no_more() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let (stranger, server) = strangers();
    let address: SocketAddr = "198.51.100.1:3478".parse().unwrap();
    let toml = format!(
        "listening-ip = '198.51.100.1'\nhandshake-rate = 2\nrelay-threads = 1\n{}",
        authority.toml(&["server"])
    );
    let turnd = Turnd::start_in(&server, address, &toml);
    let started = Instant::now();
    // Each says whether it was served; they come at once.
    let script = "for n in $(seq 20); do
        (echo | openssl s_client -connect 198.51.100.1:3478 2>/dev/null | grep -c 'BEGIN CERT' || true) &
    done; wait";
    let output = stranger
        .command("sh")
        .args(["-c", script])
        .output()
        .unwrap();
    let served = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(|line| *line == "1")
        .count() as u64;
    let most = 2 + 2 * (started.elapsed().as_secs() + 1);
    assert!((2..=most).contains(&served), "{served}\n{}", turnd.log());
    assert!(
        served < 20,
        "{most} were allowed: the machine is too slow for this test"
    );
    // Who was there is served, and the rate is for handshakes alone.
    let binding = json!({ "targets": ["198.51.100.1:3478"], "milliseconds": 5000 });
    let answers = node(Some(&stranger), "binding.mjs", &binding, LIMIT);
    assert!(answers[0]["mapped"].is_string(), "{answers}");
}

#[test]
fn one_network_opens_so_many_connections_and_no_more() {
    let (stranger, server) = (Namespace::new("stranger"), Namespace::new("server"));
    link([
        (&stranger, "cable", &["198.51.100.2/24", "203.0.113.2/24"]),
        (&server, "cable", &["198.51.100.1/24", "203.0.113.1/24"]),
    ]);
    let scratch = Scratch::new();
    let admin = scratch.path().join("admin");
    let address: SocketAddr = "198.51.100.1:3478".parse().unwrap();
    let toml = format!(
        "listening-ip = '198.51.100.1'\nhandshake-rate = 1\nadmin-listen = ['{}']",
        admin.display()
    );
    let turnd = Turnd::start_in(&server, address, &toml);
    let connect = |source: &str| {
        let source = source.parse().unwrap();
        stranger.inside(|| connect_from(source, address))
    };
    let started = Instant::now();
    let streams: Vec<_> = (0..200).map(|_| connect("198.51.100.2")).collect();
    let served = streams
        .into_iter()
        .filter_map(|mut stream| {
            let question = request(METHOD_BINDING, vec![]);
            stream.write_all(&question.raw).ok()?;
            stream.read(&mut [0; 100]).ok().filter(|count| *count > 0)
        })
        .count() as u64;
    // Ten a second, those of five at once.
    let most = 50 + 10 * (started.elapsed().as_secs() + 1);
    assert!((50..=most).contains(&served), "{served}\n{}", turnd.log());
    assert!(
        most < 200,
        "{most} were allowed: the machine is too slow for this test"
    );
    assert_eq!(dropped(&admin, "connection-rate"), 200 - served);
    // Another network has its own.
    StreamClient::over(connect("203.0.113.2")).binding();
}
