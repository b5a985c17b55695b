//! Reloads and a drain under load: no packet lost, no allocation ended.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};
use stun::message::{CLASS_SUCCESS_RESPONSE, METHOD_CHANNEL_BIND, Setter};
use turn::proto::channum::ChannelNumber;
use turn::proto::peeraddr::PeerAddress;

use super::{allocate, api, eventually, is_alive, refresh, start, status, usual_session};
use crate::support::{Authority, Key, PASSWORD, Peer, StunClient, Turnd, USER, error_code};

const THREADS: usize = 5;
/// Allocations of one thread.
const EACH: usize = 10;
/// Messages on their way in one allocation: few enough that no socket's buffer overflows when a
/// thread has to wait for its turn, so that each one that is missing was lost by the server.
const BURST: usize = 4;
/// Between two bursts; with it, 11,000 messages a second come and 11,000 go where the machine can.
const PERIOD: Duration = Duration::from_millis(18);
const RELOADS: usize = 100;
const ROUNDS: usize = 500;
const CHANNEL: u16 = 0x4000;

fn bind(client: &StunClient, peer: &Peer) {
    let address = PeerAddress {
        ip: peer.address().ip(),
        port: peer.address().port(),
    };
    let attributes: Vec<Box<dyn Setter>> =
        vec![Box::new(ChannelNumber(CHANNEL)), Box::new(address)];
    let reply = client.ask_signed(METHOD_CHANNEL_BIND, attributes);
    assert_eq!(reply.typ.class, CLASS_SUCCESS_RESPONSE, "{reply}");
}

/// A message that is like no other.
fn message(round: usize, number: usize) -> Vec<u8> {
    let mut message = CHANNEL.to_be_bytes().to_vec();
    message.extend(160_u16.to_be_bytes());
    message.extend((round as u64).to_be_bytes());
    message.extend((number as u64).to_be_bytes());
    message.resize(164, 0x5a);
    message
}

fn carry(clients: &[StunClient], round: usize) {
    for client in clients {
        for number in 0..BURST {
            client.send(&message(round, number));
        }
    }
    for client in clients {
        let mut missing: Vec<_> = (0..BURST).map(|number| message(round, number)).collect();
        while !missing.is_empty() {
            let got = client
                .receive()
                .unwrap_or_else(|| panic!("round {round}: {} messages lost", missing.len()));
            let at = missing.iter().position(|message| *message == got);
            missing.remove(at.expect("a message that was not sent now"));
        }
    }
}

/// Allocations with a channel to this peer.
fn group(turnd: &Turnd, peer: &Peer) -> Vec<StunClient> {
    let clients: Vec<_> = (0..EACH).map(|_| usual_session(turnd)).collect();
    clients.iter().for_each(|client| bind(client, peer));
    clients
}

/// The configuration of reload `n`: each differs from the one before in every key that can, in its
/// certificate and in a listener.
fn configuration(turnd: &Turnd, authority: &Authority, n: usize) -> String {
    let certificate = authority.toml(&[["one", "two"][n % 2]]);
    let listener = [turnd.ports().tls_listening(), turnd.ports().peers()][n % 2];
    let users = [format!("{USER}:{PASSWORD}"), format!("guest{n}:{PASSWORD}")];
    let lists = json!([format!("198.51.100.{}", n % 250), "203.0.113.0/24"]);
    format!(
        "{certificate}\ntls-listening-port = {listener}\nuser = {}\nstatic-auth-secret = ['secret{n}']\ndenied-peer-ip = {lists}\nallowed-peer-ip = ['10.0.0.{}']\n\
         verbose = {}\nlog-format = '{}'\nuser-quota = {}\nmax-channels = {}\nfingerprint = {}\nmax-allocate-lifetime = {}",
        json!(users),
        n % 250,
        n.is_multiple_of(2),
        ["text", "json"][n % 2],
        100 + n,
        100 + n,
        n.is_multiple_of(2),
        3600 + n,
    )
}

#[test]
fn a_hundred_reloads_lose_no_packet_and_end_no_allocation() {
    let authority = Authority::new();
    for name in ["one", "two"] {
        authority.issue(name, "localhost", Key::Ecdsa, 30);
    }
    let turnd = start(&authority.toml(&["two"]));
    let peers: Vec<Peer> = (0..THREADS)
        .map(|_| Peer::echo(Ipv4Addr::LOCALHOST))
        .collect();
    let groups: Vec<Vec<StunClient>> = peers.iter().map(|peer| group(&turnd, peer)).collect();
    let before = status(&turnd);
    let done = AtomicUsize::new(0);
    let started = Instant::now();
    let took = thread::scope(|scope| {
        let carriers: Vec<_> = groups
            .iter()
            .map(|group| {
                let done = &done;
                scope.spawn(move || {
                    let mut next = Instant::now();
                    for round in 0..ROUNDS {
                        carry(group, round);
                        done.fetch_add(1, Ordering::Relaxed);
                        next += PERIOD;
                        thread::sleep(next.saturating_duration_since(Instant::now()));
                    }
                    started.elapsed()
                })
            })
            .collect();
        for n in 0..RELOADS {
            // Spread over the whole time, however long it takes here.
            while done.load(Ordering::Relaxed) < n * THREADS * ROUNDS / RELOADS
                && !carriers.iter().any(|carrier| carrier.is_finished())
            {
                thread::sleep(Duration::from_millis(2));
            }
            reload(&turnd, &authority, n);
        }
        let times = carriers.into_iter().map(|carrier| carrier.join().unwrap());
        times.max().unwrap()
    });

    let carried = THREADS * EACH * BURST * ROUNDS;
    let after = status(&turnd);
    let moved = |side: &str, what: &str| {
        after[side][what].as_u64().unwrap() - before[side][what].as_u64().unwrap()
    };
    assert_eq!(moved("peers", "sent_packets"), carried as u64);
    assert_eq!(moved("peers", "received_packets"), carried as u64);
    assert_eq!(after["packets_dropped"], before["packets_dropped"]);
    assert_eq!(after["reloads"], RELOADS);
    assert_eq!(after["allocations"], THREADS * EACH);
    assert_eq!(after["allocations_ended"], 0);
    for client in groups.iter().flatten() {
        assert!(is_alive(client));
    }
    let rate = 2.0 * carried as f64 / took.as_secs_f64();
    eprintln!("{RELOADS} reloads, {} packets at {rate:.0}/s", 2 * carried);
    assert!(
        rate > 5000.0,
        "this machine is too busy: {rate:.0} packets/s"
    );
}

fn reload(turnd: &Turnd, authority: &Authority, n: usize) {
    turnd.configure(&configuration(turnd, authority, n));
    let changes: Value = api(turnd).post("/api/v1/reload", &json!({})).json();
    let changes = changes["changes"].as_array().unwrap();
    assert!(changes.len() >= 8, "{changes:?}");
}

#[test]
fn a_drain_under_load_lets_calls_finish() {
    let mut turnd = start("drain-timeout = 300");
    let peer = Peer::echo(Ipv4Addr::LOCALHOST);
    let clients = group(&turnd, &peer);
    (0..20).for_each(|round| carry(&clients, round));
    turnd.signal(Signal::TERM);
    eventually("a drain", || api(&turnd).get("/readyz").status == 503);
    for round in 20..200 {
        carry(&clients, round);
        if round % 20 == 0 {
            let newcomer = allocate(&mut StunClient::new(turnd.address()), USER, PASSWORD);
            assert_eq!(error_code(&newcomer), Some(508));
        }
    }
    // They hang up one after the other; the others talk on until it is their turn.
    for (gone, client) in clients.iter().enumerate() {
        assert!(turnd.is_alive());
        assert_eq!(refresh(client, 0), None);
        carry(&clients[gone + 1..], 200 + gone);
    }
    assert_eq!(turnd.exit_code(Duration::from_secs(15)), Some(0));
}
