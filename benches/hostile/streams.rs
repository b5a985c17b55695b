//! Streams that never become clients, from many addresses, while an honest client makes its calls.

use std::collections::VecDeque;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stun::message::METHOD_ALLOCATE;

use crate::support::client::{Client, Kind, connect, trust};
use crate::support::messages::{request, transport};
use crate::support::server::{PASSWORD, Server, USER};
use crate::support::{Dice, echo};

/// Streams that are kept open at a time: more than the server keeps of unallocated clients by default.
const OPEN: usize = 16_000;
/// Time in which the server has to give up the last of them.
const GRACE: Duration = Duration::from_secs(90);
/// The beginning of a TLS ClientHello.
const HALF_HELLO: [u8; 11] = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3];

const WAYS: [(&str, Kind); 3] = [("UDP", Kind::Udp), ("TCP", Kind::Tcp), ("TLS", Kind::Tls)];

/// Calls of the honest client over one transport.
#[derive(Default)]
pub(crate) struct Calls {
    made: u32,
    failed: Vec<String>,
    retransmitted: u32,
    longest: Duration,
}

pub(crate) fn run(divisor: u64) -> bool {
    let server = Server::start("user-allocate-rate = 0");
    let (count, stop) = (100_000 / divisor, AtomicBool::new(false));
    let (memory, descriptors) = (server.memory(), server.descriptors());
    let (most, refused, calls) = thread::scope(|scope| {
        let honest = scope.spawn(|| honest(&server, &stop));
        let (most, refused) = hostile(&server, count);
        stop.store(true, Ordering::Relaxed);
        (most, refused, honest.join().unwrap())
    });
    let deadline = Instant::now() + GRACE;
    while server.descriptors() > descriptors && Instant::now() < deadline {
        thread::sleep(Duration::from_secs(1));
    }
    let (after, left) = (server.memory(), server.descriptors());
    println!("| {count} hostile streams | |\n|---|---|");
    println!("| connections that failed at once | {refused} |");
    println!("| memory before, most, after, KiB | {memory}, {most}, {after} |");
    println!("| descriptors before, after | {descriptors}, {left} |");
    print_calls(&calls) && left <= descriptors
}

/// Prints how the honest client fared; whether every call was served.
pub(crate) fn print_calls(all: &[Calls; 3]) -> bool {
    let mut good = true;
    for ((name, _), calls) in WAYS.iter().zip(all) {
        println!(
            "| honest calls over {name}: made, failed, requests sent again, longest | {}, {}, {}, {:.0} ms |",
            calls.made,
            calls.failed.len(),
            calls.retransmitted,
            calls.longest.as_secs_f64() * 1000.0
        );
        good &= calls.made > 0 && calls.failed.is_empty();
    }
    for error in all.iter().flat_map(|calls| &calls.failed).take(5) {
        println!("\nan honest call: {error}");
    }
    println!();
    good
}

/// Opens the streams; the most memory that the server had meanwhile, and how many did not open.
fn hostile(server: &Server, count: u64) -> (u64, u64) {
    let allocate = request(METHOD_ALLOCATE, vec![transport()]).raw;
    let (mut dice, mut open, mut most, mut refused) = (Dice(11), VecDeque::new(), 0, 0);
    for n in 0..count {
        let source = dice.source(10);
        match begin(&mut dice, source, server.address(), &allocate) {
            Ok(stream) => open.push_back(stream),
            Err(_) => refused += 1,
        }
        if open.len() > OPEN {
            open.pop_front();
        }
        if n % 1000 == 0 {
            most = most.max(server.memory());
        }
    }
    // The server has to give up the ones that are left.
    thread::spawn(move || {
        thread::sleep(GRACE);
        drop(open);
    });
    (most.max(server.memory()), refused)
}

fn begin(
    dice: &mut Dice,
    source: std::net::IpAddr,
    server: SocketAddr,
    allocate: &[u8],
) -> std::io::Result<TcpStream> {
    let mut stream = connect(source, server)?;
    match dice.below(5) {
        0 => {}
        1 => stream.write_all(&HALF_HELLO)?,
        2 => stream.write_all(&[0xA5; 700])?,
        3 => stream.write_all(&allocate[..allocate.len() - 3])?,
        // A whole request, and then nothing.
        _ => stream.write_all(allocate)?,
    }
    Ok(stream)
}

/// Makes calls in turn over every transport until it is told to stop.
pub(crate) fn honest(server: &Server, stop: &AtomicBool) -> [Calls; 3] {
    let (trusted, echo) = (trust(&server.certificate), echo());
    let mut all = <[Calls; 3]>::default();
    while !stop.load(Ordering::Relaxed) {
        for ((_, kind), calls) in WAYS.iter().zip(&mut all) {
            let start = Instant::now();
            let client = Client::new(*kind, [127, 77, 0, 1].into(), server.address(), &trusted);
            let served = client.and_then(|mut client| {
                client.call(USER, PASSWORD, echo)?;
                client.refresh(0)?;
                Ok(client.retransmitted())
            });
            calls.made += 1;
            calls.longest = calls.longest.max(start.elapsed());
            match served {
                Ok(retransmitted) => calls.retransmitted += retransmitted,
                Err(error) => calls.failed.push(format!("{kind:?}: {error}")),
            }
        }
    }
    all
}
