//! Any system: one datagram at a time, with nothing but what the standard library and `socket2`
//! offer. Slow, safe, and what the Linux module is tested against.

use std::io;
use std::net::{IpAddr, SocketAddr};

use socket2::Socket;

use super::dont_fragment::with_dont_fragment;
use super::queue::{Payloads, Run};
use super::slab::Slab;
use super::{Burst, Datagram, UdpSocket};

pub(super) const HAS_LOCAL_ADDRESS: bool = false;

/// Source and length of each datagram that came.
#[derive(Debug)]
pub struct Batch(Vec<(SocketAddr, usize)>);

impl super::receiver::Batch for Batch {
    fn new() -> Self {
        Self(Vec::with_capacity(Slab::SLOTS))
    }

    fn receive(&mut self, slab: &mut Slab, socket: &UdpSocket) -> io::Result<bool> {
        self.0.clear();
        for slot in slab.slots() {
            match socket.socket.recv_from(slot) {
                Ok((len, source)) => self.0.push((source, len)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                // What came before the error is served first.
                Err(_) if !self.0.is_empty() => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    fn filled(&self) -> usize {
        self.0.len()
    }

    fn datagrams<'a>(&'a self, slab: &'a Slab) -> impl Iterator<Item = Datagram<'a>> {
        let received = self.0.iter().enumerate();
        received.map(|(index, (source, len))| Datagram {
            source: *source,
            local: None,
            traffic_class: 0,
            bytes: slab.slot(index, *len),
        })
    }
}

/// Puts each datagram together and sends it.
#[derive(Debug)]
pub(super) struct Sender {
    datagram: Vec<u8>,
}

impl Sender {
    pub(super) fn new() -> Self {
        Self {
            datagram: Vec::with_capacity(Slab::SLOT),
        }
    }

    pub(super) fn max_segments(&self) -> usize {
        1
    }

    /// Sends a run and tells how many datagrams of it the system took.
    pub(super) fn send(
        &mut self,
        socket: &UdpSocket,
        run: Run<'_>,
        payloads: Payloads<'_>,
    ) -> usize {
        let mut sent = 0;
        for item in run.iter() {
            self.datagram.clear();
            self.datagram.extend_from_slice(item.header());
            self.datagram.extend_from_slice(payloads.of(item));
            let padded = self.datagram.len() + item.padding();
            self.datagram.resize(padded, 0);
            let send = || socket.socket.send_to(&self.datagram, item.to).is_ok();
            sent += usize::from(if item.dont_fragment {
                with_dont_fragment(&socket.socket, socket.addr, send)
            } else {
                send()
            });
        }
        sent
    }
}

/// Sends one datagram; the local address is the socket's own here.
pub(super) fn send(
    socket: &UdpSocket,
    bytes: &[u8],
    to: SocketAddr,
    _from: Option<IpAddr>,
) -> io::Result<()> {
    socket.socket.send_to(bytes, to).map(drop)
}

/// Sends `bytes` as datagrams of `size` bytes; see [`UdpSocket::send_burst`].
pub(super) fn send_burst(
    socket: &UdpSocket,
    bytes: &[u8],
    size: usize,
    to: SocketAddr,
    _how: Burst,
) -> io::Result<usize> {
    let mut sent = 0;
    for datagram in bytes.chunks(size) {
        match socket.socket.send_to(datagram, to) {
            Ok(_) => sent += 1,
            Err(error) if sent == 0 => return Err(error),
            Err(_) => break,
        }
    }
    Ok(sent)
}

/// Asks for both buffers; the system cuts them to its limit.
pub(super) fn set_buffers(socket: &Socket, bytes: usize) {
    // A smaller buffer is no reason to fail.
    let _ = socket.set_recv_buffer_size(bytes);
    let _ = socket.set_send_buffer_size(bytes);
}

/// Nothing joins datagrams here.
pub(super) fn request_coalescing(_socket: &Socket) {}

/// DSCP and ECN are not passed on.
pub(super) fn request_traffic_class(_socket: &Socket, _addr: SocketAddr) {}

/// No socket is bound to a wildcard (see [`HAS_LOCAL_ADDRESS`]) unless the operator says so, and
/// then the system chooses.
pub(super) fn request_local_address(_socket: &Socket, _addr: SocketAddr) -> io::Result<()> {
    Ok(())
}
