//! Clients whose datagrams need more than an address: DTLS clients, and those behind a proxy.

#[cfg_attr(not(feature = "dtls"), path = "association/absent.rs")]
mod association;
mod cookie;

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use slab::Slab;
use turnd_udp::{Outgoing, SendQueue};

use self::association::{Association, Ended, MAX_RECORD};
use self::cookie::Cookies;
use super::admission::{Admission, Displaced, Idle};
use super::certs::Secure;
use super::io::{Io, Serving};
use super::udp_sockets::{Sockets, UdpSocketId};
use turnd_proto::Now;
use turnd_proto::policy::ip_range::IpRange;
use turnd_proto::policy::peer_filter::canonical_ip;
use turnd_proto::server::five_tuple::{ClientSocket, FiveTuple, Path, Transport};
use turnd_proto::server::output::{ClientVerdict, DropReason};
use turnd_proto::wire::dtls_hello::{self, ClientHello};
use turnd_proto::wire::indication::Header;
use turnd_proto::wire::proxy::{self, Addresses, Parsed};

/// How soon the handshake is looked at again; OpenSSL sends a flight again after a second.
const RETRANSMIT: Duration = Duration::from_millis(1100);
/// How long a handshake may take: three flights may get lost, one after the other.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Minimum interval between two associations of one route, each of which costs a signature.
const RENEWAL_INTERVAL: Duration = Duration::from_secs(2);
/// Bytes of memory of a client behind a proxy.
const PROXIED_BYTES: usize = 512;

/// Where a session's datagrams come from and go to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Route {
    pub(super) listener: u16,
    /// The local address.
    pub(super) server: SocketAddr,
    /// The client, or the proxy before it.
    pub(super) client: SocketAddr,
}

impl Route {
    /// Whom it connects when there is no proxy.
    pub(super) fn named(&self) -> Addresses {
        Addresses {
            client: self.client,
            server: self.server,
        }
    }

    /// Queues what goes back on it.
    fn answer(&self, queue: &mut SendQueue<UdpSocketId>, sockets: &Sockets, datagram: &[u8]) {
        let from = sockets.source(self.listener, self.server.ip());
        let socket = UdpSocketId::Listener(self.listener);
        queue.push_copy(&Outgoing::plain(socket, self.client, from, datagram));
    }
}

/// Which session of a route: a client may use both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// Behind a proxy.
    Plain,
    Dtls,
}

#[derive(Debug)]
struct Session {
    /// `None`: plain datagrams.
    association: Option<Association>,
    route: Route,
    path: Path,
    /// Of the ClientHello that it began with.
    random: [u8; 32],
    /// When it began.
    begun: Instant,
    check: Instant,
    /// The client's place and time without an allocation; `None`: it has one.
    idle: Option<Idle>,
}

/// How these clients may come.
#[derive(Debug)]
pub(super) struct SessionOptions {
    pub(super) secure: Option<Arc<Secure>>,
    /// `trusted-proxies`.
    pub(super) proxies: Vec<IpRange>,
}

/// All these clients of one worker.
#[derive(Debug)]
pub(super) struct Sessions {
    slab: Slab<Session>,
    by_route: HashMap<(Route, Kind), usize>,
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

    /// Sends a control message.
    pub(super) fn send(
        &mut self,
        queue: &mut SendQueue<UdpSocketId>,
        sockets: &Sockets,
        id: usize,
        message: &[u8],
    ) {
        if let Some(session) = self.slab.get_mut(id) {
            session.send(queue, sockets, message);
        }
    }

    /// Sends relayed data; what is longer than a record is lost to a DTLS client.
    pub(super) fn send_data(
        &mut self,
        queue: &mut SendQueue<UdpSocketId>,
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
            session.send(queue, sockets, &self.joined);
        }
    }

    fn insert(
        &mut self,
        now: Now,
        admission: &mut Admission,
        route: Route,
        named: Addresses,
        association: Option<(Association, [u8; 32])>,
    ) -> usize {
        let proxied = self.trusts(route.client.ip());
        let entry = self.slab.vacant_entry();
        let id = entry.key();
        let number = id as u32;
        let (kind, transport, socket) = match association {
            Some(_) => (Kind::Dtls, Transport::Dtls, ClientSocket::Dtls(number)),
            None => (Kind::Plain, Transport::Udp, ClientSocket::Proxied(number)),
        };
        let bytes = bytes(association.as_ref().map(|(association, _)| association));
        let idle = admission.admit(now, named.client.ip(), socket, bytes);
        let check = match association {
            Some(_) => now.mono + RETRANSMIT,
            None => admission.deadline(&idle),
        };
        let tuple = FiveTuple {
            transport,
            client: named.client,
            server: named.server,
        };
        let (association, random) = association.unzip();
        entry.insert(Session {
            association,
            route,
            path: Path {
                tuple,
                socket,
                proxied,
            },
            random: random.unwrap_or_default(),
            begun: now.mono,
            check,
            idle: Some(idle),
        });
        self.by_route.insert((route, kind), id);
        self.checks.insert((check, id));
        id
    }

    /// Whether datagrams from `ip` begin with a PROXY header.
    pub(super) fn trusts(&self, ip: IpAddr) -> bool {
        let proxies = &self.options.proxies;
        !proxies.is_empty() && proxies.iter().any(|range| range.contains(canonical_ip(ip)))
    }

    /// The client that a datagram of a proxy comes from, and the client's bytes. A header that
    /// came before is good for those that come without.
    pub(super) fn unwrap_datagram<'a>(
        &self,
        route: Route,
        datagram: &'a [u8],
    ) -> Option<(Addresses, &'a [u8])> {
        if !proxy::is_header(datagram) {
            let known = [Kind::Plain, Kind::Dtls].into_iter().find_map(|kind| {
                let id = self.by_route.get(&(route, kind))?;
                Some(self.slab.get(*id)?.path.tuple)
            })?;
            let named = Addresses {
                client: known.client,
                server: known.server,
            };
            return Some((named, datagram));
        }
        match proxy::parse_datagram(datagram) {
            Parsed::Header { addresses, len } => {
                Some((addresses.unwrap_or(route.named()), &datagram[len..]))
            }
            Parsed::Partial | Parsed::Malformed => None,
        }
    }

    /// Whether a client has a session on this route.
    pub(super) fn knows(&self, route: Route) -> bool {
        let kinds = [Kind::Plain, Kind::Dtls];
        kinds
            .iter()
            .any(|kind| self.by_route.contains_key(&(route, *kind)))
    }

    /// Whether a session has come in by this listening socket.
    pub(super) fn use_listener(&self, listener: u16) -> bool {
        self.slab
            .iter()
            .any(|(_, session)| session.route.listener == listener)
    }

    /// Counts a client among those without an allocation, as its own has ended.
    pub(super) fn idle_again(&mut self, now: Now, admission: &mut Admission, id: usize) {
        let Some(session) = self.slab.get_mut(id) else {
            return;
        };
        let bytes = bytes(session.association.as_ref());
        let Path { tuple, socket, .. } = session.path;
        let mut idle = admission.admit(now, tuple.client.ip(), socket, bytes);
        idle.hear(now);
        self.checks.remove(&(session.check, id));
        session.check = admission.deadline(&idle);
        self.checks.insert((session.check, id));
        session.idle = Some(idle);
    }

    fn remove(&mut self, id: usize) -> Option<Session> {
        let session = self.slab.try_remove(id)?;
        let kind = match session.association {
            Some(_) => Kind::Dtls,
            None => Kind::Plain,
        };
        self.by_route.remove(&(session.route, kind));
        self.checks.remove(&(session.check, id));
        Some(session)
    }
}

impl Session {
    fn send(&mut self, queue: &mut SendQueue<UdpSocketId>, sockets: &Sockets, message: &[u8]) {
        match &mut self.association {
            Some(association) => {
                association.send(message);
                self.flush(queue, sockets);
            }
            None => self.route.answer(queue, sockets, message),
        }
    }

    fn flush(&mut self, queue: &mut SendQueue<UdpSocketId>, sockets: &Sockets) {
        while let Some(datagram) = self
            .association
            .as_mut()
            .and_then(Association::poll_datagram)
        {
            self.route.answer(queue, sockets, &datagram);
        }
    }
}

impl Io {
    /// Takes a datagram that looks like DTLS.
    pub(super) fn dtls_datagram(
        &mut self,
        serving: &mut Serving<'_>,
        route: Route,
        named: Addresses,
        datagram: &[u8],
    ) {
        let hello = ClientHello::parse(datagram);
        let known = self.sessions.by_route.get(&(route, Kind::Dtls)).copied();
        let own = |id: usize| {
            let random = self.sessions.slab.get(id).map(|s| s.random);
            hello.is_none_or(|hello| random.is_some_and(|own| own == hello.random()))
        };
        match (known, hello) {
            (Some(id), _) if own(id) => self.session_datagram(serving, id, datagram),
            (_, Some(hello)) => self.hello(serving, (route, named), &hello, datagram, known),
            // The rest of a hello whose first fragment was answered, or what nobody waits for.
            _ => {}
        }
    }

    /// Answers a ClientHello that belongs to no session: with a cookie, or by beginning one.
    fn hello(
        &mut self,
        serving: &mut Serving<'_>,
        (route, named): (Route, Addresses),
        hello: &ClientHello<'_>,
        datagram: &[u8],
        before: Option<usize>,
    ) {
        let now = serving.now;
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
        let client = named.client;
        if !sessions.cookies.is_good(now, client, hello) {
            if !self.admission.may_answer_hello(now, client.ip()) {
                return serving.server.count_drops(DropReason::ReplyRate, 1);
            }
            let cookie = sessions.cookies.issue(now, client, hello);
            let answer = dtls_hello::hello_verify_request(&cookie);
            serving.server.count_hello_verify_request();
            return route.answer(&mut self.queue, &self.sockets, &answer);
        }
        let renewed_too_soon = before
            .and_then(|before| sessions.slab.get(before))
            .is_some_and(|before| now.mono < before.begun + RENEWAL_INTERVAL);
        if renewed_too_soon || !self.admission.may_begin_handshake(now, client.ip()) {
            return serving.server.count_drops(DropReason::HandshakeRate, 1);
        }
        // The client has begun anew on the same port (RFC 6347 §4.2.8).
        if let Some(before) = before {
            self.end_session(serving, before);
        }
        let Some(association) = Association::new(context, datagram) else {
            return;
        };
        let mut random = [0; 32];
        random.copy_from_slice(hello.random());
        let association = Some((association, random));
        let (sessions, admission) = (&mut self.sessions, &mut self.admission);
        let id = sessions.insert(now, admission, route, named, association);
        if let Some(session) = self.sessions.slab.get_mut(id) {
            session.flush(&mut self.queue, &self.sockets);
            if session
                .association
                .as_ref()
                .is_some_and(Association::has_failed)
            {
                self.sessions.remove(id);
            }
        }
    }

    /// The path of a client behind a proxy.
    pub(super) fn proxied_path(
        &mut self,
        serving: &mut Serving<'_>,
        route: Route,
        named: Addresses,
    ) -> Option<Path> {
        let known = self.sessions.by_route.get(&(route, Kind::Plain)).copied();
        if let Some(id) = known {
            let session = self.sessions.slab.get_mut(id)?;
            let path = session.path;
            if (path.tuple.client, path.tuple.server) == (named.client, named.server) {
                if session.idle.is_some() && serving.server.has_allocation(&path) {
                    session.idle = None;
                } else if let Some(idle) = &mut session.idle {
                    idle.hear(serving.now);
                }
                return Some(path);
            }
            // The proxy is trusted, and uses the port for another client now: what the one before
            // has there is nobody's any more. A proxy that heads the first datagram alone lets its
            // client end a session so, but none except the client's own.
            self.end_session(serving, id);
        }
        let (sessions, admission) = (&mut self.sessions, &mut self.admission);
        let id = sessions.insert(serving.now, admission, route, named, None);
        let session = sessions.slab.get_mut(id)?;
        // A datagram is a whole message.
        if let Some(idle) = &mut session.idle {
            idle.hear(serving.now);
        }
        Some(session.path)
    }

    fn session_datagram(&mut self, serving: &mut Serving<'_>, id: usize, datagram: &[u8]) {
        let Some(session) = self.sessions.slab.get_mut(id) else {
            return;
        };
        let path = session.path;
        let Some(association) = &mut session.association else {
            return;
        };
        let before = association.is_established();
        if association.receive(datagram).is_err() {
            return self.end_session(serving, id);
        }
        if association.is_established()
            && !before
            && let Some(idle) = &mut session.idle
        {
            idle.restart(serving.now);
        }
        let mut plain = std::mem::take(&mut self.sessions.plain);
        let mut heard = false;
        let ended = loop {
            let session = self.sessions.slab.get_mut(id);
            let Some(association) = session.and_then(|s| s.association.as_mut()) else {
                break false;
            };
            match association.read(&mut plain) {
                Ok(Some(len)) => {
                    heard = true;
                    self.message(serving, &path, &plain[..len]);
                }
                Ok(None) => break false,
                Err(Ended) => break true,
            }
        };
        self.sessions.plain = plain;
        if ended {
            return self.end_session(serving, id);
        }
        if let Some(session) = self.sessions.slab.get_mut(id) {
            // Of the handshake, or again what reading has found to be lost.
            session.flush(&mut self.queue, &self.sockets);
            if session.idle.is_some() && serving.server.has_allocation(&path) {
                session.idle = None;
            } else if heard && let Some(idle) = &mut session.idle {
                idle.hear(serving.now);
            }
        }
    }

    /// Handles one message that came in a record.
    fn message(&mut self, serving: &mut Serving<'_>, path: &Path, bytes: &[u8]) {
        if let ClientVerdict::ToPeer {
            relay,
            peer,
            payload,
            dont_fragment,
        } = serving.server.handle_client(serving.now, path, bytes)
        {
            let outgoing = Outgoing::plain(UdpSocketId::Relay(relay), peer.0, None, payload);
            self.queue.push_copy(&Outgoing {
                dont_fragment,
                ..outgoing
            });
        }
        self.apply_outputs(serving);
    }

    /// Goes on with handshakes, and ends what has had no allocation for too long.
    pub(super) fn check_sessions(&mut self, serving: &mut Serving<'_>) {
        let now = serving.now;
        while let Some((at, id)) = self.sessions.checks.first().copied()
            && at <= now.mono
        {
            self.sessions.checks.pop_first();
            let Some(session) = self.sessions.slab.get_mut(id) else {
                continue;
            };
            let next = if let Some(association) = &mut session.association
                && !association.is_established()
            {
                let failed = association.advance().is_err();
                session.flush(&mut self.queue, &self.sockets);
                let over = failed || now.mono >= session.begun + HANDSHAKE;
                if over {
                    now.mono
                } else {
                    now.mono + RETRANSMIT
                }
            } else if serving.server.has_allocation(&session.path) {
                session.idle = None;
                now.mono + self.admission.patience()
            } else if let Some(idle) = &session.idle {
                self.admission.deadline(idle)
            } else {
                // Its allocation is another's of its proxy now.
                self.sessions.idle_again(now, &mut self.admission, id);
                continue;
            };
            if next > now.mono {
                session.check = next;
                self.sessions.checks.insert((next, id));
            } else {
                self.end_session(serving, id);
            }
        }
    }

    /// Ends a client that has to, unless its name is another's by now.
    pub(super) fn displace_session(
        &mut self,
        serving: &mut Serving<'_>,
        id: usize,
        displaced: &Displaced,
    ) {
        let idle = self.sessions.slab.get(id).and_then(|s| s.idle.as_ref());
        if idle.is_some_and(|idle| idle.is(displaced)) {
            serving.server.count_drops(DropReason::TooManyStreams, 1);
            self.end_session(serving, id);
        }
    }

    fn end_session(&mut self, serving: &mut Serving<'_>, id: usize) {
        let Some(mut session) = self.sessions.remove(id) else {
            return;
        };
        if let Some(association) = &mut session.association {
            association.close();
            session.flush(&mut self.queue, &self.sockets);
        }
        serving.server.handle_disconnect(serving.now, &session.path);
        self.apply_outputs(serving);
    }
}

/// Bytes of memory of a session.
fn bytes(association: Option<&Association>) -> usize {
    association.map_or(PROXIED_BYTES, |_| association::BYTES)
}

/// Whether a datagram is for DTLS (RFC 7983 §7).
pub(super) fn is_dtls(datagram: &[u8]) -> bool {
    matches!(datagram.first(), Some(20..=63))
}
