//! Runs a [`Discovery`] over sockets.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Instant;

use tokio::net::UdpSocket;
use tokio::time::sleep_until;

use super::ask::Port;
use super::{Arrived, Discovery, Options, Report, Stage};
use crate::local::local_ip;

/// Longest datagram that is read whole.
const BUFFER: usize = 2048;

/// A UDP socket.
pub trait Socket {
    /// Local address, never a wildcard.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// Sends a datagram.
    fn send_to(&self, bytes: &[u8], to: SocketAddr) -> impl Future<Output = io::Result<usize>>;

    /// Receives a datagram; dropping the future loses none.
    fn recv_from(&self, buffer: &mut [u8])
    -> impl Future<Output = io::Result<(usize, SocketAddr)>>;
}

/// A source of sockets.
pub trait Network {
    /// Sockets of this network.
    type Socket: Socket;

    /// A socket on an unused random port of the local address from which `server` is reached.
    fn bind(&self, server: SocketAddr) -> impl Future<Output = io::Result<Self::Socket>>;
}

/// The network of this host, on the current tokio runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokio;

impl Network for Tokio {
    type Socket = UdpSocket;

    async fn bind(&self, server: SocketAddr) -> io::Result<UdpSocket> {
        UdpSocket::bind(SocketAddr::new(local_ip(server)?, 0)).await
    }
}

impl Socket for UdpSocket {
    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.local_addr()
    }

    async fn send_to(&self, bytes: &[u8], to: SocketAddr) -> io::Result<usize> {
        self.send_to(bytes, to).await
    }

    async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.recv_from(buffer).await
    }
}

/// Finds out about the NAT between this host and `server`; `progress` hears of each stage as it begins.
///
/// Ends within [`Options::limit`], but for the test of the lifetime.
pub async fn discover<N: Network>(
    network: &N,
    server: SocketAddr,
    options: Options,
    mut progress: impl FnMut(Stage),
) -> Report {
    let mut discovery = Discovery::new(server, options, Instant::now());
    let mut sockets = Sockets {
        network,
        server,
        bound: [const { None }; Port::COUNT],
    };
    let mut shown = None;
    loop {
        let stage = discovery.stage();
        if shown != Some(stage) {
            shown = Some(stage);
            progress(stage);
        }
        while let Some(transmit) = discovery.poll_transmit() {
            if let Err(error) = sockets
                .send(transmit.port, &transmit.bytes, transmit.to)
                .await
            {
                discovery.handle_failure(error.kind());
            }
        }
        let Some(due) = discovery.poll_timeout() else {
            return discovery.report().clone();
        };
        let mut buffer = [0; BUFFER];
        tokio::select! {
            received = sockets.receive(&mut buffer) => match received {
                Ok((port, local, len, from)) => discovery.handle_datagram(Instant::now(), &Arrived {
                    port,
                    local,
                    from,
                    bytes: &buffer[..len],
                }),
                // An ICMP error for an earlier packet, which timing out tells as well.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(error) => discovery.handle_failure(error.kind()),
            },
            () = sleep_until(due.into()) => discovery.handle_timeout(Instant::now()),
        }
    }
}

/// The ports that are bound.
struct Sockets<'a, N: Network> {
    network: &'a N,
    server: SocketAddr,
    bound: [Option<(N::Socket, SocketAddr)>; Port::COUNT],
}

impl<N: Network> Sockets<'_, N> {
    async fn send(&mut self, Port(port): Port, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
        if self.bound[port].is_none() {
            let socket = self.network.bind(self.server).await?;
            let local = socket.local_addr()?;
            self.bound[port] = Some((socket, local));
        }
        if let Some((socket, _)) = &self.bound[port] {
            match socket.send_to(bytes, to).await {
                // An address that is not reachable is silent; the others may be reachable.
                Err(error) if is_unreachable(&error) => {}
                sent => return sent.map(drop),
            }
        }
        Ok(())
    }

    /// The next datagram on any port.
    async fn receive(
        &self,
        buffer: &mut [u8; BUFFER],
    ) -> io::Result<(Port, SocketAddr, usize, SocketAddr)> {
        let [a, b, c, d, e, f] = &self.bound;
        // A buffer each, because all wait at once.
        let mut buffers = [[0; BUFFER]; Port::COUNT];
        let [ba, bb, bc, bd, be, bf] = &mut buffers;
        let (port, received) = tokio::select! {
            received = receive(a.as_ref(), ba) => (0, received),
            received = receive(b.as_ref(), bb) => (1, received),
            received = receive(c.as_ref(), bc) => (2, received),
            received = receive(d.as_ref(), bd) => (3, received),
            received = receive(e.as_ref(), be) => (4, received),
            received = receive(f.as_ref(), bf) => (5, received),
        };
        let (local, len, from) = received?;
        buffer[..len].copy_from_slice(&buffers[port][..len]);
        Ok((Port(port), local, len, from))
    }
}

async fn receive<S: Socket>(
    socket: Option<&(S, SocketAddr)>,
    buffer: &mut [u8],
) -> io::Result<(SocketAddr, usize, SocketAddr)> {
    match socket {
        Some((socket, local)) => {
            let (len, from) = socket.recv_from(buffer).await?;
            Ok((*local, len, from))
        }
        None => std::future::pending().await,
    }
}

fn is_unreachable(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::PermissionDenied
    )
}
