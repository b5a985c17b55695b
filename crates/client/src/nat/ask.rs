//! What the tests ask for, and what they get.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Oddity;
use turnd_proto::wire::discovery::ChangeRequest;

/// Names a UDP port of this host; each is bound when it is first used, and stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port(pub usize);

impl Port {
    /// How many there are.
    pub const COUNT: usize = 6;

    /// Of the mapping test.
    pub const MAPPING: Self = Self(0);
    /// Of the filtering test, which must find its port unused (RFC 5780 §4.1).
    pub const FILTERING: Self = Self(1);
    /// Of the hairpinning test.
    pub const HAIRPIN: [Self; 2] = [Self(2), Self(3)];
    /// X of the lifetime test (RFC 5780 §4.6).
    pub const LIFETIME_X: Self = Self(4);
    /// Y of the lifetime test.
    pub const LIFETIME_Y: Self = Self(5);
}

/// A Binding request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Leaves from here.
    pub port: Port,
    /// Goes there.
    pub to: SocketAddr,
    /// The answer is due from there.
    pub from: SocketAddr,
    /// CHANGE-REQUEST.
    pub change: ChangeRequest,
    /// RESPONSE-PORT, and the local port that it leads to.
    pub answer_at: Option<(u16, Port)>,
}

impl Ask {
    /// A plain request.
    #[must_use]
    pub fn plain(port: Port, to: SocketAddr) -> Self {
        Self {
            port,
            to,
            from: to,
            change: ChangeRequest::default(),
            answer_at: None,
        }
    }
}

/// One end of the hairpinning test: a local port and what the world calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The local port.
    pub port: Port,
    /// Its public address.
    pub mapped: SocketAddr,
}

/// What a test wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Ask a server; the reply is [`Reply::Answer`], [`Reply::Error`] or [`Reply::Silent`].
    Ask(Ask),
    /// Send from each end to the other's public address; the reply is [`Reply::Crossed`].
    Cross([End; 2]),
    /// Let time pass; the reply is [`Reply::Waited`].
    Wait(Duration),
    /// The result.
    Done(T),
}

/// A success response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The port that it came to.
    pub at: Port,
    /// That port's local address.
    pub local: SocketAddr,
    /// XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS.
    pub mapped: SocketAddr,
    /// MAPPED-ADDRESS, when both were there.
    pub plain: Option<SocketAddr>,
    /// OTHER-ADDRESS.
    pub other: Option<SocketAddr>,
}

/// What a test gets for its step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A success response.
    Answer(Answer),
    /// An error response with this code.
    Error(u16),
    /// No answer in time; perhaps something else.
    Silent(Option<Oddity>),
    /// Whether either end's packet reached the other.
    Crossed(bool),
    /// The time has passed.
    Waited,
}
