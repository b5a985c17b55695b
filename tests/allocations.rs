//! Relayed packets cost no allocation: the whole daemon runs in this process, under an allocator
//! that counts. One test alone, because it counts whatever any thread allocates.
#![allow(clippy::unwrap_used)]
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one leaves everything to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use turnd::config::file::FileConfig;
use turnd::net::{Bound, Service, StartError};
use turnd_client::blocking::{Blocking, Link};
use turnd_client::turn::{Framing, Request, message};
use turnd_udp::{Burst, Receiver, UdpSocket};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Packets that are on their way at a time.
const BURST: usize = 10;
const ROUNDS: usize = 100;
const CHANNEL: u16 = 0x4000;

/// A client's socket, which sends and receives in batches.
struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    receiver: Receiver,
}

impl Link for Client {
    fn framing(&self) -> Framing {
        Framing::Datagrams
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send(bytes, self.server, None)
    }

    fn receive(&mut self, bytes: &mut [u8], _: Duration) -> io::Result<usize> {
        let mut len = 0;
        receive(&mut self.receiver, &self.socket, 1, |datagram| {
            len = datagram.len();
            bytes[..len].copy_from_slice(datagram);
        });
        Ok(len)
    }
}

/// Waits for `count` datagrams without allocating.
fn receive(receiver: &mut Receiver, socket: &UdpSocket, count: usize, mut each: impl FnMut(&[u8])) {
    let deadline = Instant::now() + TIMEOUT;
    let mut got = 0;
    while got < count {
        assert!(Instant::now() < deadline, "{got} of {count} datagrams came");
        receiver.receive(socket).unwrap();
        for datagram in receiver.datagrams() {
            each(datagram.bytes);
            got += 1;
        }
        std::thread::yield_now();
    }
}

fn loopback() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

/// A port that was free a moment ago may be somebody else's when the service starts.
fn service() -> Service {
    let started = (0..20).find_map(|_| start().ok());
    started.expect("one of so many ports is free")
}

fn start() -> Result<Service, StartError> {
    let ports = [loopback(), loopback()].map(|socket| socket.addr().port());
    let flags = FileConfig {
        listening_ip: Some(vec!["127.0.0.1".into()]),
        relay_ip: Some(vec!["127.0.0.1".into()]),
        listening_port: Some(ports[0]),
        tls_listening_port: Some(ports[1]),
        no_tcp: Some(true),
        no_auth: Some(true),
        allow_loopback_peers: Some(true),
        relay_threads: Some(1),
        // Limits that are looked at for every packet and never reached.
        max_bps: Some(1 << 40),
        user_bps: Some(1 << 40),
        bps_capacity: Some(1 << 40),
        // Above the ports that the system gives away.
        min_port: Some(61_000),
        ..FileConfig::default()
    };
    let loaded = turnd::config::from_flags(&flags).unwrap();
    let ended = |worker, reason: &str| panic!("worker {worker}: {reason}");
    let bound = Bound::new(&loaded.config)?;
    Service::start(&loaded.config, bound, &[], Arc::new(ended))
}

#[test]
fn no_packet_costs_an_allocation() {
    let service = service();
    let mut client = Blocking::new(Client {
        socket: loopback(),
        server: service.listening()[0],
        receiver: Receiver::new(),
    });
    // One peer with a channel, and one with nothing but a permission, which is the same for both.
    let (bound, unbound) = (loopback(), loopback());
    let mut ask = |request| {
        let response = client.ask(request).unwrap();
        assert_eq!(response.error, None, "{}", response.message);
        response
    };
    let relayed = ask(Request::ALLOCATE).relayed().unwrap();
    ask(Request::ChannelBind(CHANNEL, bound.addr()));
    ask(Request::CreatePermission(vec![unbound.addr()]));
    let client = client.into_link();

    let payload = [7; 600];
    let channel_data = message::channel_data(CHANNEL, &payload);
    let send = message::send(unbound.addr(), &payload).raw;

    let mut receiver = Receiver::new();
    let mut relay = |rounds: usize| {
        for round in 0..rounds {
            // Both what GRO joins and what it does not.
            let how = if round % 2 == 0 {
                Burst::Batched
            } else {
                Burst::Segmented
            };
            for (from, packet, to, at, len) in [
                (
                    &client.socket,
                    &channel_data[..],
                    client.server,
                    &bound,
                    600,
                ),
                (&client.socket, &send[..], client.server, &unbound, 600),
                (&bound, &payload[..], relayed, &client.socket, 604),
                (&unbound, &payload[..], relayed, &client.socket, 636),
            ] {
                let mut packets = [0; 640 * BURST];
                let packets = &mut packets[..packet.len() * BURST];
                packets
                    .chunks_exact_mut(packet.len())
                    .for_each(|chunk| chunk.copy_from_slice(packet));
                let sent = from.send_burst(packets, packet.len(), to, how).unwrap();
                receive(&mut receiver, at, sent, |bytes| {
                    assert_eq!(bytes.len(), len);
                });
            }
        }
    };
    relay(ROUNDS);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    relay(ROUNDS);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    service.stop();
    assert_eq!(allocations, 0, "for {} packets", ROUNDS * BURST * 4);
}
