use stun::attributes::{
    ATTR_CHANNEL_NUMBER, ATTR_CONNECTION_ID, ATTR_EVEN_PORT, ATTR_LIFETIME,
    ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT, ATTR_RESERVATION_TOKEN,
    ATTR_XOR_PEER_ADDRESS, AttrType,
};
use stun::message::{CLASS_REQUEST, MessageType, Method, Setter};
use turn::proto::channum::ChannelNumber;
use turn::proto::lifetime::Lifetime;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::reqfamily::REQUESTED_FAMILY_IPV6;
use turn::proto::reqtrans::RequestedTransport as TheirTransport;
use turn::proto::rsrvtoken::ReservationToken;

use super::*;

/// A request of the `stun` crate.
fn built(method: Method, setters: Vec<Box<dyn Setter>>) -> Request {
    let mut all: Vec<Box<dyn Setter>> = vec![
        Box::new(stun::agent::TransactionId::new()),
        Box::new(MessageType::new(method, CLASS_REQUEST)),
    ];
    all.extend(setters);
    let mut message = stun::message::Message::new();
    message.build(&all).unwrap();
    Request::parse(&Message::parse(&message.raw).unwrap()).unwrap()
}

/// The Allocate and ChannelBind requests with one attribute.
fn with(typ: AttrType, value: &[u8]) -> (Allocate, ChannelBind) {
    let mut message = stun::message::Message::new();
    message.write_header();
    message.add(typ, value);
    let message = Message::parse(&message.raw).unwrap();
    (Allocate::parse(&message), ChannelBind::parse(&message))
}

fn peer(text: &str) -> Box<dyn Setter> {
    let addr: SocketAddr = text.parse().unwrap();
    let (ip, port) = (addr.ip(), addr.port());
    Box::new(PeerAddress { ip, port })
}

#[test]
fn an_allocate_request_of_the_turn_crate_reads_back() {
    let request = built(
        stun::message::METHOD_ALLOCATE,
        vec![
            Box::new(TheirTransport {
                protocol: turn::proto::PROTO_UDP,
            }),
            Box::new(REQUESTED_FAMILY_IPV6),
            Box::new(ReservationToken(vec![7; 8])),
            Box::new(Lifetime(Duration::from_secs(90))),
        ],
    );
    let expected = Allocate {
        transport: Ok(Some(RequestedTransport::Udp)),
        family: Ok(Some(RequestedFamily::Ipv6)),
        additional_family: false,
        even_port: Ok(None),
        reservation_token: Ok(Some([7; 8])),
        dont_fragment: false,
        lifetime: Ok(Some(Duration::from_secs(90))),
    };
    assert_eq!(request, Request::Allocate(expected));
}

#[test]
fn requests_about_peers_of_the_turn_crate_read_back() {
    let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
    let (one, two) = ("192.0.2.7:9", "[2001:db8::7]:65535");
    let both = || vec![peer(one), peer(two)];
    assert_eq!(
        built(stun::message::METHOD_CREATE_PERMISSION, both()),
        Request::CreatePermission(CreatePermission {
            peers: Ok(vec![addr(one), addr(two)])
        })
    );
    assert_eq!(
        built(stun::message::METHOD_CONNECT, both()),
        Request::Connect(Connect {
            peer: Ok(Some(addr(one)))
        })
    );
    let mut bind = both();
    bind.push(Box::new(ChannelNumber(0x4001)));
    assert_eq!(
        built(stun::message::METHOD_CHANNEL_BIND, bind),
        Request::ChannelBind(ChannelBind {
            number: Ok(Some(0x4001)),
            peer: Ok(Some(addr(one)))
        })
    );
}

#[test]
fn a_malformed_value_is_told_from_an_absent_one() {
    let bad = |typ: AttrType| Err(BadAttribute(AttributeType(typ.value())));
    for len in (0..12).filter(|len| *len != 4) {
        let value = vec![1; len];
        let read = |typ| with(typ, &value);
        let (allocate, _) = read(ATTR_REQUESTED_TRANSPORT);
        assert_eq!(
            allocate.transport.map(|_| ()),
            bad(ATTR_REQUESTED_TRANSPORT)
        );
        let (allocate, _) = read(ATTR_REQUESTED_ADDRESS_FAMILY);
        let family = bad(ATTR_REQUESTED_ADDRESS_FAMILY);
        assert_eq!(allocate.family.map(|_| ()), family);
        let (allocate, _) = read(ATTR_LIFETIME);
        assert_eq!(allocate.lifetime.map(|_| ()), bad(ATTR_LIFETIME));
        let (_, bind) = read(ATTR_CHANNEL_NUMBER);
        assert_eq!(bind.number.map(|_| ()), bad(ATTR_CHANNEL_NUMBER));
        // Eight bytes are an IPv4 address.
        let (_, bind) = with(ATTR_XOR_PEER_ADDRESS, &vec![2; len]);
        assert_eq!(bind.peer.map(|_| ()), bad(ATTR_XOR_PEER_ADDRESS));
    }
    for (typ, len) in [(ATTR_EVEN_PORT, 0), (ATTR_EVEN_PORT, 4)] {
        let (allocate, _) = with(typ, &vec![0; len]);
        assert_eq!(allocate.even_port.map(|_| ()), bad(typ));
        assert!(is_present(&allocate.even_port));
        assert!(!is_present(&allocate.lifetime));
    }
    for len in [0, 4, 7, 9] {
        let (allocate, _) = with(ATTR_RESERVATION_TOKEN, &vec![0; len]);
        let token = allocate.reservation_token;
        assert_eq!(token.map(|_| ()), bad(ATTR_RESERVATION_TOKEN));
    }
}

#[test]
fn the_bits_of_even_port_and_the_numbers_of_protocols() {
    for (bits, reserve) in [(0, false), (0x7F, false), (0x80, true), (0xFF, true)] {
        assert_eq!(with(ATTR_EVEN_PORT, &[bits]).0.even_port, Ok(Some(reserve)));
    }
    for (number, transport) in [
        (6, RequestedTransport::Tcp),
        (17, RequestedTransport::Udp),
        (18, RequestedTransport::Other(18)),
    ] {
        let (allocate, _) = with(ATTR_REQUESTED_TRANSPORT, &[number, 9, 9, 9]);
        assert_eq!(allocate.transport, Ok(Some(transport)), "RFFU is ignored");
    }
}

#[test]
fn unknown_attributes_come_once_and_in_order() {
    // The second and the third have the same last bits.
    let types =
        (0..200u16).flat_map(|n| [0x7000 + n, 0x7000, 0x7000 + n / 64 * 64].map(AttributeType));
    let unknown = UnknownAttributes::of(types);
    let expected: Vec<_> = (0..64).map(|n| AttributeType(0x7000 + n)).collect();
    assert_eq!(unknown.types(), expected);
    let known = [AttributeType(0x7000), AttributeType(0x7002)];
    let fewer = unknown.except(&known);
    assert_eq!(fewer.types().len(), 64);
    assert_eq!(
        fewer.types()[..2],
        [AttributeType(0x7001), AttributeType(0x7003)]
    );
}

#[test]
fn the_id_of_a_connection_has_four_bytes() {
    for (len, connection) in [(4, Ok(Some(0x0101_0101))), (3, Err(())), (8, Err(()))] {
        let mut message = stun::message::Message::new();
        message.write_header();
        message.add(ATTR_CONNECTION_ID, &vec![1; len]);
        let message = Message::parse(&message.raw).unwrap();
        let read = ConnectionBind::parse(&message).connection;
        assert_eq!(read.map_err(|_| ()), connection);
    }
}
