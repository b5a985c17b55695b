//! TCP sockets, before anybody is connected by them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel holds until they are taken.
const BACKLOG: i32 = 1024;
/// Pause between two attempts to accept when no descriptor is left.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening socket of one worker.
#[derive(Debug)]
pub(super) struct Acceptor {
    addr: SocketAddr,
    pub(super) listener: TcpListener,
}

impl Acceptor {
    /// Binds a listening socket that shares its address with those of the other workers.
    pub(super) fn bind(addr: SocketAddr) -> io::Result<Self> {
        let socket = new_socket(addr)?;
        socket.set_reuse_port(true)?;
        socket.bind(&addr.into())?;
        socket.listen(BACKLOG)?;
        Ok(Self {
            addr,
            listener: TcpListener::from_std(socket.into()),
        })
    }

    /// Address that it is bound to.
    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Fails if another program listens on `addr`.
    pub(super) fn check_free(addr: SocketAddr) -> io::Result<()> {
        let socket = new_socket(addr)?;
        socket.bind(&addr.into())?;
        socket.listen(1)
    }
}

/// A TCP socket that does not wait.
pub(super) fn new_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Connections of the last run may linger; a program that listens there is refused all the same.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}
