//! Processor time that each kind of message costs the server, as a multiple of a refused bare Allocate.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use crate::floods::Source;
use crate::messages::{Kind, kinds, proxy_header};
use crate::support::client::{Client, Kind as Way, connect, trust};
use crate::support::server::Server;

/// Messages between two questions that see whether the server has taken them.
const BATCH: u64 = 32;
/// Rounds over all kinds; the first is dropped, medians are taken.
const ROUNDS: usize = 6;
/// A nonce lives so long here.
const STALE: Duration = Duration::from_secs(1);

pub(crate) fn run(divisor: u64) -> bool {
    let (messages, streams) = ((20_000 / divisor).max(BATCH), (400 / divisor).max(10));
    let server = Server::start(&format!("stale-nonce = {}", STALE.as_secs()));
    println!(
        "| from a stranger | us, each answered | times a bare Allocate | us, limited | times |\n|---|---|---|---|---|"
    );
    // Loopback is exempt from the limits on replies, other addresses are not.
    let exempt = datagrams(&server, [127, 8, 0, 1], [127, 0, 0, 1], messages);
    let limited = datagrams(&server, [198, 51, 100, 7], [198, 51, 100, 1], messages);
    let base = exempt[0].1;
    for ((name, cost), (_, limited)) in exempt.iter().zip(&limited) {
        println!(
            "| {name} | {:.2} | {:.2} | {:.2} | {:.2} |",
            cost / 1e3,
            cost / base,
            limited / 1e3,
            limited / base
        );
    }
    for (name, cost) in over_streams(&server, streams) {
        println!("| {name} | {:.2} | {:.2} | | |", cost / 1e3, cost / base);
    }
    drop(server);
    let server = Server::start("trusted-proxies = '127.0.0.0/8'");
    let (name, cost) = behind_proxy(&server, messages);
    println!("| {name} | {:.2} | {:.2} | | |\n", cost / 1e3, cost / base);
    true
}

/// What each kind costs over UDP, in nanoseconds.
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

/// What connections cost that come to nothing, in nanoseconds.
fn over_streams(server: &Server, count: u64) -> Vec<(&'static str, f64)> {
    let (address, trusted) = (server.address(), trust(&server.certificate));
    let source: IpAddr = [127, 8, 0, 2].into();
    let bare = kinds("", "").swap_remove(0).bytes;
    let begins: [(&str, Box<dyn Fn(&Arc<ClientConfig>)>); 4] = [
        (
            "TCP connect and close",
            Box::new(move |_| drop(connect(source, address))),
        ),
        (
            "TCP connect, garbage",
            Box::new(move |_| until_closed(source, address, &[0xA5; 100])),
        ),
        (
            "TCP connect, bare Allocate",
            Box::new(move |_| {
                let mut stream = connect(source, address).unwrap();
                stream.write_all(&bare).unwrap();
                assert!(stream.read(&mut [0; 1024]).is_ok_and(|count| count > 0));
            }),
        ),
        (
            "TLS handshake (ECDSA), Binding",
            Box::new(move |trusted| {
                let mut client = Client::new(Way::Tls, source, address, trusted).unwrap();
                let question =
                    crate::support::messages::request(stun::message::METHOD_BINDING, vec![]);
                client.ask(&question).unwrap();
            }),
        ),
    ];
    let mut costs = vec![Vec::new(); begins.len()];
    for _ in 0..ROUNDS {
        for ((_, begin), costs) in begins.iter().zip(&mut costs) {
            let before = server.cpu();
            (0..count).for_each(|_| begin(&trusted));
            costs.push((server.cpu() - before) as f64 / count as f64);
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
