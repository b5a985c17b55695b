//! UDP in batches.
//!
//! A [`Receiver`] takes a batch from one socket into its buffers and shows the datagrams in it. A
//! [`SendQueue`] collects what is to go out, by reference to those buffers, until it is flushed.
#![allow(
    unsafe_code,
    reason = "the batch calls and control messages exist in no safe wrapper that sends scattered payloads"
)]

mod batch;
mod control;
mod dont_fragment;
mod header;
mod name;
mod options;
mod queue;
mod receiver;
mod sender;
mod slab;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket as StdUdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use dont_fragment::set_dont_fragment;
pub use header::Header;
pub use queue::{Outgoing, SendCounters, SendQueue};
pub use receiver::Receiver;

/// What a listening socket asks of the kernel for bursts, in bytes.
const LISTENER_BUFFER: usize = 8 << 20;
/// What a relay socket asks for: its peers send video in bursts.
const RELAY_BUFFER: usize = 2 << 20;

/// One datagram of a received batch.
#[derive(Clone, Copy, Debug)]
pub struct Datagram<'a> {
    /// Where it came from.
    pub source: SocketAddr,
    /// The address that it was sent to, where the socket is bound to a wildcard.
    pub local: Option<IpAddr>,
    /// DSCP and ECN, where the system tells.
    pub traffic_class: u8,
    /// What it holds.
    pub bytes: &'a [u8],
}

impl Datagram<'_> {
    /// The DSCP and ECN that go along to `to`; a packet of the other address family has the
    /// system's own (RFC 8656 §13 and §14).
    #[must_use]
    pub fn traffic_class_to(&self, to: SocketAddr) -> u8 {
        if self.source.is_ipv4() == to.is_ipv4() {
            self.traffic_class
        } else {
            0
        }
    }
}

/// How the datagrams of one burst are handed over, where the system knows more than one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Burst {
    /// Each by itself, in one call.
    Batched,
    /// As one, for the kernel to cut; at most 64 of them.
    Segmented,
}

/// A non-blocking UDP socket.
#[derive(Debug)]
pub struct UdpSocket {
    socket: StdUdpSocket,
    addr: SocketAddr,
}

impl UdpSocket {
    /// Binds a listening socket that shares its address with those of the other workers.
    ///
    /// # Errors
    /// What the system says.
    pub fn bind_listener(addr: SocketAddr) -> io::Result<Self> {
        let socket = new_socket(addr)?;
        socket.set_reuse_port(true)?;
        options::set_buffers(&socket, LISTENER_BUFFER);
        set_dont_fragment(&socket, addr, false)?;
        if addr.ip().is_unspecified() {
            options::request_local_address(&socket, addr)?;
        }
        Self::bind(socket, addr)
    }

    /// Binds a relay socket, which belongs to one allocation alone.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::AddrInUse`] when another program has the port.
    pub fn bind_relay(addr: SocketAddr) -> io::Result<Self> {
        let socket = new_socket(addr)?;
        options::set_buffers(&socket, RELAY_BUFFER);
        set_dont_fragment(&socket, addr, false)?;
        Self::bind(socket, addr)
    }

    fn bind(socket: Socket, addr: SocketAddr) -> io::Result<Self> {
        options::request_coalescing(&socket);
        options::request_traffic_class(&socket, addr);
        socket.bind(&addr.into())?;
        let socket = StdUdpSocket::from(socket);
        let addr = socket.local_addr()?;
        Ok(Self { socket, addr })
    }

    /// The address that it is bound to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Sends one datagram, from local address `from` if that is given.
    ///
    /// # Errors
    /// What the system says; [`io::ErrorKind::WouldBlock`] when its buffer is full.
    pub fn send(&self, bytes: &[u8], to: SocketAddr, from: Option<IpAddr>) -> io::Result<()> {
        sender::send(self, bytes, to, from)
    }

    /// Sends `bytes` as datagrams of `size` bytes, the last of which may be shorter, and tells how
    /// many the system took. For load generators: what lies in a receiver leaves by [`SendQueue`].
    ///
    /// # Errors
    /// What the system says of the first of them.
    pub fn send_burst(
        &self,
        bytes: &[u8],
        size: usize,
        to: SocketAddr,
        how: Burst,
    ) -> io::Result<usize> {
        sender::send_burst(self, bytes, size, to, how)
    }
}

impl std::os::fd::AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.socket.as_raw_fd()
    }
}

/// Fails if any socket of any process is bound to `addr`, also one that would share it.
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
