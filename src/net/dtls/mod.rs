//! Clients whose datagrams need more than an address: DTLS.

mod cookie;
mod session;

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;

use self::cookie::Cookies;
use self::session::{Association, Ended, MAX_RECORD};
use super::io::Io;
use super::secure::Secure;
use super::sockets::Sockets;
use super::udp::Via;
use super::way::Way;
use crate::Now;
use crate::policy::stream_limit::{StreamGuard, StreamLimit};
use crate::server::Server;
use crate::server::five_tuple::{FiveTuple, Path, SocketId, Transport};
use crate::server::output::ClientVerdict;
use crate::wire::dtls_hello::{self, ClientHello};
use crate::wire::indication::Header;

/// How soon the handshake is looked at again; OpenSSL sends a flight again after a second.
const RETRANSMIT: Duration = Duration::from_millis(1100);
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(30);

/// Where a session's datagrams come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) listener: SocketId,
    /// The local address.
    pub(super) server: SocketAddr,
    pub(super) client: SocketAddr,
}

#[derive(Debug)]
struct Session {
    association: Association,
    route: Route,
    path: Path,
    /// Of the ClientHello that it began with.
    random: [u8; 32],
    /// When the handshake must be over.
    until: Instant,
    check: Instant,
    /// Held as long as it has no allocation.
    guard: Option<StreamGuard>,
}

/// How DTLS clients may come.
#[derive(Debug)]
pub(super) struct SessionOptions {
    pub(super) secure: Option<Arc<Secure>>,
    pub(super) limit: Arc<StreamLimit>,
    /// `max-allocate-timeout`.
    pub(super) patience: Duration,
}

/// All DTLS clients of one worker.
#[derive(Debug)]
pub(super) struct Sessions {
    slab: Slab<Session>,
    by_route: HashMap<Route, usize>,
    checks: BTreeSet<(Instant, usize)>,
    cookies: Cookies,
    options: SessionOptions,
    /// What a record says.
    plain: Vec<u8>,
    /// Header and payload together, before they are encrypted.
    joined: Vec<u8>,
}

impl Sessions {
    pub(super) fn new(options: SessionOptions) -> Self {
        Self {
            slab: Slab::new(),
            by_route: HashMap::new(),
            checks: BTreeSet::new(),
            cookies: Cookies::new(),
            plain: vec![0; MAX_RECORD],
            joined: Vec::with_capacity(MAX_RECORD),
            options,
        }
    }

    /// The earliest time for [`Io::check_sessions`].
    pub(super) fn next_check(&self) -> Option<Instant> {
        self.checks.first().map(|(at, _)| *at)
    }

    /// Encrypts a control message and sends it.
    pub(super) fn send(&mut self, sockets: &Sockets, id: usize, message: &[u8]) {
        if let Some(session) = self.slab.get_mut(id) {
            session.association.send(message);
            session.flush(sockets);
        }
    }

    /// Encrypts relayed data and sends it; what is longer than a record is lost.
    pub(super) fn send_data(
        &mut self,
        sockets: &Sockets,
        id: usize,
        header: &Header,
        payload: &[u8],
    ) {
        self.joined.clear();
        self.joined.extend_from_slice(header.as_bytes());
        self.joined.extend_from_slice(payload);
        self.joined.resize(self.joined.len() + header.padding(), 0);
        if let Some(session) = self.slab.get_mut(id) {
            session.association.send(&self.joined);
            session.flush(sockets);
        }
    }

    fn insert(
        &mut self,
        now: Now,
        route: Route,
        random: [u8; 32],
        association: Association,
        guard: StreamGuard,
    ) -> usize {
        let entry = self.slab.vacant_entry();
        let id = entry.key();
        let check = now.mono + RETRANSMIT;
        let tuple = FiveTuple {
            transport: Transport::Dtls,
            client: route.client,
            server: route.server,
        };
        entry.insert(Session {
            association,
            route,
            path: Path {
                tuple,
                socket: Way::Session(id).id(),
            },
            random,
            until: now.mono + HANDSHAKE,
            check,
            guard: Some(guard),
        });
        self.by_route.insert(route, id);
        self.checks.insert((check, id));
        id
    }

    fn remove(&mut self, id: usize) -> Option<Session> {
        let session = self.slab.try_remove(id)?;
        self.by_route.remove(&session.route);
        self.checks.remove(&(session.check, id));
        Some(session)
    }
}

impl Session {
    fn flush(&mut self, sockets: &Sockets) {
        let Some(socket) = sockets.get(Via::Listener(self.route.listener)) else {
            return;
        };
        let from = sockets.source_of(self.route.listener, self.route.server.ip());
        while let Some(datagram) = self.association.poll_datagram() {
            // What the socket does not take is lost, as datagrams are.
            let _ = socket.send(&datagram, self.route.client, from);
        }
    }
}

impl Io {
    /// Takes a datagram that looks like DTLS.
    pub(super) fn dtls_datagram(
        &mut self,
        now: Now,
        server: &mut Server,
        route: Route,
        datagram: &[u8],
    ) {
        let hello = ClientHello::parse(datagram);
        let known = self.sessions.by_route.get(&route).copied();
        let own = |id: usize| {
            let random = self.sessions.slab.get(id).map(|s| s.random);
            hello.is_none_or(|hello| random.is_some_and(|own| own == hello.random()))
        };
        match (known, hello) {
            (Some(id), _) if own(id) => self.session_datagram(now, server, id, datagram),
            (_, Some(hello)) => self.hello(now, server, route, &hello, datagram, known),
            _ => {}
        }
    }

    /// Answers a ClientHello that belongs to no session: with a cookie, or by beginning one.
    fn hello(
        &mut self,
        now: Now,
        server: &mut Server,
        route: Route,
        hello: &ClientHello<'_>,
        datagram: &[u8],
        before: Option<usize>,
    ) {
        let sessions = &mut self.sessions;
        let Some(context) = sessions
            .options
            .secure
            .as_ref()
            .map(|secure| secure.current())
        else {
            return;
        };
        let Some(context) = &context.dtls else {
            return;
        };
        if !sessions.cookies.is_good(now, route.client, hello) {
            let cookie = sessions.cookies.issue(now, route.client, hello);
            let answer = dtls_hello::hello_verify_request(&cookie);
            let from = self.sockets.source_of(route.listener, route.server.ip());
            if let Some(socket) = self.sockets.get(Via::Listener(route.listener)) {
                let _ = socket.send(&answer, route.client, from);
            }
            return;
        }
        let Some(guard) = sessions.options.limit.acquire(route.client.ip()) else {
            return;
        };
        // The client has begun anew on the same port (RFC 6347 §4.2.8).
        if let Some(before) = before {
            self.end_session(now, server, before);
        }
        let Some(association) = Association::new(context, hello, datagram) else {
            return;
        };
        let mut random = [0; 32];
        random.copy_from_slice(hello.random());
        let id = self.sessions.insert(now, route, random, association, guard);
        if let Some(session) = self.sessions.slab.get_mut(id) {
            session.flush(&self.sockets);
            if session.association.has_failed() {
                self.sessions.remove(id);
            }
        }
    }

    fn session_datagram(&mut self, now: Now, server: &mut Server, id: usize, datagram: &[u8]) {
        let Some(session) = self.sessions.slab.get_mut(id) else {
            return;
        };
        let path = session.path;
        let received = session.association.receive(datagram);
        session.flush(&self.sockets);
        if received.is_err() {
            return self.end_session(now, server, id);
        }
        let mut plain = std::mem::take(&mut self.sessions.plain);
        let ended = loop {
            let Some(session) = self.sessions.slab.get_mut(id) else {
                break false;
            };
            match session.association.read(&mut plain) {
                Ok(Some(len)) => self.message(now, server, &path, &plain[..len]),
                Ok(None) => break false,
                Err(Ended) => break true,
            }
        };
        self.sessions.plain = plain;
        if ended {
            self.end_session(now, server, id);
        }
    }

    /// Handles one message that came in a record.
    fn message(&mut self, now: Now, server: &mut Server, path: &Path, bytes: &[u8]) {
        if let ClientVerdict::ToPeer {
            relay,
            peer,
            payload,
            ..
        } = server.handle_client(now, path, bytes)
            && let Some(socket) = self.sockets.get(Via::Relay(relay))
        {
            // What the socket does not take is lost, as datagrams are.
            let _ = socket.send(payload, peer.0, None);
        }
        self.apply_outputs(now, server);
    }

    /// Goes on with handshakes, and ends what has had no allocation for too long.
    pub(super) fn check_sessions(&mut self, now: Now, server: &mut Server) {
        while let Some((at, id)) = self.sessions.checks.first().copied()
            && at <= now.mono
        {
            self.sessions.checks.pop_first();
            let patience = self.sessions.options.patience;
            let Some(session) = self.sessions.slab.get_mut(id) else {
                continue;
            };
            let next = if !session.association.is_established() {
                let failed = session.association.advance().is_err();
                session.flush(&self.sockets);
                (!failed && now.mono < session.until).then_some(RETRANSMIT)
            } else if server.has_allocation(&session.path) {
                session.guard = None;
                Some(patience)
            } else {
                // The first look since the handshake leaves the client its time.
                let first = session.until > now.mono;
                session.until = now.mono;
                first.then_some(patience)
            };
            match next {
                Some(wait) => {
                    session.check = now.mono + wait;
                    self.sessions.checks.insert((session.check, id));
                }
                None => self.end_session(now, server, id),
            }
        }
    }

    fn end_session(&mut self, now: Now, server: &mut Server, id: usize) {
        let Some(mut session) = self.sessions.remove(id) else {
            return;
        };
        session.association.close();
        session.flush(&self.sockets);
        server.handle_disconnect(now, &session.path);
        self.apply_outputs(now, server);
    }
}

/// Whether a datagram is for DTLS (RFC 7983 §7).
pub(super) fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=63))
}
