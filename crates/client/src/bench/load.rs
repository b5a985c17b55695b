//! The loads, by name.

use std::net::SocketAddr;

use turnd_udp::Burst;

use super::setup::Wanted;

/// Names that `--load` takes.
pub const NAMES: [&str; 11] = [
    "allocate",
    "binding",
    "binding-max",
    "voice",
    "c2p",
    "p2c",
    "video",
    "gso",
    "voice-max",
    "gso-max",
    "echo",
];

/// Subject of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Making allocations.
    Allocate,
    /// Binding requests.
    Binding,
    /// Relayed data.
    Relay,
}

/// Rate of sending.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// Packets per second, of all allocations together.
    Rate(f64),
    /// As fast as packets come back: this many of each direction of an allocation are on their way.
    Window(u64),
}

/// One load, with all numbers filled in.
#[derive(Clone, Debug)]
pub struct Load {
    /// Name, as `--load` takes it.
    pub name: &'static str,
    pub(super) kind: Kind,
    /// Number of allocations or of clients.
    pub allocations: usize,
    /// Rate of sending.
    pub pace: Pace,
    /// Payload bytes of one packet.
    pub size: usize,
    /// Packets that leave together.
    pub burst: usize,
    pub(super) how: Burst,
    pub(super) to_peer: bool,
    pub(super) to_client: bool,
    /// Send and Data indications in place of channel data.
    pub indications: bool,
    /// Peers send back what they get.
    pub(super) echo: bool,
}

impl Load {
    /// The load of that name.
    pub fn named(name: &str) -> Option<Self> {
        let name = NAMES.into_iter().find(|known| *known == name)?;
        let voice = Self {
            name,
            kind: Kind::Relay,
            allocations: 200,
            pace: Pace::Rate(40_000.0),
            size: 160,
            burst: 1,
            how: Burst::Batched,
            to_peer: true,
            to_client: true,
            indications: false,
            echo: false,
        };
        let video = Self {
            allocations: 1,
            pace: Pace::Rate(150_000.0),
            size: 1000,
            burst: 10,
            ..voice.clone()
        };
        let one_way = Self {
            allocations: 10,
            pace: Pace::Rate(100_000.0),
            size: 1000,
            ..voice.clone()
        };
        Some(match name {
            "allocate" => Self {
                kind: Kind::Allocate,
                allocations: 3000,
                ..voice
            },
            "binding" => Self {
                kind: Kind::Binding,
                allocations: 32,
                pace: Pace::Rate(40_000.0),
                to_client: false,
                ..voice
            },
            "binding-max" => Self {
                kind: Kind::Binding,
                pace: Pace::Window(4),
                to_client: false,
                ..voice
            },
            "voice" => voice,
            "c2p" => Self {
                to_client: false,
                ..one_way
            },
            "p2c" => Self {
                to_peer: false,
                ..one_way
            },
            "video" => video,
            "gso" => Self {
                how: Burst::Segmented,
                ..video
            },
            "voice-max" => Self {
                pace: Pace::Window(4),
                ..voice
            },
            "gso-max" => Self {
                how: Burst::Segmented,
                pace: Pace::Window(200),
                ..video
            },
            // `NAMES` has no other.
            _ => Self {
                allocations: 10,
                pace: Pace::Rate(1000.0),
                to_client: false,
                echo: true,
                ..voice
            },
        })
    }

    /// The allocation that each client is to make.
    pub(super) fn wanted(&self, server: SocketAddr, peer: SocketAddr) -> Wanted {
        Wanted {
            ipv6: server.is_ipv6(),
            peer: (self.kind == Kind::Relay).then_some(peer),
            channel: !self.indications,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_load() {
        for name in NAMES {
            assert_eq!(Load::named(name).unwrap().name, name);
        }
        assert!(Load::named("dance").is_none());
    }
}
