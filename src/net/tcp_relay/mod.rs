//! Relaying of TCP (RFC 6062): connections with peers, and the data connections that are spliced to
//! them.

mod splice;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::Registry;
use mio::net::{TcpListener, TcpStream};
use slab::Slab;
use socket2::Socket;

pub(super) use self::splice::DataStream;
use self::splice::{Buffers, Limit, Progress, Splice};
use super::poll::{Source, Turn};
use super::tcp_sockets::{ACCEPT_PAUSE, Acceptor, new_socket};
use turnd_proto::Now;
use turnd_proto::server::Server;
use turnd_proto::server::connections::ConnectionId;
use turnd_proto::server::output::RelayId;

/// Connections of peers that the kernel holds until they are taken.
const BACKLOG: i32 = 64;
/// Connections that one turn takes at the most.
const AT_ONCE: usize = 16;
/// Longest time until the limits are asked again, as a reload may have raised them.
const HELD_PAUSE: Duration = Duration::from_secs(1);

/// The peer connections of one worker.
#[derive(Debug)]
pub(super) struct TcpRelay {
    registry: Registry,
    relays: HashMap<RelayId, TcpListener>,
    connections: Slab<Connection>,
    by_id: HashMap<ConnectionId, usize>,
    /// Connections to be served although the system has reported nothing: connecting has failed at
    /// once, or bytes have been read already.
    pending: Vec<u32>,
    buffers: Buffers,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Connecting has failed at once.
    Failed,
    Connecting(TcpStream),
    /// Nothing is read before the client has come: what the peer sends waits in the kernel.
    Waiting(TcpStream),
    Spliced(Box<Splice<TcpStream>>),
}

impl TcpRelay {
    pub(super) fn new(registry: Registry) -> Self {
        Self {
            registry,
            relays: HashMap::new(),
            connections: Slab::new(),
            by_id: HashMap::new(),
            pending: Vec::new(),
            buffers: Buffers::default(),
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
            Source::PeerConnection(key as u32).watch(&self.registry, &mut tcp)?;
            Ok(tcp)
        });
        let state = begun.map_or(State::Failed, State::Connecting);
        if matches!(state, State::Failed) {
            self.pending.push(key as u32);
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
        Source::PeerConnection(key as u32).watch(&self.registry, &mut tcp)?;
        self.insert(connection, State::Waiting(tcp));
        Ok(())
    }

    /// Takes a connection that is to be served although the system has reported nothing.
    pub(super) fn pop_pending(&mut self) -> Option<Source> {
        self.pending.pop().map(Source::PeerConnection)
    }

    /// Takes some of the connections that peers have made to a relayed transport address.
    pub(super) fn on_listener_ready(
        &mut self,
        now: Now,
        server: &mut Server,
        relay: RelayId,
    ) -> Turn {
        for _ in 0..AT_ONCE {
            let Some(listener) = self.relays.get(&relay) else {
                return Turn::Drained;
            };
            match listener.accept() {
                Ok((tcp, peer)) => {
                    if let Some(connection) = server.handle_inbound(now, relay, peer)
                        && self.keep(connection, tcp).is_err()
                    {
                        server.handle_connection_closed(connection);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Turn::Drained,
                Err(_) => return Turn::Later(ACCEPT_PAUSE),
            }
        }
        Turn::More
    }

    /// Serves one turn of a peer connection; the server's outputs are the caller's to carry out.
    pub(super) fn on_ready(&mut self, now: Now, server: &mut Server, key: u32) -> Turn {
        let Some(connection) = self.connections.get_mut(key as usize) else {
            return Turn::Drained;
        };
        let id = connection.id;
        match &mut connection.state {
            State::Failed => {
                self.close(id);
                server.handle_connected(now, id, false);
            }
            State::Connecting(tcp) => match connected(tcp) {
                None => {}
                Some(true) => {
                    connection.state.connected();
                    server.handle_connected(now, id, true);
                }
                Some(false) => {
                    self.close(id);
                    server.handle_connected(now, id, false);
                }
            },
            State::Waiting(_) => {}
            State::Spliced(splice) => {
                let mut limit = ServerLimit {
                    server,
                    now,
                    id,
                    again: None,
                };
                match splice.carry(&mut self.buffers, &mut limit) {
                    Ok(Progress::Idle) => {}
                    Ok(Progress::More) => return Turn::More,
                    Ok(Progress::Held) => {
                        let again = limit.again.unwrap_or(now.mono);
                        let pause = again.saturating_duration_since(now.mono);
                        return Turn::Later(pause.min(HELD_PAUSE));
                    }
                    // A failure is an end like any other: both sides are closed.
                    Ok(Progress::Done) | Err(_) => {
                        self.close(id);
                        server.handle_connection_closed(id);
                    }
                }
            }
        }
        Turn::Drained
    }

    /// Splices a data connection that this or another worker has taken to the peer connection here.
    pub(super) fn join(&mut self, server: &mut Server, id: ConnectionId, mut data: DataStream) {
        let Some(&key) = self.by_id.get(&id) else {
            return;
        };
        let watched = Source::PeerConnection(key as u32).watch(&self.registry, &mut data.tcp);
        if watched.is_err() || !server.handle_joined(id) {
            self.close(id);
            server.handle_connection_closed(id);
            return;
        }
        self.connections[key].state.splice(data);
        self.pending.push(key as u32);
    }
}

impl State {
    /// Waits for the client from now on.
    fn connected(&mut self) {
        *self = match std::mem::replace(self, Self::Failed) {
            Self::Connecting(tcp) => Self::Waiting(tcp),
            other => other,
        };
    }

    /// Relays between the client and the peer from now on.
    fn splice(&mut self, data: DataStream) {
        *self = match std::mem::replace(self, Self::Failed) {
            Self::Waiting(peer) => {
                // Without it the connection is slower.
                let _ = peer.set_nodelay(true);
                Self::Spliced(Box::new(Splice::new(data, peer)))
            }
            other => other,
        };
    }
}

/// Limits of the server on a spliced connection.
struct ServerLimit<'a> {
    server: &'a mut Server,
    now: Now,
    id: ConnectionId,
    /// Time to ask again for the first direction that was held.
    again: Option<Instant>,
}

impl Limit for ServerLimit<'_> {
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

#[cfg(test)]
mod tests;
