//! The sockets of one worker, by the names that the server knows them by.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use mio::Registry;
use mio::unix::SourceFd;
use turnd_udp::UdpSocket;

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
    /// Only clients that were there before are still served.
    retired: bool,
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

    /// Serves one more listening socket, or again the one that is retired on its address.
    pub(super) fn listen(&mut self, socket: UdpSocket) -> io::Result<()> {
        let same = |listener: &&mut Listener| listener.socket.addr() == socket.addr();
        if let Some(known) = self.listeners.iter_mut().flatten().find(same) {
            known.retired = false;
            return Ok(());
        }
        let id = self.listeners.len() as u16;
        self.watch(UdpSocketId::Listener(id), &socket)?;
        self.listeners.push(Some(Listener {
            wildcard: socket.addr().ip().is_unspecified(),
            socket,
            retired: false,
        }));
        Ok(())
    }

    /// Takes no new clients on `addr`.
    pub(super) fn retire(&mut self, addr: SocketAddr) {
        let on = |listener: &&mut Listener| listener.socket.addr() == addr;
        if let Some(listener) = self.listeners.iter_mut().flatten().find(on) {
            listener.retired = true;
        }
    }

    /// Whether this socket takes no new clients.
    pub(super) fn is_retired(&self, id: u16) -> bool {
        self.listener(id).is_some_and(|listener| listener.retired)
    }

    /// Closes the retired sockets that nobody uses; `true` when some are left.
    pub(super) fn close_retired(&mut self, used: impl Fn(u16) -> bool) -> bool {
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            // Far fewer addresses than numbers.
            let id = index as u16;
            listener.take_if(|listener| listener.retired && !used(id));
        }
        self.listeners
            .iter()
            .flatten()
            .any(|listener| listener.retired)
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
