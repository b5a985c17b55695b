//! Splices of two sockets in memory.

use super::splice::{Buffers, DataStream, Limit, Progress, Splice};
use crate::net::egress::WriteQueue;
use crate::net::test_bed::MemorySocket;

/// Counts bytes to the peer and to the client, and holds either direction.
#[derive(Default)]
struct Counts {
    to_peer: usize,
    to_client: usize,
    held: bool,
}

impl Limit for Counts {
    fn is_open(&mut self, _: bool) -> bool {
        !self.held
    }

    fn count(&mut self, to_peer: bool, len: usize) {
        let counter = if to_peer {
            &mut self.to_peer
        } else {
            &mut self.to_client
        };
        *counter += len;
    }
}

fn socket(chunks: &[&[u8]]) -> MemorySocket {
    MemorySocket {
        incoming: chunks.iter().map(|chunk| chunk.to_vec()).collect(),
        ..MemorySocket::default()
    }
}

fn splice(client: MemorySocket, early: &[u8], peer: MemorySocket) -> Splice<MemorySocket> {
    let mut unsent = WriteQueue::default();
    unsent.push_control(b"bound,").unwrap();
    let data = DataStream {
        tcp: client,
        tls: None,
        unsent,
        early: early.to_vec(),
    };
    Splice::new(data, peer)
}

fn carry(splice: &mut Splice<MemorySocket>, counts: &mut Counts) -> Progress {
    let mut buffers = Buffers::default();
    loop {
        match splice.carry(&mut buffers, counts).unwrap() {
            Progress::More => {}
            progress => return progress,
        }
    }
}

#[test]
fn bytes_pass_in_order_behind_those_that_came_early_and_before_the_end() {
    let client = socket(&[b"second", b"third"]);
    let peer = socket(&[b"hello", b""]);
    let mut splice = splice(client, b"first,", peer);
    let mut counts = Counts::default();
    assert_eq!(carry(&mut splice, &mut counts), Progress::Done);
    let (client, peer) = splice.sockets();
    assert_eq!(client.written, b"bound,hello");
    assert!(peer.written.starts_with(b"first,second"));
    assert_eq!(counts.to_client, 5);
    assert_eq!(counts.to_peer, peer.written.len());
}

#[test]
fn nothing_is_read_for_who_does_not_take_what_came_before() {
    let client = socket(&[&[1; 100], &[2; 100], &[3; 100]]);
    let peer = MemorySocket {
        room: Some(50),
        ..socket(&[])
    };
    let mut splice = splice(client, b"", peer);
    let mut counts = Counts::default();
    assert_eq!(carry(&mut splice, &mut counts), Progress::Idle);
    let (client, peer) = splice.sockets();
    assert_eq!((peer.written.len(), client.incoming.len()), (50, 2));
    peer.room = None;
    assert_eq!(carry(&mut splice, &mut counts), Progress::Idle);
    let (_, peer) = splice.sockets();
    let expected = [[1; 100], [2; 100], [3; 100]].concat();
    assert_eq!(peer.written, expected);
    assert_eq!(counts.to_peer, 300);
}

#[test]
fn a_held_direction_is_not_read() {
    let mut splice = splice(socket(&[b"text"]), b"", socket(&[]));
    let mut counts = Counts {
        held: true,
        ..Counts::default()
    };
    assert_eq!(carry(&mut splice, &mut counts), Progress::Held);
    assert_eq!(splice.sockets().0.incoming.len(), 1);
    counts.held = false;
    assert_eq!(carry(&mut splice, &mut counts), Progress::Idle);
    assert_eq!(splice.sockets().1.written, b"text");
}
