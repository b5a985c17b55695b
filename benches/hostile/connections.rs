//! Connections of one network beyond their rate, while others are served.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};

use crate::costs::ask;
use crate::support::client::{Kind, trust};
use crate::support::server::Server;

/// Part of a worker that one network may take.
const MOST: f64 = 0.1;
/// Time in which the network has connections left: it does not count.
const WARM_UP: Duration = Duration::from_secs(10);
/// Time that counts.
const FLOOD: Duration = Duration::from_secs(20);
/// Pause of the honest client between two questions over connections of their own.
const PAUSE: Duration = Duration::from_millis(20);

pub(crate) fn run(divisor: u64) -> bool {
    let server = Server::start("relay-threads = 1");
    let length = FLOOD / u32::try_from(divisor).unwrap();
    let over = AtomicBool::new(false);
    let (alone, per_second, with_flood, asked, longest) = thread::scope(|scope| {
        let honest = scope.spawn(|| honest(&server, &over));
        let share = |flood: &dyn Fn(Duration) -> u64| {
            let (start, before) = (Instant::now(), server.cpu());
            let count = flood(length);
            let seconds = start.elapsed().as_secs_f64();
            let share = (server.cpu() - before) as f64 / 1e9 / seconds;
            (count as f64 / seconds, share)
        };
        let (_, alone) = share(&|length| {
            thread::sleep(length);
            0
        });
        flood(WARM_UP);
        let (per_second, with_flood) = share(&flood);
        over.store(true, Ordering::Relaxed);
        let (asked, longest) = honest.join().unwrap();
        (alone, per_second, with_flood, asked, longest)
    });
    println!("| connections of one network beyond their rate | |\n|---|---|");
    println!("| opened in a second | {per_second:.0} |");
    println!(
        "| part of the worker without them, with them | {:.1} %, {:.1} % |",
        alone * 100.0,
        with_flood * 100.0
    );
    println!(
        "| honest questions by TCP meanwhile, all answered; the longest took | {asked}; {} ms |\n",
        longest.as_millis()
    );
    with_flood - alone <= MOST
}

/// Opens connections as fast as can be, without waiting for an answer.
fn flood(length: Duration) -> u64 {
    let (start, mut count) = (Instant::now(), 0);
    while start.elapsed() < length {
        // As many addresses as the network has, so that ports are left.
        let host = 2 + (count % 250) as u8;
        begin(
            [198, 51, 100, host].into(),
            ([198, 51, 100, 1], 3478).into(),
        );
        count += 1;
    }
    count
}

/// Begins a connection and gives it up, established or not.
fn begin(source: IpAddr, server: SocketAddr) {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::new(source, 0).into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let _ = socket.connect(&server.into());
}

/// Asks until it is over; how often, and the longest time that an answer took.
fn honest(server: &Server, over: &AtomicBool) -> (u32, Duration) {
    let (address, trusted) = (server.address(), trust(&server.certificate));
    let (mut asked, mut longest) = (0, Duration::ZERO);
    while !over.load(Ordering::Relaxed) {
        let start = Instant::now();
        ask(Kind::Tcp, [127, 8, 0, 2].into(), address, &trusted);
        longest = longest.max(start.elapsed());
        asked += 1;
        thread::sleep(PAUSE);
    }
    (asked, longest)
}
