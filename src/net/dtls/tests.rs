//! DTLS clients on datagrams in memory, under a clock that stands still unless a test moves it.

use std::net::SocketAddr;

use openssl::ssl::SslVersion;

use super::test_client::Client;
use super::*;
use crate::net::certs::self_signed;
use crate::net::test_bed::{IDLE_TIMEOUT, TestBed, binding_request, config, mapped_address};

const ALICE: &str = "192.0.2.1:7000";
const BOB: &str = "192.0.2.2:7000";
const CIPHER: &str = "ECDHE-ECDSA-AES128-GCM-SHA256";

struct Associations {
    bed: TestBed,
    clients: DtlsClients,
}

impl Associations {
    fn new() -> Self {
        let mut config = config();
        config.tls.certificates = vec![self_signed().unwrap()];
        config.transports.dtls = true;
        Self {
            bed: TestBed::new(&config),
            clients: DtlsClients::new(Certificates::new(&config).unwrap()),
        }
    }

    /// Has a datagram come from `source`; what is sent to it then.
    fn receive(&mut self, source: &str, datagram: &[u8]) -> Vec<Vec<u8>> {
        let flow = UdpFlow {
            listener: 0,
            server: "203.0.113.1:5349".parse().unwrap(),
            client: source.parse().unwrap(),
        };
        let ctx = &mut self.bed.ctx();
        let named = flow.addresses();
        self.clients.on_datagram(ctx, flow, named, false, datagram);
        self.sent(source)
    }

    fn sent(&mut self, to: &str) -> Vec<Vec<u8>> {
        self.clients.flush(&mut self.bed.ctx());
        let to: SocketAddr = to.parse().unwrap();
        let sent = self.bed.sent().into_iter();
        sent.map(|(destination, bytes)| {
            assert_eq!(destination, to);
            bytes
        })
        .collect()
    }

    /// Carries datagrams to and fro until neither side has any.
    fn exchange(&mut self, source: &str, client: &mut Client) {
        loop {
            let datagrams = client.take();
            if datagrams.is_empty() {
                break;
            }
            for datagram in datagrams {
                for answer in self.receive(source, &datagram) {
                    client.put(&answer);
                    client.handshake();
                }
            }
        }
    }

    /// A client that has agreed on keys.
    fn connect(&mut self, source: &str) -> Client {
        let mut client = Client::new(CIPHER, SslVersion::DTLS1_2);
        assert!(!client.handshake());
        self.exchange(source, &mut client);
        assert!(client.handshake());
        client
    }

    /// Address in the answer to a Binding request.
    fn ask(&mut self, source: &str, client: &mut Client) -> Option<SocketAddr> {
        let request = client.record(&binding_request());
        let answer = self.receive(source, &request).pop()?;
        mapped_address(&client.open(&answer))
    }

    fn sleep(&mut self, time: Duration) {
        let end = self.bed.now.mono + time;
        while let Some(due) = self.bed.admission.next_due().filter(|due| *due <= end) {
            self.bed.now.mono = due;
            while let Some(socket) = self.bed.admission.pop_due(self.bed.now) {
                let ClientSocket::Dtls(id) = socket else {
                    panic!("{socket:?}");
                };
                self.clients.on_due(&mut self.bed.ctx(), id);
            }
        }
        self.bed.now.mono = end;
    }

    fn count(&self) -> usize {
        assert_eq!(self.clients.slab.len(), self.clients.by_flow.len());
        self.clients.slab.len()
    }
}

#[test]
fn a_client_is_kept_when_it_has_sent_its_cookie_back_and_not_before() {
    let mut dtls = Associations::new();
    let mut client = Client::new(CIPHER, SslVersion::DTLS1_2);
    assert!(!client.handshake());
    let hello = client.take().remove(0);
    for source in [ALICE, BOB, ALICE] {
        let answer = dtls.receive(source, &hello);
        assert_eq!(answer.len(), 1);
        assert!(answer[0].len() <= hello.len(), "no amplification");
        assert_eq!(dtls.count(), 0);
    }
    assert_eq!(dtls.bed.counters.hello_verify_requests, 3);
    // Bob's cookie is of no use to Alice.
    let for_bob = dtls.receive(BOB, &hello).remove(0);
    client.put(&for_bob);
    assert!(!client.handshake());
    let second = client.take().remove(0);
    assert_eq!(dtls.receive(ALICE, &second).len(), 1);
    assert_eq!(dtls.count(), 0);
    dtls.receive(BOB, &second);
    assert_eq!(dtls.count(), 1);
    // Nobody waits for what is no hello.
    assert_eq!(dtls.receive(ALICE, &[23; 40]), [] as [Vec<u8>; 0]);
}

#[test]
fn clients_are_answered_in_records_of_their_own() {
    let mut dtls = Associations::new();
    let (mut alice, mut bob) = (dtls.connect(ALICE), dtls.connect(BOB));
    for _ in 0..2 {
        assert_eq!(dtls.ask(ALICE, &mut alice), ALICE.parse().ok());
        assert_eq!(dtls.ask(BOB, &mut bob), BOB.parse().ok());
    }
    assert_eq!(dtls.count(), 2);
    let stray = alice.record(&binding_request());
    assert_eq!(dtls.receive(BOB, &stray), [] as [Vec<u8>; 0]);
    assert_eq!(dtls.ask(BOB, &mut bob), BOB.parse().ok());
}

#[test]
fn a_handshake_that_does_not_go_on_ends() {
    let mut dtls = Associations::new();
    let mut client = Client::new(CIPHER, SslVersion::DTLS1_2);
    assert!(!client.handshake());
    let cookie = dtls.receive(ALICE, &client.take().remove(0)).remove(0);
    client.put(&cookie);
    client.handshake();
    dtls.receive(ALICE, &client.take().remove(0));
    dtls.sleep(HANDSHAKE - Duration::from_millis(1));
    assert_eq!(dtls.count(), 1);
    dtls.sleep(RETRANSMIT);
    assert_eq!(dtls.count(), 0);
    assert_eq!(dtls.bed.admission.next_due(), None);
}

#[test]
fn a_client_without_an_allocation_is_told_goodbye_when_its_time_is_over() {
    let mut dtls = Associations::new();
    let mut client = dtls.connect(ALICE);
    dtls.ask(ALICE, &mut client);
    dtls.sleep(IDLE_TIMEOUT - Duration::from_millis(1));
    assert_eq!(dtls.count(), 1);
    assert_eq!(dtls.sent(ALICE), [] as [Vec<u8>; 0]);
    dtls.sleep(Duration::from_millis(1));
    assert_eq!(dtls.count(), 0);
    let goodbye = dtls.sent(ALICE);
    assert_eq!(goodbye.len(), 1);
    assert_eq!(goodbye[0][0], 21, "an alert");
    assert_eq!(dtls.bed.admission.next_due(), None);

    let mut silent = dtls.connect(ALICE);
    dtls.sleep(Duration::from_secs(5));
    assert_eq!(dtls.count(), 0, "a first message has five seconds");
    assert_eq!(dtls.sent(ALICE).len(), 1);
    assert_eq!(dtls.ask(ALICE, &mut silent), None);
}

#[test]
fn a_client_that_begins_anew_on_its_port_takes_the_place_of_the_one_before_but_not_at_once() {
    let mut dtls = Associations::new();
    let mut first = dtls.connect(ALICE);
    let mut second = Client::new(CIPHER, SslVersion::DTLS1_2);
    assert!(!second.handshake());
    dtls.exchange(ALICE, &mut second);
    assert!(!second.handshake());
    assert_eq!(dtls.bed.counters.dropped(DropReason::HandshakeRate), 1);
    assert_eq!(dtls.ask(ALICE, &mut first), ALICE.parse().ok());
    dtls.sleep(RENEWAL_INTERVAL);
    let mut third = dtls.connect(ALICE);
    assert_eq!(dtls.count(), 1);
    assert_eq!(dtls.ask(ALICE, &mut third), ALICE.parse().ok());
}
