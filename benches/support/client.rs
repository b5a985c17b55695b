//! A client over UDP, TCP or TLS that waits for each answer, and retransmits as RFC 8489 §6.2 has it.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};
use stun::message::Message;
use turnd_client::blocking::{self, Blocking};
use turnd_client::turn::{Event, Framing, Login, Proof, Request, Timing};
use turnd_proto::auth::secret::Secret;

/// Times that data is sent to a peer that sends it back.
const SENDS: u32 = 7;

/// Channel of every client.
pub(crate) const CHANNEL: u16 = 0x4000;

/// Transport to the server.
pub(crate) enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Link {
    fn inner(&mut self) -> &mut dyn blocking::Link {
        match self {
            Self::Udp(socket) => socket,
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => &mut **stream,
        }
    }
}

impl blocking::Link for Link {
    fn framing(&self) -> Framing {
        match self {
            Self::Udp(_) => Framing::Datagrams,
            Self::Tcp(_) | Self::Tls(_) => Framing::Stream,
        }
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner().send(bytes)
    }

    fn receive(&mut self, bytes: &mut [u8], limit: Duration) -> io::Result<usize> {
        self.inner().receive(bytes, limit)
    }
}

/// Kind of transport to the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Udp,
    Tcp,
    Tls,
}

/// Trust of a TLS client in this one certificate.
pub(crate) fn trust(certificate: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from(certificate.to_vec()))
        .unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots);
    Arc::new(config.with_no_client_auth())
}

/// A TCP connection from `from`.
pub(crate) fn connect(from: IpAddr, server: SocketAddr) -> io::Result<TcpStream> {
    let timeout = Timing::STREAM.timeout;
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&server.into(), timeout)?;
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) struct Client {
    client: Blocking<Link>,
    /// Packets of data that had to be sent again.
    repeated: u32,
}

impl Client {
    /// A client at `from`.
    pub(crate) fn new(
        kind: Kind,
        from: IpAddr,
        server: SocketAddr,
        trusted: &Arc<ClientConfig>,
    ) -> io::Result<Self> {
        let link = match kind {
            Kind::Udp => {
                let socket = UdpSocket::bind((from, 0))?;
                socket.connect(server)?;
                Link::Udp(socket)
            }
            Kind::Tcp => Link::Tcp(connect(from, server)?),
            Kind::Tls => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let session =
                    ClientConnection::new(Arc::clone(trusted), name).map_err(io::Error::other)?;
                Link::Tls(Box::new(StreamOwned::new(session, connect(from, server)?)))
            }
        };
        Ok(Self {
            client: Blocking::new(link),
            repeated: 0,
        })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.client.link().inner().send(bytes)
    }

    /// Number of requests and packets that had to be sent again.
    pub(crate) fn retransmitted(&mut self) -> u32 {
        self.repeated + self.client.client().retransmitted()
    }

    /// The answer to a request; what else comes meanwhile is dropped.
    pub(crate) fn ask(&mut self, request: Message) -> io::Result<Message> {
        Ok(self.client.submit(request)?.message)
    }

    /// The socket of a client over UDP, for what is not asked and answered in turn.
    pub(crate) fn into_socket(self) -> Option<UdpSocket> {
        match self.client.into_link() {
            Link::Udp(socket) => Some(socket),
            Link::Tcp(_) | Link::Tls(_) => None,
        }
    }

    /// Sends data to a peer that sends it back, until it has come back.
    pub(crate) fn echo(&mut self, data: &[u8]) -> io::Result<()> {
        let is_udp = matches!(self.client.link(), Link::Udp(_));
        let (sends, wait) = match is_udp {
            true => (SENDS, Timing::DATAGRAMS.rto),
            false => (1, Timing::STREAM.timeout),
        };
        for _ in 0..sends {
            self.client.send_channel(CHANNEL, data)?;
            let until = Instant::now() + wait;
            while let Some(event) = self.client.event(Some(until))? {
                if matches!(event, Event::ChannelData(CHANNEL, payload) if payload == data) {
                    return Ok(());
                }
            }
            self.repeated += 1;
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Logs in, allocates, and has an echo come back; the code of what was refused is an error.
    pub(crate) fn call(&mut self, user: &str, password: &str, echo: SocketAddr) -> io::Result<()> {
        self.client.client().set_login(Login {
            user: user.to_owned(),
            proof: Proof::Password(Secret::new(password)),
        });
        for request in [Request::ALLOCATE, Request::ChannelBind(CHANNEL, echo)] {
            if let Some(code) = self.client.ask(request)?.error {
                return Err(io::Error::other(format!("refused with {code}")));
            }
        }
        self.echo(b"an echo, as long as a voice packet is")
    }

    /// Refreshes, where zero seconds end the allocation; tells the code of a refusal.
    pub(crate) fn refresh(&mut self, seconds: u64) -> io::Result<Option<u16>> {
        let request = Request::Refresh(Duration::from_secs(seconds));
        Ok(self.client.ask(request)?.error)
    }
}
