//! The TURN server as a state machine. See the crate's page for how it is driven.

mod admin;
mod allocation;
mod bandwidth;
mod claims;
pub mod connections;
mod context;
pub mod counters;
mod deadlines;
pub mod five_tuple;
mod lookups;
mod methods;
mod other_addresses;
pub mod output;
mod owner;
mod peer_table;
mod ports;
mod rates;
mod redirection;
mod refusal;
mod relay_addresses;
mod relaying;
mod requests;
pub mod settings;
pub mod shared;
mod state;
mod table;
mod tcp_relay;
mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

pub use self::admin::{Filter, Reloaded, SessionBrief, SessionInfo};
pub use self::lookups::{LookupId, UserAnswer};
pub use self::methods::allocate::OpenError;
pub use self::peer_table::Reach;
pub use self::settings::Settings;
pub use self::state::{AllocationState, ImportError};

use self::allocation::Allocation;
use self::connections::ConnectionId;
use self::context::Context;
use self::counters::Counters;
use self::deadlines::Subject;
use self::five_tuple::{ClientSocket, Path, PeerAddr};
use self::methods::{allocate, binding};
use self::output::{ClientVerdict, DropReason, EndReason, Output, PeerVerdict, RelayId, Traffic};
use self::owner::review_owner;
use self::settings::Protocol;
use self::shared::Shared;
use self::table::Allocations;
use crate::Now;
use crate::ip::canonical_socket;
use crate::random::{Random, Seed};
use crate::wire::message::{Message, MessageError};
use crate::wire::numbers::{Class, Method};
use crate::wire::request::Request;
use crate::wire::{channel_data, classify, indication};

/// The protocol state of one worker.
pub struct Server {
    allocations: Allocations,
    ctx: Context,
}

impl Server {
    /// A server without allocations; all its random values come from `seed`.
    #[must_use]
    pub fn new(shared: Arc<Shared>, seed: Seed, now: Now) -> Self {
        let ctx = Context::new(shared, Random::new(seed), now);
        Self {
            allocations: Allocations::new(ctx.hash_keys),
            ctx,
        }
    }

    /// Tells the server its index among those of the process: data connections are sent there
    /// (RFC 6062).
    #[must_use]
    pub fn on_worker(mut self, worker: usize) -> Self {
        self.ctx.worker = worker;
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
        self.ctx.counters.clients.receive(bytes.len());
        let rfc5766_channels = self.rfc5766_channels();
        let verdict = match classify::classify_with(bytes, rfc5766_channels) {
            classify::Class::ChannelData => self.channel_data(path, bytes),
            classify::Class::Stun if indication::is_send(bytes) => self.send(path, bytes),
            classify::Class::Stun => self.message(path, bytes),
            classify::Class::Tls | classify::Class::Unknown => {
                ClientVerdict::Drop(DropReason::Malformed)
            }
        };
        if let ClientVerdict::Drop(reason) = verdict {
            self.count_drop(reason);
        }
        verdict
    }

    fn channel_data<'a>(&mut self, path: &Path, bytes: &'a [u8]) -> ClientVerdict<'a> {
        let Some((number, payload)) = channel_data::parse(bytes) else {
            return ClientVerdict::Drop(DropReason::Malformed);
        };
        match self.allocations.by_path_mut(path) {
            Some(allocation) => relaying::channel_data(allocation, &mut self.ctx, number, payload),
            None => ClientVerdict::Drop(DropReason::NoAllocation),
        }
    }

    fn send<'a>(&mut self, path: &Path, bytes: &'a [u8]) -> ClientVerdict<'a> {
        if self.ctx.shared.protocol.stun_only {
            return ClientVerdict::Drop(DropReason::UnknownMethod);
        }
        let Some(send) = indication::parse_send(bytes) else {
            return ClientVerdict::Drop(DropReason::Malformed);
        };
        match self.allocations.by_path_mut(path) {
            Some(allocation) => relaying::send(allocation, &mut self.ctx, &send),
            None => ClientVerdict::Drop(DropReason::NoAllocation),
        }
    }

    fn message<'a>(&mut self, path: &Path, bytes: &[u8]) -> ClientVerdict<'a> {
        let ctx = &mut self.ctx;
        let Protocol {
            stun_only,
            secure_stun,
            rfc3489,
            ..
        } = ctx.shared.protocol;
        let message = match Message::parse(bytes) {
            Ok(message) => message,
            // RFC 3489 clients have no credentials of ours to show.
            Err(MessageError::Cookie) if rfc3489 && !secure_stun => {
                return binding::handle_classic(ctx, path, bytes);
            }
            Err(_) => return ClientVerdict::Drop(DropReason::Malformed),
        };
        let typ = message.head().typ;
        match (typ.method, typ.class) {
            (Method::BINDING, Class::Request) if secure_stun => {
                binding::handle_secure(ctx, path, &message)
            }
            (Method::BINDING, Class::Request) => binding::handle(ctx, path, &message),
            // A Binding indication keeps a NAT's mapping alive (RFC 8489 §6.3.2).
            (Method::BINDING, Class::Indication) => ClientVerdict::Handled,
            _ if stun_only => ClientVerdict::Drop(DropReason::UnknownMethod),
            _ => match Request::parse(&message) {
                Some(request) => {
                    let allocations = &mut self.allocations;
                    requests::handle(allocations, ctx, path, bytes, &message, &request)
                }
                None => ClientVerdict::Drop(DropReason::UnknownMethod),
            },
        }
    }

    /// Takes the answer to an [`Output::LookupUser`]; one that comes late is ignored.
    pub fn handle_user(&mut self, now: Now, id: LookupId, answer: UserAnswer) {
        self.handle_timeout(now);
        let Some(parked) = self.ctx.take_parked(id) else {
            return;
        };
        let found = match &answer {
            UserAnswer::Found(key) => Some(key),
            UserAnswer::Unknown => None,
            UserAnswer::Failed => return self.count_drop(DropReason::UserLookup),
        };
        let (allocations, ctx) = (&mut self.allocations, &mut self.ctx);
        if let ClientVerdict::Drop(reason) = requests::resume(allocations, ctx, &parked, found) {
            self.count_drop(reason);
        }
    }

    /// Takes a datagram of `len` bytes that came to a relay socket.
    pub fn handle_peer(
        &mut self,
        now: Now,
        relay: RelayId,
        source: SocketAddr,
        len: u16,
    ) -> PeerVerdict {
        self.handle_timeout(now);
        let ctx = &mut self.ctx;
        ctx.counters.peers.receive(len.into());
        let peer = PeerAddr(canonical_socket(source));
        let verdict = match self.allocations.get_mut(relay) {
            Some(allocation) => relaying::peer_data(allocation, ctx, peer, len),
            None => PeerVerdict::Drop(DropReason::NoAllocation),
        };
        if let PeerVerdict::Drop(reason) = verdict {
            ctx.counters.drops[reason as usize] += 1;
        }
        verdict
    }

    /// Counts data of an allocation that was relayed in place of the server since the last call,
    /// as told by [`Output::ChannelUp`]: for metrics, logs, sessions and the limits on bandwidth.
    pub fn handle_offloaded(&mut self, now: Now, relay: RelayId, traffic: Traffic) {
        self.handle_timeout(now);
        if let Some(allocation) = self.allocations.get_mut(relay) {
            relaying::offloaded(allocation, &mut self.ctx, traffic);
        }
    }

    /// Takes the outcome of an [`Output::OpenRelay`] or [`Output::OpenTcpRelay`]; where another
    /// program has the port, another port is tried.
    pub fn handle_relay_opened(&mut self, now: Now, relay: RelayId, opened: Result<(), OpenError>) {
        self.ctx.now = now;
        let ctx = &mut self.ctx;
        let Some(allocation) = self.allocations.get_mut(relay) else {
            return;
        };
        let Some(opening) = allocation.opening.take() else {
            return;
        };
        let failed = match opened {
            Ok(()) => return allocate::opened(allocation, ctx, *opening),
            Err(OpenError::InUse) => match allocate::try_next_port(allocation, ctx, opening) {
                Ok(()) => return,
                Err(opening) => opening,
            },
            Err(OpenError::Failed) => opening,
        };
        allocate::open_failed(allocation, ctx, &failed);
        self.allocations.remove(relay);
    }

    /// Takes the outcome of an [`Output::Connect`].
    pub fn handle_connected(&mut self, now: Now, connection: ConnectionId, connected: bool) {
        self.handle_timeout(now);
        if let Some((allocation, ctx)) = self.of_connection(connection) {
            tcp_relay::connected(allocation, ctx, connection, connected);
        }
    }

    /// Takes a connection that a peer has made to a relayed transport address; `None`: it is to
    /// be closed at once.
    pub fn handle_inbound(
        &mut self,
        now: Now,
        relay: RelayId,
        source: SocketAddr,
    ) -> Option<ConnectionId> {
        self.handle_timeout(now);
        let peer = PeerAddr(canonical_socket(source));
        let allocation = self.allocations.get_mut(relay)?;
        tcp_relay::inbound(allocation, &mut self.ctx, peer)
    }

    /// Takes a client's data connection that has come to this worker, which has the peer
    /// connection; `false`: that is gone.
    pub fn handle_joined(&mut self, connection: ConnectionId) -> bool {
        self.of_connection(connection)
            .is_some_and(|(allocation, ctx)| tcp_relay::joined(allocation, ctx, connection))
    }

    /// Whether the limits let more bytes of a connection pass now.
    ///
    /// # Errors
    /// The time to ask again.
    pub fn may_carry(
        &mut self,
        now: Now,
        connection: ConnectionId,
        to_peer: bool,
    ) -> Result<(), Instant> {
        let again = self
            .of_connection(connection)
            .and_then(|(allocation, ctx)| {
                bandwidth::next_turn(&ctx.shared, now, allocation, to_peer)
            });
        again.map_or(Ok(()), Err)
    }

    /// Counts `len` bytes of a connection that are relayed.
    pub fn handle_connection_data(
        &mut self,
        now: Now,
        connection: ConnectionId,
        to_peer: bool,
        len: usize,
    ) {
        if let Some((allocation, ctx)) = self.of_connection(connection) {
            let len = len as u64;
            bandwidth::owe(&ctx.shared, now, allocation, to_peer, len);
            allocation.traffic.count(to_peer, 1, len);
        }
    }

    /// Takes the end of one side of a connection.
    pub fn handle_connection_closed(&mut self, connection: ConnectionId) {
        if let Some((allocation, ctx)) = self.of_connection(connection) {
            tcp_relay::close(allocation, ctx, connection);
        }
    }

    /// Lets everything end whose time has come.
    pub fn handle_timeout(&mut self, now: Now) {
        self.ctx.now = now;
        while let Some(subject) = self.ctx.deadlines.pop_due(now.mono) {
            match subject {
                Subject::Reservation(token) => self.ctx.shared.reservations.expire(token),
                Subject::Connection(connection) => {
                    if let Some((allocation, ctx)) = self.of_connection(connection) {
                        tcp_relay::due(allocation, ctx, connection);
                    }
                }
                Subject::Allocation(relay) => self.expire(RelayId(relay)),
                Subject::Lookup(id) => {
                    if self.ctx.take_parked(id).is_some() {
                        self.count_drop(DropReason::UserLookup);
                    }
                }
            }
        }
    }

    fn expire(&mut self, relay: RelayId) {
        let ctx = &mut self.ctx;
        match self.allocations.get_mut(relay) {
            Some(allocation) if allocation.expires <= ctx.now.mono => {
                let auth = &ctx.shared.auth;
                let reason = if auth.has_run_out(ctx.now, &allocation.identity) {
                    EndReason::CredentialsExpired
                } else {
                    EndReason::Expired
                };
                self.end(relay, reason);
            }
            Some(allocation) => allocation.expire_parts(ctx),
            None => {}
        }
    }

    fn end(&mut self, relay: RelayId, reason: EndReason) {
        if let Some(allocation) = self.allocations.remove(relay) {
            allocation.end(&mut self.ctx, reason);
        }
    }

    /// Ends the allocation of a client whose connection is closed, unless it comes by another one.
    pub fn handle_disconnect(&mut self, now: Now, path: &Path) {
        self.ctx.now = now;
        if let Some(relay) = self.allocations.by_path(path).map(|a| a.relay) {
            self.end(relay, EndReason::Disconnected);
        }
        // Another client may come by the same path before the answer does.
        self.forget(self.ctx.lookups.of_client(path));
    }

    /// Ends every allocation, as the server stops.
    pub fn handle_shutdown(&mut self, now: Now) {
        self.ctx.now = now;
        for relay in self.allocations.relays() {
            self.end(relay, EndReason::Shutdown);
        }
        self.forget(self.ctx.lookups.ids());
    }

    fn count_drop(&mut self, reason: DropReason) {
        self.ctx.counters.drops[reason as usize] += 1;
    }

    /// Lets parked requests go unanswered.
    fn forget(&mut self, lookups: Vec<LookupId>) {
        for id in lookups {
            drop(self.ctx.take_parked(id));
        }
    }

    /// Ends the allocations that `filter` chooses and tells their number.
    pub fn handle_kill(&mut self, now: Now, filter: &Filter) -> usize {
        self.ctx.now = now;
        let chosen = self.allocations.iter().filter(|a| filter.matches(a));
        let chosen: Vec<RelayId> = chosen.map(|a| a.relay).collect();
        for relay in &chosen {
            self.end(*relay, EndReason::Killed);
        }
        chosen.len()
    }

    /// Refuses new allocations from now on, or no longer: 300 where another server takes them, else
    /// 508. Those that there are live on.
    pub fn handle_drain(&mut self, draining: bool) {
        self.ctx.draining = draining;
    }

    /// Has events be told that only debugging needs, or no longer: [`Event::Challenged`](output::Event::Challenged),
    /// [`Event::Binding`](output::Event::Binding), [`Event::Permitted`](output::Event::Permitted) and [`Event::ChannelBound`](output::Event::ChannelBound).
    pub fn tell_details(&mut self, wanted: bool) {
        self.ctx.details = wanted;
    }

    /// Goes on with other settings. Allocations live on, without the peers that are now denied and
    /// unless their users are gone; their realm stays their own.
    pub fn handle_reload(&mut self, now: Now, shared: Arc<Shared>) -> Reloaded {
        self.ctx.now = now;
        shared.begin(now, &mut self.ctx.random);
        self.ctx.shared = shared;
        let mut reloaded = Reloaded::default();
        for relay in self.allocations.relays() {
            let ctx = &mut self.ctx;
            let Some(allocation) = self.allocations.get_mut(relay) else {
                continue;
            };
            match review_owner(allocation, ctx) {
                Ok(()) => {
                    let lost = allocation.review(ctx);
                    let lost = tcp_relay::review(allocation, ctx) || lost;
                    reloaded.without_peers += usize::from(lost);
                    let has_key = allocation.identity.key.is_some();
                    let own_realm = *allocation.identity.realm != *ctx.shared.auth.realm();
                    reloaded.of_other_realm += usize::from(has_key && own_realm);
                }
                Err(reason) => self.end(relay, reason),
            }
        }
        if !self.ctx.shared.auth.looks_up() {
            for id in self.ctx.lookups.ids() {
                self.handle_user(now, id, UserAnswer::Unknown);
            }
        }
        reloaded
    }

    /// Writes a UDP allocation out, with all but its sockets; `None`: there is no such allocation,
    /// it relays TCP, or its relay socket is being opened. It lives on here until it is ended.
    pub fn export(&mut self, now: Now, relay: RelayId) -> Option<AllocationState> {
        self.handle_timeout(now);
        let allocation = self.allocations.get_mut(relay)?;
        state::export(allocation, &self.ctx)
    }

    /// Goes on with an allocation that was written out, for a client who is served by `socket`;
    /// the driver has its relay socket and calls it by the returned name from now on.
    ///
    /// # Errors
    /// See [`ImportError`]; nothing has changed then.
    pub fn import(
        &mut self,
        now: Now,
        socket: ClientSocket,
        state: &AllocationState,
    ) -> Result<RelayId, ImportError> {
        self.handle_timeout(now);
        state::import(&mut self.allocations, &mut self.ctx, socket, state)
    }

    /// The live allocations that `filter` chooses and whose serial is above `after`, `limit` of
    /// them at the most, the lowest serials first; and their number without that limit.
    #[must_use]
    pub fn sessions(
        &self,
        now: Now,
        filter: &Filter,
        after: u64,
        limit: usize,
    ) -> (Vec<SessionInfo>, usize) {
        admin::sessions(
            &self.allocations,
            &self.ctx.shared,
            now,
            (filter, after),
            limit,
        )
    }

    /// Every live allocation in brief, in no order.
    #[must_use]
    pub fn session_briefs(&self, now: Now) -> Vec<SessionBrief> {
        admin::briefs(&self.allocations, now)
    }

    /// The live allocations with these serials, which are sorted; in no order.
    #[must_use]
    pub fn sessions_by_serial(&self, now: Now, serials: &[u64]) -> Vec<SessionInfo> {
        admin::by_serial(&self.allocations, &self.ctx.shared, now, serials)
    }

    /// The next thing to do for the driver; call until `None` after every `handle_*`.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.ctx.outputs.pop_front()
    }

    /// The latest time for the next [`Self::handle_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.ctx.deadlines.next()
    }

    /// Whether channel numbers go up to 0x7FFF.
    #[must_use]
    pub fn rfc5766_channels(&self) -> bool {
        self.ctx.shared.protocol.rfc5766_channels
    }

    /// Whether there is an allocation whose client comes by `path`.
    #[must_use]
    pub fn has_allocation(&self, path: &Path) -> bool {
        self.allocations.by_path(path).is_some()
    }

    /// Whether an allocation's client, or one whose request is parked, comes by this socket of the
    /// driver.
    #[must_use]
    pub fn uses(&self, socket: ClientSocket) -> bool {
        self.allocations
            .iter()
            .any(|allocation| allocation.path.socket == socket)
            || self.ctx.lookups.uses(socket)
    }

    /// Live allocations.
    #[must_use]
    pub fn allocations(&self) -> usize {
        self.allocations.len()
    }

    /// Requests that wait until their users have been looked up.
    #[must_use]
    pub fn lookups(&self) -> usize {
        self.ctx.lookups.len()
    }

    /// Counts since the start.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.ctx.counters
    }

    /// Deadlines that are armed; none once everything has ended.
    #[must_use]
    pub fn deadlines(&self) -> usize {
        self.ctx.deadlines.len()
    }

    /// The allocation of a peer connection, and the context beside it.
    fn of_connection(
        &mut self,
        connection: ConnectionId,
    ) -> Option<(&mut Allocation, &mut Context)> {
        let relay = *self.ctx.connections.get(&connection)?;
        Some((self.allocations.get_mut(relay)?, &mut self.ctx))
    }
}
