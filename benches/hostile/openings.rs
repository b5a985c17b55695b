//! DTLS handshakes that are begun and left, each with what a library would reserve memory for, while an
//! honest client makes its calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::streams::{honest, print_calls};
use crate::support::Dice;
use crate::support::half_open::{dtls_socket, half_open, sparse_fragments};
use crate::support::server::Server;

/// Time that the server has to give up the last handshake, and a little more.
const GRACE: Duration = Duration::from_secs(15);
/// Memory that unallocated clients may hold by default (`max-idle-memory`), in KiB.
const BUDGET: u64 = 64 << 10;

pub(crate) fn run(divisor: u64) -> bool {
    let server = Server::start("dtls = true\nuser-allocate-rate = 0");
    let (count, stop) = (10_000 / divisor, AtomicBool::new(false));
    let memory = server.memory();
    let (most, served, calls) = thread::scope(|scope| {
        let honest = scope.spawn(|| honest(&server, &stop));
        let (most, served) = hostile(&server, count);
        stop.store(true, Ordering::Relaxed);
        (most, served, honest.join().unwrap())
    });
    thread::sleep(GRACE);
    let after = server.memory();
    println!("| {count} DTLS openings, 250 fragments behind each | |\n|---|---|");
    println!("| answered with a ServerHello | {served} |");
    println!("| memory before, most, after, KiB | {memory}, {most}, {after} |");
    // The memory manager's own part is not the budget's.
    print_calls(&calls) && most - memory < BUDGET + BUDGET / 4
}

/// Begins the handshakes; the most memory that the server had meanwhile, and how many were answered.
fn hostile(server: &Server, count: u64) -> (u64, u64) {
    let (mut dice, mut most, mut served) = (Dice(13), 0, 0);
    let fragments = sparse_fragments();
    for n in 0..count {
        let socket = dtls_socket(dice.source(11), server.address());
        let random = (n % 250) as u8;
        served += u64::from(half_open(&socket, random).is_some());
        for fragment in &fragments {
            // A buffer that is full for a moment loses it, as on the way.
            let _ = socket.send(fragment);
        }
        if n % 100 == 0 {
            most = most.max(server.memory());
        }
    }
    (most.max(server.memory()), served)
}
