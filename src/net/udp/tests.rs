//! The Linux module against the portable one: the same datagrams go in, the same come out.
#![cfg(all(target_os = "linux", not(turnd_portable)))]

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::queue::{Payloads, Place, Run};
use super::*;
use turnd_proto::server::five_tuple::SocketId;
use turnd_proto::server::output::RelayId;
use turnd_proto::wire::channel_data;
use turnd_proto::wire::indication::Header;
use turnd_proto::wire::numbers::TransactionId;

/// What both modules have, for one test to drive either.
trait Module {
    type Receiver;
    type Sender;
    fn socket() -> UdpSocket;
    fn receiver() -> Self::Receiver;
    fn sender() -> Self::Sender;
    fn receive(receiver: &mut Self::Receiver, socket: &UdpSocket) -> bool;
    fn datagrams(receiver: &Self::Receiver) -> Vec<Datagram<'_>>;
    fn place_of(receiver: &Self::Receiver, payload: &[u8]) -> Place;
    fn max_segments(sender: &Self::Sender) -> usize;
    fn send(
        sender: &mut Self::Sender,
        socket: &UdpSocket,
        run: Run<'_>,
        receiver: &Self::Receiver,
    ) -> usize;
}

macro_rules! module {
    ($name:ident, $module:ident, $socket:ident) => {
        struct $name;

        impl Module for $name {
            type Receiver = super::Receiver<$module::Batch>;
            type Sender = $module::Sender;
            fn socket() -> UdpSocket {
                $socket()
            }
            fn receiver() -> Self::Receiver {
                super::Receiver::new()
            }
            fn sender() -> Self::Sender {
                $module::Sender::new()
            }
            fn receive(receiver: &mut Self::Receiver, socket: &UdpSocket) -> bool {
                receiver.receive(socket).unwrap()
            }
            fn datagrams(receiver: &Self::Receiver) -> Vec<Datagram<'_>> {
                receiver.datagrams().collect()
            }
            fn place_of(receiver: &Self::Receiver, payload: &[u8]) -> Place {
                Place::Received(receiver.slab().offset_of(payload).unwrap())
            }
            fn max_segments(sender: &Self::Sender) -> usize {
                sender.max_segments()
            }
            fn send(
                sender: &mut Self::Sender,
                socket: &UdpSocket,
                run: Run<'_>,
                receiver: &Self::Receiver,
            ) -> usize {
                let payloads = Payloads {
                    received: receiver.slab(),
                    copied: &[],
                };
                sender.send(socket, run, payloads)
            }
        }
    };
}

module!(Linux, platform, loopback);
module!(Portable, portable, plain);

/// Datagrams that are sent together: of one size, but for the last one.
#[derive(Clone, Debug)]
struct Sent {
    datagrams: Vec<Vec<u8>>,
    segmented: bool,
}

fn loopback() -> UdpSocket {
    UdpSocket::bind_relay((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
}

/// A socket for which the kernel joins nothing, as the portable module expects.
fn plain() -> UdpSocket {
    let addr = (Ipv4Addr::LOCALHOST, 0).into();
    let socket = new_socket(addr).unwrap();
    platform::set_buffers(&socket, RELAY_BUFFER);
    socket.bind(&addr.into()).unwrap();
    let socket = StdUdpSocket::from(socket);
    let addr = socket.local_addr().unwrap();
    UdpSocket { socket, addr }
}

const PATIENCE: Duration = Duration::from_secs(10);
const MARK: &[u8] = b"\xFFthe end";

/// Everything that `socket` gets up to the mark, by source.
fn collect(socket: &UdpSocket, marks: usize) -> BTreeMap<SocketAddr, Vec<Vec<u8>>> {
    let (mut got, mut seen) = (BTreeMap::<_, Vec<_>>::new(), 0);
    let mut receiver = super::Receiver::<portable::Batch>::new();
    let deadline = Instant::now() + PATIENCE;
    while seen < marks {
        assert!(Instant::now() < deadline, "{seen} of {marks} marks came");
        receiver.receive(socket).unwrap();
        for datagram in receiver.datagrams() {
            if datagram.bytes == MARK {
                seen += 1;
            } else {
                got.entry(datagram.source)
                    .or_default()
                    .push(datagram.bytes.to_vec());
            }
        }
    }
    got
}

/// What a relay with one channel would do with a datagram: strip the header of channel data that
/// is well formed; wrap whatever else came in a Data indication.
fn relayed(datagram: &[u8]) -> (Option<Header>, &[u8]) {
    match channel_data::parse(datagram) {
        Some((0x4000..0x5000, payload)) => (None, payload),
        _ => {
            let (id, peer) = (TransactionId([7; 12]), ([192, 0, 2, 1], 5).into());
            let header = Header::data_indication(&id, peer, datagram.len() as u16);
            (Some(header), datagram)
        }
    }
}

/// Sends `input` through a relay built of one module; what comes out at the end.
fn relay<M: Module>(input: &[Sent]) -> Vec<Vec<u8>> {
    let (source, entry, exit, sink) = (loopback(), M::socket(), M::socket(), plain());
    let mut receiver = M::receiver();
    let mut sender = M::sender();
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
            source.send(&[], entry.addr(), None).map(|()| 1).unwrap()
        } else {
            source.send_burst(&bytes, size, entry.addr(), how).unwrap()
        };
        assert_eq!(taken, sent.datagrams.len());

        let (mut seen, deadline) = (0, Instant::now() + PATIENCE);
        while seen < taken {
            assert!(
                Instant::now() < deadline,
                "{seen} of {taken} datagrams came"
            );
            M::receive(&mut receiver, &entry);
            let mut queue = SendQueue::new();
            for datagram in M::datagrams(&receiver) {
                assert_eq!(datagram.source, source.addr());
                let (header, payload) = relayed(datagram.bytes);
                let outgoing = Outgoing {
                    via: Via::Relay(RelayId(0)),
                    to: sink.addr(),
                    from: None,
                    header,
                    payload,
                    dont_fragment: false,
                    traffic_class: datagram.traffic_class,
                };
                let place = M::place_of(&receiver, payload);
                queue.add(outgoing.at(place), M::max_segments(&sender));
                seen += 1;
            }
            for run in queue.runs() {
                M::send(&mut sender, &exit, run, &receiver);
            }
        }
        exit.send(MARK, sink.addr(), None).unwrap();
        let mut got = collect(&sink, 1);
        out.extend(got.remove(&exit.addr()).unwrap_or_default());
        assert!(got.is_empty());
    }
    out
}

fn expected(input: &[Sent]) -> Vec<Vec<u8>> {
    let datagrams = input.iter().flat_map(|sent| &sent.datagrams);
    datagrams
        .map(|datagram| {
            let (header, payload) = relayed(datagram);
            let mut bytes = header.map_or(vec![], |header| header.as_bytes().to_vec());
            bytes.extend(payload);
            bytes.extend(vec![0; header.map_or(0, |header| header.padding())]);
            bytes
        })
        // Wrapped, the longest datagrams do not fit any more.
        .filter(|bytes| bytes.len() <= 65_507)
        .collect()
}

/// Which module relays what first in another way than it should.
fn differs(input: &[Sent]) -> Option<String> {
    let expected = expected(input);
    let relayed = [
        ("linux", relay::<Linux>(input)),
        ("portable", relay::<Portable>(input)),
    ];
    relayed.into_iter().find_map(|(module, got)| {
        let at = (0..got.len().max(expected.len())).find(|i| got.get(*i) != expected.get(*i))?;
        let len = |datagrams: &[Vec<u8>]| datagrams.get(at).map(Vec::len);
        let (is, should) = (len(&got), len(&expected));
        Some(format!(
            "{module}: datagram {at} has {is:?} bytes for {should:?}"
        ))
    })
}

fn check(input: &[Sent]) {
    assert_eq!(differs(input), None);
}

fn channel(number: u16, said: u16, len: usize) -> Vec<u8> {
    let mut bytes = channel_data::header(number, said).to_vec();
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
    let mut receiver: Receiver = Receiver::new();
    let mut queue = SendQueue::new();
    let datagrams = [[1; 1000]; 40].concat();
    let how = Burst::Segmented;
    assert_eq!(
        source
            .send_burst(&datagrams, 1000, socket.addr(), how)
            .unwrap(),
        40
    );
    while receiver.datagrams().next().is_none() {
        receiver.receive(&socket).unwrap();
    }
    // A port that cannot be sent to stands for a kernel that refuses in the middle of a batch.
    for (i, datagram) in receiver.datagrams().enumerate() {
        let port = if i % 2 == 0 { sink.addr().port() } else { 0 };
        queue.push(
            &receiver,
            &Outgoing::plain(
                Via::Listener(SocketId(0)),
                (Ipv4Addr::LOCALHOST, port).into(),
                None,
                datagram.bytes,
            ),
        );
    }
    queue.flush(&receiver, |_| Some(&socket));
    let counters = queue.counters();
    assert_eq!((counters.sent, counters.dropped), (20, 20));
    assert!(queue.is_empty());
}

#[test]
fn what_the_receiver_does_not_hold_leaves_with_what_it_holds() {
    let (source, socket, sink) = (loopback(), loopback(), plain());
    let mut receiver: Receiver = Receiver::new();
    let mut queue = SendQueue::new();
    source.send(b"received", socket.addr(), None).unwrap();
    while receiver.datagrams().next().is_none() {
        receiver.receive(&socket).unwrap();
    }
    let held = receiver.datagrams().next().unwrap().bytes;
    fn outgoing(to: SocketAddr, payload: &[u8]) -> Outgoing<'_> {
        Outgoing::plain(Via::Listener(SocketId(0)), to, None, payload)
    }
    let to = sink.addr();
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
        assert_eq!(queue.counters().sent, 15 * (round + 1));
    }
    socket.send(MARK, sink.addr(), None).unwrap();
    let expected = (0..5).flat_map(|number| {
        let own = format!("answer {number}").into_bytes();
        let start = own[..2].to_vec();
        [own, b"received".to_vec(), start]
    });
    let expected: Vec<_> = expected.collect();
    let got = collect(&sink, 1).remove(&socket.addr()).unwrap();
    assert_eq!(got, [expected.clone(), expected].concat());
}

/// Runs `test` in a network namespace of its own, which needs root.
#[allow(unsafe_code, reason = "the standard library has no namespaces")]
fn in_namespace(setup: &[&str], test: impl FnOnce() + Send) {
    let run = || {
        // SAFETY: it takes no pointer; this thread alone changes its namespace, and ends.
        let left = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        assert_eq!(left, 0, "needs root: {}", io::Error::last_os_error());
        for line in setup {
            // A child has the namespace of the thread that starts it.
            let status = Command::new("sh").args(["-ec", line]).status().unwrap();
            assert!(status.success(), "{line}");
        }
        test();
    };
    std::thread::scope(|scope| scope.spawn(run).join().unwrap());
}

/// Twelve datagrams of two flows in turn: one whose socket is full after the first few, and one
/// that must not mind.
fn full_in_the_middle<M: Module>() {
    let on = |ip: [u8; 4]| UdpSocket::bind_relay((ip, 0).into()).unwrap();
    let (source, entry, sink) = (loopback(), M::socket(), loopback());
    let (full, free) = (on([10, 9, 0, 1]), M::socket());
    let small = socket2::SockRef::from(&full.socket);
    small.set_send_buffer_size(1).unwrap();
    // Nobody answers there, and what is sent waits for an answer, in the buffer of its socket.
    let nobody = SocketAddr::from(([10, 9, 0, 2], 9));
    let datagrams: Vec<_> = (0..12).map(|n| vec![n; 1000]).collect();
    source
        .send_burst(&datagrams.concat(), 1000, entry.addr(), Burst::Batched)
        .unwrap();

    let (mut receiver, mut sender) = (M::receiver(), M::sender());
    let (mut seen, mut taken) = (0, [0, 0]);
    let deadline = Instant::now() + PATIENCE;
    while seen < datagrams.len() {
        assert!(Instant::now() < deadline, "{seen} datagrams came");
        M::receive(&mut receiver, &entry);
        let mut queue = SendQueue::new();
        for datagram in M::datagrams(&receiver) {
            let flow = seen % 2;
            seen += 1;
            let outgoing = Outgoing {
                via: Via::Relay(RelayId(flow as u32)),
                to: [nobody, sink.addr()][flow],
                from: None,
                header: Some(Header::channel_data(0x4000, 1000)),
                payload: datagram.bytes,
                dont_fragment: false,
                traffic_class: 0,
            };
            let place = M::place_of(&receiver, datagram.bytes);
            queue.add(outgoing.at(place), 1);
        }
        for run in queue.runs() {
            let Via::Relay(RelayId(flow)) = run.first().via else {
                unreachable!("all leave by a relay");
            };
            let flow = flow as usize;
            taken[flow] += M::send(&mut sender, [&full, &free][flow], run, &receiver);
        }
    }
    assert!((1..6).contains(&taken[0]), "{taken:?}");
    assert_eq!(taken[1], 6);
    assert_eq!(M::max_segments(&sender), M::max_segments(&M::sender()));

    free.send(MARK, sink.addr(), None).unwrap();
    let got = collect(&sink, 1).remove(&free.addr()).unwrap();
    let odd = (1..12).step_by(2).map(|n| {
        let header = channel_data::header(0x4000, 1000);
        [&header[..], &datagrams[n]].concat()
    });
    assert_eq!(got, odd.collect::<Vec<_>>());
}

#[test]
fn a_socket_that_is_full_in_the_middle_of_a_batch() {
    let setup = [
        "ip link set lo up",
        "ip link add v0 type veth peer name v1",
        "ip link set v1 up",
        "ip address add 10.9.0.1/24 dev v0",
        "ip link set v0 up",
    ];
    in_namespace(&setup, || {
        full_in_the_middle::<Linux>();
        full_in_the_middle::<Portable>();
    });
}

#[test]
fn dscp_and_ecn_go_along() {
    for ip in [
        IpAddr::from([127, 0, 0, 1]),
        IpAddr::from(Ipv6Addr::LOCALHOST),
    ] {
        let bind = || UdpSocket::bind_relay((ip, 0).into()).unwrap();
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
        let mut receiver: Receiver = Receiver::new();
        let mut wait = |socket: &UdpSocket, count| {
            let deadline = Instant::now() + PATIENCE;
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
                            via: Via::Relay(RelayId(0)),
                            to: sink.addr(),
                            from: None,
                            header: Some(Header::channel_data(0x4000, 100)),
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
    fn both_modules_relay_the_same(input in bursts()) {
        prop_assert_eq!(differs(&input), None);
    }
}
