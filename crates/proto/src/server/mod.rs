//! The TURN server as a state machine. See the crate's page for how it is driven.

pub mod allocation;
pub mod alternates;
mod bandwidth;
pub mod connections;
pub mod counters;
mod deadlines;
pub mod five_tuple;
mod methods;
pub mod output;
pub mod oversight;
pub mod peer_table;
pub mod ports;
pub mod rates;
mod refusal;
pub mod relay_addresses;
mod relaying;
pub mod reservations;
pub mod settings;
pub mod shared;
mod shelf;
mod table;
pub mod tcp_relay;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use self::methods::allocate::OpenError;
pub use self::settings::Settings;

use self::connections::ConnectionId;
use self::counters::Counters;
use self::deadlines::{Deadlines, Subject};
use self::five_tuple::{Path, PeerAddr, SocketId, Transport};
use self::output::{Channel, ClientVerdict, DropReason, EndReason, Event, Output, RelayId};
use self::rates::Proof;
use self::refusal::Refusal;
use self::shared::Shared;
use self::table::Allocations;
use crate::Now;
use crate::auth::key::Key;
use crate::auth::{Identity, Rejected, Rejection, Unauthorized};
use crate::policy::peer_filter::Denied;
use crate::random::{HashKeys, Random, Seed};
use crate::wire::classify::{self, classify_with};
use crate::wire::message::{Head, Malformed, Message};
use crate::wire::numbers::{AttributeType, Class, ErrorCode, Method};
use crate::wire::request::{Request, UnknownAttributes};
use crate::wire::response::{ErrorResponse, Success, Trailer};

/// A refused peer is logged so often for each reason.
const DENIED_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of a user name that is not proved, in the log.
const MAX_CLAIMED_USER: usize = 128;

/// Bytes of most responses.
const RESPONSE_CAPACITY: usize = 160;

/// The protocol state of one worker.
pub struct Server {
    shared: Arc<Shared>,
    allocations: Allocations,
    deadlines: Deadlines,
    outputs: VecDeque<Output>,
    denied_logged: Vec<(Denied, Instant)>,
    draining: bool,
    /// Of the next Data indication; a random start, then counted on.
    indication_id: u128,
    counters: Counters,
    /// Which of the process's servers this is.
    worker: usize,
    /// Which allocation has a peer connection.
    connections: HashMap<ConnectionId, RelayId, HashKeys>,
    random: Random,
    /// Keys of every hash table: tables in one process need not hash differently.
    hash_keys: HashKeys,
}

impl Server {
    /// A server without allocations; all its random values come from `seed`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, seed: Seed, now: Now) -> Self {
        let mut random = Random::new(seed);
        shared.begin(now, &mut random);
        let hash_keys = random.hash_keys();
        Self {
            allocations: Allocations::new(hash_keys),
            deadlines: Deadlines::default(),
            outputs: VecDeque::new(),
            denied_logged: Vec::new(),
            draining: false,
            indication_id: u128::from_ne_bytes(random.bytes()),
            counters: Counters::default(),
            worker: 0,
            connections: HashMap::with_hasher(hash_keys),
            hash_keys,
            random,
            shared,
        }
    }

    /// Tells the server which of several it is: data connections are sent there (RFC 6062).
    #[must_use]
    pub fn on_worker(mut self, worker: usize) -> Self {
        self.worker = worker;
        self
    }

    /// Takes one packet of a client: a datagram, or one whole frame of a stream.
    pub fn handle_client<'a>(
        &mut self,
        now: Now,
        path: &Path,
        bytes: &'a [u8],
    ) -> ClientVerdict<'a> {
        self.handle_timeout(now);
        self.counters.clients.receive(bytes.len());
        let verdict = match classify_with(bytes, self.shared.protocol.rfc5766_channels) {
            classify::Class::ChannelData => self.channel_data(now, path, bytes),
            classify::Class::Stun if crate::wire::indication::is_send(bytes) => {
                self.send(now, path, bytes)
            }
            classify::Class::Stun => self.message(now, path, bytes),
            classify::Class::Tls | classify::Class::Unknown => {
                ClientVerdict::Drop(DropReason::Malformed)
            }
        };
        if let ClientVerdict::Drop(reason) = verdict {
            self.counters.drops[reason as usize] += 1;
        }
        verdict
    }

    fn message<'a>(&mut self, now: Now, path: &Path, bytes: &[u8]) -> ClientVerdict<'a> {
        match Message::parse(bytes) {
            Ok(message) => self.dispatch(now, path, &message),
            Err(Malformed::Cookie) if self.answers_classic() => {
                self.classic_binding(now, path, bytes)
            }
            Err(_) => ClientVerdict::Drop(DropReason::Malformed),
        }
    }

    /// RFC 3489 clients have no credentials of ours to show.
    fn answers_classic(&self) -> bool {
        self.shared.protocol.rfc3489 && !self.shared.protocol.secure_stun
    }

    fn dispatch<'a>(&mut self, now: Now, path: &Path, message: &Message<'_>) -> ClientVerdict<'a> {
        let typ = message.head().typ;
        match (typ.method, typ.class) {
            (Method::BINDING, Class::Request) if self.shared.protocol.secure_stun => {
                self.secure_binding(now, path, message)
            }
            (Method::BINDING, Class::Request) => self.binding(now, path, message),
            // It keeps a NAT's mapping alive (RFC 8489 §6.3.2).
            (Method::BINDING, Class::Indication) => ClientVerdict::Handled,
            _ if self.shared.protocol.stun_only => ClientVerdict::Drop(DropReason::UnknownMethod),
            _ => match Request::parse(message) {
                Some(request) => self.request(now, path, message, &request),
                None => ClientVerdict::Drop(DropReason::UnknownMethod),
            },
        }
    }

    /// Authenticates a TURN request, hands it to its method, and answers.
    fn request<'a>(
        &mut self,
        now: Now,
        path: &Path,
        message: &Message<'_>,
        request: &Request,
    ) -> ClientVerdict<'a> {
        let source = path.tuple.client.ip();
        // The data connection of an allocation is on another five-tuple.
        let peer_owner = match request {
            Request::ConnectionBind(bind) => {
                let connection = bind.connection.ok().flatten().map(ConnectionId);
                connection.and_then(|id| self.shared.connections.owner(id))
            }
            _ => None,
        };
        let allocation = self.allocations.by_tuple(&path.tuple);
        let owner = peer_owner.as_ref().or(allocation.map(|a| &a.identity));
        let identity = match self.shared.auth.authenticate(now, source, message, owner) {
            Ok(identity) => identity,
            Err(rejected) => return self.reject(now, path, message, &rejected),
        };
        let head = message.head();
        match self.authenticated(now, path, message, request, &identity) {
            Ok(Some(success)) => self.transmit(path, head, &success, &identity),
            Ok(None) => {}
            Err(refusal) => self.refuse(path, head, &identity, &refusal),
        }
        ClientVerdict::Handled
    }

    /// `Ok(None)`: the answer comes later, or none is due.
    fn authenticated(
        &mut self,
        now: Now,
        path: &Path,
        message: &Message<'_>,
        request: &Request,
        identity: &Identity,
    ) -> Result<Option<Success>, Refusal> {
        // Only now: whoever is not authenticated learns nothing but that he is not (RFC 8489 §9.2.4).
        let unknown = UnknownAttributes::of(message.attributes().map(|(typ, _)| typ));
        if !unknown.is_empty() {
            return Err(Refusal::UnknownAttributes(unknown));
        }
        let head = message.head();
        match request {
            Request::Allocate(request) => {
                return self
                    .allocate(now, path, request, head, identity)
                    .map(|()| None);
            }
            Request::ConnectionBind(request) => {
                return self
                    .connection_bind(path, request, head, identity)
                    .map(|()| None);
            }
            _ => {}
        }
        let relay = match self.allocations.by_tuple_mut(&path.tuple) {
            Some(allocation) if allocation.opening.is_some() => return Ok(None),
            Some(allocation) if allocation.identity != *identity => {
                return Err(Refusal::WrongCredentials);
            }
            // A client that reaches the server itself is not the one that a proxy speaks of.
            Some(allocation) if allocation.path.proxied != path.proxied => {
                return Err(Refusal::NoAllocation);
            }
            Some(allocation) => {
                // A client whose proxy uses another port is answered there from now on. Only a
                // request moves it: data is not signed.
                allocation.path.socket = path.socket;
                allocation.relay
            }
            None => return Err(Refusal::NoAllocation),
        };
        match request {
            Request::Connect(request) => {
                return self.connect(now, relay, request, head).map(|()| None);
            }
            Request::Refresh(request) => self.refresh(now, relay, request),
            Request::CreatePermission(request) => self.create_permission(now, relay, request),
            Request::ChannelBind(request) => self.channel_bind(now, relay, request),
            Request::Allocate(_) | Request::ConnectionBind(_) => return Ok(None),
        }
        .map(Some)
    }

    /// Answers whoever could not be authenticated: 400, 401 or 438.
    ///
    /// Replies are limited over UDP alone, where a dropped one is asked for again, and not where
    /// the key was right: neither a stream's client nor the holder of a key is a forger's victim.
    fn reject<'a>(
        &mut self,
        now: Now,
        path: &Path,
        message: &Message<'_>,
        rejected: &Rejected,
    ) -> ClientVerdict<'a> {
        let Rejected {
            rejection,
            fresh_nonce,
        } = rejected;
        let source = path.tuple.client.ip();
        if let Rejection::Unauthorized(reason) = rejection {
            self.counters.unauthorized_requests += 1;
            self.counters.auth_failures[*reason as usize] += 1;
        }
        let limited = path.tuple.transport == Transport::Udp
            && !matches!(rejection, Rejection::StaleNonce(_));
        let proof = if *fresh_nonce {
            Proof::Nonce
        } else {
            Proof::None
        };
        if limited && !self.shared.rates.allow_error(now.mono, source, proof) {
            self.counters.unauthorized_dropped +=
                u64::from(matches!(rejection, Rejection::Unauthorized(_)));
            return ClientVerdict::Drop(DropReason::ReplyRate);
        }
        if let Some(reason) = logged(rejection) {
            self.outputs.push_back(Output::Event(Event::Refused {
                tuple: path.tuple,
                user: claimed_user(message),
                proven: *fresh_nonce || path.tuple.transport.proves_address(),
                method: message.head().typ.method,
                code: rejection.code().0,
                reason,
            }));
        }
        let nonce = rejection
            .challenges()
            .then(|| self.shared.auth.nonce(now, path.tuple.client));
        let challenge = nonce
            .as_deref()
            .map(|nonce| (self.shared.auth.realm(), nonce));
        let response = ErrorResponse {
            challenge,
            ..ErrorResponse::new(rejection.code())
        };
        let mut bytes = Vec::with_capacity(RESPONSE_CAPACITY);
        response.encode(message.head(), &self.trailer(rejection.key()), &mut bytes);
        let len = bytes.len();
        self.send_response(path, message.head(), rejection.code().0, bytes);
        if limited {
            self.shared.rates.sent_error(now.mono, source, proof, len);
        }
        ClientVerdict::Handled
    }

    /// Logs a refusal and answers with it.
    fn refuse(&mut self, path: &Path, head: &Head, identity: &Identity, refusal: &Refusal) {
        // A refused peer has been logged by `deny`.
        if refusal.code() != ErrorCode::FORBIDDEN {
            self.outputs.push_back(Output::Event(Event::Refused {
                tuple: path.tuple,
                user: identity.user.clone(),
                // A key is found only for a request with a fresh nonce.
                proven: identity.key.is_some() || path.tuple.transport.proves_address(),
                method: head.typ.method,
                code: refusal.code().0,
                reason: refusal.reason(),
            }));
        }
        let mut bytes = Vec::with_capacity(RESPONSE_CAPACITY);
        refusal.encode(head, &self.trailer(identity.key.as_ref()), &mut bytes);
        self.send_response(path, head, refusal.code().0, bytes);
    }

    fn transmit(&mut self, path: &Path, head: &Head, success: &Success, identity: &Identity) {
        let bytes = self.encode(head, success, identity.key.as_ref());
        self.send_response(path, head, 0, bytes);
    }

    /// Counts a response and sends it.
    fn send_response(&mut self, path: &Path, head: &Head, code: u16, message: Vec<u8>) {
        self.counters.response(head.typ.method, code);
        self.send_message(path, message);
    }

    fn send_message(&mut self, path: &Path, message: Vec<u8>) {
        self.counters.clients.send(message.len());
        self.outputs.push_back(Output::Transmit {
            path: *path,
            message,
        });
    }

    fn encode(&self, head: &Head, success: &Success, key: Option<&Key>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(RESPONSE_CAPACITY);
        success.encode(head, &self.trailer(key), &mut bytes);
        bytes
    }

    fn trailer<'a>(&'a self, key: Option<&'a Key>) -> Trailer<'a> {
        Trailer {
            software: self.shared.protocol.software.as_deref(),
            key: key.map(|key| &key.as_bytes()[..]),
            fingerprint: self.shared.protocol.fingerprint,
        }
    }

    /// Lets everything end whose time has come.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some(subject) = self.deadlines.pop_due(now.mono) {
            match subject {
                Subject::Connection(connection) => self.connection_due(connection),
                Subject::Reservation(token) => self.shared.reservations.expire(token),
                Subject::Allocation(relay) => self.expire(now, RelayId(relay)),
            }
        }
    }

    fn expire(&mut self, now: Now, relay: RelayId) {
        let Some(allocation) = self.allocations.get_mut(relay) else {
            return;
        };
        if allocation.expires <= now.mono {
            let reason = if self.shared.auth.has_run_out(now, &allocation.identity) {
                EndReason::CredentialsExpired
            } else {
                EndReason::Expired
            };
            return self.end(now, relay, reason);
        }
        let tuple = allocation.path.tuple;
        let outputs = &mut self.outputs;
        allocation.peers.retain(
            |_, permission| now.mono < permission.expires,
            |binding| now.mono < binding.expires,
            |number, peer| {
                outputs.push_back(Output::ChannelDown(Channel {
                    tuple,
                    relay,
                    number,
                    peer,
                }));
            },
        );
        allocation.settle();
        allocation.replay.take_if(|replay| replay.until <= now.mono);
        allocation.armed = allocation.next_deadline();
        self.deadlines
            .arm(allocation.armed, Subject::Allocation(relay.0));
    }

    /// Moves the allocation's deadline forward if something of it ends earlier than that.
    fn rearm(&mut self, relay: RelayId, at: Instant) {
        if let Some(allocation) = self.allocations.get_mut(relay)
            && at < allocation.armed
        {
            self.deadlines
                .disarm(allocation.armed, Subject::Allocation(relay.0));
            allocation.armed = at;
            self.deadlines.arm(at, Subject::Allocation(relay.0));
        }
    }

    /// Removes an allocation; dropping it gives back its port and its place in the quotas.
    fn end(&mut self, now: Now, relay: RelayId, reason: EndReason) {
        let Some(allocation) = self.allocations.remove(relay) else {
            return;
        };
        self.deadlines
            .disarm(allocation.armed, Subject::Allocation(relay.0));
        let tuple = allocation.path.tuple;
        for (number, binding) in allocation.peers.channels().iter() {
            let peer = binding.peer;
            self.outputs.push_back(Output::ChannelDown(Channel {
                tuple,
                relay,
                number,
                peer,
            }));
        }
        for (connection, state) in allocation.tcp.iter().flat_map(|all| all.iter()) {
            self.forget_connection(*connection, state);
        }
        self.outputs.push_back(Output::CloseRelay { relay });
        if !matches!(reason, EndReason::Disconnected | EndReason::Shutdown) {
            self.outputs.push_back(Output::Idle {
                path: allocation.path,
            });
        }
        self.outputs.push_back(Output::Event(Event::Ended {
            session: allocation.session(),
            reason,
            duration: now.mono.saturating_duration_since(allocation.created),
            traffic: allocation.traffic,
        }));
        self.counters.ended += 1;
        *self.counters.active(tuple.transport, allocation.family()) -= 1;
    }

    /// Counts what the driver has dropped.
    pub fn count_drops(&mut self, reason: DropReason, count: u64) {
        self.counters.drops[reason as usize] += count;
    }

    /// Counts a HelloVerifyRequest that the driver has sent.
    pub fn count_hello_verify_request(&mut self) {
        self.counters.hello_verify_requests += 1;
    }

    /// Ends the allocation of a client whose connection is closed, unless it comes by another one.
    pub fn handle_disconnect(&mut self, now: Now, path: &Path) {
        let relay = self.on_path(path).map(|allocation| allocation.relay);
        if let Some(relay) = relay {
            self.end(now, relay, EndReason::Disconnected);
        }
    }

    fn on_path(&self, path: &Path) -> Option<&allocation::Allocation> {
        let allocation = self.allocations.by_tuple(&path.tuple);
        allocation.filter(|allocation| allocation.path.socket == path.socket)
    }

    /// Whether channel numbers go up to 0x7FFF.
    #[must_use]
    pub fn rfc5766_channels(&self) -> bool {
        self.shared.protocol.rfc5766_channels
    }

    /// Whether there is an allocation whose client comes by `path`.
    #[must_use]
    pub fn has_allocation(&self, path: &Path) -> bool {
        self.on_path(path).is_some()
    }

    /// Ends every allocation, as the server stops.
    pub fn handle_shutdown(&mut self, now: Now) {
        for relay in self.allocations.relays() {
            self.end(now, relay, EndReason::Shutdown);
        }
    }

    /// The refusal for a peer that policy denies; logged at most once a minute for each reason.
    fn deny(
        &mut self,
        now: Now,
        path: &Path,
        user: &Option<Arc<str>>,
        peer: PeerAddr,
        denied: Denied,
    ) -> Refusal {
        let logged = self
            .denied_logged
            .iter_mut()
            .find(|(reason, _)| *reason == denied);
        let due = match logged {
            Some((_, at)) if now.mono.saturating_duration_since(*at) < DENIED_LOG_INTERVAL => false,
            Some((_, at)) => {
                *at = now.mono;
                true
            }
            None => {
                self.denied_logged.push((denied, now.mono));
                true
            }
        };
        if due {
            let (tuple, user) = (path.tuple, user.clone());
            self.outputs.push_back(Output::Event(Event::PeerDenied {
                tuple,
                user,
                peer,
                denied,
            }));
        }
        Refusal::PeerDenied
    }

    /// The next thing to do for the driver; call until `None` after every `handle_*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When to call [`Self::handle_timeout`] at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Whether an allocation's client comes by this socket of the driver.
    #[must_use]
    pub fn uses(&self, socket: SocketId) -> bool {
        self.allocations
            .iter()
            .any(|allocation| allocation.path.socket == socket)
    }

    /// Live allocations.
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// What happened so far.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Deadlines that are armed; none once everything has ended.
    #[must_use]
    pub fn deadlines(&self) -> usize {
        self.deadlines.len()
    }
}

/// Why a rejection is worth a log line; how every client begins, and a nonce's age, are not.
fn logged(rejection: &Rejection) -> Option<&'static str> {
    match rejection {
        Rejection::Unauthorized(Unauthorized::NoIntegrity) | Rejection::StaleNonce(_) => None,
        Rejection::Unauthorized(reason) => Some(reason.as_str()),
        Rejection::BadRequest => Some("credentials are incomplete"),
    }
}

/// USERNAME as the client sent it, cut to a length that no log needs to fear.
fn claimed_user(message: &Message<'_>) -> Option<Arc<str>> {
    let name = message.get(AttributeType::USERNAME)?;
    let start = &name[..name.len().min(MAX_CLAIMED_USER)];
    Some(String::from_utf8_lossy(start).into())
}
