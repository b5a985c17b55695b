//! Transport to a server: datagrams or a stream.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;

use crate::Oddity;
use crate::local::any;
use crate::turn::Framing;

/// Time in which an ICMP error comes, if any does.
const REFUSAL: Duration = Duration::from_millis(300);

/// A byte stream, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Transport to a server.
pub(super) enum Link {
    /// Datagrams; others may send some too.
    Udp {
        /// An unconnected socket, to see answers from wrong addresses.
        socket: UdpSocket,
        /// The server's address.
        to: SocketAddr,
        /// The first answer that came from elsewhere.
        oddity: Option<Oddity>,
    },
    /// A stream.
    Stream(Box<dyn Stream>),
}

impl Link {
    /// Datagrams from a new port.
    pub(super) async fn udp(to: SocketAddr) -> io::Result<Self> {
        Ok(Self::Udp {
            socket: UdpSocket::bind(any(to)).await?,
            to,
            oddity: None,
        })
    }

    pub(super) fn framing(&self) -> Framing {
        match self {
            Self::Udp { .. } => Framing::Datagrams,
            Self::Stream(_) => Framing::Stream,
        }
    }

    /// Answers from a wrong address.
    pub(super) fn oddity(&self) -> Option<Oddity> {
        match self {
            Self::Udp { oddity, .. } => *oddity,
            Self::Stream(_) => None,
        }
    }

    /// Sends one message.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp { socket, to, .. } => socket.send_to(bytes, *to).await.map(drop),
            Self::Stream(stream) => {
                stream.write_all(bytes).await?;
                stream.flush().await
            }
        }
    }

    /// Receives a datagram, or some bytes of the stream, of which none mean its end; dropping the future
    /// loses nothing.
    pub(super) async fn receive(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp { socket, to, oddity } => loop {
                let (len, from) = socket.recv_from(bytes).await?;
                if from == *to {
                    return Ok(len);
                }
                oddity.get_or_insert(Oddity::WrongSource(from));
            },
            Self::Stream(stream) => stream.read(bytes).await,
        }
    }
}

/// ICMP error that comes from `to` or from a firewall before it, if one does.
pub(super) async fn refusal(to: SocketAddr) -> Option<io::Error> {
    let tried = async {
        let socket = UdpSocket::bind(any(to)).await?;
        // Only a connected socket hears of it.
        socket.connect(to).await?;
        socket.send(&[0; 20]).await?;
        socket.recv(&mut [0; 1]).await.map(drop)
    };
    let outcome: Result<io::Result<()>, _> = tokio::time::timeout(REFUSAL, tried).await;
    outcome.ok()?.err()
}
