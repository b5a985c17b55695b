//! The tests against a simulated NAT and the real server, in virtual time.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::ask::Port;
use super::*;
use crate::Oddity;
use turnd_proto::Now;
use turnd_proto::auth::Authenticator;
use turnd_proto::auth::nonce::NonceKey;
use turnd_proto::auth::settings::Settings as AuthSettings;
use turnd_proto::server::Server;
use turnd_proto::server::five_tuple::Path;
use turnd_proto::server::output::Output;
use turnd_proto::server::settings::{AlternatePorts, Listen, Settings};
use turnd_proto::server::shared::Shared;

const SERVER: &str = "198.51.100.1:3478";
const PUBLIC: [u8; 4] = [192, 0, 2, 1];
const INSIDE: [u8; 4] = [10, 0, 0, 2];

/// The part of a peer's address that a mapping or a filter looks at.
#[derive(Clone, Copy, PartialEq)]
enum Depends {
    Nothing,
    Address,
    AddressAndPort,
}

const ALL: [Depends; 3] = [Depends::Nothing, Depends::Address, Depends::AddressAndPort];

impl Depends {
    fn key(self, peer: SocketAddr) -> Option<SocketAddr> {
        match self {
            Self::Nothing => None,
            Self::Address => Some(SocketAddr::new(peer.ip(), 0)),
            Self::AddressAndPort => Some(peer),
        }
    }
}

#[derive(Clone)]
struct Nat {
    translates: bool,
    mapping: Depends,
    filtering: Depends,
    hairpins: bool,
    preserves_ports: bool,
    lifetime: Duration,
    /// Something rewrites addresses in packets.
    alg: bool,
    blocked: bool,
}

impl Default for Nat {
    fn default() -> Self {
        Self {
            translates: true,
            mapping: Depends::Nothing,
            filtering: Depends::AddressAndPort,
            hairpins: false,
            preserves_ports: false,
            lifetime: Duration::from_secs(3600),
            alg: false,
            blocked: false,
        }
    }
}

struct Entry {
    local: SocketAddr,
    key: Option<SocketAddr>,
    mapped: SocketAddr,
    permitted: HashMap<Option<SocketAddr>, Instant>,
    used: Instant,
}

/// A client, its NAT, and the server.
struct World {
    nat: Nat,
    entries: Vec<Entry>,
    server: Server,
    bound: Vec<SocketAddr>,
    now: Instant,
    start: Instant,
    /// Answers come from here instead.
    forge_source: Option<SocketAddr>,
    /// Bytes that are sent back in place of an answer.
    garbage: Option<Vec<u8>>,
}

impl World {
    /// A server on these addresses.
    fn new(nat: Nat, ips: [&str; 2], alternate_ports: Option<AlternatePorts>) -> Self {
        let listen = Listen {
            ips: ips.map(|ip| ip.parse().unwrap()).to_vec(),
            port: 3478,
            tls_port: 5349,
            alternate_ports,
        };
        let bound: Vec<SocketAddr> = (listen.ips.iter())
            .flat_map(|ip| listen.ports(*ip).map(|p| SocketAddr::new(*ip, p)))
            .collect();
        let open = AuthSettings {
            no_auth: true,
            ..AuthSettings::default()
        };
        let auth = Authenticator::new(&open, NonceKey::new(&[7; 32])).unwrap();
        let shared = Shared::new(&Settings::default(), auth, &listen.ips, &[]);
        let shared = shared.with_other_addresses(&listen, &bound);
        let start = Instant::now();
        let now = Now {
            mono: start,
            unix: 0,
        };
        Self {
            nat,
            entries: Vec::new(),
            server: Server::new(Arc::new(shared), [7; 32], now),
            bound,
            now: start,
            start,
            forge_source: None,
            garbage: None,
        }
    }

    fn paired(nat: Nat) -> Self {
        let ports = AlternatePorts {
            port: 3479,
            tls_port: 5350,
        };
        Self::new(nat, ["198.51.100.1", "198.51.100.2"], Some(ports))
    }

    /// The public address of `local` towards `to`; makes or refreshes the mapping.
    fn outbound(&mut self, local: SocketAddr, to: SocketAddr) -> SocketAddr {
        let (now, lifetime) = (self.now, self.nat.lifetime);
        self.entries.retain(|entry| now < entry.used + lifetime);
        let key = self.nat.mapping.key(to);
        let count = self.entries.len() as u16;
        let public = if self.nat.translates {
            let port = if self.nat.preserves_ports && key.is_none() {
                local.port()
            } else {
                30_000 + count * 7
            };
            SocketAddr::from((PUBLIC, port))
        } else {
            local
        };
        let known = |entry: &Entry| entry.local == local && entry.key == key;
        if !self.entries.iter().any(known) {
            self.entries.push(Entry {
                local,
                key,
                mapped: public,
                permitted: HashMap::new(),
                used: now,
            });
        }
        let filter = self.nat.filtering.key(to);
        let entry = self.entries.iter_mut().find(|e| known(e)).unwrap();
        entry.used = now;
        entry.permitted.insert(filter, now);
        entry.mapped
    }

    /// The local address that gets a packet for `to`, if any.
    fn inbound(&self, from: SocketAddr, to: SocketAddr) -> Option<SocketAddr> {
        let alive = |entry: &&Entry| self.now < entry.used + self.nat.lifetime;
        let entry = (self.entries.iter().filter(alive)).find(|entry| entry.mapped == to)?;
        entry
            .permitted
            .contains_key(&self.nat.filtering.key(from))
            .then_some(entry.local)
    }

    /// Carries one datagram; gives what arrives at the client: from, to, bytes.
    fn carry(
        &mut self,
        local: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> Option<(SocketAddr, SocketAddr, Vec<u8>)> {
        if self.nat.blocked {
            return None;
        }
        let client = self.outbound(local, to);
        let Some(index) = self.bound.iter().position(|bound| *bound == to) else {
            let own = to.ip() == SocketAddr::from((PUBLIC, 0)).ip();
            let local = (own && self.nat.hairpins).then(|| self.inbound(client, to))?;
            return Some((client, local?, bytes.to_vec()));
        };
        if let Some(garbage) = &self.garbage {
            return Some((to, self.inbound(to, client)?, garbage.clone()));
        }
        let path = Path::udp(index as u16, client, to);
        let now = Now {
            mono: self.now,
            unix: 0,
        };
        self.server.handle_client(now, &path, bytes);
        let Some(Output::Transmit { path, mut message }) = self.server.poll_output() else {
            return None;
        };
        let from = path.tuple.server;
        let local = self.inbound(from, path.tuple.client)?;
        if self.nat.alg {
            // An ALG finds the public address in the packet, and puts the private one there.
            let SocketAddr::V4(public) = path.tuple.client else {
                panic!("IPv4 only");
            };
            let at = message
                .windows(4)
                .position(|window| window == public.ip().octets());
            if let Some(at) = at {
                message[at..at + 4].copy_from_slice(&INSIDE);
            }
        }
        Some((self.forge_source.unwrap_or(from), local, message))
    }

    fn discover(&mut self, options: Options) -> Report {
        let server = SERVER.parse().unwrap();
        let mut discovery = Discovery::new(server, options, self.now);
        let local = |Port(port)| SocketAddr::from((INSIDE, 5000 + port as u16));
        let port = |addr: SocketAddr| Port(usize::from(addr.port() - 5000));
        loop {
            let mut arrived = VecDeque::new();
            while let Some(transmit) = discovery.poll_transmit() {
                arrived.extend(self.carry(local(transmit.port), transmit.to, &transmit.bytes));
            }
            self.now += Duration::from_millis(20);
            let nothing = arrived.is_empty();
            for (from, to, bytes) in arrived {
                let arrived = Arrived {
                    port: port(to),
                    local: to,
                    from,
                    bytes: &bytes,
                };
                discovery.handle_datagram(self.now, &arrived);
            }
            if nothing {
                let Some(due) = discovery.poll_timeout() else {
                    return discovery.report().clone();
                };
                self.now = self.now.max(due);
                discovery.handle_timeout(self.now);
            }
        }
    }
}

fn mapping(depends: Depends) -> Mapping {
    match depends {
        Depends::Nothing => Mapping::EndpointIndependent,
        Depends::Address => Mapping::AddressDependent,
        Depends::AddressAndPort => Mapping::AddressAndPortDependent,
    }
}

fn filtering(depends: Depends) -> Filtering {
    match depends {
        Depends::Nothing => Filtering::EndpointIndependent,
        Depends::Address => Filtering::AddressDependent,
        Depends::AddressAndPort => Filtering::AddressAndPortDependent,
    }
}

#[test]
fn n5_n6_all_nine_combinations() {
    for map in ALL {
        for filter in ALL {
            let mut world = World::paired(Nat {
                mapping: map,
                filtering: filter,
                ..Nat::default()
            });
            let report = world.discover(Options::default());
            assert_eq!(report.mapping, Ok(mapping(map)));
            assert_eq!(report.filtering, Ok(filtering(filter)));
            assert_eq!(report.translated(), Some(true));
            assert_eq!(report.alg, Ok(false));
            assert!(world.now - world.start < Duration::from_secs(20));
        }
    }
}

#[test]
fn n8_names_without_a_nat() {
    for (filter, name) in [
        (Depends::Nothing, Classic::OpenInternet),
        (Depends::Address, Classic::SymmetricFirewall),
        (Depends::AddressAndPort, Classic::SymmetricFirewall),
    ] {
        let nat = Nat {
            translates: false,
            filtering: filter,
            ..Nat::default()
        };
        let report = World::paired(nat).discover(Options::default());
        assert_eq!(report.classic(), Some(name));
        assert_eq!(report.hairpinning, Err(Unknown::NotTranslated));
        assert_eq!(report.port_preservation, Err(Unknown::NotTranslated));
    }
}

#[test]
fn n5_no_reply_means_blocked() {
    let nat = Nat {
        blocked: true,
        ..Nat::default()
    };
    let mut world = World::paired(nat);
    let report = world.discover(Options::default());
    assert_eq!(report.classic(), Some(Classic::UdpBlocked));
    let server = SERVER.parse().unwrap();
    assert_eq!(report.filtering, Err(Unknown::Silent(server, None)));
    assert!(world.now - world.start < Duration::from_secs(5));
}

#[test]
fn n7_hairpinning_whatever_the_filter() {
    for filter in ALL {
        for hairpins in [false, true] {
            let nat = Nat {
                filtering: filter,
                hairpins,
                ..Nat::default()
            };
            let report = World::paired(nat).discover(Options::default());
            assert_eq!(report.hairpinning, Ok(hairpins));
        }
    }
}

#[test]
fn n7_port_preservation_and_alg() {
    for (preserves_ports, alg) in [(false, false), (true, false), (false, true), (true, true)] {
        let nat = Nat {
            preserves_ports,
            alg,
            ..Nat::default()
        };
        let report = World::paired(nat).discover(Options::default());
        assert_eq!(report.port_preservation, Ok(preserves_ports));
        assert_eq!(report.alg, Ok(alg));
    }
}

#[test]
fn n7_lifetimes_within_the_precision() {
    for seconds in [17, 30, 61, 120, 299] {
        for filter in ALL {
            let nat = Nat {
                lifetime: Duration::from_secs(seconds),
                filtering: filter,
                preserves_ports: true,
                ..Nat::default()
            };
            let mut world = World::paired(nat);
            let report = world.discover(Options {
                lifetime: Some(Duration::from_secs(300)),
                precision: Duration::from_secs(1),
                ..Options::default()
            });
            let found = report.lifetime.unwrap();
            let (alive, gone) = (found.alive.as_secs_f64(), found.gone.unwrap().as_secs_f64());
            let real = seconds as f64;
            // A round trip passes before the waiting begins.
            assert!(alive <= real && real <= gone + 0.1, "{real}: {found:?}");
            assert!(gone - alive <= 1.0, "{real}: {found:?}");
            // The answers to one port by way of another say nothing of it.
            assert_eq!(report.port_preservation, Ok(true));
        }
    }
    let report = World::paired(Nat::default()).discover(Options {
        lifetime: Some(Duration::from_secs(300)),
        ..Options::default()
    });
    let at_least = Lifetime {
        alive: Duration::from_secs(300),
        gone: None,
    };
    assert_eq!(report.lifetime, Ok(at_least));
}

#[test]
fn two_plain_servers_show_what_they_can() {
    for (depends, found) in [
        (Depends::Nothing, Mapping::EndpointIndependent),
        (Depends::Address, Mapping::Dependent),
        (Depends::AddressAndPort, Mapping::Dependent),
    ] {
        let nat = Nat {
            mapping: depends,
            ..Nat::default()
        };
        let plain = ["198.51.100.1", "203.0.113.7"];
        let mut world = World::new(nat.clone(), plain, None);
        let report = world.discover(Options {
            second: Some("203.0.113.7:3478".parse().unwrap()),
            lifetime: Some(Duration::from_secs(60)),
            ..Options::default()
        });
        assert_eq!(report.mapping, Ok(found));
        assert_eq!(report.filtering, Err(Unknown::NoOtherAddress));
        assert_eq!(report.lifetime, Err(Unknown::NotSupported("RESPONSE-PORT")));
        assert!(report.alg.is_err());

        let alone = World::new(nat, plain, None).discover(Options::default());
        assert_eq!(alone.mapping, Err(Unknown::NoOtherAddress));
        assert!(alone.mapped.is_ok());
    }
}

#[test]
fn odd_answers_are_told_and_not_believed() {
    let server = SERVER.parse().unwrap();
    let elsewhere = "203.0.113.66:3478".parse().unwrap();
    let mut world = World::paired(Nat::default());
    world.forge_source = Some(elsewhere);
    let report = world.discover(Options::default());
    let wrong = Unknown::Silent(server, Some(Oddity::WrongSource(elsewhere)));
    assert_eq!(report.mapped, Err(wrong));
    assert_eq!(report.classic(), None);

    let forged = {
        let mut bytes = exchange::request(&ask::Ask::plain(Port(0), server)).raw;
        bytes[0] = 1;
        bytes
    };
    for (garbage, oddity) in [
        (b"HTTP/1.1 400 Bad Request".to_vec(), Oddity::NotStun),
        (vec![1, 1, 0, 8, 0x21, 0x12], Oddity::Damaged),
        (Vec::new(), Oddity::NotStun),
        (forged, Oddity::Forged),
    ] {
        let mut world = World::paired(Nat::default());
        world.garbage = Some(garbage);
        let report = world.discover(Options::default());
        assert_eq!(report.mapped, Err(Unknown::Silent(server, Some(oddity))));
        assert!(world.now - world.start < Duration::from_secs(5));
    }
}

#[test]
fn the_limit_ends_it_with_what_is_known() {
    let mut world = World::paired(Nat::default());
    let report = world.discover(Options {
        answer_timeout: Duration::from_secs(4),
        limit: Duration::from_secs(3),
        ..Options::default()
    });
    assert_eq!(report.mapping, Ok(Mapping::EndpointIndependent));
    assert_eq!(report.filtering, Err(Unknown::OutOfTime));
    assert!(world.now - world.start < Duration::from_millis(3100));
}
