//! Parts of a worker for tests on bytes in memory, under a clock that they set.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnd_proto::Now;
use turnd_proto::policy::unallocated::Unallocated;
use turnd_proto::server::Server;
use turnd_udp::Receiver;

use super::admission::{Admission, AdmissionOptions};
use super::context::Ctx;
use super::control::Settings;
use super::counters::NetCounters;
use super::egress::Egress;
use super::log::EventLog;
use super::poll::Poller;
use super::tcp_relay::TcpRelay;
use super::udp_sockets::UdpSockets;
use crate::config::Config;
use crate::config::file::FileConfig;

/// `max-allocate-timeout` of the configuration below.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn config() -> Config {
    let flags = FileConfig {
        no_auth: Some(true),
        ..FileConfig::default()
    };
    crate::config::from_flags(&flags).unwrap().config
}

pub(super) struct TestBed {
    pub(super) server: Server,
    pub(super) egress: Egress,
    pub(super) admission: Admission,
    pub(super) counters: NetCounters,
    tcp_relay: TcpRelay,
    log: EventLog,
    receiver: Receiver,
    pub(super) now: Now,
    _poller: Poller,
}

impl TestBed {
    pub(super) fn new(config: &Config) -> Self {
        let now = Now {
            mono: Instant::now(),
            unix: 1_700_000_000,
        };
        let settings = Settings::new(config, Default::default(), Vec::new(), &[], None).unwrap();
        let poller = Poller::new().unwrap();
        let sockets = UdpSockets::new(poller.registry().unwrap(), Vec::new()).unwrap();
        let options = AdmissionOptions {
            all: Arc::new(Unallocated::new(config.transports.unallocated)),
            idle_timeout: IDLE_TIMEOUT,
            rates: None,
        };
        Self {
            server: Server::new(settings.shared, [7; 32], now),
            egress: Egress::new(sockets),
            admission: Admission::new(options, 0),
            counters: NetCounters::default(),
            tcp_relay: TcpRelay::new(poller.registry().unwrap()),
            log: EventLog::new(1),
            receiver: Receiver::new(),
            now,
            _poller: poller,
        }
    }

    pub(super) fn ctx(&mut self) -> Ctx<'_> {
        Ctx {
            now: self.now,
            receiver: &self.receiver,
            server: &mut self.server,
            egress: &mut self.egress,
            admission: &mut self.admission,
            counters: &mut self.counters,
            tcp_relay: &mut self.tcp_relay,
            log: &mut self.log,
            mailboxes: &[],
        }
    }

    /// Datagrams for clients and peers since the last call: destinations and bytes.
    pub(super) fn sent(&mut self) -> Vec<(SocketAddr, Vec<u8>)> {
        self.egress.take_datagrams(&self.receiver)
    }

    pub(super) fn sleep(&mut self, time: Duration) {
        self.now.mono += time;
    }
}

/// Socket in memory.
#[derive(Debug, Default)]
pub(super) struct MemorySocket {
    /// Bytes to be read; an empty chunk is the end.
    pub(super) incoming: VecDeque<Vec<u8>>,
    pub(super) written: Vec<u8>,
    /// Bytes that may still be written; `None`: any number.
    pub(super) room: Option<usize>,
}

impl Read for MemorySocket {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let Some(mut chunk) = self.incoming.pop_front() else {
            return Err(io::ErrorKind::WouldBlock.into());
        };
        let len = chunk.len().min(out.len());
        out[..len].copy_from_slice(&chunk[..len]);
        if len < chunk.len() {
            self.incoming.push_front(chunk.split_off(len));
        }
        Ok(len)
    }
}

impl Write for MemorySocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(self.room.unwrap_or(usize::MAX));
        if len == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.room = self.room.map(|room| room - len);
        self.written.extend_from_slice(&bytes[..len]);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Header of PROXY version 2 for a datagram of an IPv4 client.
pub(super) fn proxy_header(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0C".to_vec();
    for addr in [client, server] {
        if let SocketAddr::V4(addr) = addr {
            header.extend(addr.ip().octets());
        }
    }
    header.extend(client.port().to_be_bytes());
    header.extend(server.port().to_be_bytes());
    header
}

const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];

/// A bare Binding request.
pub(super) fn binding_request() -> Vec<u8> {
    [&[0, 1, 0, 0][..], &COOKIE, b"transaction!"].concat()
}

/// XOR-MAPPED-ADDRESS, an IPv4 one, of a Binding response; `None`: it is none.
pub(super) fn mapped_address(response: &[u8]) -> Option<SocketAddr> {
    let mut left = response.strip_prefix(&[1, 1])?.get(18..)?;
    while let [t1, t0, l1, l0, value @ ..] = left {
        let len = usize::from(u16::from_be_bytes([*l1, *l0]));
        if [*t1, *t0] == [0, 0x20] {
            let port = u16::from_be_bytes([value[2] ^ COOKIE[0], value[3] ^ COOKIE[1]]);
            let octet = |n: usize| value[4 + n] ^ COOKIE[n];
            return Some(([octet(0), octet(1), octet(2), octet(3)], port).into());
        }
        left = value.get(len.next_multiple_of(4)..)?;
    }
    None
}
