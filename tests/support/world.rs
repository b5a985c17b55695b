//! The server without sockets, in a world whose clock the test moves.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use stun::attributes::{
    ATTR_DATA, ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_SOFTWARE, ATTR_XOR_PEER_ADDRESS,
};
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_SUCCESS_RESPONSE, MAGIC_COOKIE, METHOD_ALLOCATE,
    METHOD_CHANNEL_BIND, METHOD_CONNECTION_ATTEMPT, METHOD_CREATE_PERMISSION, METHOD_DATA,
    METHOD_REFRESH, Message, Method,
};
use turn::proto::channum::ChannelNumber;
use turnd_proto::Now;
use turnd_proto::auth::{Authenticator, nonce::NonceKey};
use turnd_proto::random::Seed;
use turnd_proto::server::five_tuple::{ClientSocket, FiveTuple, Path, Transport};
use turnd_proto::server::output::{Channel, ClientVerdict, Event, Output, PeerVerdict, RelayId};
use turnd_proto::server::shared::Shared;
use turnd_proto::server::{OpenError, Reloaded, Server, UserAnswer};
use turnd_proto::wire;

use super::messages::{
    Attributes, Login, addr, channel_data, decode, error_code, indication, lifetime, peer,
    relayed_address, request, send, status, transport, xor_address,
};
use super::settings::Settings;
use super::{PASSWORD, USER};

pub(crate) const SERVER_V4: &str = "198.51.100.1:3478";
pub(crate) const SERVER_V6: &str = "[2001:db8::1]:3478";
pub(crate) const CLIENT: &str = "192.0.2.10:40000";
pub(crate) const CLIENT_V6: &str = "[2001:db8::10]:40000";
/// A peer that the default policy admits.
pub(crate) const PEER: &str = "45.0.0.7:7000";
pub(crate) const PEER_V6: &str = "[2a00::7]:7000";

/// Ports and tokens of a world that does not say otherwise.
const SEED: Seed = [7; 32];

/// A calendar time to start from.
pub(crate) const UNIX: u64 = 1_800_000_000;
/// Smaller than what every path takes (S13).
const MAX_REPLY: usize = 548;

/// A datagram from a relay to a peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Relayed {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) payload: Vec<u8>,
    pub(crate) dont_fragment: bool,
}

/// Data for a client from a peer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming {
    Data(SocketAddr, Vec<u8>),
    Channel(u16, Vec<u8>),
}

/// A client that knows user name and password.
pub(crate) struct Caller {
    pub(crate) path: Path,
    pub(crate) login: Login,
}

/// A server, its clock, and a driver that binds every relay unless told otherwise.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) shared: Arc<Shared>,
    nonces: NonceKey,
    /// Addresses at which clients reach the server, and others of its host.
    hosts: (Vec<IpAddr>, Vec<IpAddr>),
    pub(crate) now: Now,
    pub(crate) start: Instant,
    /// The calendar time at the start, by what the calendar says now.
    calendar: u64,
    /// Local addresses of the relay sockets that are open.
    pub(crate) open: BTreeMap<u32, SocketAddr>,
    /// The driver's answer to OpenRelay.
    pub(crate) bind: fn(SocketAddr) -> Result<(), OpenError>,
    pub(crate) binds: Vec<SocketAddr>,
    pub(crate) events: Vec<Event>,
    /// Channels that are up, as ChannelUp and ChannelDown say.
    pub(crate) channels: Vec<Channel>,
    replies: Vec<(Path, Vec<u8>)>,
    /// Outputs about connections with peers, not looked at yet.
    pub(crate) peer_outputs: Vec<Output>,
}

impl World {
    /// A server at `SERVER_V4` and `SERVER_V6` that knows `USER`.
    pub(crate) fn usual() -> Self {
        Self::new(|_| ())
    }

    /// The usual server with other settings.
    pub(crate) fn new(change: impl FnOnce(&mut Settings)) -> Self {
        Self::seeded(change, SEED)
    }

    /// A server reachable at these addresses, on a host that has more.
    pub(crate) fn at(
        change: impl FnOnce(&mut Settings),
        reachable: &[&str],
        others: &[IpAddr],
    ) -> Self {
        Self::made(change, &ips(reachable), others, &[], SEED)
    }

    /// The server of [`Self::new`], beside services that are never peers.
    pub(crate) fn beside(change: impl FnOnce(&mut Settings), never: &[&str]) -> Self {
        let never: Vec<_> = never.iter().copied().map(addr).collect();
        let reachable = ips(&[SERVER_V4, SERVER_V6]);
        Self::made(change, &reachable, &[], &never, SEED)
    }

    /// The server of [`Self::new`], with all that is random from `seed`.
    pub(crate) fn seeded(change: impl FnOnce(&mut Settings), seed: Seed) -> Self {
        let reachable = ips(&[SERVER_V4, SERVER_V6]);
        Self::made(change, &reachable, &[], &[], seed)
    }

    fn made(
        change: impl FnOnce(&mut Settings),
        reachable: &[IpAddr],
        others: &[IpAddr],
        never: &[SocketAddr],
        seed: Seed,
    ) -> Self {
        let settings = changed(change);
        let nonces = match &settings.auth.nonce_secret {
            Some(secret) => NonceKey::from_secret(secret),
            None => NonceKey::new(&seed),
        };
        let auth = Authenticator::new(&settings.auth, nonces.clone()).unwrap();
        let shared = Shared::new(&settings.server, auth, reachable, others).with_never(never);
        let shared = Arc::new(shared);
        let start = Instant::now();
        let now = Now {
            mono: start,
            unix: UNIX,
        };
        Self {
            server: Server::new(Arc::clone(&shared), seed, now),
            shared,
            nonces,
            hosts: (reachable.to_vec(), others.to_vec()),
            now,
            start,
            calendar: UNIX,
            open: BTreeMap::new(),
            bind: |_| Ok(()),
            binds: Vec::new(),
            events: Vec::new(),
            channels: Vec::new(),
            replies: Vec::new(),
            peer_outputs: Vec::new(),
        }
    }

    /// Another worker of the same process.
    pub(crate) fn sharing(other: &Self) -> Self {
        Self {
            server: Server::new(Arc::clone(&other.shared), [8; 32], other.now),
            shared: Arc::clone(&other.shared),
            nonces: other.nonces.clone(),
            hosts: other.hosts.clone(),
            now: other.now,
            start: other.start,
            calendar: other.calendar,
            open: BTreeMap::new(),
            bind: other.bind,
            binds: Vec::new(),
            events: Vec::new(),
            channels: Vec::new(),
            replies: Vec::new(),
            peer_outputs: Vec::new(),
        }
    }

    /// Goes on with other settings, as after a HUP.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Settings)) -> Reloaded {
        let settings = changed(change);
        let auth = Authenticator::new(&settings.auth, self.nonces.clone()).unwrap();
        let (reachable, others) = &self.hosts;
        let shared = self.shared.renew(&settings.server, auth, reachable, others);
        self.shared = Arc::new(shared);
        let reloaded = self
            .server
            .handle_reload(self.now, Arc::clone(&self.shared));
        self.drain();
        reloaded
    }

    /// Moves the clock to `seconds` after the start, as the real driver does: deadline by deadline.
    pub(crate) fn at_second(&mut self, seconds: u64) {
        self.at_milli(seconds * 1000);
    }

    pub(crate) fn at_milli(&mut self, millis: u64) {
        let target = self.start + Duration::from_millis(millis);
        while let Some(due) = self.server.poll_timeout().filter(|due| *due <= target) {
            self.set_clock(due.max(self.now.mono));
            self.server.handle_timeout(self.now);
            assert!(
                self.server.poll_timeout().is_none_or(|next| next > due),
                "a deadline that stays would keep a worker busy"
            );
            self.drain();
        }
        self.set_clock(target);
    }

    /// Somebody sets the calendar, by so many seconds.
    pub(crate) fn set_calendar(&mut self, seconds: i64) {
        self.calendar = self.calendar.saturating_add_signed(seconds);
        self.set_clock(self.now.mono);
    }

    fn set_clock(&mut self, mono: Instant) {
        let unix = self.calendar.saturating_add((mono - self.start).as_secs());
        self.now = Now { mono, unix };
    }

    /// Does what the server asks for, and looks at it.
    fn drain(&mut self) {
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Transmit { path, message } => {
                    check_reply(&message);
                    self.replies.push((path, message));
                }
                Output::OpenRelay { relay, addr } | Output::OpenTcpRelay { relay, addr } => {
                    assert!(!self.open.contains_key(&relay.0), "relay opened twice");
                    self.binds.push(addr);
                    let bound = (self.bind)(addr);
                    if bound.is_ok() {
                        assert!(
                            !self.open.values().any(|open| *open == addr),
                            "port used twice"
                        );
                        self.open.insert(relay.0, addr);
                    }
                    self.server.handle_relay_opened(self.now, relay, bound);
                }
                Output::CloseRelay { relay } => {
                    assert!(self.open.remove(&relay.0).is_some(), "closed but not open");
                    assert!(
                        self.channels.iter().all(|c| c.relay != relay),
                        "a channel is left"
                    );
                }
                Output::Idle { path } => {
                    assert!(
                        !self.server.has_allocation(&path),
                        "idle with an allocation"
                    );
                }
                Output::ChannelUp(channel) => {
                    let same =
                        |up: &Channel| (up.relay, up.number) == (channel.relay, channel.number);
                    self.channels.retain(|up| !same(up));
                    assert_eq!(self.open.get(&channel.relay.0), Some(&channel.relayed));
                    self.channels.push(channel);
                }
                Output::ChannelDown { relay, number } => {
                    let before = self.channels.len();
                    self.channels
                        .retain(|up| (up.relay, up.number) != (relay, number));
                    assert_eq!(self.channels.len(), before - 1, "down but not up");
                }
                output @ (Output::Connect { .. }
                | Output::CloseConnection { .. }
                | Output::HandOver { .. }) => self.peer_outputs.push(output),
                Output::LookupUser { id, .. } => {
                    self.server.handle_user(self.now, id, UserAnswer::Failed);
                }
                Output::Event(event) => self.events.push(event),
            }
        }
    }

    /// Messages that the server sends of its own accord after `input`, and their destinations.
    pub(crate) fn after<T>(
        &mut self,
        input: impl FnOnce(&mut Server, Now) -> T,
    ) -> (T, Vec<(Path, Message)>) {
        let given = input(&mut self.server, self.now);
        self.drain();
        let replies = std::mem::take(&mut self.replies);
        let read = |(path, bytes): (Path, Vec<u8>)| (path, decode(&bytes));
        (given, replies.into_iter().map(read).collect())
    }

    /// Hands a packet to the server: what it relayed, and what it answered.
    pub(crate) fn handle(&mut self, path: &Path, bytes: &[u8]) -> (Option<Relayed>, Vec<Vec<u8>>) {
        let relayed = match self.server.handle_client(self.now, path, bytes) {
            ClientVerdict::ToPeer {
                relay,
                peer,
                payload,
                dont_fragment,
            } => Some(Relayed {
                from: self.open[&relay.0],
                to: peer.0,
                payload: payload.to_vec(),
                dont_fragment,
            }),
            ClientVerdict::Handled | ClientVerdict::Drop(_) => None,
        };
        self.drain();
        let replies = std::mem::take(&mut self.replies);
        // S4: the answer goes back the way that the question came.
        for (to, _) in &replies {
            assert_eq!((to.tuple, to.socket), (path.tuple, path.socket));
        }
        (
            relayed,
            replies.into_iter().map(|(_, bytes)| bytes).collect(),
        )
    }

    /// The bytes of the one answer to `bytes`.
    pub(crate) fn answer(&mut self, path: &Path, bytes: &[u8]) -> Vec<u8> {
        let (relayed, mut replies) = self.handle(path, bytes);
        assert_eq!(
            (relayed, replies.len()),
            (None, 1),
            "one answer, nothing relayed"
        );
        replies.remove(0)
    }

    /// The answer to a request.
    pub(crate) fn reply(&mut self, path: &Path, request: &Message) -> Message {
        let reply = decode(&self.answer(path, &request.raw));
        assert_eq!(reply.transaction_id, request.transaction_id);
        assert_eq!(reply.typ.method, request.typ.method);
        reply
    }

    pub(crate) fn is_silent(&mut self, path: &Path, bytes: &[u8]) -> bool {
        self.handle(path, bytes) == (None, vec![])
    }

    /// Relays data from the client: the datagram to the peer, if any.
    pub(crate) fn relay(&mut self, path: &Path, bytes: &[u8]) -> Option<Relayed> {
        let (relayed, replies) = self.handle(path, bytes);
        assert!(replies.is_empty(), "an answer to data");
        relayed
    }

    /// Hands the relay at `relayed` a datagram from a peer: the data for the client, if any.
    pub(crate) fn peer_sends(
        &mut self,
        relayed: SocketAddr,
        peer: &str,
        payload: &[u8],
    ) -> Option<Incoming> {
        let (relay, _) = self.open.iter().find(|(_, open)| **open == relayed)?;
        let len = payload.len().try_into().unwrap();
        let verdict = self
            .server
            .handle_peer(self.now, RelayId(*relay), addr(peer), len);
        self.drain();
        assert!(self.replies.is_empty(), "an answer to a peer's data");
        let PeerVerdict::ToClient { header, .. } = verdict else {
            return None;
        };
        let mut bytes = header.as_bytes().to_vec();
        bytes.extend_from_slice(payload);
        bytes.resize(bytes.len() + header.padding(), 0);
        Some(incoming(&bytes))
    }

    /// Learns realm and nonce for `user` at `client`, which reaches the server's address of the same family.
    pub(crate) fn log_in(&mut self, client: &str, user: &str, password: &str) -> Caller {
        self.log_in_on(path(client), user, password)
    }

    /// The same, for one that comes by this path.
    pub(crate) fn log_in_on(&mut self, path: Path, user: &str, password: &str) -> Caller {
        let reply = self.reply(&path, &request(METHOD_ALLOCATE, vec![]));
        assert_eq!(error_code(&reply), Some(401));
        let login = Login::answer(&reply, user, password);
        Caller { path, login }
    }

    pub(crate) fn caller(&mut self, client: &str) -> Caller {
        self.log_in(client, USER, PASSWORD)
    }

    /// The answer to a signed request, which must be signed too.
    pub(crate) fn ask(
        &mut self,
        caller: &Caller,
        method: Method,
        attributes: Attributes,
    ) -> Message {
        let request = caller.login.sign(method, attributes);
        let mut reply = self.reply(&caller.path, &request);
        caller.login.expect_signed(&mut reply);
        reply
    }

    /// Allocates and returns the answer.
    pub(crate) fn try_allocate(&mut self, caller: &Caller, more: Attributes) -> Message {
        let mut attributes: Attributes = vec![transport()];
        attributes.extend(more);
        self.ask(caller, METHOD_ALLOCATE, attributes)
    }

    /// Allocates and returns the relayed transport address.
    pub(crate) fn allocate(&mut self, caller: &Caller) -> SocketAddr {
        relayed_address(&self.try_allocate(caller, vec![]))
    }

    /// A client with an allocation: the client and its relayed transport address.
    pub(crate) fn allocated(&mut self, client: &str) -> (Caller, SocketAddr) {
        self.allocated_on(path(client))
    }

    /// The same, for one that comes by this path.
    pub(crate) fn allocated_on(&mut self, path: Path) -> (Caller, SocketAddr) {
        let caller = self.log_in_on(path, USER, PASSWORD);
        let relayed = self.allocate(&caller);
        (caller, relayed)
    }

    pub(crate) fn refresh(&mut self, caller: &Caller, seconds: Option<u32>) -> Message {
        self.ask(
            caller,
            METHOD_REFRESH,
            seconds.map(lifetime).into_iter().collect(),
        )
    }

    /// CreatePermission; 200 stands for success.
    pub(crate) fn permit(&mut self, caller: &Caller, peers: &[&str]) -> u16 {
        let peers = peers.iter().copied().map(peer).collect();
        status(&self.ask(caller, METHOD_CREATE_PERMISSION, peers))
    }

    /// ChannelBind; 200 stands for success.
    pub(crate) fn bind_channel(&mut self, caller: &Caller, number: u16, to: &str) -> u16 {
        let attributes: Attributes = vec![Box::new(ChannelNumber(number)), peer(to)];
        status(&self.ask(caller, METHOD_CHANNEL_BIND, attributes))
    }

    /// Sends `data` to a peer with a Send indication: whether it was relayed there.
    pub(crate) fn send(&mut self, caller: &Caller, to: &str, data: &str) -> bool {
        let relayed = self.relay(&caller.path, &send(to, data.as_bytes()).raw);
        relayed.is_some_and(|relayed| relayed.payload == data.as_bytes())
    }

    /// Sends `data` on a channel: where it was relayed to.
    pub(crate) fn send_on(
        &mut self,
        caller: &Caller,
        number: u16,
        data: &str,
    ) -> Option<SocketAddr> {
        let relayed = self.relay(&caller.path, &channel_data(number, data.as_bytes()))?;
        assert_eq!(relayed.payload, data.as_bytes());
        Some(relayed.to)
    }

    /// Allocations, relay ports taken, ports reserved, deadlines.
    pub(crate) fn holds(&self) -> (usize, u32, usize, usize) {
        (
            self.server.allocations(),
            self.shared.relays.ports().taken(),
            self.shared.reservations.len(),
            self.server.deadlines(),
        )
    }

    /// Asserts that nothing is left of anybody.
    pub(crate) fn expect_empty(&self) {
        assert_eq!(self.holds(), (0, 0, 0, 0));
        assert!(self.open.is_empty() && self.channels.is_empty());
    }
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|text| addr(text).ip()).collect()
}

/// The usual settings after a change.
fn changed(change: impl FnOnce(&mut Settings)) -> Settings {
    let mut settings = Settings::default();
    change(&mut settings);
    settings
}

/// Path from `client` to the server's address of the same family.
pub(crate) fn path(client: &str) -> Path {
    let client = addr(client);
    let server = if client.is_ipv4() {
        SERVER_V4
    } else {
        SERVER_V6
    };
    path_to(client, addr(server))
}

pub(crate) fn path_to(client: SocketAddr, server: SocketAddr) -> Path {
    Path::udp(0, client, server)
}

/// Path from `client` by another transport.
pub(crate) fn path_by(transport: Transport, client: &str) -> Path {
    let mut path = path(client);
    path.tuple.transport = transport;
    path
}

/// Takes what the client got from a peer apart.
fn incoming(bytes: &[u8]) -> Incoming {
    if bytes[0] >= 0x40 {
        let (number, payload) = wire::channel_data::parse(bytes).unwrap();
        assert_eq!(bytes.len(), 4 + payload.len(), "no padding over UDP");
        return Incoming::Channel(number, payload.to_vec());
    }
    let message = decode(bytes);
    assert_eq!(message.typ, indication(METHOD_DATA));
    assert!(!message.contains(ATTR_MESSAGE_INTEGRITY));
    assert_eq!(bytes.len(), 20 + message.length as usize);
    let from = xor_address(&message, ATTR_XOR_PEER_ADDRESS).expect("no XOR-PEER-ADDRESS");
    Incoming::Data(from, message.get(ATTR_DATA).expect("no DATA"))
}

/// Checks every reply: S13, zero padding (S9), and a length that covers all.
fn check_reply(bytes: &[u8]) {
    assert!(bytes.len() < MAX_REPLY, "a reply of {} bytes", bytes.len());
    if bytes[4..8] != MAGIC_COOKIE.to_be_bytes() {
        // To a client of RFC 3489: header and MAPPED-ADDRESS.
        return assert!(matches!(bytes.len(), 32 | 44), "{bytes:02x?}");
    }
    let message = decode(bytes);
    assert_eq!(bytes.len(), 20 + message.length as usize);
    // The one message that a server begins with (RFC 6062 §5.3).
    let attempt = message.typ.method == METHOD_CONNECTION_ATTEMPT;
    assert!(
        attempt
            || matches!(
                message.typ.class,
                CLASS_SUCCESS_RESPONSE | CLASS_ERROR_RESPONSE
            )
    );
    let mut end = 20;
    for attribute in &message.attributes.0 {
        let value_end = end + 4 + attribute.value.len();
        end = value_end.next_multiple_of(4);
        assert!(
            bytes[value_end..end].iter().all(|byte| *byte == 0),
            "padding is not zero"
        );
        if matches!(attribute.typ, ATTR_REALM | ATTR_NONCE | ATTR_SOFTWARE) {
            assert!(attribute.value.len() <= 509);
        }
    }
}
