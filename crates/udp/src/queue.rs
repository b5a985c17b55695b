//! Queue of datagrams that are sent together.

use std::fmt::Debug;
use std::net::{IpAddr, SocketAddr};

use crate::buffers::RecvBuffers;
use crate::run::{MAX_SEGMENTS, Payloads, Position, Queued, Span, runs};
use crate::sender::{Sender, Sent};
use crate::{Header, Receiver, UdpSocket};

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

/// Numbers of datagrams and of flushes since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SendCounters {
    /// Datagrams that the kernel took.
    pub sent: u64,
    /// Datagrams that the kernel refused: send buffer full, destination unreachable, too long.
    pub dropped: u64,
    /// Datagrams among those sent that left with others in one segmented message.
    pub segmented: u64,
    /// Flushes of a queue that was not empty.
    pub flushes: u64,
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
                span.extend(index, size);
            }
            _ => self.spans.push(Span::of(index, size)),
        }
        self.items.push(item);
    }

    /// Whether no datagram waits.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Socket, destination and bytes of every datagram that waits, in their order; `receiver` holds the
    /// payloads.
    pub fn waiting<'a>(
        &'a self,
        receiver: &'a Receiver,
    ) -> impl Iterator<Item = (S, SocketAddr, Vec<u8>)> + use<'a, S> {
        let payloads = Payloads {
            received: receiver.buffers(),
            copied: &self.copied,
        };
        self.items.iter().map(move |item| {
            let header = &item.header;
            let bytes = [header.as_bytes(), payloads.of(item), header.padding()].concat();
            (item.socket, item.to, bytes)
        })
    }

    /// Sends all datagrams; `receiver` holds the payloads, `socket` finds a socket by name. A datagram
    /// that the kernel refuses is dropped and counted, as waiting would add delay that media cannot
    /// use.
    pub fn flush<'s>(&mut self, receiver: &Receiver, socket: impl Fn(S) -> Option<&'s UdpSocket>) {
        let payloads = Payloads {
            received: receiver.buffers(),
            copied: &self.copied,
        };
        self.counters.flushes += u64::from(!self.items.is_empty());
        for run in runs(&self.items, &self.spans) {
            let sent = socket(run.first().socket)
                .map_or(Sent::NONE, |socket| self.sender.send(socket, run, payloads));
            self.counters.sent += sent.datagrams as u64;
            self.counters.dropped += (run.len() - sent.datagrams) as u64;
            self.counters.segmented += if sent.segmented {
                sent.datagrams as u64
            } else {
                0
            };
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

#[cfg(test)]
impl<S> SendQueue<S> {
    pub(crate) fn runs(&self) -> impl Iterator<Item = crate::run::Run<'_, S>> {
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
