//! Streams on bytes in memory, under a clock that stands still unless a test moves it.

use std::io::Cursor;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::net::certs::{Certificates, self_signed};
use crate::net::proxy::TrustedProxies;
use crate::net::test_bed::{
    IDLE_TIMEOUT, MemorySocket, TestBed, binding_request, config, mapped_address,
};

const PROXY: &str = "192.0.2.9:7000";
const STRANGER: &str = "192.0.2.1:7000";
const SERVER: &str = "203.0.113.1:3478";
const HEADER: &[u8] = b"PROXY TCP4 198.51.100.7 203.0.113.1 4000 3478\r\n";

struct Streams {
    bed: TestBed,
    clients: TcpClients<MemorySocket>,
}

impl Streams {
    /// Clients of a server that trusts the proxy, with TLS if there are `certificates`.
    fn new(certificates: Option<Arc<Certificates>>) -> Self {
        let options = TcpOptions {
            plain: true,
            certificates,
            proxies: Arc::new(TrustedProxies::new(vec!["192.0.2.9".parse().unwrap()])),
        };
        Self {
            bed: TestBed::new(&config()),
            clients: TcpClients::new(options),
        }
    }

    fn connect(&mut self, client: &str) -> u32 {
        let id = self.clients.next_id();
        let (client, server) = (client.parse().unwrap(), SERVER.parse().unwrap());
        let socket = MemorySocket::default();
        self.clients
            .insert(&mut self.bed.ctx(), socket, client, server);
        id
    }

    fn is_open(&self, id: u32) -> bool {
        self.clients.slab.contains(id as usize)
    }

    /// Has the client send `bytes`, and returns what it is sent.
    fn send(&mut self, id: u32, bytes: &[u8]) -> Vec<u8> {
        let client = &mut self.clients.slab[id as usize];
        client.socket.incoming.push_back(bytes.to_vec());
        let readiness = Readiness::default();
        let (_, hand_over) = self.clients.turn(&mut self.bed.ctx(), id, readiness);
        assert_eq!(hand_over, None);
        let client = self.clients.slab.get_mut(id as usize);
        client.map_or(Vec::new(), |client| {
            std::mem::take(&mut client.socket.written)
        })
    }

    /// Lets time pass, and looks at the clients whose deadline has come.
    fn sleep(&mut self, time: Duration) {
        self.bed.sleep(time);
        while let Some(socket) = self.bed.admission.pop_due(self.bed.now) {
            let ClientSocket::Stream(id) = socket else {
                panic!("{socket:?}");
            };
            self.clients.on_due(&mut self.bed.ctx(), id);
        }
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.bed.counters.dropped(reason)
    }
}

#[test]
fn a_header_and_a_request_are_read_however_they_are_cut() {
    let bytes = [HEADER, &binding_request(), &binding_request()].concat();
    for cut in 1..bytes.len() {
        let mut streams = Streams::new(None);
        let id = streams.connect(PROXY);
        let mut answers = streams.send(id, &bytes[..cut]);
        answers.extend(streams.send(id, &bytes[cut..]));
        let first = mapped_address(&answers).unwrap();
        assert_eq!(first, "198.51.100.7:4000".parse().unwrap(), "{cut}");
        let second = &answers[answers.len() / 2..];
        assert_eq!(mapped_address(second), Some(first), "{cut}");
        assert!(streams.is_open(id));
    }
}

#[test]
fn who_is_not_trusted_is_taken_at_its_own_address_and_its_header_ends_it() {
    let mut streams = Streams::new(None);
    let id = streams.connect(STRANGER);
    let answer = streams.send(id, &binding_request());
    assert_eq!(mapped_address(&answer), STRANGER.parse().ok());
    streams.send(id, HEADER);
    assert!(!streams.is_open(id));
    assert_eq!(streams.drops(DropReason::Proxy), 1);

    let id = streams.connect(PROXY);
    streams.send(id, &binding_request());
    assert!(!streams.is_open(id));
    assert_eq!(streams.drops(DropReason::Proxy), 2);
}

#[test]
fn tls_behind_a_header_carries_requests_and_says_goodbye() {
    let mut config = config();
    let certificate = self_signed().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.chain[0].clone()).unwrap();
    config.tls.certificates = vec![certificate];
    let mut streams = Streams::new(Certificates::new(&config).unwrap());
    let id = streams.connect(PROXY);
    streams.send(id, HEADER);

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusting = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let mut tls = ClientConnection::new(Arc::new(trusting), name).unwrap();
    let mut exchange = |tls: &mut ClientConnection| {
        while tls.wants_write() {
            let mut record = Vec::new();
            tls.write_tls(&mut record).unwrap();
            // Not all at once, and not by record.
            for part in record.chunks(100) {
                let mut answer = Cursor::new(streams.send(id, part));
                while tls.read_tls(&mut answer).unwrap() > 0 {
                    tls.process_new_packets().unwrap();
                }
            }
        }
        streams.is_open(id)
    };
    assert!(exchange(&mut tls));
    assert!(!tls.is_handshaking());
    tls.writer().write_all(&binding_request()).unwrap();
    assert!(exchange(&mut tls));
    let mut answer = vec![0; 512];
    let len = tls.reader().read(&mut answer).unwrap();
    let mapped = mapped_address(&answer[..len]);
    assert_eq!(mapped, "198.51.100.7:4000".parse().ok());
    tls.send_close_notify();
    assert!(!exchange(&mut tls));
}

#[test]
fn a_connection_without_an_allocation_ends_sooner_if_it_says_nothing() {
    let mut streams = Streams::new(None);
    let (silent, half, whole) = (
        streams.connect(STRANGER),
        streams.connect(STRANGER),
        streams.connect(STRANGER),
    );
    streams.send(half, &binding_request()[..10]);
    streams.send(whole, &binding_request());
    streams.sleep(Duration::from_millis(4999));
    assert!(streams.is_open(silent) && streams.is_open(half));
    streams.sleep(Duration::from_millis(1));
    assert!(!streams.is_open(silent) && !streams.is_open(half));
    streams.sleep(IDLE_TIMEOUT - Duration::from_millis(5001));
    streams.send(whole, &binding_request());
    assert!(streams.is_open(whole));
    streams.sleep(Duration::from_millis(1));
    assert!(!streams.is_open(whole), "more words leave it no more time");
    assert_eq!(streams.bed.admission.next_due(), None);
}

#[test]
fn a_client_that_does_not_read_is_closed_when_answers_find_no_room() {
    let mut streams = Streams::new(None);
    let id = streams.connect(STRANGER);
    streams.clients.slab[id as usize].socket.room = Some(0);
    let requests = binding_request().repeat(1000);
    let mut turns = 0;
    while streams.is_open(id) {
        streams.send(id, &requests);
        turns += 1;
        assert!(turns < 100);
    }
    assert!(turns > 2, "{turns}");
}
