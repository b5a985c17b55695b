//! A client on a stream that sends exactly what a test says.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_CHANNEL_BIND, Message, Method};
use turnd_client::turn::{Framing, split};

use super::asking::Asking;
use super::messages::{Attributes, Login, channel_to, request, status, transport};
use super::{PASSWORD, USER};

/// Time that a reply may take. Long, since it costs a passing test nothing.
const TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct StreamClient<S = TcpStream> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
    login: Option<Login>,
}

pub(crate) fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

impl StreamClient {
    pub(crate) fn new(server: SocketAddr) -> Self {
        Self::over(connect(server))
    }
}

/// Configuration of a TLS client that trusts `authority`.
pub(crate) fn trusting(authority: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(authority).unwrap();
    roots.add(authority).unwrap();
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

impl StreamClient<StreamOwned<ClientConnection, TcpStream>> {
    /// Over TLS, to a server that `authority` vouches for under this name.
    pub(crate) fn secure(server: SocketAddr, authority: &Path, name: &str) -> Self {
        Self::secure_over(connect(server), trusting(authority), name)
    }

    /// The same, on a connection.
    pub(crate) fn secure_over(mut tcp: TcpStream, config: ClientConfig, name: &str) -> Self {
        let server = ServerName::try_from(name.to_owned()).unwrap();
        let mut tls = ClientConnection::new(Arc::new(config), server).unwrap();
        while tls.is_handshaking() {
            let io = tls.complete_io(&mut tcp);
            io.unwrap_or_else(|error| panic!("{name}: {error}"));
        }
        Self::over(StreamOwned::new(tls, tcp))
    }
}

impl<S: Read + Write> StreamClient<S> {
    pub(crate) fn over(stream: S) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
            login: None,
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// The next frame without padding; an error when the server closes, or says nothing in time.
    pub(crate) fn try_receive(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match split(&self.buffer) {
                Ok(Some((len, padded))) => {
                    let frame = self.buffer[..len].to_vec();
                    self.buffer.drain(..padded);
                    return Ok(frame);
                }
                Ok(None) => {}
                Err(_) => panic!("the server sent {:02x?}", self.buffer),
            }
            let mut bytes = [0; 4096];
            match self.stream.read(&mut bytes)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => self.buffer.extend_from_slice(&bytes[..count]),
            }
        }
    }

    pub(crate) fn receive(&mut self) -> Vec<u8> {
        self.try_receive().unwrap()
    }

    /// Bytes behind the last frame.
    pub(crate) fn rest(&self) -> &[u8] {
        &self.buffer
    }

    pub(crate) fn ask(&mut self, request: &Message) -> Message {
        let mut asking = Asking::new(Framing::Stream, request);
        self.send(&asking.bytes());
        asking.reply(&self.receive())
    }

    pub(crate) fn binding(&mut self) -> Message {
        self.ask(&request(METHOD_BINDING, vec![]))
    }

    pub(crate) fn log_in(&mut self, user: &str, password: &str) {
        let challenge = self.ask(&request(METHOD_ALLOCATE, vec![]));
        self.login = Some(Login::answer(&challenge, user, password));
    }

    pub(crate) fn signed(&self, method: Method, attributes: Attributes) -> Message {
        let login = self.login.as_ref().expect("log_in comes first");
        login.sign(method, attributes)
    }

    pub(crate) fn ask_signed(&mut self, method: Method, attributes: Attributes) -> Message {
        let request = self.signed(method, attributes);
        self.ask(&request)
    }

    /// Makes an allocation for `USER`, and binds channel 0x4000 to a peer.
    pub(crate) fn bind_channel(&mut self, to: SocketAddr) {
        self.log_in(USER, PASSWORD);
        let reply = self.ask_signed(METHOD_ALLOCATE, vec![transport()]);
        assert_eq!(status(&reply), 200);
        let reply = self.ask_signed(METHOD_CHANNEL_BIND, channel_to(to));
        assert_eq!(status(&reply), 200);
    }
}
