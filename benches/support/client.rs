//! A client over UDP, TCP or TLS that waits for each answer, and retransmits as RFC 8489 §6.2 has it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};
use stun::message::{METHOD_ALLOCATE, METHOD_CHANNEL_BIND, METHOD_REFRESH, Message, Method};
use turn::proto::channum::ChannelNumber;
use turnd_proto::wire::channel_data;
use turnd_proto::wire::framing::{self, Next, Rules};

use super::messages::{Attributes, Login, decode, error_code, lifetime, peer, request, transport};

/// First wait for an answer over UDP; each further one is twice as long.
const RTO: Duration = Duration::from_millis(500);
/// Times that a request is sent.
const SENDS: u32 = 7;
/// Longest wait for anything over TCP: Ti of RFC 8489 §6.2.2.
pub(crate) const PATIENCE: Duration = Duration::from_millis(39_500);

/// The channel of every client.
pub(crate) const CHANNEL: u16 = 0x4000;

/// A way to the server.
pub(crate) enum Link {
    Udp(UdpSocket),
    Tcp(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How to reach the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Udp,
    Tcp,
    Tls,
}

/// What a TLS client trusts: the one certificate.
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
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(from, 0).into())?;
    socket.connect_timeout(&server.into(), PATIENCE)?;
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

pub(crate) struct Client {
    link: Link,
    received: Vec<u8>,
    login: Option<Login>,
    /// Requests that had to be sent again.
    pub(crate) retransmitted: u32,
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
                socket.set_read_timeout(Some(RTO))?;
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
            link,
            received: Vec::new(),
            login: None,
            retransmitted: 0,
        })
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.link {
            Link::Udp(socket) => socket.send(bytes).map(drop),
            Link::Tcp(stream) => stream.write_all(bytes),
            Link::Tls(stream) => stream.write_all(bytes),
        }
    }

    /// The next message or channel data.
    pub(crate) fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = [0; 4096];
        loop {
            if let Next::Frame { frame, taken } = framing::next(&self.received, &Rules::ANY) {
                let frame = frame.to_vec();
                self.received.drain(..taken);
                return Ok(frame);
            }
            let count = match &mut self.link {
                Link::Udp(socket) => {
                    let count = socket.recv(&mut bytes)?;
                    return Ok(bytes[..count].to_vec());
                }
                Link::Tcp(stream) => stream.read(&mut bytes)?,
                Link::Tls(stream) => stream.read(&mut bytes)?,
            };
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            self.received.extend_from_slice(&bytes[..count]);
        }
    }

    /// The answer to a request; what else comes meanwhile is dropped.
    pub(crate) fn ask(&mut self, request: &Message) -> io::Result<Message> {
        for sent in 0..SENDS {
            self.send(&request.raw)?;
            self.wait(RTO * 2u32.pow(sent))?;
            match self.answer(request) {
                Err(error) if self.is_udp() && error.kind() == ErrorKind::WouldBlock => {
                    self.retransmitted += 1
                }
                answer => return answer,
            }
        }
        Err(ErrorKind::TimedOut.into())
    }

    fn answer(&mut self, request: &Message) -> io::Result<Message> {
        loop {
            let bytes = self.receive()?;
            if bytes[0] < 4 {
                let reply = decode(&bytes);
                if reply.transaction_id == request.transaction_id {
                    return Ok(reply);
                }
            }
        }
    }

    /// The socket of a client over UDP, for what is not asked and answered in turn.
    pub(crate) fn into_socket(self) -> Option<UdpSocket> {
        match self.link {
            Link::Udp(socket) => Some(socket),
            Link::Tcp(_) | Link::Tls(_) => None,
        }
    }

    fn is_udp(&self) -> bool {
        matches!(self.link, Link::Udp(_))
    }

    /// Has answers over UDP take no longer.
    fn wait(&self, time: Duration) -> io::Result<()> {
        match &self.link {
            Link::Udp(socket) => socket.set_read_timeout(Some(time)),
            Link::Tcp(_) | Link::Tls(_) => Ok(()),
        }
    }

    /// Sends a signed request and tells the code of the answer; 0 is success.
    pub(crate) fn ask_signed(
        &mut self,
        method: Method,
        attributes: Attributes,
    ) -> io::Result<(u16, Message)> {
        let login = self.login.as_ref().ok_or(ErrorKind::PermissionDenied)?;
        let request = login.sign(method, attributes);
        let reply = self.ask(&request)?;
        Ok((error_code(&reply).unwrap_or(0), reply))
    }

    /// Learns realm and nonce; what is signed from now on is signed as this user.
    fn log_in(&mut self, user: &str, password: &str) -> io::Result<()> {
        let challenge = self.ask(&request(METHOD_ALLOCATE, vec![transport()]))?;
        if error_code(&challenge) != Some(401) {
            return Err(io::Error::other(format!("no 401: {challenge}")));
        }
        self.login = Some(Login::answer(&challenge, user, password));
        Ok(())
    }

    /// Binds the channel to a peer.
    fn bind(&mut self, to: SocketAddr) -> io::Result<u16> {
        let attributes: Attributes = vec![Box::new(ChannelNumber(CHANNEL)), peer(&to.to_string())];
        Ok(self.ask_signed(METHOD_CHANNEL_BIND, attributes)?.0)
    }

    /// Sends data to the peer of the channel, padded as a stream wants it.
    fn send_data(&mut self, data: &[u8]) -> io::Result<()> {
        let mut bytes = channel_data::header(CHANNEL, data.len() as u16).to_vec();
        bytes.extend_from_slice(data);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        self.send(&bytes)
    }

    /// Sends data to a peer that sends it back, until it has come back.
    pub(crate) fn echo(&mut self, data: &[u8]) -> io::Result<()> {
        for _ in 0..SENDS {
            self.send_data(data)?;
            self.wait(RTO)?;
            match self.receive() {
                Ok(bytes) if channel_data::parse(&bytes) == Some((CHANNEL, data)) => return Ok(()),
                Err(error) if !self.is_udp() || error.kind() != ErrorKind::WouldBlock => {
                    return Err(error);
                }
                _ => self.retransmitted += 1,
            }
        }
        Err(ErrorKind::TimedOut.into())
    }

    /// Logs in, allocates, and has an echo come back; the code of what was refused is an error.
    pub(crate) fn call(&mut self, user: &str, password: &str, echo: SocketAddr) -> io::Result<()> {
        let done = |code: u16| match code {
            0 => Ok(()),
            code => Err(io::Error::other(format!("refused with {code}"))),
        };
        self.log_in(user, password)?;
        let (code, _) = self.ask_signed(METHOD_ALLOCATE, vec![transport()])?;
        done(code)?;
        done(self.bind(echo)?)?;
        self.echo(b"an echo, as long as a voice packet is")
    }

    /// Refreshes; zero seconds end the allocation.
    pub(crate) fn refresh(&mut self, seconds: u32) -> io::Result<u16> {
        Ok(self.ask_signed(METHOD_REFRESH, vec![lifetime(seconds)])?.0)
    }
}
