//! Malformed datagrams and requests without credentials, by the million.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use stun::attributes::ATTR_NONCE;
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING};

use crate::messages::{Kind, kinds, malformed};
use crate::support::client::{Client, Kind as Way, trust};
use crate::support::messages::{decode, request, transport};
use crate::support::server::{PASSWORD, Server, USER};
use crate::support::{Dice, echo};

/// Datagrams between two questions that see whether the server has taken them.
const BATCH: u64 = 64;
/// Address at which the server is asked whether it has taken everything.
const ASKED: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3478);
/// Wait for an answer before a question is put again.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);
/// Memory may grow by so much, in KiB.
const LIMIT: i64 = 1024;

/// A socket that sends what it likes, at the pace at which the server takes it.
pub(crate) struct Source {
    socket: UdpSocket,
    /// Asks whether everything was taken: from another address, to which no limit applies that the
    /// flood has used up.
    question: UdpSocket,
    buffer: [u8; 2048],
    /// Goes before everything that is sent.
    header: Vec<u8>,
    /// Questions that had to be put again: something was lost.
    pub(crate) lost: u64,
}

impl Source {
    /// Sends from `from`. The server has one worker, so that what is asked from another socket is
    /// answered when all that came before is taken.
    pub(crate) fn new(from: [u8; 4], server: SocketAddr) -> Self {
        let socket = |from: [u8; 4], server: SocketAddr| {
            let socket = UdpSocket::bind(SocketAddr::from((from, 0))).unwrap();
            socket.connect(server).unwrap();
            socket
        };
        let (flood, question) = (socket(from, server), socket([127, 6, 6, 6], ASKED));
        flood.set_nonblocking(true).unwrap();
        question.set_read_timeout(Some(ANSWER_TIMEOUT)).unwrap();
        Self {
            socket: flood,
            question,
            buffer: [0; 2048],
            header: Vec::new(),
            lost: 0,
        }
    }

    /// Puts `header` before everything that is sent.
    pub(crate) fn behind(self, header: Vec<u8>) -> Self {
        Self { header, ..self }
    }

    fn send_by(&self, socket: &UdpSocket, bytes: &[u8]) {
        // A buffer that is full for a moment loses it, as on the way.
        let _ = match self.header.is_empty() {
            true => socket.send(bytes),
            false => socket.send(&[&self.header, bytes].concat()),
        };
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.send_by(&self.socket, bytes);
    }

    /// Waits until the server has taken everything that was sent before; its answers are dropped.
    pub(crate) fn settle(&mut self) {
        let question = request(METHOD_BINDING, vec![]).raw;
        for _ in 0..20 {
            self.send_by(&self.question, &question);
            while let Ok(count) = self.question.recv(&mut self.buffer) {
                if count > 20 && self.buffer[8..20] == question[8..20] {
                    while self.socket.recv(&mut self.buffer).is_ok() {}
                    return;
                }
            }
            self.lost += 1;
        }
        panic!("the server does not answer any more");
    }

    /// The server's nonce for this address, asked for until a limit on replies allows it.
    pub(crate) fn nonce(&mut self) -> String {
        loop {
            self.send(&request(METHOD_ALLOCATE, vec![transport()]).raw);
            thread::sleep(Duration::from_millis(20));
            while let Ok(count) = self.socket.recv(&mut self.buffer) {
                if let Ok(nonce) = decode(&self.buffer[..count]).get(ATTR_NONCE) {
                    return String::from_utf8(nonce).unwrap();
                }
            }
        }
    }
}

/// Memory before and after, and what was sent.
fn flood(
    server: &Server,
    name: &str,
    count: u64,
    sources: &mut [Source],
    mut each: impl FnMut(&mut Vec<u8>),
) -> bool {
    let mut bytes = Vec::new();
    let mut send = |count: u64| {
        let mut sent = 0;
        while sent < count {
            for source in sources.iter_mut() {
                for _ in 0..BATCH {
                    each(&mut bytes);
                    source.send(&bytes);
                }
                source.settle();
                sent += BATCH;
            }
        }
        sent
    };
    // Buffers and tables are made with the first ones.
    send(count / 50);
    let processed = || server.metrics().sum("turn_packet_processed");
    let (memory, taken, start) = (server.memory(), processed(), Instant::now());
    let sent = send(count);
    let (seconds, after) = (start.elapsed().as_secs_f64(), server.memory());
    let grown = after as i64 - memory as i64;
    println!(
        "| {sent} {name} | {:.0} | {} | {memory} | {after} | {grown:+} |",
        sent as f64 / seconds,
        processed() - taken,
    );
    grown < LIMIT
}

pub(crate) fn run(divisor: u64) -> bool {
    let server = Server::start("relay-threads = 1");
    let mut sources: Vec<_> = (1..=16)
        .map(|n| Source::new([127, 9, n, 1], server.address()))
        .collect();
    let nonce = sources[0].nonce();
    let (kinds, mut dice): (Vec<Kind>, _) = (kinds(&nonce, &nonce), Dice(5));
    println!(
        "| flood | a second | packets counted | memory before, KiB | after | grown |\n|---|---|---|---|---|---|"
    );
    let mut good = flood(
        &server,
        "malformed datagrams",
        10_000_000 / divisor,
        &mut sources,
        |bytes| {
            malformed(&mut dice, &kinds, bytes);
        },
    );
    let allocate = request(METHOD_ALLOCATE, vec![transport()]).raw;
    good &= flood(
        &server,
        "Allocates without credentials",
        1_000_000 / divisor,
        &mut sources,
        |bytes| {
            bytes.clone_from(&allocate);
        },
    );
    let lost: u64 = sources.iter().map(|source| source.lost).sum();
    println!("\nquestions in between that were lost: {lost}");
    let (trusted, echo) = (trust(&server.certificate), echo());
    for way in [Way::Udp, Way::Tcp, Way::Tls] {
        let client = Client::new(way, [127, 77, 0, 1].into(), server.address(), &trusted);
        let served = client.and_then(|mut client| client.call(USER, PASSWORD, echo));
        println!(
            "a call over {way:?} afterwards: {}",
            served
                .as_ref()
                .map_or_else(ToString::to_string, |()| "served".to_owned())
        );
        good &= served.is_ok();
    }
    println!();
    good
}
