//! UDP sockets.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::dont_fragment::set_dont_fragment;
use crate::errors::{self, SocketError};
use crate::{options, sender};

/// Kernel buffer that a shared socket asks for, in bytes: it serves many senders at once.
const SHARED_BUFFER: usize = 8 << 20;
/// Kernel buffer that any other socket asks for, in bytes: video comes in bursts.
pub(crate) const BUFFER: usize = 2 << 20;

/// Way to hand the datagrams of one burst to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burst {
    /// Separate datagrams in one `sendmmsg`.
    Batched,
    /// One buffer that the kernel cuts into at most 64 datagrams (`UDP_SEGMENT`).
    Segmented,
}

/// A non-blocking UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    pub(crate) socket: StdUdpSocket,
    pub(crate) addr: SocketAddr,
    /// Whether [`Self::enable_errors`] was called.
    pub(crate) reports_errors: bool,
}

impl UdpSocket {
    /// Binds a socket that shares its address with others that are bound by this function
    /// (`SO_REUSEPORT`): the kernel gives each sender to one of them. `addr` may be a wildcard;
    /// datagrams then tell the local address that they came to.
    pub fn bind_shared(addr: SocketAddr) -> io::Result<Self> {
        let socket = new_socket(addr)?;
        socket.set_reuse_port(true)?;
        if addr.ip().is_unspecified() {
            options::request_local_address(&socket, addr)?;
        }
        Self::bind_with(socket, addr, SHARED_BUFFER)
    }

    /// Binds a socket that has its address for itself.
    ///
    /// # Errors
    /// [`io::ErrorKind::AddrInUse`] when another socket has the port.
    pub fn bind(addr: SocketAddr) -> io::Result<Self> {
        Self::bind_with(new_socket(addr)?, addr, BUFFER)
    }

    fn bind_with(socket: Socket, addr: SocketAddr, buffer: usize) -> io::Result<Self> {
        options::set_buffers(&socket, buffer);
        options::request_coalescing(&socket);
        options::request_traffic_class(&socket, addr);
        set_dont_fragment(&socket, addr, false)?;
        socket.bind(&addr.into())?;
        let socket = StdUdpSocket::from(socket);
        let addr = socket.local_addr()?;
        Ok(Self {
            socket,
            addr,
            reports_errors: false,
        })
    }

    /// The local address, with the port that the kernel chose for port 0.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends one datagram, from local address `from` if that is given.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when the socket's send buffer is full.
    pub fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        sender::send(self, bytes, to, from)
    }

    /// Sends `bytes` as datagrams of `size` bytes, the last of which may be shorter, and returns the
    /// number of datagrams that the kernel took. For load generators; received payloads are sent by
    /// a [`SendQueue`](crate::SendQueue).
    ///
    /// # Errors
    /// Why the kernel took not even the first datagram.
    pub fn send_burst(
        &self,
        bytes: &[u8],
        size: usize,
        to: SocketAddr,
        how: Burst,
    ) -> io::Result<usize> {
        sender::send_burst(self, bytes, size, to, how)
    }

    /// Has the kernel keep the errors of datagrams that were sent, for [`Self::read_error`].
    ///
    /// The kernel then also reports each error once to another call on the socket, which does
    /// nothing else: a send is repeated because of it, so that the error of one destination costs no
    /// datagram to another, and [`Receiver::receive`](crate::Receiver::receive) returns `true`
    /// without a datagram. epoll reports the socket as in error (`EPOLLERR`) while errors wait, which
    /// take space in its receive buffer. ICMPv6 Packet Too Big is not reported, as the sockets ignore
    /// the path MTU.
    pub fn enable_errors(&mut self) -> io::Result<()> {
        options::request_errors(&self.socket, self.addr)?;
        self.reports_errors = true;
        Ok(())
    }

    /// Takes the oldest error that waits; `None` when there is none.
    pub fn read_error(&self) -> io::Result<Option<SocketError>> {
        errors::read(self)
    }
}

impl AsFd for UdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Fails if any socket of any process is bound to `addr`, even one that would share it.
///
/// # Errors
/// [`io::ErrorKind::AddrInUse`], or why the address cannot be bound at all.
pub fn check_free(addr: SocketAddr) -> io::Result<()> {
    new_socket(addr)?.bind(&addr.into())
}

fn new_socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}
