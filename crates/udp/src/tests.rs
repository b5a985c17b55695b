//! Batches against datagrams that are received and sent one by one: the same go in, the same come
//! out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket as StdUdpSocket};
use std::time::{Duration, Instant};

use proptest::prelude::*;

use crate::*;

/// Datagrams that are sent together: of one size, but for the last one.
#[derive(Clone, Debug)]
struct Sent {
    datagrams: Vec<Vec<u8>>,
    segmented: bool,
}

fn loopback() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

/// A socket of the standard library, with room for bursts.
fn plain() -> StdUdpSocket {
    let socket = StdUdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    options::set_buffers(&socket2::SockRef::from(&socket), socket::BUFFER);
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket
}

fn addr(socket: &StdUdpSocket) -> SocketAddr {
    socket.local_addr().unwrap()
}

const TIMEOUT: Duration = Duration::from_secs(10);
const MARK: &[u8] = b"\xFFthe end";

/// Everything that `socket` gets up to the mark, by source.
fn collect(socket: &StdUdpSocket) -> BTreeMap<SocketAddr, Vec<Vec<u8>>> {
    let mut got = BTreeMap::<_, Vec<_>>::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let (len, source) = socket.recv_from(&mut buffer).expect("the mark comes");
        if &buffer[..len] == MARK {
            return got;
        }
        got.entry(source).or_default().push(buffer[..len].to_vec());
    }
}

/// The header of a frame: its number, and the length of its payload.
fn frame_header(number: u16, len: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (number.to_be_bytes(), len.to_be_bytes());
    [a, b, c, d]
}

/// The payload of a well-formed frame with a number in 0x4000..0x5000.
fn frame_payload(datagram: &[u8]) -> Option<&[u8]> {
    let ([a, _, c, d], rest) = datagram.split_first_chunk()?;
    (0x40..0x50).contains(a).then_some(())?;
    rest.get(..u16::from_be_bytes([*c, *d]).into())
}

/// The parts of the datagram that a relay makes of `datagram`: a frame loses its header; all else
/// is wrapped in a header of 36 bytes and padding to a multiple of four.
fn relayed(datagram: &[u8]) -> (Header, &[u8]) {
    match frame_payload(datagram) {
        Some(payload) => (Header::NONE, payload),
        None => {
            let padding = datagram.len().wrapping_neg() % 4;
            (Header::new(&[0x17; 36], padding), datagram)
        }
    }
}

/// A relay with one channel.
trait Relay {
    fn new() -> Self;
    fn entry(&self) -> SocketAddr;
    fn exit(&self) -> SocketAddr;
    /// Relays the next datagrams from `source`, at least one, to `sink`, and tells how many.
    fn forward(&mut self, source: SocketAddr, sink: SocketAddr) -> usize;
    fn mark(&self, sink: SocketAddr);
}

struct InBatches {
    entry: UdpSocket,
    exit: UdpSocket,
    receiver: Receiver,
    queue: SendQueue<()>,
}

impl Relay for InBatches {
    fn new() -> Self {
        Self {
            entry: loopback(),
            exit: loopback(),
            receiver: Receiver::new(),
            queue: SendQueue::new(),
        }
    }

    fn entry(&self) -> SocketAddr {
        self.entry.addr()
    }

    fn exit(&self) -> SocketAddr {
        self.exit.addr()
    }

    fn forward(&mut self, source: SocketAddr, sink: SocketAddr) -> usize {
        receive(&mut self.receiver, &self.entry);
        let mut count = 0;
        for datagram in self.receiver.datagrams() {
            assert_eq!(datagram.source, source);
            let (header, payload) = relayed(datagram.bytes);
            let outgoing = Outgoing {
                socket: (),
                to: sink,
                from: None,
                header,
                payload,
                dont_fragment: false,
                traffic_class: datagram.traffic_class,
            };
            self.queue.push(&self.receiver, &outgoing);
            count += 1;
        }
        self.queue.flush(&self.receiver, |_| Some(&self.exit));
        count
    }

    fn mark(&self, sink: SocketAddr) {
        self.exit.send(MARK, sink, None).unwrap();
    }
}

/// The reference: one datagram at a time, with nothing but what the standard library offers.
struct OneByOne {
    entry: StdUdpSocket,
    exit: StdUdpSocket,
    buffer: Vec<u8>,
}

impl Relay for OneByOne {
    fn new() -> Self {
        Self {
            entry: plain(),
            exit: plain(),
            buffer: vec![0; 1 << 16],
        }
    }

    fn entry(&self) -> SocketAddr {
        addr(&self.entry)
    }

    fn exit(&self) -> SocketAddr {
        addr(&self.exit)
    }

    fn forward(&mut self, source: SocketAddr, sink: SocketAddr) -> usize {
        let (len, from) = self.entry.recv_from(&mut self.buffer).unwrap();
        assert_eq!(from, source);
        match self.exit.send_to(&whole(&self.buffer[..len]), sink) {
            // Wrapped, the longest datagrams do not fit any more.
            Err(error) if error.raw_os_error() == Some(libc::EMSGSIZE) => {}
            sent => assert!(sent.is_ok(), "{sent:?}"),
        }
        1
    }

    fn mark(&self, sink: SocketAddr) {
        self.exit.send_to(MARK, sink).unwrap();
    }
}

/// Waits for a batch.
fn receive(receiver: &mut Receiver, socket: &UdpSocket) {
    let deadline = Instant::now() + TIMEOUT;
    receiver.receive(socket).unwrap();
    while receiver.datagrams().next().is_none() {
        assert!(Instant::now() < deadline, "no datagram came");
        receiver.receive(socket).unwrap();
    }
}

/// The datagram that a relay makes of `datagram`.
fn whole(datagram: &[u8]) -> Vec<u8> {
    let (header, payload) = relayed(datagram);
    [header.as_bytes(), payload, header.padding()].concat()
}

/// Sends `input` through a relay; what comes out at the end.
fn relay<R: Relay>(input: &[Sent]) -> Vec<Vec<u8>> {
    let (source, mut relay, sink) = (loopback(), R::new(), plain());
    let mut out = Vec::new();
    for sent in input {
        let bytes = sent.datagrams.concat();
        let how = if sent.segmented {
            Burst::Segmented
        } else {
            Burst::Batched
        };
        let size = sent.datagrams[0].len();
        // An empty datagram makes no chunk to send.
        let taken = if size == 0 {
            source.send(&[], relay.entry(), None).map(|()| 1).unwrap()
        } else {
            source.send_burst(&bytes, size, relay.entry(), how).unwrap()
        };
        assert_eq!(taken, sent.datagrams.len());

        let mut seen = 0;
        while seen < taken {
            seen += relay.forward(source.addr(), addr(&sink));
        }
        relay.mark(addr(&sink));
        let mut got = collect(&sink);
        out.extend(got.remove(&relay.exit()).unwrap_or_default());
        assert!(got.is_empty());
    }
    out
}

fn expected(input: &[Sent]) -> Vec<Vec<u8>> {
    let datagrams = input.iter().flat_map(|sent| &sent.datagrams);
    datagrams
        .map(|datagram| whole(datagram))
        // Wrapped, the longest datagrams do not fit any more.
        .filter(|bytes| bytes.len() <= 65_507)
        .collect()
}

/// Which relay relays what first in another way than it should.
fn differs(input: &[Sent]) -> Option<String> {
    let expected = expected(input);
    let relayed = [
        ("in batches", relay::<InBatches>(input)),
        ("one by one", relay::<OneByOne>(input)),
    ];
    relayed.into_iter().find_map(|(how, got)| {
        let at = (0..got.len().max(expected.len())).find(|i| got.get(*i) != expected.get(*i))?;
        let len = |datagrams: &[Vec<u8>]| datagrams.get(at).map(Vec::len);
        let (is, should) = (len(&got), len(&expected));
        Some(format!(
            "{how}: datagram {at} has {is:?} bytes for {should:?}"
        ))
    })
}

fn check(input: &[Sent]) {
    assert_eq!(differs(input), None);
}

fn channel(number: u16, said: u16, len: usize) -> Vec<u8> {
    let mut bytes = frame_header(number, said).to_vec();
    bytes.resize(4 + len, number as u8);
    bytes
}

fn burst(datagrams: Vec<Vec<u8>>, segmented: bool) -> Sent {
    Sent {
        datagrams,
        segmented,
    }
}

#[test]
fn a_short_last_segment() {
    let mut datagrams = vec![channel(0x4000, 500, 500); 9];
    datagrams.push(channel(0x4000, 7, 7));
    check(&[burst(datagrams, true)]);
}

#[test]
fn a_lying_length_stays_within_its_segment() {
    let mut datagrams = vec![channel(0x4000, 500, 500); 9];
    datagrams[3] = channel(0x4000, 900, 500);
    datagrams[5] = channel(0x4000, 100, 500);
    check(&[burst(datagrams, true)]);
}

#[test]
fn channels_and_messages_in_one_buffer() {
    let kinds = [0x4000, 0x4001, 0x0001, 0x4FFF, 0x8000, 0x0016];
    let datagrams = kinds.map(|number| channel(number, 96, 96)).to_vec();
    check(&[burst(datagrams, true)]);
}

#[test]
fn more_than_64_segments() {
    let datagrams = |count| vec![channel(0x4000, 20, 20); count];
    check(&[
        burst(datagrams(64), true),
        burst(datagrams(63), true),
        burst(datagrams(200), false),
    ]);
}

#[test]
fn the_longest_and_the_empty_datagram() {
    let whole = vec![0x16; 65_507];
    check(&[
        burst(vec![vec![]], false),
        burst(vec![channel(0x4000, 65_503, 65_503)], false),
        burst(vec![channel(0x4000, 0, 0); 3], true),
        burst(vec![whole], false),
        burst(vec![vec![]], true),
    ]);
}

#[test]
fn what_the_kernel_refuses_is_counted_as_dropped() {
    let (socket, sink) = (loopback(), loopback());
    let source = loopback();
    let mut receiver = Receiver::new();
    let mut queue = SendQueue::new();
    let datagrams = [[1; 1000]; 40].concat();
    let how = Burst::Segmented;
    assert_eq!(
        source
            .send_burst(&datagrams, 1000, socket.addr(), how)
            .unwrap(),
        40
    );
    receive(&mut receiver, &socket);
    // A port that cannot be sent to stands for a kernel that refuses in the middle of a batch.
    for (i, datagram) in receiver.datagrams().enumerate() {
        let port = if i % 2 == 0 { sink.addr().port() } else { 0 };
        queue.push(
            &receiver,
            &Outgoing::plain((), (Ipv4Addr::LOCALHOST, port).into(), None, datagram.bytes),
        );
    }
    queue.flush(&receiver, |_| Some(&socket));
    let counters = queue.counters();
    assert_eq!((counters.sent, counters.dropped), (20, 20));
    // The others left together.
    assert_eq!((counters.segmented, counters.flushes), (20, 1));
    assert!(queue.is_empty());
}

#[test]
fn what_the_receiver_does_not_hold_leaves_with_what_it_holds() {
    let (source, socket, sink) = (loopback(), loopback(), plain());
    let mut receiver = Receiver::new();
    let mut queue = SendQueue::new();
    source.send(b"received", socket.addr(), None).unwrap();
    receive(&mut receiver, &socket);
    let held = receiver.datagrams().next().unwrap().bytes;
    fn outgoing(to: SocketAddr, payload: &[u8]) -> Outgoing<'_, ()> {
        Outgoing::plain((), to, None, payload)
    }
    let to = addr(&sink);
    for round in 0..2 {
        for number in 0..5 {
            // It is gone when the queue is flushed.
            let own = format!("answer {number}").into_bytes();
            queue.push_copy(&outgoing(to, &own));
            queue.push(&receiver, &outgoing(to, held));
            queue.push(&receiver, &outgoing(to, &own[..2]));
        }
        assert!(queue.runs().count() <= 10, "nothing left together");
        queue.flush(&receiver, |_| Some(&socket));
        let counters = queue.counters();
        assert_eq!(
            (counters.sent, counters.flushes),
            (15 * (round + 1), round + 1)
        );
        assert!(counters.segmented >= 10 * (round + 1), "{counters:?}");
    }
    socket.send(MARK, to, None).unwrap();
    let expected = (0..5).flat_map(|number| {
        let own = format!("answer {number}").into_bytes();
        let start = own[..2].to_vec();
        [own, b"received".to_vec(), start]
    });
    let expected: Vec<_> = expected.collect();
    let got = collect(&sink).remove(&socket.addr()).unwrap();
    assert_eq!(got, [expected.clone(), expected].concat());
}

#[test]
fn dscp_and_ecn_go_along() {
    for ip in [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ] {
        let bind = || UdpSocket::bind((ip, 0).into()).unwrap();
        let (source, relay, sink) = (bind(), bind(), bind());
        let marked = socket2::SockRef::from(&source.socket);
        let set = match ip {
            IpAddr::V4(_) => marked.set_tos_v4(0xB9),
            IpAddr::V6(_) => marked.set_tclass_v6(0xB9),
        };
        set.unwrap();
        let datagrams = [[1; 100]; 3].concat();
        source
            .send_burst(&datagrams, 100, relay.addr(), Burst::Segmented)
            .unwrap();
        let mut receiver = Receiver::new();
        let mut wait = |socket: &UdpSocket, count| {
            let deadline = Instant::now() + TIMEOUT;
            let mut classes = Vec::new();
            let mut queue = SendQueue::new();
            while classes.len() < count {
                assert!(Instant::now() < deadline);
                receiver.receive(socket).unwrap();
                for datagram in receiver.datagrams() {
                    classes.push(datagram.traffic_class);
                    queue.push(
                        &receiver,
                        &Outgoing {
                            socket: (),
                            to: sink.addr(),
                            from: None,
                            header: Header::new(&frame_header(0x4000, 100), 0),
                            payload: datagram.bytes,
                            dont_fragment: false,
                            traffic_class: datagram.traffic_class,
                        },
                    );
                }
                queue.flush(&receiver, |_| Some(socket));
            }
            classes
        };
        assert_eq!(wait(&relay, 3), [0xB9; 3]);
        assert_eq!(wait(&sink, 3), [0xB9; 3]);
    }
}

fn bursts() -> impl Strategy<Value = Vec<Sent>> {
    let first = prop_oneof![
        3 => Just(0x4000u16),
        1 => 0x4000u16..0x5000,
        1 => any::<u16>(),
    ];
    let sent = (
        prop_oneof![Just(4usize), 5usize..40, 100usize..1400],
        prop::collection::vec((first, any::<bool>(), any::<u16>()), 1..64),
        0usize..40,
        any::<bool>(),
    )
        .prop_map(|(size, kinds, shorter, segmented)| {
            let count = kinds.len();
            let datagrams = kinds.into_iter().enumerate();
            let datagrams = datagrams.map(|(i, (number, honest, said))| {
                let last = i + 1 == count && count > 1;
                let len = size - 4 - if last { shorter.min(size - 4) } else { 0 };
                channel(number, if honest { len as u16 } else { said }, len)
            });
            let mut datagrams: Vec<_> = datagrams.collect();
            // The sender's own limit.
            datagrams.truncate(60_000 / size);
            burst(datagrams, segmented)
        });
    prop::collection::vec(sent, 1..5)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn batches_relay_what_one_by_one_relays(input in bursts()) {
        prop_assert_eq!(differs(&input), None);
    }
}
