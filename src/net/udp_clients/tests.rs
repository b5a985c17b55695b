//! Clients of UDP on datagrams in memory, under a clock that stands still unless a test moves it.

use std::time::Duration;

use super::*;
use crate::net::test_bed::{
    IDLE_TIMEOUT, TestBed, binding_request, config, mapped_address, proxy_header,
};

const PROXY: &str = "192.0.2.9:7000";
const STRANGER: &str = "192.0.2.1:7000";
const SERVER: &str = "203.0.113.1:3478";
const CAROL: &str = "198.51.100.7:4000";
const DAVE: &str = "198.51.100.8:4000";

struct Datagrams {
    bed: TestBed,
    clients: UdpClients,
}

impl Datagrams {
    /// Clients of a server that trusts the proxy.
    fn new(plain: bool) -> Self {
        let options = UdpOptions {
            plain,
            certificates: None,
            proxies: Arc::new(TrustedProxies::new(vec!["192.0.2.9".parse().unwrap()])),
        };
        Self {
            bed: TestBed::new(&config()),
            clients: UdpClients::new(options),
        }
    }

    /// Has a datagram come from `source`; what is sent then, by destination.
    fn receive(&mut self, source: &str, bytes: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let flow = UdpFlow {
            listener: 0,
            server: addr(SERVER),
            client: addr(source),
        };
        let datagram = Datagram {
            source: flow.client,
            local: None,
            traffic_class: 0,
            bytes,
        };
        let path = Path::udp(0, flow.client, flow.server);
        let ctx = &mut self.bed.ctx();
        self.clients.on_datagram(ctx, flow, path, &datagram);
        self.bed.sent()
    }

    /// Has a Binding request come behind `header`; where the answer goes, and the address in it.
    fn ask(&mut self, source: &str, header: &[u8]) -> Option<(SocketAddr, SocketAddr)> {
        let mut sent = self.receive(source, &[header, &binding_request()].concat());
        assert!(sent.len() < 2);
        let (to, answer) = sent.pop()?;
        Some((to, mapped_address(&answer).unwrap()))
    }

    fn sleep(&mut self, time: Duration) {
        self.bed.sleep(time);
        while let Some(socket) = self.bed.admission.pop_due(self.bed.now) {
            let ClientSocket::Proxied(id) = socket else {
                panic!("{socket:?}");
            };
            self.clients.on_due(&mut self.bed.ctx(), id);
        }
    }

    fn drops(&self, reason: DropReason) -> u64 {
        self.bed.counters.dropped(reason)
    }
}

fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn header(client: &str) -> Vec<u8> {
    proxy_header(addr(client), addr(SERVER))
}

#[test]
fn a_client_behind_a_proxy_is_answered_through_it_and_told_its_own_address() {
    let mut udp = Datagrams::new(true);
    let answered = Some((addr(PROXY), addr(CAROL)));
    assert_eq!(udp.ask(PROXY, &header(CAROL)), answered);
    // The header of the first datagram is good for those behind it.
    assert_eq!(udp.ask(PROXY, b""), answered);
    assert_eq!(udp.clients.proxied.len(), 1);
    // A proxy has a port for each client.
    let other = "192.0.2.9:7001";
    assert_eq!(udp.ask(other, b""), None, "no header yet");
    assert_eq!(udp.drops(DropReason::Proxy), 1);
    assert_eq!(
        udp.ask(other, &header(DAVE)),
        Some((addr(other), addr(DAVE)))
    );
}

#[test]
fn a_header_is_nobodys_but_the_proxys() {
    let mut udp = Datagrams::new(true);
    let own = Some((addr(STRANGER), addr(STRANGER)));
    assert_eq!(udp.ask(STRANGER, b""), own);
    assert_eq!(udp.ask(STRANGER, &header(CAROL)), None);
    assert!(udp.clients.proxied.is_empty(), "nothing is kept of it");
    let cut = &header(CAROL)[..20];
    assert_eq!(udp.receive(PROXY, cut), []);
    assert_eq!(udp.drops(DropReason::Proxy), 1);
}

#[test]
fn a_port_that_the_proxy_gives_to_another_client_is_nothing_of_the_first_ones_any_more() {
    let mut udp = Datagrams::new(true);
    udp.ask(PROXY, &header(CAROL));
    assert_eq!(
        udp.ask(PROXY, &header(DAVE)),
        Some((addr(PROXY), addr(DAVE)))
    );
    assert_eq!(udp.ask(PROXY, b""), Some((addr(PROXY), addr(DAVE))));
    assert_eq!(udp.clients.proxied.len(), 1);
    assert_eq!(udp.bed.egress.proxied.len(), 1);
}

#[test]
fn a_client_behind_a_proxy_ends_when_its_time_without_an_allocation_is_over() {
    let mut udp = Datagrams::new(true);
    udp.ask(PROXY, &header(CAROL));
    udp.sleep(IDLE_TIMEOUT - Duration::from_millis(1));
    assert!(udp.ask(PROXY, b"").is_some());
    udp.sleep(Duration::from_millis(1));
    assert_eq!(udp.ask(PROXY, b""), None, "the proxy has to name it again");
    assert!(udp.clients.proxied.is_empty() && udp.bed.egress.proxied.is_empty());
    assert_eq!(udp.bed.admission.next_due(), None);
}

#[test]
fn without_plain_udp_nothing_but_dtls_is_looked_at() {
    let mut udp = Datagrams::new(false);
    assert_eq!(udp.ask(STRANGER, b""), None);
    assert_eq!(udp.ask(PROXY, &header(CAROL)), None);
    assert!(udp.clients.proxied.is_empty());
}
