//! A call that is there already, while a flood takes more and more of its worker.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use stun::message::METHOD_ALLOCATE;
use turnd_proto::wire::channel_data;

use crate::support::client::{CHANNEL, Client, Kind as Way, trust};
use crate::support::echo;
use crate::support::messages::{request, transport};
use crate::support::server::{PASSWORD, Server, USER};

/// Interval between two packets of the call: 500 a second, each of which comes back.
const INTERVAL: Duration = Duration::from_millis(2);
/// Length of a round.
const ROUND: Duration = Duration::from_secs(10);
/// Bytes of a packet: voice.
const LEN: u16 = 160;
/// Datagrams a second that the flood tries to send; the last one as many as it can.
const RATES: [u64; 7] = [0, 10_000, 30_000, 60_000, 100_000, 150_000, u64::MAX];
/// Share of a processor below which nothing may be lost.
const HALF: f64 = 0.5;

pub(crate) fn run(divisor: u64) -> bool {
    let server = Server::start("relay-threads = 1");
    let (trusted, echo) = (trust(&server.certificate), echo());
    let round = ROUND / u32::try_from(divisor.min(10)).unwrap();
    let mut client =
        Client::new(Way::Udp, [127, 77, 0, 1].into(), server.address(), &trusted).unwrap();
    client.call(USER, PASSWORD, echo).unwrap();
    let socket = client.into_socket().unwrap();
    println!(
        "| flood, datagrams a second | processor of the server | packets of a call | lost | delay p50, p99, us |\n|---|---|---|---|---|"
    );
    let mut good = true;
    for (kind, bytes) in [
        ("garbage", vec![0xA5; 100]),
        (
            "bare Allocate",
            request(METHOD_ALLOCATE, vec![transport()]).raw,
        ),
    ] {
        for rate in RATES {
            let (before, start) = (server.cpu(), Instant::now());
            let (stop, sent) = (AtomicBool::new(rate == 0), AtomicU64::new(0));
            let delays = thread::scope(|scope| {
                scope.spawn(|| flood(&bytes, rate, &stop, &sent));
                let delays = talk(&socket, round);
                stop.store(true, Ordering::Relaxed);
                delays
            });
            let elapsed = start.elapsed();
            let share = (server.cpu() - before) as f64 / elapsed.as_nanos() as f64;
            let rate = sent.load(Ordering::Relaxed) as f64 / elapsed.as_secs_f64();
            let (total, lost) = (delays.len(), delays.iter().filter(|d| d.is_none()).count());
            let mut times: Vec<_> = delays.into_iter().flatten().collect();
            times.sort();
            let at = |share: f64| {
                let index = (times.len() as f64 * share) as usize;
                times.get(index).map_or(0, Duration::as_micros)
            };
            println!(
                "| {kind}, {rate:.0} | {:.0} % | {total} | {lost} | {}, {} |",
                share * 100.0,
                at(0.5),
                at(0.99)
            );
            good &= lost == 0 || share > HALF;
        }
    }
    println!();
    good
}

/// Sends `bytes` from an address that is not exempt from limits, at this rate, until it is to stop.
fn flood(bytes: &[u8], rate: u64, stop: &AtomicBool, sent: &AtomicU64) {
    let socket = UdpSocket::bind("198.51.100.7:0").unwrap();
    socket
        .connect(SocketAddr::from(([198, 51, 100, 1], 3478)))
        .unwrap();
    let start = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let due = start.elapsed().as_secs_f64() * rate as f64;
        if sent.load(Ordering::Relaxed) as f64 >= due {
            thread::sleep(Duration::from_micros(500));
            continue;
        }
        for _ in 0..16 {
            // A buffer that is full for a moment loses it, as on the way.
            let _ = socket.send(bytes);
        }
        sent.fetch_add(16, Ordering::Relaxed);
    }
}

/// Sends packets that come back; the delay of each, `None` where it was lost.
fn talk(socket: &UdpSocket, time: Duration) -> Vec<Option<Duration>> {
    socket.set_nonblocking(true).unwrap();
    static ROUNDS: AtomicU64 = AtomicU64::new(0);
    let round = ROUNDS.fetch_add(1, Ordering::Relaxed);
    let (start, mut sent) = (Instant::now(), Vec::new());
    let mut delays: Vec<Option<Duration>> = Vec::new();
    let mut buffer = [0; 2048];
    // Late packets are waited for.
    while start.elapsed() < time + Duration::from_secs(1) {
        while let Ok(count) = socket.recv(&mut buffer) {
            let Some((CHANNEL, data)) = channel_data::parse(&buffer[..count]) else {
                continue;
            };
            let number = u64::from_be_bytes(data[..8].try_into().unwrap()) as usize;
            let of_round = u64::from_be_bytes(data[8..16].try_into().unwrap());
            if of_round == round && number < sent.len() {
                let at: Instant = sent[number];
                delays[number].get_or_insert(at.elapsed());
            }
        }
        let due = start + INTERVAL * sent.len() as u32;
        if start.elapsed() < time && due <= Instant::now() {
            sent.push(Instant::now());
            delays.push(None);
            let mut packet = channel_data::header(CHANNEL, LEN).to_vec();
            packet.extend_from_slice(&(sent.len() as u64 - 1).to_be_bytes());
            packet.extend_from_slice(&round.to_be_bytes());
            packet.resize(4 + usize::from(LEN), 7);
            let _ = socket.send(&packet);
        } else {
            thread::sleep(Duration::from_micros(100));
        }
    }
    socket.set_nonblocking(false).unwrap();
    delays
}
