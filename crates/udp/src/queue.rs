//! Queue of datagrams that are sent together.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use crate::buffers::RecvBuffers;
use crate::sender::Sender;
use crate::{Header, Receiver, UdpSocket};

/// Largest number of segments in one send (the kernel's `UDP_MAX_SEGMENTS` since 4.18).
const MAX_SEGMENTS: usize = 64;
/// Largest number of bytes in one send: the UDP payload that fits an IPv4 packet.
const MAX_BYTES: usize = 65_507;
/// Number of latest runs that a datagram may join: flows interleave, but a longer search costs more
/// than it saves.
const LOOK_BACK: usize = 8;
/// Datagrams in a full batch, 64 joined ones in each buffer; pages that are not used cost nothing.
const CAPACITY: usize = RecvBuffers::COUNT * MAX_SEGMENTS;

/// A datagram to be sent: header, payload and zero padding. `S` is the caller's name for a socket.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'a, S> {
    /// Socket to send from.
    pub socket: S,
    /// Destination.
    pub to: SocketAddr,
    /// Local address to send from, where the socket is bound to a wildcard.
    pub from: Option<IpAddr>,
    /// Bytes in front of the payload and behind it.
    pub header: Header,
    /// Part of a datagram that the receiver holds; bytes that lie elsewhere are copied.
    pub payload: &'a [u8],
    /// Whether to set the DF bit, or for IPv6 never to fragment.
    pub dont_fragment: bool,
    /// DSCP (upper six bits) and ECN (lower two).
    pub traffic_class: u8,
}

impl<'a, S: Copy> Outgoing<'a, S> {
    /// A datagram that is `payload` alone, with neither DF nor traffic class.
    pub fn plain(socket: S, to: SocketAddr, from: Option<IpAddr>, payload: &'a [u8]) -> Self {
        Self {
            socket,
            to,
            from,
            header: Header::NONE,
            payload,
            dont_fragment: false,
            traffic_class: 0,
        }
    }

    pub(crate) fn at(&self, position: Position) -> Queued<S> {
        Queued {
            socket: self.socket,
            to: self.to,
            from: self.from,
            header: self.header,
            position,
            len: self.payload.len(),
            dont_fragment: self.dont_fragment,
            traffic_class: self.traffic_class,
            next: 0,
        }
    }
}

/// Offset at which a payload begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Position {
    /// Offset in the receiver's buffers.
    Received(usize),
    /// Offset in the queue's copies.
    Copied(usize),
}

/// Memory that holds the payloads of a queue.
#[derive(Clone, Copy)]
pub(crate) struct Payloads<'a> {
    pub(crate) received: &'a RecvBuffers,
    pub(crate) copied: &'a [u8],
}

impl<'a> Payloads<'a> {
    pub(crate) fn of<S>(&self, item: &Queued<S>) -> &'a [u8] {
        match item.position {
            Position::Received(start) => self.received.slice(start, item.len),
            Position::Copied(start) => &self.copied[start..][..item.len],
        }
    }
}

/// A queued datagram; `position` and `len` name the payload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queued<S> {
    pub(crate) socket: S,
    pub(crate) to: SocketAddr,
    pub(crate) from: Option<IpAddr>,
    pub(crate) header: Header,
    pub(crate) position: Position,
    pub(crate) len: usize,
    pub(crate) dont_fragment: bool,
    pub(crate) traffic_class: u8,
    /// Index of the next datagram of the same run; of no meaning in the last one.
    next: u32,
}

impl<S: Copy + Eq> Queued<S> {
    /// Length of the UDP payload, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.header.as_bytes().len() + self.len + self.header.padding().len()
    }

    /// Whether both can be segments of one send, their sizes aside.
    fn can_join(&self, other: &Self) -> bool {
        self.shares_path(other)
            && self.from == other.from
            && self.traffic_class == other.traffic_class
            && !(self.dont_fragment || other.dont_fragment)
    }

    /// Whether both leave by one socket to one destination.
    fn shares_path(&self, other: &Self) -> bool {
        self.socket == other.socket && self.to == other.to
    }
}

/// Run of datagrams that leave together: all of one size, but the last one may be shorter.
#[derive(Clone, Copy, Debug)]
struct Span {
    /// Index of the first datagram.
    first: u32,
    /// Index of the last datagram.
    last: u32,
    count: usize,
    /// Length of the first datagram, in bytes.
    size: usize,
    /// Length of all datagrams, in bytes.
    total: usize,
    /// Whether the last datagram is shorter than the first, so that none can follow.
    closed: bool,
}

/// Datagrams of one send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run<'a, S> {
    items: &'a [Queued<S>],
    span: Span,
}

impl<'a, S: Copy + Eq> Run<'a, S> {
    pub(crate) fn first(&self) -> &'a Queued<S> {
        &self.items[self.span.first as usize]
    }

    pub(crate) fn len(&self) -> usize {
        self.span.count
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a Queued<S>> + use<'a, S> {
        self.singles().map(|single| single.first())
    }

    /// Each datagram as a run of its own.
    pub(crate) fn singles(&self) -> impl Iterator<Item = Self> + use<'a, S> {
        let items = self.items;
        let (mut at, mut left) = (self.span.first, self.span.count);
        std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let (index, item) = (at, &items[at as usize]);
            at = item.next;
            Some(Run {
                items,
                span: Span::of(index, item.size()),
            })
        })
    }
}

impl Span {
    /// Whether `item`, which shares the path of `first`, can be the next segment.
    fn accepts<S: Copy + Eq>(
        &self,
        first: &Queued<S>,
        item: &Queued<S>,
        size: usize,
        max_segments: usize,
    ) -> bool {
        !self.closed
            && first.can_join(item)
            && (1..=self.size).contains(&size)
            && self.count < max_segments.min(MAX_SEGMENTS)
            && self.total + size <= MAX_BYTES
    }

    fn of(index: u32, size: usize) -> Self {
        Self {
            first: index,
            last: index,
            count: 1,
            size,
            total: size,
            // An empty datagram is no segment.
            closed: size == 0,
        }
    }
}

/// Numbers of sent and of dropped datagrams since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounters {
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Datagrams that the kernel refused: send buffer full, destination unreachable, too long.
    pub dropped: u64,
}

/// Datagrams that wait to be sent, by names `S` of sockets; those to one destination leave together
/// where the kernel allows it.
#[derive(Debug)]
pub struct SendQueue<S> {
    items: Vec<Queued<S>>,
    spans: Vec<Span>,
    /// Payloads that no receiver holds, one after the other.
    copied: Vec<u8>,
    sender: Sender,
    counters: SendCounters,
}

impl<S: Copy + Eq + Debug> SendQueue<S> {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            items: Vec::with_capacity(CAPACITY),
            spans: Vec::with_capacity(CAPACITY),
            copied: Vec::new(),
            sender: Sender::new(),
            counters: SendCounters::default(),
        }
    }

    /// Adds a datagram whose payload lies in `receiver`, without a copy. The receiver must not take
    /// another batch, nor lend its scratch buffer, before the queue is flushed: other bytes would be
    /// sent. A payload that lies elsewhere is copied.
    pub fn push(&mut self, receiver: &Receiver, datagram: &Outgoing<'_, S>) {
        match receiver.buffers().offset_of(datagram.payload) {
            Some(start) => self.add(
                datagram.at(Position::Received(start)),
                self.sender.max_segments(),
            ),
            None => self.push_copy(datagram),
        }
    }

    /// Adds a datagram with a copy of its payload.
    pub fn push_copy(&mut self, datagram: &Outgoing<'_, S>) {
        let position = Position::Copied(self.copied.len());
        self.copied.extend_from_slice(datagram.payload);
        self.add(datagram.at(position), self.sender.max_segments());
    }

    pub(crate) fn add(&mut self, item: Queued<S>, max_segments: usize) {
        let index = self.items.len() as u32;
        let size = item.size();
        // Only the latest run to a destination may grow, so that datagrams to it stay in order.
        let items = &self.items;
        let latest = self.spans.iter_mut().rev().take(LOOK_BACK);
        let same_path = latest
            .map(|span| (items[span.first as usize], span))
            .find(|(first, _)| first.shares_path(&item));
        match same_path {
            Some((first, span)) if span.accepts(&first, &item, size, max_segments) => {
                self.items[span.last as usize].next = index;
                span.last = index;
                span.count += 1;
                span.total += size;
                span.closed = size < span.size;
            }
            _ => self.spans.push(Span::of(index, size)),
        }
        self.items.push(item);
    }

    /// Whether no datagram waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Sends all datagrams; `receiver` holds the payloads, `socket` finds a socket by name. A datagram
    /// that the kernel refuses is dropped and counted, as waiting would add delay that media cannot
    /// use.
    pub fn flush<'s>(&mut self, receiver: &Receiver, socket: impl Fn(S) -> Option<&'s UdpSocket>) {
        let payloads = Payloads {
            received: receiver.buffers(),
            copied: &self.copied,
        };
        for run in runs(&self.items, &self.spans) {
            let sent = socket(run.first().socket)
                .map_or(0, |socket| self.sender.send(socket, run, payloads));
            self.counters.sent += sent as u64;
            self.counters.dropped += (run.len() - sent) as u64;
        }
        self.items.clear();
        self.spans.clear();
        self.copied.clear();
    }

    /// Numbers of datagrams since the queue was made.
    pub fn counters(&self) -> SendCounters {
        self.counters
    }
}

impl<S: Copy + Eq + Debug> Default for SendQueue<S> {
    fn default() -> Self {
        Self::new()
    }
}

fn runs<'a, S>(items: &'a [Queued<S>], spans: &'a [Span]) -> impl Iterator<Item = Run<'a, S>> {
    spans.iter().map(|span| Run { items, span: *span })
}

#[cfg(test)]
impl<S> SendQueue<S> {
    pub(crate) fn runs(&self) -> impl Iterator<Item = Run<'_, S>> {
        runs(&self.items, &self.spans)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(to: u16, len: usize) -> Queued<()> {
        Queued {
            socket: (),
            to: ([127, 0, 0, 1], to).into(),
            from: None,
            header: Header::NONE,
            position: Position::Received(0),
            len,
            dont_fragment: false,
            traffic_class: 0,
            next: 0,
        }
    }

    /// Destination and sizes of each run.
    fn runs(items: &[Queued<()>], max_segments: usize) -> Vec<(u16, Vec<usize>)> {
        let mut queue = SendQueue::new();
        for item in items {
            queue.add(*item, max_segments);
        }
        let runs = queue.runs().map(|run| {
            assert_eq!(run.iter().count(), run.len());
            let sizes = run.iter().map(Queued::size).collect();
            (run.first().to.port(), sizes)
        });
        runs.collect()
    }

    fn counts(items: &[Queued<()>]) -> Vec<usize> {
        let runs = runs(items, 64);
        runs.iter().map(|(_, sizes)| sizes.len()).collect()
    }

    #[test]
    fn runs_are_of_one_size_but_for_the_last() {
        let sizes = [item(1, 100), item(1, 100), item(1, 50), item(1, 50)];
        assert_eq!(counts(&sizes), [3, 1]);
        assert_eq!(counts(&[item(1, 100), item(1, 101)]), [1, 1]);
        assert_eq!(counts(&[item(1, 100), item(2, 100)]), [1, 1]);
        assert_eq!(counts(&[item(1, 100), item(1, 0), item(1, 0)]), [1, 1, 1]);
        let with_df = Queued {
            dont_fragment: true,
            ..item(1, 100)
        };
        assert_eq!(counts(&[with_df, item(1, 100), with_df]), [1, 1, 1]);
        let marked = Queued {
            traffic_class: 0xB8,
            ..item(1, 100)
        };
        assert_eq!(counts(&[marked, marked, item(1, 100)]), [2, 1]);
    }

    #[test]
    fn runs_end_where_the_kernel_would_refuse() {
        assert_eq!(counts(&[item(1, 100); 200]), [64, 64, 64, 8]);
        assert_eq!(runs(&[item(1, 100); 3], 1).len(), 3);
        assert_eq!(counts(&[item(1, 1400); 64]), [46, 18]);
        assert_eq!(counts(&[item(1, 40_000); 2]), [1, 1]);
    }

    #[test]
    fn interleaved_flows_leave_together_and_each_in_order() {
        let items = [
            item(1, 100),
            item(2, 200),
            item(1, 100),
            item(2, 300),
            item(1, 60),
            item(2, 200),
            item(1, 60),
        ];
        let expected = [
            (1, vec![100, 100, 60]),
            (2, vec![200]),
            (2, vec![300, 200]),
            (1, vec![60]),
        ];
        assert_eq!(runs(&items, 64), expected);
    }
}
