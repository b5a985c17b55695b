//! The sockets of one worker, by the names that the server knows them by.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use mio::Registry;
use mio::unix::SourceFd;
use turnd_udp::UdpSocket;

use super::newcomers::Newcomers;
use super::poll::{Source, UdpSocketId};
use turnd_proto::server::output::RelayId;

/// Listening and relay sockets.
#[derive(Debug)]
pub(super) struct UdpSockets {
    registry: Registry,
    /// Their places are their names; one that was closed leaves its place empty.
    listeners: Vec<Option<Listener>>,
    relays: Vec<Option<UdpSocket>>,
}

#[derive(Debug)]
struct Listener {
    socket: UdpSocket,
    wildcard: bool,
    /// New clients that are served, beside those that were there before.
    newcomers: Newcomers,
}

impl UdpSockets {
    pub(super) fn new(registry: Registry, listeners: Vec<UdpSocket>) -> io::Result<Self> {
        let mut sockets = Self {
            registry,
            listeners: Vec::new(),
            relays: Vec::new(),
        };
        for socket in listeners {
            sockets.listen(socket)?;
        }
        Ok(sockets)
    }

    /// Serves one more listening socket.
    pub(super) fn listen(&mut self, socket: UdpSocket) -> io::Result<()> {
        let id = self.listeners.len() as u16;
        self.watch(UdpSocketId::Listener(id), &socket)?;
        self.listeners.push(Some(Listener {
            wildcard: socket.addr().ip().is_unspecified(),
            socket,
            newcomers: Newcomers::All,
        }));
        Ok(())
    }

    /// Takes new clients on these addresses only.
    pub(super) fn want(&mut self, wanted: &[SocketAddr]) {
        let listeners = self.listeners.iter().flatten();
        let open: Vec<_> = listeners.map(|listener| listener.socket.addr()).collect();
        for listener in self.listeners.iter_mut().flatten() {
            listener.newcomers = Newcomers::of(listener.socket.addr(), wanted, &open);
        }
    }

    /// Whether a listening socket takes a new client that comes to `local`.
    pub(super) fn takes_new(&self, id: u16, local: IpAddr) -> bool {
        let listener = self.listener(id);
        listener.is_some_and(|listener| listener.newcomers.include(local))
    }

    /// The number of the listening socket on `addr`.
    pub(super) fn listener_on(&self, addr: SocketAddr) -> Option<u16> {
        let mut listeners = self.listeners.iter();
        let at = listeners.position(|listener| {
            let listener = listener.as_ref();
            listener.is_some_and(|listener| listener.socket.addr() == addr)
        });
        // Far fewer addresses than numbers.
        at.map(|index| index as u16)
    }

    /// Closes the listening socket on `addr`.
    pub(super) fn close_listener(&mut self, addr: SocketAddr) {
        for listener in &mut self.listeners {
            listener.take_if(|listener| listener.socket.addr() == addr);
        }
    }

    fn listener(&self, id: u16) -> Option<&Listener> {
        self.listeners.get(usize::from(id))?.as_ref()
    }

    fn watch(&self, id: UdpSocketId, socket: &UdpSocket) -> io::Result<()> {
        let fd = socket.as_raw_fd();
        Source::Datagrams(id).watch_readable(&self.registry, &mut SourceFd(&fd))
    }

    pub(super) fn get(&self, id: UdpSocketId) -> Option<&UdpSocket> {
        match id {
            UdpSocketId::Listener(id) => self.listener(id).map(|listener| &listener.socket),
            UdpSocketId::Relay(RelayId(id)) => self.relays.get(id as usize)?.as_ref(),
        }
    }

    /// The address `ip` to send from, where the listening socket has many.
    pub(super) fn source(&self, listener: u16, ip: IpAddr) -> Option<IpAddr> {
        self.listener(listener)?.wildcard.then_some(ip)
    }

    pub(super) fn open_relay(&mut self, relay: RelayId, socket: UdpSocket) -> io::Result<()> {
        self.watch(UdpSocketId::Relay(relay), &socket)?;
        let index = relay.0 as usize;
        if self.relays.len() <= index {
            self.relays.resize_with(index + 1, || None);
        }
        self.relays[index] = Some(socket);
        Ok(())
    }

    pub(super) fn close_relay(&mut self, RelayId(id): RelayId) {
        // Closing the descriptor takes it out of the epoll instance.
        if let Some(socket) = self.relays.get_mut(id as usize) {
            *socket = None;
        }
    }
}
