//! Datagrams that wait to be sent together.

use std::net::{IpAddr, SocketAddr};

use super::{Receiver, UdpSocket, platform};
use crate::server::five_tuple::SocketId;
use crate::server::output::RelayId;
use crate::wire::indication::Header;

/// The most segments that one send can have (the kernel's `UDP_MAX_SEGMENTS` since 4.18).
const MAX_SEGMENTS: usize = 64;
/// The most bytes of one send: the UDP payload that fits an IPv4 packet.
const MAX_BYTES: usize = 65_507;

/// The socket by which a datagram leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// A listening socket.
    Listener(SocketId),
    /// A relay socket.
    Relay(RelayId),
}

/// A datagram to be sent: header, payload and zero padding.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a> {
    /// The socket.
    pub via: Via,
    /// The destination.
    pub to: SocketAddr,
    /// The local address, where the socket is bound to a wildcard.
    pub from: Option<IpAddr>,
    /// Goes in front; `None`: the payload is all.
    pub header: Option<Header>,
    /// A slice of a datagram that the receiver holds.
    pub payload: &'a [u8],
    /// With the DF bit.
    pub dont_fragment: bool,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

/// A queued datagram; its payload is named by its place in the receiver's buffers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queued {
    pub(super) via: Via,
    pub(super) to: SocketAddr,
    pub(super) from: Option<IpAddr>,
    pub(super) header: Option<Header>,
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) dont_fragment: bool,
    pub(super) traffic_class: u8,
}

impl Queued {
    pub(super) fn header(&self) -> &[u8] {
        self.header.as_ref().map_or(&[], Header::as_bytes)
    }

    pub(super) fn padding(&self) -> usize {
        self.header.map_or(0, |header| header.padding())
    }

    /// Bytes on the wire.
    pub(super) fn size(&self) -> usize {
        self.header().len() + self.len + self.padding()
    }
}

/// Sent and dropped datagrams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounters {
    /// Datagrams that the system took.
    pub sent: u64,
    /// Datagrams that it did not take: buffer full, destination unreachable, too long.
    pub dropped: u64,
}

/// Collects datagrams and sends those to one destination together where the system can.
#[derive(Debug)]
pub struct SendQueue {
    items: Vec<Queued>,
    sender: platform::Sender,
    counters: SendCounters,
}

impl SendQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            items: Vec::with_capacity(256),
            sender: platform::Sender::new(),
            counters: SendCounters::default(),
        }
    }

    /// Adds a datagram whose payload lies in `receiver`.
    pub fn push(&mut self, receiver: &Receiver, datagram: &Outgoing<'_>) {
        let Some(start) = receiver.offset_of(datagram.payload) else {
            debug_assert!(false, "the payload is not of this receiver");
            return;
        };
        self.items.push(Queued {
            via: datagram.via,
            to: datagram.to,
            from: datagram.from,
            header: datagram.header,
            start,
            len: datagram.payload.len(),
            dont_fragment: datagram.dont_fragment,
            traffic_class: datagram.traffic_class,
        });
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Sends all that waits; what the system does not take is dropped, because a queue would add
    /// delay that media cannot use.
    pub fn flush<'s>(
        &mut self,
        receiver: &Receiver,
        socket: impl Fn(Via) -> Option<&'s UdpSocket>,
    ) {
        let mut rest = &self.items[..];
        while !rest.is_empty() {
            let (run, after) = rest.split_at(run_length(rest, self.sender.max_segments()));
            let sent =
                socket(run[0].via).map_or(0, |socket| self.sender.send(socket, run, receiver));
            self.counters.sent += sent as u64;
            self.counters.dropped += (run.len() - sent) as u64;
            rest = after;
        }
        self.items.clear();
    }

    /// Totals since the start.
    #[must_use]
    pub fn counters(&self) -> SendCounters {
        self.counters
    }
}

impl Default for SendQueue {
    fn default() -> Self {
        Self::new()
    }
}

/// How many of the first datagrams can leave as segments of one send: same way, same size, and
/// the last one may be shorter.
fn run_length(items: &[Queued], max_segments: usize) -> usize {
    let first = &items[0];
    let size = first.size();
    let mut total = size;
    let mut count = 1;
    if first.dont_fragment || size == 0 {
        return 1;
    }
    for item in items.iter().take(max_segments.min(MAX_SEGMENTS)).skip(1) {
        let next = item.size();
        let same_way = item.via == first.via
            && item.to == first.to
            && item.from == first.from
            && item.traffic_class == first.traffic_class
            && !item.dont_fragment;
        if !same_way || next > size || next == 0 || total + next > MAX_BYTES {
            break;
        }
        total += next;
        count += 1;
        if next < size {
            break;
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(to: u16, len: usize) -> Queued {
        Queued {
            via: Via::Relay(RelayId(0)),
            to: ([127, 0, 0, 1], to).into(),
            from: None,
            header: None,
            start: 0,
            len,
            dont_fragment: false,
            traffic_class: 0,
        }
    }

    #[test]
    fn runs_are_of_one_size_but_for_the_last() {
        let run = |items: &[Queued]| run_length(items, 64);
        assert_eq!(
            run(&[item(1, 100), item(1, 100), item(1, 50), item(1, 50)]),
            3
        );
        assert_eq!(run(&[item(1, 100), item(1, 101)]), 1);
        assert_eq!(run(&[item(1, 100), item(2, 100)]), 1);
        assert_eq!(run(&[item(1, 100), item(1, 0)]), 1);
        assert_eq!(run(&[item(1, 0), item(1, 0)]), 1);
        let with_df = Queued {
            dont_fragment: true,
            ..item(1, 100)
        };
        assert_eq!(run(&[with_df, item(1, 100)]), 1);
        assert_eq!(run(&[item(1, 100), with_df]), 1);
    }

    #[test]
    fn runs_end_where_the_kernel_would_refuse() {
        assert_eq!(run_length(&[item(1, 100); 200], 64), 64);
        assert_eq!(run_length(&[item(1, 100); 200], 1), 1);
        assert_eq!(run_length(&[item(1, 1400); 64], 64), 46);
        assert_eq!(run_length(&[item(1, 40_000); 2], 64), 1);
    }
}
