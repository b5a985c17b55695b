//! Processor time that each kind of message costs the server, as a multiple of a refused bare Allocate.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use stun::message::METHOD_BINDING;

use crate::floods::Source;
use crate::messages::{Kind, kinds, proxy_header};
use crate::support::client::{Client, Kind as Way, connect, trust};
use crate::support::messages::request;
use crate::support::server::Server;

/// Messages between two questions that see whether the server has taken them.
const BATCH: u64 = 32;
/// Rounds over all kinds; the first is dropped, medians are taken.
const ROUNDS: usize = 6;
/// No kind may cost more than so many refused bare Allocates, where replies are limited.
const MOST: f64 = 2.5;
/// A nonce lives so long here.
const STALE: Duration = Duration::from_secs(1);

pub(crate) fn run(divisor: u64) -> bool {
    alternate();
    let (messages, streams) = ((20_000 / divisor).max(BATCH), (480 / divisor).max(BATCH));
    let server = Server::start(&format!(
        "relay-threads = 1\npassword-algorithms = true\nusername-anonymity = true\nstale-nonce = {}",
        STALE.as_secs()
    ));
    // Loopback is exempt from the limits on replies, other addresses are not.
    let exempt = datagrams(&server, [127, 8, 0, 1], [127, 0, 0, 1], messages);
    let limited = datagrams(&server, [198, 51, 100, 7], [198, 51, 100, 1], messages);
    println!(
        "| from a stranger | us, each answered | times a bare Allocate | us, limited | times |\n|---|---|---|---|---|"
    );
    let (base, mut good) = (exempt[0].1, true);
    for ((name, cost), (_, limited)) in exempt.iter().zip(&limited) {
        let times = limited / base;
        println!(
            "| {name} | {:.2} | {:.2} | {:.2} | {times:.2} |",
            cost / 1e3,
            cost / base,
            limited / 1e3
        );
        good &= times <= MOST;
    }
    for (name, cost) in over_streams(&server, streams) {
        println!("| {name} | {:.2} | {:.2} | | |", cost / 1e3, cost / base);
    }
    drop(server);
    let server = Server::start("relay-threads = 1\ntrusted-proxies = '127.0.0.0/8'");
    // The clients that it names are not on loopback.
    let (name, cost) = behind_proxy(&server, messages);
    println!("| {name} | | | {:.2} | {:.2} |\n", cost / 1e3, cost / base);
    good
}

/// Has this program and the servers that it starts take turns on one processor: a server sees each
/// batch as a whole, as under a flood, and is not woken for every message.
fn alternate() {
    let pid = std::process::id().to_string();
    // A server does not inherit the priority, but the processor.
    for words in [
        ["taskset", "-cp", "0", &pid].as_slice(),
        &["chrt", "-R", "-f", "-p", "1", &pid],
    ] {
        let done = Command::new(words[0])
            .args(&words[1..])
            .stdout(Stdio::null())
            .status();
        assert!(done.unwrap().success(), "{words:?}");
    }
}

/// Cost of each kind over UDP, in nanoseconds.
fn datagrams(server: &Server, from: [u8; 4], to: [u8; 4], count: u64) -> Vec<(&'static str, f64)> {
    let mut source = Source::new(from, SocketAddr::from((to, 3478)));
    let expired = source.nonce();
    std::thread::sleep(2 * STALE);
    let names: Vec<_> = kinds("", "").iter().map(|kind| kind.name).collect();
    let mut costs = vec![Vec::new(); names.len()];
    for _ in 0..ROUNDS {
        // The question that ends each batch is paid for, too.
        let question = measure(server, &mut source, &[], count) / BATCH as f64;
        for (n, costs) in costs.iter_mut().enumerate() {
            let nonce = source.nonce();
            let Kind { bytes, .. } = &kinds(&nonce, &expired)[n];
            costs.push(measure(server, &mut source, bytes, count) - question);
        }
        source.settle();
    }
    names
        .into_iter()
        .zip(costs.into_iter().map(median))
        .collect()
}

/// Nanoseconds for each message, the share of the questions included.
fn measure(server: &Server, source: &mut Source, bytes: &[u8], count: u64) -> f64 {
    let (before, batches) = (server.cpu(), count / BATCH);
    for _ in 0..batches {
        if !bytes.is_empty() {
            (0..BATCH).for_each(|_| source.send(bytes));
        }
        source.settle();
    }
    let messages = if bytes.is_empty() {
        batches
    } else {
        batches * BATCH
    };
    (server.cpu() - before) as f64 / messages as f64
}

fn median(mut costs: Vec<f64>) -> f64 {
    costs.remove(0);
    costs.sort_by(f64::total_cmp);
    costs[costs.len() / 2]
}

/// Cost of connections that come to nothing, in nanoseconds.
fn over_streams(server: &Server, count: u64) -> Vec<(&'static str, f64)> {
    let (address, trusted) = (server.address(), trust(&server.certificate));
    let source: IpAddr = [127, 8, 0, 2].into();
    let bare = kinds("", "").swap_remove(0).bytes;
    let ask = |way| ask(way, source, address, &trusted);
    let begins: [(&'static str, &dyn Fn()); 4] = [
        ("TCP connect and close", &|| drop(connect(source, address))),
        ("TCP connect, garbage", &|| {
            until_closed(source, address, &[0xA5; 100])
        }),
        ("TCP connect, bare Allocate", &|| {
            let mut stream = connect(source, address).unwrap();
            stream.write_all(&bare).unwrap();
            assert!(stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0));
        }),
        ("TLS handshake (ECDSA), Binding", &|| ask(Way::Tls)),
    ];
    connections(server, count, &begins, &|| ask(Way::Tcp))
}

/// Asks one question over a connection of its own.
pub(crate) fn ask(way: Way, source: IpAddr, server: SocketAddr, trusted: &Arc<ClientConfig>) {
    let mut client = Client::new(way, source, server, trusted).unwrap();
    client.ask(request(METHOD_BINDING, vec![])).unwrap();
}

/// Cost of each kind of connection; `taken` returns when those before are served.
fn connections(
    server: &Server,
    count: u64,
    begins: &[(&'static str, &dyn Fn())],
    taken: &dyn Fn(),
) -> Vec<(&'static str, f64)> {
    let measure = |each: &dyn Fn(), batch: u64| {
        let before = server.cpu();
        for _ in 0..count / BATCH {
            (0..batch).for_each(|_| each());
            taken();
        }
        (server.cpu() - before) as f64 / count as f64
    };
    let mut costs = vec![Vec::new(); begins.len()];
    for _ in 0..ROUNDS {
        let question = measure(&|| {}, 0);
        for ((_, begin), costs) in begins.iter().zip(&mut costs) {
            costs.push(measure(begin, BATCH) - question);
        }
    }
    begins
        .iter()
        .map(|(name, _)| *name)
        .zip(costs.into_iter().map(median))
        .collect()
}

/// Sends, and waits for the server to close.
fn until_closed(source: IpAddr, server: SocketAddr, bytes: &[u8]) {
    let mut stream = connect(source, server).unwrap();
    stream.write_all(bytes).unwrap();
    let _ = stream.read(&mut [0; 64]);
}

/// A bare Allocate that a proxy passes on.
fn behind_proxy(server: &Server, count: u64) -> (&'static str, f64) {
    let mut source = Source::new([127, 8, 0, 1], server.address()).behind(proxy_header());
    let bare = kinds("", "").swap_remove(0).bytes;
    let costs = (0..ROUNDS).map(|_| {
        let question = measure(server, &mut source, &[], count) / BATCH as f64;
        measure(server, &mut source, &bare, count) - question
    });
    (
        "PROXY header of a trusted proxy, bare Allocate",
        median(costs.collect()),
    )
}
