//! The way to a server: datagrams, or a stream cut into messages.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;

use crate::Oddity;
use turnd_proto::wire::classify::{Class, classify};

/// The largest datagram that is read whole.
const DATAGRAM: usize = 4096;
/// How long an ICMP error may take.
const REFUSAL: Duration = Duration::from_millis(300);

/// A byte stream, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// A way to a server.
pub(super) enum Link {
    /// Datagrams; others may send some too.
    Udp {
        /// Not connected, to see answers from wrong addresses.
        socket: UdpSocket,
        /// The server.
        to: SocketAddr,
        /// What came from elsewhere.
        oddity: Option<Oddity>,
    },
    /// A stream.
    Stream {
        /// The stream.
        stream: Box<dyn Stream>,
        /// What was read and is no whole message yet.
        buffer: Vec<u8>,
    },
}

impl Link {
    /// Datagrams from a new port.
    pub(super) async fn udp(to: SocketAddr) -> io::Result<Self> {
        let any: SocketAddr = if to.is_ipv4() {
            ([0, 0, 0, 0], 0).into()
        } else {
            ([0u16; 8], 0).into()
        };
        Ok(Self::Udp {
            socket: UdpSocket::bind(any).await?,
            to,
            oddity: None,
        })
    }

    pub(super) fn is_stream(&self) -> bool {
        matches!(self, Self::Stream { .. })
    }

    /// What was odd about that which came.
    pub(super) fn oddity(&self) -> Option<Oddity> {
        match self {
            Self::Udp { oddity, .. } => *oddity,
            // Half a message, and the rest of it never came.
            Self::Stream { buffer, .. } => (!buffer.is_empty()).then_some(Oddity::NotStun),
        }
    }

    /// Sends one message, padded on a stream (RFC 8656 §12.5).
    pub(super) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Udp { socket, to, .. } => socket.send_to(bytes, *to).await.map(drop),
            Self::Stream { stream, .. } => {
                stream.write_all(bytes).await?;
                let padding = bytes.len().next_multiple_of(4) - bytes.len();
                stream.write_all(&[0; 3][..padding]).await?;
                stream.flush().await
            }
        }
    }

    /// Receives one message; dropping the future loses nothing.
    pub(super) async fn receive(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Udp { socket, to, oddity } => {
                let mut bytes = vec![0; DATAGRAM];
                loop {
                    let (len, from) = socket.recv_from(&mut bytes).await?;
                    if from == *to {
                        bytes.truncate(len);
                        return Ok(bytes);
                    }
                    oddity.get_or_insert(Oddity::WrongSource(from));
                }
            }
            Self::Stream { stream, buffer, .. } => loop {
                if let Some((len, padded)) = frame_len(buffer)?
                    && buffer.len() >= padded
                {
                    let rest = buffer.split_off(padded);
                    let mut message = std::mem::replace(buffer, rest);
                    message.truncate(len);
                    return Ok(message);
                }
                if stream.read_buf(buffer).await? == 0 {
                    return Err(match buffer.is_empty() {
                        true => io::ErrorKind::UnexpectedEof.into(),
                        false => io::ErrorKind::InvalidData.into(),
                    });
                }
            },
        }
    }
}

/// Whether the host of `to` says that nobody listens there.
pub(super) async fn refuses_udp(to: SocketAddr) -> bool {
    let tried = async {
        let Link::Udp { socket, .. } = Link::udp(to).await? else {
            return Ok(());
        };
        // Only a connected socket hears of it.
        socket.connect(to).await?;
        socket.send(&[0; 20]).await?;
        socket.recv(&mut [0; 1]).await.map(drop)
    };
    let outcome: Result<io::Result<()>, _> = tokio::time::timeout(REFUSAL, tried).await;
    matches!(outcome, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// The lengths of the message that `buffer` begins with, without and with padding.
fn frame_len(buffer: &[u8]) -> io::Result<Option<(usize, usize)>> {
    let header = match classify(buffer) {
        _ if buffer.is_empty() => return Ok(None),
        Class::Stun => 20,
        Class::ChannelData => 4,
        Class::Tls | Class::Unknown => return Err(io::ErrorKind::InvalidData.into()),
    };
    if buffer.len() < 4 {
        return Ok(None);
    }
    let len = header + usize::from(u16::from_be_bytes([buffer[2], buffer[3]]));
    Ok(Some((len, len.next_multiple_of(4))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stream_is_cut_into_messages_however_it_arrives() {
        let mut stun = vec![0, 1, 0, 4];
        stun.extend_from_slice(&[7; 20]);
        let channel = [0x40, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0];
        let bytes = [&stun[..], &channel[..], &stun[..]].concat();
        for chunk in [1, 3, 7, bytes.len()] {
            let (mut there, here) = tokio::io::duplex(64);
            let mut link = Link::Stream {
                stream: Box::new(here),
                buffer: Vec::new(),
            };
            let bytes = bytes.clone();
            tokio::spawn(async move {
                for chunk in bytes.chunks(chunk) {
                    there.write_all(chunk).await.unwrap();
                }
            });
            assert_eq!(link.receive().await.unwrap(), stun);
            assert_eq!(link.receive().await.unwrap(), channel[..9]);
            assert_eq!(link.receive().await.unwrap(), stun);
            let end = link.receive().await.unwrap_err();
            assert_eq!(end.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn other_protocols_are_no_messages() {
        assert!(frame_len(b"SSH-2.0").is_err());
        assert!(frame_len(&[0x16, 3, 1, 0]).is_err());
        // By its first letters HTTP is channel data, of a length that never comes.
        assert!(matches!(frame_len(b"HTTP/1.1"), Ok(Some((len, _))) if len > 20_000));
        assert_eq!(frame_len(&[0, 1]).unwrap(), None);
    }
}
