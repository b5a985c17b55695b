//! What a [`SocketId`] stands for.

use turnd_proto::server::five_tuple::SocketId;

/// The tag of a stream.
const STREAM: u32 = 1 << 31;
/// The tag of a session over UDP: DTLS.
const SESSION: u32 = 1 << 30;

/// How replies leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By this listening UDP socket.
    Listener(usize),
    /// On this stream.
    Stream(usize),
    /// Through this session.
    Session(usize),
}

impl Way {
    pub(super) fn of(SocketId(id): SocketId) -> Self {
        if id & STREAM != 0 {
            Self::Stream((id & !STREAM) as usize)
        } else if id & SESSION != 0 {
            Self::Session((id & !SESSION) as usize)
        } else {
            Self::Listener(id as usize)
        }
    }

    /// The name that the server knows it by. Open files and memory end long before 2^30.
    pub(super) fn id(self) -> SocketId {
        SocketId(match self {
            Self::Listener(index) => index as u32,
            Self::Stream(index) => index as u32 | STREAM,
            Self::Session(index) => index as u32 | SESSION,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_read_back() {
        for way in [Way::Listener(3), Way::Stream(0), Way::Session(70_000)] {
            assert_eq!(Way::of(way.id()), way);
        }
    }
}
