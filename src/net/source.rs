//! What a worker's one epoll instance watches, by name.

use std::io;
use std::time::Duration;

use mio::event::Source as Watched;
use mio::{Interest, Registry, Token};

use super::udp_sockets::UdpSocketId;
use turnd_proto::server::output::RelayId;

/// The tag's place in a token, above every number. Open files end long before 2^29.
const SHIFT: u32 = usize::BITS - 3;

/// Something that can have become readable or writable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// What other threads have to tell the worker.
    Commands,
    /// A time that has come.
    Alarm,
    /// A UDP socket.
    Datagrams(UdpSocketId),
    /// A socket that stream clients connect to.
    Acceptor(usize),
    /// A stream client.
    Stream(usize),
    /// A relayed transport address that peers connect to.
    TcpRelay(RelayId),
    /// A peer connection, and the data connection that is joined to it.
    Connection(usize),
}

/// How one turn of a source ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// Nothing is left; the system tells when there is more.
    Drained,
    /// There may be more: it wants another turn, behind all others.
    More,
    /// It wants another turn after so long.
    Later(Duration),
}

impl Turn {
    /// [`Self::More`] or [`Self::Drained`].
    pub(super) fn more(more: bool) -> Self {
        if more { Self::More } else { Self::Drained }
    }
}

impl Source {
    /// The number that the system knows it by.
    pub(super) fn token(self) -> Token {
        let (tag, id) = match self {
            Self::Commands => (0, 0),
            Self::Alarm => (7, 0),
            Self::Datagrams(UdpSocketId::Listener(id)) => (1, id.into()),
            Self::Datagrams(UdpSocketId::Relay(RelayId(id))) => (2, id as usize),
            Self::Acceptor(index) => (3, index),
            Self::Stream(id) => (4, id),
            Self::TcpRelay(RelayId(id)) => (5, id as usize),
            Self::Connection(key) => (6, key),
        };
        Token(tag << SHIFT | id)
    }

    /// What [`Self::token`] has made a number of.
    pub(super) fn of(Token(token): Token) -> Self {
        let id = token & !(usize::MAX << SHIFT);
        match token >> SHIFT {
            0 => Self::Commands,
            7 => Self::Alarm,
            1 => Self::Datagrams(UdpSocketId::Listener(id as u16)),
            2 => Self::Datagrams(UdpSocketId::Relay(RelayId(id as u32))),
            3 => Self::Acceptor(id),
            4 => Self::Stream(id),
            5 => Self::TcpRelay(RelayId(id as u32)),
            _ => Self::Connection(id),
        }
    }

    /// Has the system tell when there is something to read.
    pub(super) fn watch_readable(
        self,
        registry: &Registry,
        watched: &mut impl Watched,
    ) -> io::Result<()> {
        registry.register(watched, self.token(), Interest::READABLE)
    }

    /// Has the system tell when there is something to read, or room again to write.
    pub(super) fn watch(self, registry: &Registry, watched: &mut impl Watched) -> io::Result<()> {
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
            Source::Connection(0),
        ] {
            assert_eq!(Source::of(source.token()), source);
        }
    }
}
