//! Any datagram as a Send indication or channel data: no panic, the payload is a part of the datagram,
//! and the header for the way back is one of a Data indication.
#![no_main]

use std::net::SocketAddr;

use libfuzzer_sys::fuzz_target;
use turnd_proto::wire::address::decode_xor;
use turnd_proto::wire::channel_data;
use turnd_proto::wire::indication::{self, Header};
use turnd_proto::wire::message::Message;
use turnd_proto::wire::numbers::{AttributeType, TransactionId};

fuzz_target!(|datagram: &[u8]| {
    let inside = |part: &[u8]| datagram.as_ptr_range().contains(&part.as_ptr()) || part.is_empty();
    if let Some((number, payload)) = channel_data::parse(datagram) {
        assert!(inside(payload) && payload.len() + channel_data::HEADER_LEN <= datagram.len());
        let header = Header::channel_data(number, payload.len() as u16);
        assert_eq!(header.as_bytes(), &datagram[..channel_data::HEADER_LEN]);
        let padded = header.padded(payload.len() as u16).padding();
        assert_eq!((payload.len() + padded) % 4, 0);
    }
    if indication::is_send(datagram)
        && let Some(send) = indication::parse_send(datagram)
    {
        assert!(inside(send.data) && send.data.len() < datagram.len());
        Message::parse(datagram).expect("what is a Send indication is a message");
        answer(send.peer, send.data);
    }
});

/// The peer sends the same data back.
fn answer(peer: SocketAddr, data: &[u8]) {
    let id = TransactionId([7; 12]);
    let header = Header::data_indication(&id, peer, data.len() as u16);
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(data);
    bytes.resize(bytes.len() + header.padding(), 0);
    if bytes.len() > usize::from(u16::MAX) {
        return;
    }
    let message = Message::parse(&bytes).expect("a Data indication");
    let value = |typ| message.get(typ).expect("the attribute is there");
    assert_eq!(value(AttributeType::DATA), data);
    assert_eq!(
        decode_xor(value(AttributeType::XOR_PEER_ADDRESS), &id),
        Some(peer)
    );
}
