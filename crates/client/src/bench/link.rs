//! Transport of a client: datagrams, or a stream with or without TLS.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use turnd_udp::{Burst, Receiver, UdpSocket};

use super::secure::Secure;
use super::target::Server;
use crate::probe::Transport;
use crate::turn::{Framing, split};

/// Time limit of a connection and its handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes that are read at once.
const READ: usize = 64 << 10;
/// Bytes that wait to be written, above which nothing is added.
const UNWRITTEN: usize = 64 << 10;
/// Most bytes of a TLS record: a few messages.
const RECORD: usize = 8 << 10;

/// Transport of a client to the server.
pub(super) enum Link {
    Datagrams(UdpSocket),
    Stream(Box<Stream>),
}

/// A connection, and the bytes on their way in and out.
pub(super) struct Stream {
    connection: Connection,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
}

enum Connection {
    Plain(TcpStream),
    Tls(Box<Secure>),
}

impl Link {
    /// Opens a transport to `server` from the local address `ip`.
    pub(super) fn open(server: &Server, ip: IpAddr) -> io::Result<Self> {
        let connection = match server.transport {
            Transport::Udp => {
                let socket = UdpSocket::bind(SocketAddr::new(ip, 0))?;
                return Ok(Self::Datagrams(socket));
            }
            Transport::Tcp => Connection::Plain(connect(server)?),
            Transport::Tls => {
                let secure = Secure::connect(&server.name, connect(server)?)?;
                Connection::Tls(Box::new(secure))
            }
        };
        connection.tcp().set_nonblocking(true)?;
        Ok(Self::Stream(Box::new(Stream {
            connection,
            inbox: Vec::new(),
            outbox: Vec::new(),
        })))
    }

    pub(super) fn framing(&self) -> Framing {
        match self {
            Self::Datagrams(_) => Framing::Datagrams,
            Self::Stream(_) => Framing::Stream,
        }
    }

    pub(super) fn is_stream(&self) -> bool {
        self.framing() == Framing::Stream
    }

    fn fd(&self) -> RawFd {
        match self {
            Self::Datagrams(socket) => socket.as_raw_fd(),
            Self::Stream(stream) => stream.connection.tcp().as_raw_fd(),
        }
    }

    /// Has the system tell when there is something for [`Self::receive`] to do.
    pub(super) fn watch(&self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = match self {
            Self::Datagrams(_) => Interest::READABLE,
            Self::Stream(_) => Interest::READABLE | Interest::WRITABLE,
        };
        registry.register(&mut SourceFd(&self.fd()), token, interest)
    }

    /// Ends [`Self::watch`].
    pub(super) fn unwatch(&self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut SourceFd(&self.fd()))
    }

    /// Sends one message; what the system does not take now is lost, or waits on a stream.
    pub(super) fn send(&mut self, message: &[u8], to: SocketAddr) -> io::Result<()> {
        match self {
            Self::Datagrams(socket) => match socket.send(message, to, None) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
                sent => sent,
            },
            Self::Stream(stream) => {
                stream.outbox.extend_from_slice(message);
                stream.flush()
            }
        }
    }

    /// Sends `bytes` as packets of `size` bytes and tells how many were taken.
    pub(super) fn send_burst(
        &mut self,
        bytes: &[u8],
        size: usize,
        to: SocketAddr,
        how: Burst,
    ) -> io::Result<usize> {
        match self {
            Self::Datagrams(socket) => socket.send_burst(bytes, size, to, how),
            Self::Stream(stream) => {
                let room = stream.outbox.len() <= UNWRITTEN;
                if room {
                    stream.outbox.extend_from_slice(bytes);
                }
                stream.flush()?;
                Ok(if room { bytes.len() / size } else { 0 })
            }
        }
    }

    /// Takes one batch of what has come; `true` when there may be more.
    pub(super) fn receive(&mut self, receiver: &mut Receiver) -> io::Result<bool> {
        match self {
            Self::Datagrams(socket) => receiver.receive(socket),
            Self::Stream(stream) => {
                stream.flush()?;
                stream.fill()
            }
        }
    }

    /// Calls `each` with every message of the batch.
    pub(super) fn messages(&mut self, receiver: &Receiver, mut each: impl FnMut(&[u8])) {
        match self {
            Self::Datagrams(_) => receiver
                .datagrams()
                .for_each(|datagram| each(datagram.bytes)),
            Self::Stream(stream) => {
                let mut at = 0;
                while let Ok(Some((len, padded))) = split(&stream.inbox[at..]) {
                    each(&stream.inbox[at..at + len]);
                    at += padded;
                }
                stream.inbox.drain(..at);
            }
        }
    }
}

/// Whether an error means that the server has closed a connection.
pub(super) fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof
            | ErrorKind::ConnectionReset
            | ErrorKind::ConnectionAborted
            | ErrorKind::BrokenPipe
    )
}

impl Stream {
    /// Writes as much as the system takes.
    fn flush(&mut self) -> io::Result<()> {
        let mut written = 0;
        while written < self.outbox.len() {
            let rest = &self.outbox[written..];
            match self.connection.write(&rest[..rest.len().min(RECORD)]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.outbox.drain(..written);
        match self.connection.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }

    fn fill(&mut self) -> io::Result<bool> {
        let kept = self.inbox.len();
        self.inbox.resize(kept + READ, 0);
        let read = self.connection.read(&mut self.inbox[kept..]);
        self.inbox
            .truncate(kept + read.as_ref().map_or(0, |count| *count));
        match read {
            Ok(0) => Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the server has closed a connection",
            )),
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error),
        }
    }
}

impl Connection {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.tcp(),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(tcp) => tcp.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }

    /// Writes what has been taken and waits.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Tls(tls) => tls.flush(),
        }
    }
}

fn connect(server: &Server) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect_timeout(&server.addr, CONNECT_TIMEOUT)?;
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(CONNECT_TIMEOUT))?;
    Ok(tcp)
}
