//! Relayed packets cost no allocation, whatever transport they come by: the whole daemon runs in
//! this process, under an allocator that counts. One test alone, because it counts whatever any
//! thread allocates but its own.
#![allow(clippy::unwrap_used)]
#![allow(
    unsafe_code,
    reason = "an allocator is unsafe to implement; this one leaves everything to the system's"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use turnd::config::file::FileConfig;
use turnd::net::certs::self_signed;
use turnd::net::{Bound, Service, StartError};
use turnd_client::blocking::{Blocking, Link};
use turnd_client::turn::{Framing, Request, Response, message};
use turnd_udp::{Burst, Receiver, UdpSocket};

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is the test's, whose allocations are not the daemon's.
    static IS_TEST: Cell<bool> = const { Cell::new(false) };
}

struct Counting;

fn count() {
    if !IS_TEST.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const TIMEOUT: Duration = Duration::from_secs(10);
/// Packets that are on their way at a time: for a stream, more bytes than an empty queue keeps.
const BURST: usize = 30;
const ROUNDS: usize = 100;
const CHANNEL: u16 = 0x4000;
const PAYLOAD: [u8; 600] = [7; 600];
/// A proxy that the daemon trusts.
const PROXY: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Header of PROXY version 2: a datagram of 198.51.100.7:40000 to 203.0.113.1:443.
const PROXY_HEADER: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x12\0\x0C\xC6\x33\x64\x07\xCB\0\x71\x01\x9C\x40\x01\xBB";

/// A client's side of a transport.
trait Transport: Link {
    /// Sends copies of one message.
    fn send_copies(&mut self, message: &[u8], count: usize, how: Burst);

    /// Waits for messages of one length.
    fn expect(&mut self, count: usize, len: usize);
}

/// A client's socket, which sends and receives in batches.
struct Datagrams {
    socket: UdpSocket,
    server: SocketAddr,
    /// Start of every datagram that is sent.
    header: &'static [u8],
    receiver: Receiver,
}

impl Datagrams {
    fn new(ip: Ipv4Addr, server: SocketAddr, header: &'static [u8]) -> Self {
        Self {
            socket: UdpSocket::bind((ip, 0).into()).unwrap(),
            server,
            header,
            receiver: Receiver::new(),
        }
    }
}

impl Link for Datagrams {
    fn framing(&self) -> Framing {
        Framing::Datagrams
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        let datagram = [self.header, bytes].concat();
        self.socket.send(&datagram, self.server, None)
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

impl Transport for Datagrams {
    fn send_copies(&mut self, message: &[u8], count: usize, how: Burst) {
        let datagram = [self.header, message].concat();
        send_copies(&self.socket, &datagram, count, self.server, how);
    }

    fn expect(&mut self, count: usize, len: usize) {
        receive(&mut self.receiver, &self.socket, count, |datagram| {
            assert_eq!(datagram.len(), len);
        });
    }
}

impl Transport for TcpStream {
    fn send_copies(&mut self, message: &[u8], count: usize, _: Burst) {
        self.write_all(&message.repeat(count)).unwrap();
    }

    fn expect(&mut self, count: usize, len: usize) {
        self.read_exact(&mut vec![0; count * len]).unwrap();
    }
}

fn connect(server: SocketAddr) -> TcpStream {
    let tcp = TcpStream::connect(server).unwrap();
    tcp.set_nodelay(true).unwrap();
    tcp.set_read_timeout(Some(TIMEOUT)).unwrap();
    tcp
}

type TlsStream = StreamOwned<ClientConnection, TcpStream>;

impl Transport for TlsStream {
    /// In a record each, sent together.
    fn send_copies(&mut self, message: &[u8], count: usize, _: Burst) {
        for _ in 0..count {
            self.conn.writer().write_all(message).unwrap();
        }
        self.flush().unwrap();
    }

    fn expect(&mut self, count: usize, len: usize) {
        self.read_exact(&mut vec![0; count * len]).unwrap();
    }
}

/// Connects by TLS, to the server that has this certificate.
fn secure(server: SocketAddr, certificate: CertificateDer<'static>) -> TlsStream {
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    StreamOwned::new(tls, connect(server))
}

#[cfg(feature = "dtls")]
mod dtls {
    use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslStream, SslVerifyMode};

    use super::*;

    /// A connected socket, which OpenSSL reads and writes datagrams of.
    struct Socket(std::net::UdpSocket);

    impl Read for Socket {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            self.0.recv(bytes)
        }
    }

    impl Write for Socket {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// A client of DTLS.
    pub(crate) struct Association(SslStream<Socket>);

    impl Association {
        pub(crate) fn new(server: SocketAddr) -> Self {
            let socket = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect(server).unwrap();
            socket.set_read_timeout(Some(TIMEOUT)).unwrap();
            let mut context = SslContext::builder(SslMethod::dtls_client()).unwrap();
            context.set_verify(SslVerifyMode::NONE);
            let mut ssl = Ssl::new(&context.build()).unwrap();
            ssl.set_connect_state();
            ssl.set_mtu(1200).unwrap();
            let mut stream = SslStream::new(ssl, Socket(socket)).unwrap();
            stream.do_handshake().unwrap();
            Self(stream)
        }
    }

    impl Link for Association {
        fn framing(&self) -> Framing {
            Framing::Datagrams
        }

        fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
            self.0.ssl_write(bytes).map(drop).map_err(io::Error::other)
        }

        fn receive(&mut self, bytes: &mut [u8], _: Duration) -> io::Result<usize> {
            match self.0.ssl_read(bytes) {
                Err(error) if error.code() == ErrorCode::WANT_READ => {
                    Err(io::ErrorKind::WouldBlock.into())
                }
                read => read.map_err(io::Error::other),
            }
        }
    }

    impl Transport for Association {
        fn send_copies(&mut self, message: &[u8], count: usize, _: Burst) {
            for _ in 0..count {
                self.send(message).unwrap();
            }
        }

        fn expect(&mut self, count: usize, len: usize) {
            for _ in 0..count {
                let mut bytes = [0; 2048];
                assert_eq!(self.receive(&mut bytes, TIMEOUT).unwrap(), len);
            }
        }
    }
}

/// Waits for `count` datagrams.
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

fn send_copies(from: &UdpSocket, datagram: &[u8], count: usize, to: SocketAddr, how: Burst) {
    let sent = from.send_burst(&datagram.repeat(count), datagram.len(), to, how);
    assert_eq!(sent.unwrap(), count);
}

fn loopback() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

/// A port that was free a moment ago may be somebody else's when the service starts.
fn service() -> (Service, CertificateDer<'static>) {
    let started = (0..20).find_map(|_| start().ok());
    started.expect("one of so many ports is free")
}

fn start() -> Result<(Service, CertificateDer<'static>), StartError> {
    let ports = [loopback(), loopback()].map(|socket| socket.addr().port());
    let flags = FileConfig {
        listening_ip: Some(vec!["127.0.0.1".into()]),
        relay_ip: Some(vec!["127.0.0.1".into()]),
        listening_port: Some(ports[0]),
        tls_listening_port: Some(ports[1]),
        trusted_proxies: Some(vec![PROXY.to_string()]),
        no_tcp_relay: Some(false),
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
    let mut config = turnd::config::from_flags(&flags).unwrap().config;
    let certificate = self_signed().unwrap();
    let chain = certificate.chain[0].clone();
    config.tls.certificates = vec![certificate];
    config.transports.tls = true;
    config.transports.dtls = cfg!(feature = "dtls");
    let ended = |worker, reason: &str| panic!("worker {worker}: {reason}");
    let bound = Bound::new(&config)?;
    let service = Service::start(&config, bound, &[], Arc::new(ended))?;
    Ok((service, chain))
}

/// Allocations of the daemon while a load passes that has passed once before.
fn allocations(mut load: impl FnMut()) -> usize {
    load();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    load();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Allocations for packets that UDP relays for a client.
fn of_udp_relay(transport: impl Transport) -> usize {
    let mut client = Blocking::new(transport);
    // One peer with a channel, and one with nothing but a permission, which is the same for both.
    let (bound, unbound) = (loopback(), loopback());
    let relayed = ask(&mut client, Request::ALLOCATE).relayed().unwrap();
    ask(&mut client, Request::ChannelBind(CHANNEL, bound.addr()));
    ask(&mut client, Request::CreatePermission(vec![unbound.addr()]));
    let mut client = client.into_link();

    let channel_data = message::channel_data(CHANNEL, &PAYLOAD);
    let send = message::send(unbound.addr(), &PAYLOAD).raw;
    let mut receiver = Receiver::new();
    allocations(|| {
        for round in 0..ROUNDS {
            // Both what GRO joins and what it does not.
            let how = if round % 2 == 0 {
                Burst::Batched
            } else {
                Burst::Segmented
            };
            for (packet, peer, header) in [(&channel_data, &bound, 4), (&send, &unbound, 36)] {
                client.send_copies(packet, BURST, how);
                receive(&mut receiver, peer, BURST, |bytes| {
                    assert_eq!(bytes.len(), PAYLOAD.len());
                });
                send_copies(peer, &PAYLOAD, BURST, relayed, how);
                client.expect(BURST, header + PAYLOAD.len());
            }
        }
    })
}

/// Sends a request, which must succeed.
fn ask(client: &mut Blocking<impl Link>, request: Request) -> Response {
    let response = client.ask(request).unwrap();
    assert_eq!(response.error, None, "{}", response.message);
    response
}

/// Allocations for bytes that pass between a data connection and a peer connection (RFC 6062).
fn of_tcp_relay(server: SocketAddr, data: impl Transport) -> usize {
    let (mut control, mut data) = (Blocking::new(connect(server)), Blocking::new(data));
    let allocate = Request::Allocate {
        tcp: true,
        ipv6: false,
    };
    ask(&mut control, allocate);
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let connected = ask(
        &mut control,
        Request::Connect(listener.local_addr().unwrap()),
    );
    let (mut peer, _) = listener.accept().unwrap();
    peer.set_nodelay(true).unwrap();
    peer.set_read_timeout(Some(TIMEOUT)).unwrap();
    let id = connected.connection_id().unwrap();
    ask(&mut data, Request::ConnectionBind(id));
    let mut client = data.into_link();
    allocations(|| {
        for _ in 0..ROUNDS {
            client.send_copies(&PAYLOAD, BURST, Burst::Batched);
            peer.expect(BURST, PAYLOAD.len());
            peer.send_copies(&PAYLOAD, BURST, Burst::Batched);
            client.expect(BURST, PAYLOAD.len());
        }
    })
}

#[test]
fn no_packet_costs_an_allocation() {
    IS_TEST.set(true);
    let (service, certificate) = service();
    let server = service.listening()[0];
    let mut found = vec![
        (
            "UDP",
            of_udp_relay(Datagrams::new(Ipv4Addr::LOCALHOST, server, b"")),
        ),
        (
            "UDP behind a proxy",
            of_udp_relay(Datagrams::new(PROXY, server, PROXY_HEADER)),
        ),
        ("TCP", of_udp_relay(connect(server))),
        ("TCP relay", of_tcp_relay(server, connect(server))),
    ];
    #[cfg(feature = "dtls")]
    found.push(("DTLS", of_udp_relay(dtls::Association::new(server))));
    let by_tls = of_udp_relay(secure(server, certificate.clone()));
    let spliced = of_tcp_relay(server, secure(server, certificate));
    service.stop();
    let packets = ROUNDS * BURST * 4;
    found.retain(|(_, allocations)| *allocations > 0);
    assert_eq!(found, [], "for some {packets} packets");
    // By rustls itself: one for the text of each record that it opens or makes, and one for a queue
    // of records. One more for each packet would be the daemon's.
    let by_rustls = packets + packets / 4;
    assert!(by_tls <= by_rustls, "{by_tls} for {packets} packets by TLS");
    let by_rustls = by_rustls / 2;
    assert!(
        spliced <= by_rustls,
        "{spliced} for {} packets of a TCP relay by TLS",
        packets / 2
    );
}
