//! Relayed packets cost no allocation: the whole daemon runs in this process, under an allocator
//! that counts. One test alone, because it counts whatever any thread allocates.
#![allow(clippy::unwrap_used)]
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one leaves everything to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use stun::agent::TransactionId;
use stun::attributes::ATTR_XOR_RELAYED_ADDRESS;
use stun::message::{
    CLASS_INDICATION, CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, METHOD_ALLOCATE, METHOD_CHANNEL_BIND,
    METHOD_CREATE_PERMISSION, METHOD_SEND, Message, MessageType, Method, Setter,
};
use stun::xoraddr::XorMappedAddress;
use turn::proto::PROTO_UDP;
use turn::proto::channum::ChannelNumber;
use turn::proto::data::Data;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::reqtrans::RequestedTransport;
use turnd::config::file::FileConfig;
use turnd::net::{Bound, Service, StartError};
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

const PATIENCE: Duration = Duration::from_secs(10);
/// Packets that are on their way at a time.
const BURST: usize = 10;
const ROUNDS: usize = 100;
const CHANNEL: u16 = 0x4000;

struct Client {
    socket: UdpSocket,
    server: SocketAddr,
    receiver: Receiver,
}

impl Client {
    fn ask(&mut self, method: Method, attributes: Vec<Box<dyn Setter>>) -> Message {
        let request = message(MessageType::new(method, CLASS_REQUEST), attributes);
        self.socket.send(&request.raw, self.server, None).unwrap();
        let mut reply = Message::new();
        receive(&mut self.receiver, &self.socket, 1, |bytes| {
            reply.unmarshal_binary(bytes).unwrap();
        });
        assert_eq!(reply.transaction_id, request.transaction_id);
        assert_eq!(reply.typ.class, CLASS_SUCCESS_RESPONSE, "{reply}");
        reply
    }
}

fn message(typ: MessageType, attributes: Vec<Box<dyn Setter>>) -> Message {
    let mut setters: Vec<Box<dyn Setter>> = vec![Box::new(TransactionId::new()), Box::new(typ)];
    setters.extend(attributes);
    let mut message = Message::new();
    message.build(&setters).unwrap();
    message
}

/// Waits for `count` datagrams without allocating.
fn receive(receiver: &mut Receiver, socket: &UdpSocket, count: usize, mut each: impl FnMut(&[u8])) {
    let deadline = Instant::now() + PATIENCE;
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

fn peer_address(addr: SocketAddr) -> Box<dyn Setter> {
    Box::new(PeerAddress {
        ip: addr.ip(),
        port: addr.port(),
    })
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
    let mut client = Client {
        socket: loopback(),
        server: service.listening()[0],
        receiver: Receiver::new(),
    };
    // One peer with a channel, and one with nothing but a permission, which is the same for both.
    let (bound, unbound) = (loopback(), loopback());
    let transport = RequestedTransport {
        protocol: PROTO_UDP,
    };
    let reply = client.ask(METHOD_ALLOCATE, vec![Box::new(transport)]);
    let mut relayed = XorMappedAddress::default();
    relayed
        .get_from_as(&reply, ATTR_XOR_RELAYED_ADDRESS)
        .unwrap();
    let relayed = SocketAddr::new(relayed.ip, relayed.port);
    let number = Box::new(ChannelNumber(CHANNEL));
    client.ask(
        METHOD_CHANNEL_BIND,
        vec![number, peer_address(bound.addr())],
    );
    client.ask(METHOD_CREATE_PERMISSION, vec![peer_address(unbound.addr())]);

    let payload = [7; 600];
    let mut channel_data = CHANNEL.to_be_bytes().to_vec();
    channel_data.extend((payload.len() as u16).to_be_bytes());
    channel_data.extend(payload);
    let indication = MessageType::new(METHOD_SEND, CLASS_INDICATION);
    let data = Box::new(Data(payload.to_vec()));
    let send = message(indication, vec![peer_address(unbound.addr()), data]).raw;

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
