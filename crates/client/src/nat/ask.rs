//! Steps of the tests, and the replies to them.

use std::net::SocketAddr;
use std::time::Duration;

use crate::Oddity;

/// A UDP port of this host, by number; each is bound when it is first used, and stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Port(pub usize);

impl Port {
    /// Number of ports.
    pub const COUNT: usize = 6;

    /// Port of the mapping test.
    pub const MAPPING: Self = Self(0);
    /// Port of the filtering test, which must find it unused (RFC 5780 §4.1).
    pub const FILTERING: Self = Self(1);
    /// Ports of the hairpinning test.
    pub const HAIRPIN: [Self; 2] = [Self(2), Self(3)];
    /// X of the lifetime test (RFC 5780 §4.6).
    pub const LIFETIME_X: Self = Self(4);
    /// Y of the lifetime test.
    pub const LIFETIME_Y: Self = Self(5);
}

/// CHANGE-REQUEST (RFC 5780 §7.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeFlags {
    /// Answer from the other address.
    pub ip: bool,
    /// Answer from the other port.
    pub port: bool,
}

/// A Binding request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Local port to send from.
    pub port: Port,
    /// Destination.
    pub to: SocketAddr,
    /// Address from which the answer is due.
    pub from: SocketAddr,
    /// CHANGE-REQUEST, left out when nothing is to change.
    pub change: ChangeFlags,
    /// RESPONSE-PORT, and the local port that it leads to.
    pub answer_at: Option<(u16, Port)>,
}

impl Ask {
    /// A plain request.
    pub fn plain(port: Port, to: SocketAddr) -> Self {
        Self {
            port,
            to,
            from: to,
            change: ChangeFlags::default(),
            answer_at: None,
        }
    }
}

/// One end of the hairpinning test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HairpinEnd {
    /// Local port.
    pub port: Port,
    /// Public address of that port.
    pub mapped: SocketAddr,
}

/// Next action of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Ask a server; the reply is [`Reply::Answer`], [`Reply::Error`] or [`Reply::Silent`].
    Ask(Ask),
    /// Send from each end to the other's public address; the reply is [`Reply::Crossed`].
    Cross([HairpinEnd; 2]),
    /// Let time pass; the reply is [`Reply::Waited`].
    Wait(Duration),
    /// End with this result.
    Done(T),
}

/// A success response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Local port at which the answer arrived.
    pub at: Port,
    /// Local address of that port.
    pub local: SocketAddr,
    /// XOR-MAPPED-ADDRESS, else MAPPED-ADDRESS.
    pub mapped: SocketAddr,
    /// MAPPED-ADDRESS, when both were in the answer.
    pub plain: Option<SocketAddr>,
    /// OTHER-ADDRESS.
    pub other: Option<SocketAddr>,
}

/// Outcome of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// A success response.
    Answer(Answer),
    /// An error response with this code.
    Error(u16),
    /// No answer in time; perhaps something odd in its place.
    Silent(Option<Oddity>),
    /// Whether either end's packet reached the other.
    Crossed(bool),
    /// The time has passed.
    Waited,
}
