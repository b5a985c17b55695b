//! A call through turnd and through coturn in turn: from a UDP client's relay to a TCP or TLS
//! client's and back, 300 Mbit/s; CPU of the server for each delivered packet.
//!
//!     cargo bench --features dtls --bench calls [-- [ROUNDS [SECONDS]]]
//!
//! `benches/compare` measures the cost of each transport by itself. Needs coturn and openssl. The
//! server is pinned to one processor, the load to the other; the servers take turns, the first
//! round is dropped, medians are printed.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode};
use turnd_client::blocking::{Blocking, Link};
use turnd_client::turn::message::channel_data;
use turnd_client::turn::{Framing, Login, Proof, Request, split};
use turnd_proto::auth::secret::Secret;

const SERVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 34_781);
const CHANNEL: u16 = 0x4000;
/// Bytes of a payload.
const PAYLOAD: usize = 1000;
/// Packets that are sent together, as video is.
const BURST: usize = 10;

/// Transport to the server.
enum Transport {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
}

impl Link for Transport {
    fn framing(&self) -> Framing {
        match self {
            Self::Udp(_) => Framing::Datagrams,
            Self::Tcp(_) | Self::Tls(_) => Framing::Stream,
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(bytes).map(drop),
            Self::Tcp(tcp) => tcp.write_all(bytes),
            Self::Tls(tls) => tls.write_all(bytes),
        }
    }

    fn receive(&mut self, bytes: &mut [u8], limit: Duration) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => Link::receive(socket, bytes, limit),
            Self::Tcp(tcp) => Link::receive(tcp, bytes, limit),
            Self::Tls(tls) => {
                tls.get_ref().set_read_timeout(Some(limit))?;
                tls.read(bytes)
            }
        }
    }
}

/// An allocation whose channel is bound, and its transport.
struct Client {
    transport: Transport,
    received: Vec<u8>,
    /// Written in part.
    unsent: Vec<u8>,
}

impl Transport {
    fn new(kind: &str) -> Self {
        let tcp = || {
            let tcp = TcpStream::connect(SERVER).unwrap();
            tcp.set_nodelay(true).unwrap();
            tcp
        };
        match kind {
            "udp" => {
                let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
                socket.connect(SERVER).unwrap();
                Transport::Udp(socket)
            }
            "tcp" => Transport::Tcp(tcp()),
            _ => {
                let mut connector = SslConnector::builder(SslMethod::tls()).unwrap();
                connector.set_verify(SslVerifyMode::NONE);
                // Both servers with the same cipher.
                connector
                    .set_max_proto_version(Some(openssl::ssl::SslVersion::TLS1_2))
                    .unwrap();
                connector
                    .set_cipher_list("ECDHE-ECDSA-AES128-GCM-SHA256")
                    .unwrap();
                Transport::Tls(Box::new(
                    connector.build().connect("localhost", tcp()).unwrap(),
                ))
            }
        }
    }
}

impl Client {
    /// A client that goes on with what has been set up.
    fn new(transport: Transport) -> Self {
        match &transport {
            Transport::Udp(socket) => socket.set_nonblocking(true),
            Transport::Tcp(tcp) => tcp.set_nonblocking(true),
            Transport::Tls(tls) => tls.get_ref().set_nonblocking(true),
        }
        .unwrap();
        Self {
            transport,
            received: Vec::new(),
            unsent: Vec::new(),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Udp(socket) => UdpSocket::send(socket, bytes),
            Transport::Tcp(tcp) => tcp.write(bytes),
            Transport::Tls(tls) => tls.write(bytes),
        }
    }

    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match &mut self.transport {
            Transport::Udp(socket) => socket.recv(bytes),
            Transport::Tcp(tcp) => tcp.read(bytes),
            Transport::Tls(tls) => tls.read(bytes),
        }
    }

    /// Sends as many frames as there is room for and tells how many.
    fn send(&mut self, frame: &[u8], count: usize) -> usize {
        if matches!(self.transport, Transport::Udp(_)) {
            return (0..count).filter(|_| self.write(frame).is_ok()).count();
        }
        let room = self.unsent.len() < 64 << 10;
        if room {
            for _ in 0..count {
                self.unsent.extend_from_slice(frame);
            }
        }
        self.flush();
        if room { count } else { 0 }
    }

    fn flush(&mut self) {
        while !self.unsent.is_empty() {
            let unsent = std::mem::take(&mut self.unsent);
            // A record for each frame or so.
            let written = self.write(&unsent[..unsent.len().min(8 * 1024)]);
            self.unsent = unsent;
            match written {
                Ok(count) => drop(self.unsent.drain(..count)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Channel data that has come.
    fn receive(&mut self) -> usize {
        let (mut count, mut buffer) = (0, [0; 1 << 16]);
        loop {
            let len = match self.read(&mut buffer) {
                Ok(0) => panic!("the server has closed"),
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return count,
                Err(error) => panic!("{error}"),
            };
            if matches!(self.transport, Transport::Udp(_)) {
                count += usize::from(buffer[0] >= 0x40);
                continue;
            }
            self.received.extend_from_slice(&buffer[..len]);
            let mut at = 0;
            while let Ok(Some((_, padded))) = split(&self.received[at..]) {
                count += usize::from(self.received[at] >= 0x40);
                at += padded;
            }
            self.received.drain(..at);
        }
    }
}

/// A client that allocates, and the relayed transport address.
fn allocate(kind: &str) -> (Blocking<Transport>, SocketAddr) {
    let mut client = Blocking::new(Transport::new(kind));
    client.client().set_login(Login {
        user: "bench".to_owned(),
        proof: Proof::Password(Secret::new("bench")),
    });
    let relayed = client.ask(Request::ALLOCATE).unwrap().relayed().unwrap();
    (client, relayed)
}

/// Binds the channel to a peer.
fn bind(mut client: Blocking<Transport>, peer: SocketAddr) -> Client {
    let bound = client.ask(Request::ChannelBind(CHANNEL, peer)).unwrap();
    assert_eq!(bound.error, None);
    Client::new(client.into_link())
}

/// A server that runs on the first processor.
struct Server(Child);

impl Server {
    fn start(name: &str, work: &Path) -> Self {
        let (cert, key) = (work.join("cert.pem"), work.join("key.pem"));
        let port = SERVER.port().to_string();
        let tls_port = (SERVER.port() + 1).to_string();
        let mut command = Command::new("taskset");
        command.args(["-c", "0"]);
        let common = [
            "--listening-ip",
            "127.0.0.1",
            "--relay-ip",
            "127.0.0.1",
            "--realm",
            "bench",
        ];
        if name == "turnd" {
            command
                .arg(env!("CARGO_BIN_EXE_turnd"))
                .arg("serve")
                .args(common)
                .args(["--user-quota", "0", "--user-allocate-rate", "0"]);
        } else {
            command
                .arg("turnserver")
                .args(["-n", "--no-cli", "--lt-cred-mech", "--simple-log"]);
            command.args(common).arg("--pidfile").arg(work.join("pid"));
            command.arg("--userdb").arg(work.join("db"));
        }
        command
            .args(["--listening-port", &port, "--tls-listening-port", &tls_port])
            .args([
                "--user",
                "bench:bench",
                "--allow-loopback-peers",
                "--relay-threads",
                "1",
            ])
            .arg("--cert")
            .arg(cert)
            .arg("--pkey")
            .arg(key)
            .arg("--log-file")
            .arg(work.join("log"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let server = Self(command.spawn().unwrap());
        let deadline = Instant::now() + Duration::from_secs(10);
        while TcpStream::connect(SERVER).is_err() {
            assert!(Instant::now() < deadline, "{name} does not start");
            thread::sleep(Duration::from_millis(50));
        }
        thread::sleep(Duration::from_millis(300));
        server
    }

    /// CPU time in nanoseconds.
    fn cpu(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.0.id())).unwrap();
        let stat = |path: PathBuf| fs::read_to_string(path.join("schedstat")).unwrap_or_default();
        let first = |text: String| text.split(' ').next().and_then(|n| n.parse::<u64>().ok());
        tasks
            .filter_map(|task| first(stat(task.unwrap().path())))
            .sum()
    }

    /// Resident memory in KiB.
    fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.id())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Result of one load.
struct Outcome {
    sent: usize,
    delivered: usize,
    cpu: u64,
    wall: Duration,
    memory: u64,
}

/// Sends `rate` packets a second from each client, and counts at both.
fn load(server: &Server, clients: &mut [Client; 2], rate: f64, time: Duration) -> Outcome {
    let frame = channel_data(CHANNEL, &[7; PAYLOAD]);
    let receive = |clients: &mut [Client; 2]| -> usize {
        let receive = |client: &mut Client| {
            client.flush();
            client.receive()
        };
        clients.iter_mut().map(receive).sum()
    };
    let (cpu, start) = (server.cpu(), Instant::now());
    let (mut sent, mut delivered, mut due) = (0, 0, 0);
    while start.elapsed() < time {
        let now = (start.elapsed().as_secs_f64() * rate) as usize;
        if now >= due + BURST {
            due += BURST;
            for client in clients.iter_mut() {
                sent += client.send(&frame, BURST);
            }
        }
        delivered += receive(clients);
    }
    let wall = start.elapsed();
    let end = Instant::now() + Duration::from_millis(300);
    while Instant::now() < end {
        delivered += receive(clients);
    }
    Outcome {
        sent,
        delivered,
        cpu: server.cpu() - cpu,
        wall,
        memory: server.memory(),
    }
}

/// A call between a UDP and a stream client, both ways.
fn call(name: &str, work: &Path, kind: &str, rate: f64, time: Duration) -> Outcome {
    let server = Server::start(name, work);
    let (one, one_relayed) = allocate("udp");
    let (other, other_relayed) = allocate(kind);
    let (one, other) = (bind(one, other_relayed), bind(other, one_relayed));
    load(&server, &mut [one, other], rate, time)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Prints what both servers cost for each delivered packet.
fn compare(label: &str, rounds: usize, measure: impl Fn(&str) -> Outcome) {
    let mut costs = [Vec::new(), Vec::new()];
    let mut notes = [String::new(), String::new()];
    for round in 0..=rounds {
        for (n, name) in ["turnd", "coturn"].into_iter().enumerate() {
            let got = measure(name);
            if round > 0 {
                costs[n].push(got.cpu as f64 / got.delivered.max(1) as f64);
                notes[n] = format!(
                    "{:.2} % lost, {:.0} % of a CPU, {} MiB",
                    100.0 * (1.0 - got.delivered as f64 / got.sent as f64),
                    100.0 * got.cpu as f64 / got.wall.as_nanos() as f64,
                    got.memory >> 10
                );
            }
        }
    }
    let [ours, theirs] = costs.map(median);
    let [our_note, their_note] = notes;
    println!(
        "| {label} | {ours:.0} ({our_note}) | {theirs:.0} ({their_note}) | {:.2} |",
        ours / theirs
    );
}

fn main() {
    let numbers: Vec<usize> = std::env::args()
        .filter_map(|word| word.parse().ok())
        .collect();
    let rounds = numbers.first().copied().unwrap_or(3);
    let time = Duration::from_secs(numbers.get(1).copied().unwrap_or(2) as u64);
    let work = std::env::temp_dir().join(format!("turnd-calls-{}", std::process::id()));
    fs::create_dir_all(&work).unwrap();
    let made = Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem -subj /CN=localhost -days 2".split(' '))
        .current_dir(&work)
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success(), "openssl makes no certificate");
    let pid = std::process::id().to_string();
    let pinned = Command::new("taskset")
        .args(["-cp", "1", &pid])
        .stdout(Stdio::null())
        .status();
    assert!(pinned.unwrap().success(), "needs two processors");

    println!("| load | turnd, ns of CPU a packet | coturn | ratio |\n|---|---|---|---|");
    for kind in ["tcp", "tls"] {
        // 150 Mbit/s each way.
        let label = format!("udp client to {kind} client and back, 300 Mbit/s");
        compare(&label, rounds, |name| {
            call(name, &work, kind, 18_750.0, time)
        });
    }
    let _ = fs::remove_dir_all(work);
}
