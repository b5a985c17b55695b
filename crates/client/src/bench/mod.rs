//! `turnd bench`: a load generator on one busy thread.
//!
//! The generator plays clients and peers at once. Nothing sleeps while a load runs: a generator that sleeps
//! makes the server pay for its wake-ups. The report says what the generator was too slow for.

mod link;
mod load;
mod measure;
mod process;
mod progress;
mod report;
mod secure;
mod setup;
mod stamp;
mod target;
mod traffic;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use load::{Load, NAMES, Pace};
pub use progress::Stage;
pub use report::Report;
pub use stamp::LEN as LEAST_SIZE;
pub use target::{Server, Target};

use turnd_udp::UdpSocket;

use self::link::Link;
use self::load::Kind;
use self::process::Usage;
use self::progress::Progress;
use self::setup::Client;
use self::traffic::Traffic;
use crate::local::local_ip;
use crate::turn::Login;

/// Sockets that play peers; allocations share them.
const PEERS: usize = 8;

/// Load, servers and duration of a run.
#[derive(Debug)]
pub struct Options {
    /// Servers that the allocations are spread over in turn.
    pub servers: Vec<Server>,
    /// Credentials; `None`: the server wants none.
    pub login: Option<Login>,
    /// Load to put on them.
    pub load: Load,
    /// Time of the measurement.
    pub duration: Duration,
    /// The server's process, if it is on this host.
    pub pid: Option<u32>,
}

/// Reason why there is nothing to report.
#[derive(Debug)]
pub struct BenchError(String);

impl BenchError {
    fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for BenchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<io::Error> for BenchError {
    fn from(error: io::Error) -> Self {
        Self(format!("a socket of the load generator failed: {error}"))
    }
}

/// Runs the load until its time is over or `stop` is set, and tells what was measured; `show` hears now and then how far it is.
pub fn run(
    options: &Options,
    stop: &AtomicBool,
    show: &mut dyn FnMut(Stage),
) -> Result<Report, BenchError> {
    let load = &options.load;
    let mut progress = Progress::new(show);
    let servers: Vec<(&Server, IpAddr)> = options
        .servers
        .iter()
        .map(|server| Ok((server, source(server.addr)?)))
        .collect::<io::Result<_>>()?;
    let peers: Vec<UdpSocket> = servers
        .iter()
        .flat_map(|(_, ip)| std::iter::repeat_n(*ip, PEERS.min(load.allocations)))
        .map(|ip| UdpSocket::bind(SocketAddr::new(ip, 0)))
        .collect::<io::Result<_>>()?;
    let mut clients = Vec::with_capacity(load.allocations);
    for index in 0..load.allocations {
        let (server, ip) = servers[index % servers.len()];
        // Peers of the same address: those of the other family cannot be reached.
        let (set, of_set) = (index % servers.len(), peers.len() / servers.len());
        let peer = set * of_set + index / servers.len() % of_set;
        let link = Link::open(server, ip).map_err(|error| {
            BenchError::new(format!(
                "client {index} gets no socket to {}: {error}{}",
                server.addr,
                if matches!(error.raw_os_error(), Some(libc::EMFILE)) {
                    "; give fewer --allocations, or raise the limit on open files"
                } else {
                    ""
                }
            ))
        })?;
        clients.push(Client::new(
            link,
            server.addr,
            peer,
            options.login.clone(),
            load.wanted(server.addr, peers[peer].addr()),
        ));
    }

    let mut report = Report::new(options);
    if load.kind == Kind::Binding {
        measure_traffic(
            options,
            &mut clients,
            &peers,
            stop,
            &mut progress,
            &mut report,
        )?;
        let closed = clients.iter().filter(|client| client.closed).count();
        report.ended(stop.load(Ordering::Relaxed), closed);
        return Ok(report);
    }
    let before = usage(options)?;
    let outcome = setup::establish(&mut clients, stop, &mut progress);
    let after = usage(options)?;
    report.set_up(&clients, outcome.elapsed, before.zip(after));
    let measured = match outcome.error {
        Some(error) => Err(error),
        _ if load.kind == Kind::Allocate || stop.load(Ordering::Relaxed) => Ok(()),
        _ => measure_traffic(
            options,
            &mut clients,
            &peers,
            stop,
            &mut progress,
            &mut report,
        ),
    };
    let interrupted = stop.load(Ordering::Relaxed);
    let gone = setup::delete(&mut clients);
    measured?;
    report.ended(interrupted, gone?);
    Ok(report)
}

fn measure_traffic(
    options: &Options,
    clients: &mut [Client],
    peers: &[UdpSocket],
    stop: &AtomicBool,
    progress: &mut Progress<'_>,
    report: &mut Report,
) -> Result<(), BenchError> {
    let mut traffic = Traffic::new(&options.load, clients, peers)?;
    // A tenth of the time, so that caches and the kernel's tables are warm.
    traffic.run(options.duration / 10, stop, progress)?;
    traffic.begin();
    let before = usage(options)?;
    traffic.run(options.duration, stop, progress)?;
    let after = usage(options)?;
    traffic.end();
    traffic.drain()?;
    let used = before
        .zip(after)
        .map(|(before, after)| after.since(&before));
    report.traffic(&traffic, used);
    Ok(())
}

fn usage(options: &Options) -> Result<Option<Usage>, BenchError> {
    let read = |pid| {
        Usage::of(pid).map_err(|error| {
            BenchError::new(format!("--pid {pid}: its use cannot be read: {error}"))
        })
    };
    options.pid.map(read).transpose()
}

/// The local address to send to `server` from.
fn source(server: SocketAddr) -> io::Result<IpAddr> {
    // All of 127/8 is at hand, and each address has ports of its own.
    if server.ip().is_loopback() {
        return Ok(server.ip());
    }
    local_ip(server)
}
