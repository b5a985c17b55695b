//! TLS on a stream: bytes in and out, no waiting.

use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::server::{AcceptedAlert, Acceptor};
use rustls::{Error, ServerConnection};

use super::certs::Material;
use super::egress::WriteQueue;
use super::handshake::{Failure, Reason};
use turnd_proto::wire::framing::{self, Next, Rules};

/// Bytes that are encrypted before they are written, but for the last frame of them.
const FILL: usize = 32 << 10;
/// Longest ClientHello, with the headers of its records; rustls by itself would hold 64 KiB of an unfinished one.
const MAX_HELLO: usize = 16 << 10;

/// One client's TLS.
pub(super) struct Tls {
    state: State,
    material: Arc<Material>,
    /// Name that the client asks for.
    server_name: Option<Box<str>>,
    /// The handshake is done.
    is_established: bool,
}

enum State {
    /// The ClientHello has not come whole; it decides about ALPN.
    Hello {
        acceptor: Box<Acceptor>,
        /// Bytes of it that may still come.
        room: usize,
    },
    Open(Box<ServerConnection>),
    /// The alert is to be sent before the end.
    Refused(Box<AcceptedAlert>),
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// Reason why TLS cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Broken {
    /// The handshake has failed, or the client has refused the certificate right behind it.
    Handshake(Failure),
    /// The bytes are none of an established connection.
    Record,
}

impl From<Reason> for Broken {
    fn from(reason: Reason) -> Self {
        Self::Handshake(reason.into())
    }
}

/// Plain text of some bytes.
#[derive(Debug, Default)]
pub(super) struct Opened {
    /// Bytes of plain text.
    pub(super) len: usize,
    /// The client has sent close_notify.
    pub(super) closed: bool,
    /// They have ended the handshake.
    pub(super) established: bool,
}

impl Tls {
    pub(super) fn new(material: Arc<Material>) -> Self {
        Self {
            state: State::Hello {
                acceptor: Box::default(),
                room: MAX_HELLO,
            },
            material,
            server_name: None,
            is_established: false,
        }
    }

    /// Whether the handshake is done.
    pub(super) fn is_established(&self) -> bool {
        self.is_established
    }

    /// Name that the client has asked for.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.server_name.as_deref()
    }

    /// Takes what came from the network and puts what it says into `out`, which has room for it.
    /// `may_begin` is asked before the handshake costs a signature.
    pub(super) fn open(
        &mut self,
        mut cipher: &[u8],
        out: &mut [u8],
        may_begin: &mut dyn FnMut() -> bool,
    ) -> Result<Opened, Broken> {
        let mut opened = Opened::default();
        while !cipher.is_empty() {
            if let State::Hello { acceptor, room } = &mut self.state {
                let mut next = &cipher[..cipher.len().min(*room)];
                let taken = acceptor
                    .read_tls(&mut next)
                    .map_err(|_| Reason::ProtocolError)?;
                if taken == 0 {
                    return Err(Reason::ProtocolError.into());
                }
                *room -= taken;
                cipher = &cipher[taken..];
                self.accept(may_begin)?;
                continue;
            }
            let State::Open(tls) = &mut self.state else {
                return Err(Broken::Record);
            };
            tls.read_tls(&mut cipher).map_err(|_| Broken::Record)?;
            let state = tls
                .process_new_packets()
                .map_err(|error| broken(self.is_established, &error))?;
            opened.closed = state.peer_has_closed();
            if !self.is_established && !tls.is_handshaking() {
                self.is_established = true;
                opened.established = true;
            }
            match tls.reader().read(&mut out[opened.len..]) {
                Ok(count) => opened.len += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(_) => return Err(Broken::Record),
            }
            if opened.closed {
                break;
            }
        }
        Ok(opened)
    }

    fn accept(&mut self, may_begin: &mut dyn FnMut() -> bool) -> Result<(), Broken> {
        let State::Hello { acceptor, .. } = &mut self.state else {
            return Ok(());
        };
        let made = match acceptor.accept() {
            Ok(None) => return Ok(()),
            Ok(Some(_)) if !may_begin() => return Err(Reason::Rate.into()),
            Ok(Some(accepted)) => {
                self.server_name = accepted.client_hello().server_name().map(Into::into);
                let config = self.material.tls.choose(&accepted.client_hello());
                accepted.into_connection(config)
            }
            Err(refused) => Err(refused),
        };
        match made {
            Ok(mut tls) => {
                // `FILL` is the limit.
                tls.set_buffer_limit(None);
                self.state = State::Open(Box::new(tls));
                Ok(())
            }
            Err((error, alert)) => {
                self.state = State::Refused(Box::new(alert));
                Err(Broken::Handshake(Failure::of(&error)))
            }
        }
    }

    /// Encrypts and writes as much as the socket takes.
    pub(super) fn write(
        &mut self,
        queue: &mut WriteQueue,
        socket: &mut impl Write,
    ) -> io::Result<()> {
        let tls = match &mut self.state {
            State::Hello { .. } => return Ok(()),
            State::Open(tls) => tls,
            State::Refused(alert) => return alert.write_all(socket),
        };
        loop {
            while tls.wants_write() {
                match tls.write_tls(socket) {
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error),
                }
            }
            if queue.is_empty() {
                return Ok(());
            }
            // A record for each frame: some clients, coturn's among them, take one for the other.
            let mut filled = 0;
            queue.write_with(|bytes| {
                if filled >= FILL {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                let count = match framing::next(bytes, &Rules::ANY) {
                    Next::Frame { taken, .. } => taken,
                    _ => bytes.len(),
                };
                tls.writer().write_all(&bytes[..count])?;
                filled += count;
                Ok(count)
            })?;
        }
    }

    /// Whether encrypted bytes wait for the socket.
    pub(super) fn wants_write(&self) -> bool {
        match &self.state {
            State::Open(tls) => tls.wants_write(),
            _ => false,
        }
    }

    /// Queues close_notify for the next [`Self::write`].
    pub(super) fn close(&mut self) {
        if let State::Open(tls) = &mut self.state {
            tls.send_close_notify();
        }
    }
}

/// Reason behind an error; `established`: of a connection whose handshake is done.
fn broken(established: bool, error: &Error) -> Broken {
    let failure = Failure::of(error);
    // In TLS 1.3 the client may look at the certificate when the server takes the handshake for done.
    if established && !failure.reason.blames_certificate() {
        Broken::Record
    } else {
        Broken::Handshake(failure)
    }
}
