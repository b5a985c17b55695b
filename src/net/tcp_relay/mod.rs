//! Connections with peers, and the data connections that are joined to them (RFC 6062).

mod splice;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mio::Registry;
use mio::net::{TcpListener, TcpStream};
use slab::Slab;
use socket2::Socket;

pub(super) use self::splice::DataStream;
use self::splice::{Buffers, Joint, Meter, Progress};
use super::admission::Displaced;
use super::source::{Source, Turn};
use super::tcp::{ACCEPT_PAUSE, Acceptor, new_socket};
use super::worker::{Command, Commands, Worker};
use turnd_proto::Now;
use turnd_proto::server::Server;
use turnd_proto::server::connections::ConnectionId;
use turnd_proto::server::output::RelayId;

/// Connections of peers that the kernel holds until they are taken.
const BACKLOG: i32 = 64;
/// Connections that one turn takes at the most.
const AT_ONCE: usize = 16;
/// How soon the limits are asked again at the latest, as a reload may have raised them.
const HELD_PAUSE: Duration = Duration::from_secs(1);

/// Every worker, once all have started.
pub(super) type Workers = Arc<OnceLock<Arc<[Commands]>>>;

/// The peer connections of one worker.
#[derive(Debug)]
pub(super) struct Peers {
    registry: Registry,
    workers: Workers,
    relays: HashMap<RelayId, TcpListener>,
    connections: Slab<Connection>,
    by_id: HashMap<ConnectionId, usize>,
    /// Those that are to have a turn without a word from the system.
    stirred: Vec<usize>,
    buffers: Option<Buffers>,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    state: State,
}

#[derive(Debug)]
enum State {
    /// It could not even be begun.
    Failed,
    Connecting(TcpStream),
    /// Nothing is read before the client has come: what the peer sends waits in the kernel.
    Waiting(TcpStream),
    Joined(Box<Joint>),
}

impl Peers {
    pub(super) fn new(registry: Registry, workers: Workers) -> Self {
        Self {
            registry,
            workers,
            relays: HashMap::new(),
            connections: Slab::new(),
            by_id: HashMap::new(),
            stirred: Vec::new(),
            buffers: None,
        }
    }

    /// Listens on a relayed transport address.
    pub(super) fn listen(&mut self, relay: RelayId, addr: SocketAddr) -> io::Result<()> {
        Acceptor::check_free(addr)?;
        let socket = shared_socket(addr)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let mut listener = TcpListener::from_std(socket.into());
        Source::TcpRelay(relay).watch_readable(&self.registry, &mut listener)?;
        self.relays.insert(relay, listener);
        Ok(())
    }

    /// Stops listening, if `relay` relays TCP.
    pub(super) fn close_relay(&mut self, relay: RelayId) -> bool {
        self.relays.remove(&relay).is_some()
    }

    /// Connects to a peer from a relayed transport address.
    pub(super) fn connect(&mut self, connection: ConnectionId, from: SocketAddr, to: SocketAddr) {
        let key = self.connections.vacant_key();
        let begun = begin_connect(from, to).and_then(|mut tcp| {
            Source::Connection(key).watch(&self.registry, &mut tcp)?;
            Ok(tcp)
        });
        let state = begun.map_or(State::Failed, State::Connecting);
        if matches!(state, State::Failed) {
            self.stirred.push(key);
        }
        self.insert(connection, state);
    }

    fn insert(&mut self, id: ConnectionId, state: State) {
        let key = self.connections.insert(Connection { id, state });
        self.by_id.insert(id, key);
    }

    /// Closes a connection in whatever state.
    pub(super) fn close(&mut self, connection: ConnectionId) {
        if let Some(key) = self.by_id.remove(&connection) {
            self.connections.remove(key);
        }
    }

    /// Keeps a peer's connection until the client comes for it.
    fn keep(&mut self, connection: ConnectionId, mut tcp: TcpStream) -> io::Result<()> {
        let key = self.connections.vacant_key();
        Source::Connection(key).watch(&self.registry, &mut tcp)?;
        self.insert(connection, State::Waiting(tcp));
        Ok(())
    }

    /// Takes a connection that is to have a turn though the system has said nothing.
    pub(super) fn next_stirred(&mut self) -> Option<Source> {
        self.stirred.pop().map(Source::Connection)
    }

    /// Tells the worker of a client that it has to end.
    pub(super) fn displace(&self, displaced: Displaced) {
        self.tell(displaced.client.worker, Command::Displace(displaced));
    }

    /// Sends a data connection to the worker that has its peer connection.
    pub(super) fn hand_over(&self, worker: usize, connection: ConnectionId, data: DataStream) {
        // A worker that is gone closes the connection by dropping it.
        self.tell(worker, Command::Join(connection, Box::new(data)));
    }

    fn tell(&self, worker: usize, command: Command) {
        let workers = self.workers.get();
        if let Some(worker) = workers.and_then(|workers| workers.get(worker)) {
            worker.send(command);
        }
    }
}

/// What the server has to say of a joined connection.
struct Metered<'a> {
    server: &'a mut Server,
    now: Now,
    id: ConnectionId,
    /// When the first direction that was held is to be asked again.
    again: Option<Instant>,
}

impl Meter for Metered<'_> {
    fn is_open(&mut self, to_peer: bool) -> bool {
        match self.server.may_carry(self.now, self.id, to_peer) {
            Ok(()) => true,
            Err(again) => {
                self.again = Some(self.again.map_or(again, |first| first.min(again)));
                false
            }
        }
    }

    fn count(&mut self, to_peer: bool, len: usize) {
        self.server
            .handle_connection_data(self.now, self.id, to_peer, len);
    }
}

/// A socket that shares the relayed transport address with its other connections.
fn shared_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = new_socket(addr)?;
    socket.set_reuse_port(true)?;
    Ok(socket)
}

/// Begins to connect; the socket becomes writable when that has an end.
fn begin_connect(from: SocketAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = shared_socket(from)?;
    socket.bind(&from.into())?;
    match socket.connect(&to.into()) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

/// Whether a connection that was begun is there; `None`: not yet.
fn connected(tcp: &TcpStream) -> Option<bool> {
    match tcp.take_error() {
        Ok(None) => {}
        Ok(Some(_)) | Err(_) => return Some(false),
    }
    match tcp.peer_addr() {
        Ok(_) => Some(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => None,
        Err(_) => Some(false),
    }
}

impl Worker {
    /// Takes some of the connections that peers have made to a relayed transport address.
    pub(super) fn accept_peers(&mut self, now: Now, relay: RelayId) -> Turn {
        for _ in 0..AT_ONCE {
            // An earlier one may have ended the allocation.
            let Some(listener) = self.io.peers.relays.get(&relay) else {
                return Turn::Drained;
            };
            match listener.accept() {
                Ok((tcp, peer)) => self.inbound(now, relay, tcp, peer),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Drained,
                Err(_) => return Turn::Later(ACCEPT_PAUSE),
            }
        }
        Turn::More
    }

    fn inbound(&mut self, now: Now, relay: RelayId, tcp: TcpStream, peer: SocketAddr) {
        if let Some(connection) = self.server.handle_inbound(now, relay, peer)
            && self.io.peers.keep(connection, tcp).is_err()
        {
            self.server.handle_connection_closed(connection);
        }
        self.apply_outputs(now);
    }

    /// Serves one turn of a peer connection.
    pub(super) fn serve_connection(&mut self, now: Now, key: usize) -> Turn {
        let peers = &mut self.io.peers;
        let Some(Connection { id, state }) = peers.connections.get_mut(key) else {
            return Turn::Drained;
        };
        let id = *id;
        match state {
            State::Failed => self.connected(now, key, id, false),
            State::Connecting(tcp) => {
                if let Some(ok) = connected(tcp) {
                    self.connected(now, key, id, ok);
                }
            }
            State::Waiting(_) => {}
            State::Joined(joint) => {
                let buffers = peers.buffers.get_or_insert_default();
                let server = &mut self.server;
                let mut meter = Metered {
                    server,
                    now,
                    id,
                    again: None,
                };
                match joint.carry(buffers, &mut meter) {
                    Ok(Progress::Idle) => {}
                    Ok(Progress::More) => return Turn::More,
                    Ok(Progress::Held) => {
                        let again = meter.again.unwrap_or(now.mono);
                        let pause = again.saturating_duration_since(now.mono);
                        return Turn::Later(pause.min(HELD_PAUSE));
                    }
                    // A failure is an end like any other: both sides are closed.
                    Ok(Progress::Done) | Err(_) => {
                        peers.close(id);
                        self.server.handle_connection_closed(id);
                        self.apply_outputs(now);
                    }
                }
            }
        }
        Turn::Drained
    }

    fn connected(&mut self, now: Now, key: usize, id: ConnectionId, ok: bool) {
        let peers = &mut self.io.peers;
        if ok && let Some(connection) = peers.connections.get_mut(key) {
            let connecting = std::mem::replace(&mut connection.state, State::Failed);
            if let State::Connecting(tcp) = connecting {
                connection.state = State::Waiting(tcp);
            }
        } else {
            peers.close(id);
        }
        self.server.handle_connected(now, id, ok);
        self.apply_outputs(now);
    }

    /// Joins a data connection that this or another worker has taken to the peer connection here.
    pub(super) fn join(&mut self, id: ConnectionId, mut data: DataStream) {
        let peers = &mut self.io.peers;
        let Some(&key) = peers.by_id.get(&id) else {
            return;
        };
        let watched = Source::Connection(key).watch(&peers.registry, &mut data.tcp);
        if watched.is_err() || !self.server.handle_joined(id) {
            peers.close(id);
            self.server.handle_connection_closed(id);
            return;
        }
        let connection = &mut peers.connections[key];
        let waiting = std::mem::replace(&mut connection.state, State::Failed);
        if let State::Waiting(peer) = waiting {
            // Without it the connection is slower.
            let _ = peer.set_nodelay(true);
            connection.state = State::Joined(Box::new(Joint::new(data, peer)));
            peers.stirred.push(key);
        }
    }
}
