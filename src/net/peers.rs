//! Connections with peers, and the data connections that are joined to them (RFC 6062).

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::AbortHandle;

use super::now;
use super::stream::{Acceptor, DataStream, join};
use super::worker::{Command, Worker};
use crate::Now;
use crate::server::connections::ConnectionId;
use crate::server::output::RelayId;

/// Connections of peers that the kernel holds until they are taken.
const BACKLOG: i32 = 64;
/// How long to leave the kernel alone when no descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);

/// Every worker, once all have started.
pub(super) type Workers = Arc<OnceLock<Arc<[UnboundedSender<Command>]>>>;

/// The peer connections of one worker.
#[derive(Debug)]
pub(super) struct Peers {
    /// The worker that they belong to, for their tasks.
    worker: Weak<RefCell<Worker>>,
    workers: Workers,
    relays: HashMap<RelayId, AbortHandle>,
    connections: HashMap<ConnectionId, Connection>,
}

#[derive(Debug)]
enum Connection {
    /// A task connects, or carries data.
    Task(AbortHandle),
    /// Nothing is read before the client has come: what the peer sends waits in the kernel.
    Waiting(TcpStream),
}

impl Peers {
    pub(super) fn new(workers: Workers) -> Self {
        Self {
            worker: Weak::new(),
            workers,
            relays: HashMap::new(),
            connections: HashMap::new(),
        }
    }

    /// Tells whom the tasks work for.
    pub(super) fn belong_to(&mut self, worker: &Rc<RefCell<Worker>>) {
        self.worker = Rc::downgrade(worker);
    }

    /// Listens on a relayed transport address.
    pub(super) fn listen(&mut self, relay: RelayId, addr: SocketAddr) -> io::Result<()> {
        Acceptor::check_free(addr)?;
        let socket = new_socket(addr)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let task = accept(self.worker.clone(), relay, listener);
        let task = tokio::task::spawn_local(task).abort_handle();
        self.relays.insert(relay, task);
        Ok(())
    }

    /// Stops listening, if `relay` relays TCP.
    pub(super) fn close_relay(&mut self, relay: RelayId) -> bool {
        let task = self.relays.remove(&relay);
        task.inspect(AbortHandle::abort).is_some()
    }

    /// Connects to a peer from a relayed transport address.
    pub(super) fn connect(&mut self, connection: ConnectionId, from: SocketAddr, to: SocketAddr) {
        let task = connect(self.worker.clone(), connection, from, to);
        let task = tokio::task::spawn_local(task).abort_handle();
        self.connections.insert(connection, Connection::Task(task));
    }

    /// Closes a connection in whatever state.
    pub(super) fn close(&mut self, connection: ConnectionId) {
        if let Some(Connection::Task(task)) = self.connections.remove(&connection) {
            task.abort();
        }
    }

    /// Sends a data connection to the worker that has its peer connection.
    pub(super) fn hand_over(&self, worker: usize, connection: ConnectionId, data: DataStream) {
        let workers = self.workers.get();
        if let Some(worker) = workers.and_then(|workers| workers.get(worker)) {
            // A worker that is gone closes the connection by dropping it.
            let _ = worker.send(Command::Join(connection, Box::new(data)));
        }
    }
}

/// A socket that shares the relayed transport address with its other connections.
fn new_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

async fn accept(worker: Weak<RefCell<Worker>>, relay: RelayId, listener: TcpListener) {
    loop {
        let accepted = listener.accept().await;
        let Some(worker) = worker.upgrade() else {
            return;
        };
        match accepted {
            Ok((tcp, peer)) => worker.borrow_mut().inbound(now(), relay, tcp, peer),
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn connect(
    worker: Weak<RefCell<Worker>>,
    connection: ConnectionId,
    from: SocketAddr,
    to: SocketAddr,
) {
    let socket = || {
        let socket = new_socket(from)?;
        socket.bind(&from.into())?;
        io::Result::Ok(TcpSocket::from_std_stream(socket.into()))
    };
    let connected = match socket() {
        Ok(socket) => socket.connect(to).await,
        Err(error) => Err(error),
    };
    if let Some(worker) = worker.upgrade() {
        worker.borrow_mut().connected(now(), connection, connected);
    }
}

impl Worker {
    fn connected(&mut self, now: Now, connection: ConnectionId, connected: io::Result<TcpStream>) {
        let ok = connected.is_ok();
        self.io.peers.connections.remove(&connection);
        if let Ok(tcp) = connected {
            let waiting = Connection::Waiting(tcp);
            self.io.peers.connections.insert(connection, waiting);
        }
        self.server.handle_connected(now, connection, ok);
        self.apply_outputs(now);
        self.arm();
    }

    fn inbound(&mut self, now: Now, relay: RelayId, tcp: TcpStream, peer: SocketAddr) {
        if let Some(connection) = self.server.handle_inbound(now, relay, peer) {
            let waiting = Connection::Waiting(tcp);
            self.io.peers.connections.insert(connection, waiting);
        }
        self.apply_outputs(now);
        self.arm();
    }

    /// Joins a data connection that this or another worker has taken to the peer connection here.
    pub(super) fn join(&mut self, connection: ConnectionId, data: DataStream) {
        let peers = &mut self.io.peers;
        let Some(worker) = peers.worker.upgrade() else {
            return;
        };
        let Some(Connection::Waiting(tcp)) = peers.connections.remove(&connection) else {
            return;
        };
        if self.server.handle_joined(connection) {
            let task = tokio::task::spawn_local(join(worker, connection, data, tcp));
            let task = Connection::Task(task.abort_handle());
            self.io.peers.connections.insert(connection, task);
        }
    }

    /// Both sides are closed.
    pub(super) fn connection_closed(&mut self, now: Now, connection: ConnectionId) {
        self.io.peers.connections.remove(&connection);
        self.server.handle_connection_closed(connection);
        self.apply_outputs(now);
    }
}
