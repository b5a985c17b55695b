//! Event sources and the tokens that mio knows them by.

use std::io;
use std::time::Duration;

use mio::event::{Event, Source as Watched};
use mio::{Interest, Registry, Token};
use turnd_proto::server::output::RelayId;

/// Position of the tag in a token, above every number. Open files end long before 2^29.
const SHIFT: u32 = usize::BITS - 3;

/// Number of different tags.
pub(super) const TAGS: usize = 8;

/// A worker's name for one of its UDP sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum UdpSocketId {
    /// A listening socket.
    Listener(u16),
    /// A relay socket.
    Relay(RelayId),
}

/// Something that can have become readable or writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Source {
    /// Commands of other threads.
    Commands,
    /// The timerfd.
    Alarm,
    /// UDP socket.
    Datagrams(UdpSocketId),
    /// Listening socket that stream clients connect to.
    Acceptor(u32),
    /// Connection of a client.
    Stream(u32),
    /// Relayed transport address that peers connect to.
    TcpRelay(RelayId),
    /// Peer connection, and the data connection that is spliced to it.
    PeerConnection(u32),
}

/// Outcome of one turn of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::net) enum Turn {
    /// Nothing is left; the system tells when there is more.
    Drained,
    /// There may be more: the next turn comes behind those of all others.
    More,
    /// The next turn comes after this pause.
    Later(Duration),
}

impl Turn {
    /// [`Self::More`] or [`Self::Drained`].
    pub(in crate::net) fn more(more: bool) -> Self {
        if more { Self::More } else { Self::Drained }
    }
}

/// Kinds of events that a source has had since its last turn.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::net) struct Readiness(u8);

impl Readiness {
    const READABLE: Self = Self(1);
    const WRITABLE: Self = Self(2);
    const READ_CLOSED: Self = Self(4);
    const ERROR: Self = Self(8);

    /// Kinds that an event of the system names.
    pub(super) fn of(event: &Event) -> Self {
        let kinds = [
            (event.is_readable(), Self::READABLE),
            (event.is_writable(), Self::WRITABLE),
            (event.is_read_closed(), Self::READ_CLOSED),
            (event.is_error(), Self::ERROR),
        ];
        let named = kinds.into_iter().filter(|(named, _)| *named);
        named.fold(Self::default(), |sum, (_, kind)| sum.and(kind))
    }

    pub(super) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    fn has(self, kind: Self) -> bool {
        self.0 & kind.0 != 0
    }

    /// Whether nothing follows the bytes that can be read now.
    pub(in crate::net) fn is_hang_up(self) -> bool {
        self.has(Self::READ_CLOSED) || self.has(Self::ERROR)
    }
}

impl std::fmt::Debug for Readiness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kinds = [
            (Self::READABLE, "readable"),
            (Self::WRITABLE, "writable"),
            (Self::READ_CLOSED, "read closed"),
            (Self::ERROR, "error"),
        ];
        let named = kinds.into_iter().filter(|(kind, _)| self.has(*kind));
        f.debug_set().entries(named.map(|(_, name)| name)).finish()
    }
}

impl Source {
    pub(in crate::net) fn token(self) -> Token {
        let (tag, id) = self.parts();
        Token(tag << SHIFT | id)
    }

    /// Tag, and number among the sources of that tag: small, as closed sources leave theirs to new
    /// ones.
    pub(super) fn parts(self) -> (usize, usize) {
        let (tag, id) = match self {
            Self::Commands => (0, 0),
            Self::Datagrams(UdpSocketId::Listener(id)) => (1, id.into()),
            Self::Datagrams(UdpSocketId::Relay(RelayId(id))) => (2, id),
            Self::Acceptor(id) => (3, id),
            Self::Stream(id) => (4, id),
            Self::TcpRelay(RelayId(id)) => (5, id),
            Self::PeerConnection(id) => (6, id),
            Self::Alarm => (7, 0),
        };
        (tag, id as usize)
    }

    /// Inverse of [`Self::token`].
    pub(super) fn of(Token(token): Token) -> Self {
        let id = (token & !(usize::MAX << SHIFT)) as u32;
        match token >> SHIFT {
            0 => Self::Commands,
            1 => Self::Datagrams(UdpSocketId::Listener(id as u16)),
            2 => Self::Datagrams(UdpSocketId::Relay(RelayId(id))),
            3 => Self::Acceptor(id),
            4 => Self::Stream(id),
            5 => Self::TcpRelay(RelayId(id)),
            6 => Self::PeerConnection(id),
            _ => Self::Alarm,
        }
    }

    /// Has the system tell when there is something to read.
    pub(in crate::net) fn watch_readable(
        self,
        registry: &Registry,
        watched: &mut impl Watched,
    ) -> io::Result<()> {
        registry.register(watched, self.token(), Interest::READABLE)
    }

    /// Has the system tell when there is something to read, or room again to write.
    pub(in crate::net) fn watch(
        self,
        registry: &Registry,
        watched: &mut impl Watched,
    ) -> io::Result<()> {
        let both = Interest::READABLE | Interest::WRITABLE;
        registry.register(watched, self.token(), both)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_back() {
        for source in [
            Source::Commands,
            Source::Alarm,
            Source::Datagrams(UdpSocketId::Listener(7)),
            Source::Datagrams(UdpSocketId::Relay(RelayId(0x1FFF_FFFF))),
            Source::Acceptor(1),
            Source::Stream(70_000),
            Source::TcpRelay(RelayId(7)),
            Source::PeerConnection(0),
        ] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
