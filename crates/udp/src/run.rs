//! Runs of datagrams that leave in one send.

use std::net::{IpAddr, SocketAddr};

use crate::Header;
use crate::buffers::RecvBuffers;

/// Largest number of segments in one send (the kernel's `UDP_MAX_SEGMENTS` since 4.18).
pub(crate) const MAX_SEGMENTS: usize = 64;
/// Largest number of bytes in one send: the UDP payload that fits an IPv4 packet.
const MAX_BYTES: usize = 65_507;

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
    pub(crate) next: u32,
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
    pub(crate) fn shares_path(&self, other: &Self) -> bool {
        self.socket == other.socket && self.to == other.to
    }
}

/// Run of datagrams that leave together: all of one size, but the last one may be shorter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// Index of the first datagram.
    pub(crate) first: u32,
    /// Index of the last datagram.
    pub(crate) last: u32,
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
    pub(crate) fn accepts<S: Copy + Eq>(
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

    /// Appends the datagram at `index`, which [`Span::accepts`] has accepted.
    pub(crate) fn extend(&mut self, index: u32, size: usize) {
        self.last = index;
        self.count += 1;
        self.total += size;
        self.closed = size < self.size;
    }

    pub(crate) fn of(index: u32, size: usize) -> Self {
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

/// The runs of a queue.
pub(crate) fn runs<'a, S>(
    items: &'a [Queued<S>],
    spans: &'a [Span],
) -> impl Iterator<Item = Run<'a, S>> {
    spans.iter().map(|span| Run { items, span: *span })
}
