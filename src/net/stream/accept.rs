//! Taking connections.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};

use super::super::now;
use super::super::worker::Worker;
use super::serve;
use crate::policy::stream_limit::{StreamGuard, StreamLimit};
use crate::server::output::DropReason;

/// Connections that the kernel holds until they are taken.
const BACKLOG: i32 = 1024;
/// How long to leave the kernel alone when no descriptor is left.
const PAUSE: Duration = Duration::from_millis(100);

/// A listening socket of one worker, and the limits of all.
#[derive(Debug)]
pub(in crate::net) struct Acceptor {
    addr: SocketAddr,
    listener: std::net::TcpListener,
    limit: Arc<StreamLimit>,
}

impl Acceptor {
    /// Binds a listening socket that shares its address with those of the other workers.
    pub(in crate::net) fn bind(addr: SocketAddr, limit: Arc<StreamLimit>) -> io::Result<Self> {
        let socket = new_socket(addr)?;
        socket.set_reuse_port(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self {
            addr,
            listener: socket.into(),
            limit,
        })
    }

    /// The address that it listens on.
    pub(in crate::net) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Fails if another program listens on `addr`.
    pub(in crate::net) fn check_free(addr: SocketAddr) -> io::Result<()> {
        let socket = new_socket(addr)?;
        socket.bind(&addr.into())?;
        socket.listen(1)
    }
}

fn new_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of the last run may linger; a program that listens there is refused all the same.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Takes connections for as long as the worker runs.
pub(in crate::net) async fn accept(worker: Rc<RefCell<Worker>>, acceptor: Acceptor) {
    let addr = acceptor.listener.local_addr();
    let listener = match TcpListener::from_std(acceptor.listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(?addr, %error, "not listening"),
    };
    loop {
        match listener.accept().await {
            Ok((tcp, client)) => {
                // Refused by closing it: an answer would cost more than the connection.
                match acceptor.limit.acquire(client.ip()) {
                    Some(guard) => open(&worker, tcp, client, guard),
                    None => {
                        let server = &mut worker.borrow_mut().server;
                        server.count_drops(DropReason::TooManyStreams, 1);
                    }
                }
            }
            Err(error) => {
                if let Ok(addr) = addr {
                    worker
                        .borrow_mut()
                        .io
                        .log
                        .socket_failed(now(), addr, &error);
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

fn open(worker: &Rc<RefCell<Worker>>, tcp: TcpStream, client: SocketAddr, guard: StreamGuard) {
    // Without either the connection is of no use; it fails when it is read.
    let _ = tcp.set_nodelay(true);
    let Ok(server) = tcp.local_addr() else {
        return;
    };
    let (id, handle) = worker
        .borrow_mut()
        .open_stream(now(), tcp, client, server, guard);
    tokio::task::spawn_local(serve(Rc::clone(worker), id, handle));
}
