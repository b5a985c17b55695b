//! One DTLS association: datagrams in and out, no waiting.

use std::fmt;

use openssl::error::ErrorStack;
use openssl::ssl::{self, ErrorCode, NameType, Ssl, SslContext, SslStream};
use rustls::AlertDescription;

use turnd_proto::wire::dtls_hello::first_hello;
use turnd_proto::wire::dtls_record::{Clear, Record};

use super::wire::Wire;
use crate::net::handshake::{Failure, Reason};

/// Size of datagrams that fit every path in use, so that handshake messages are not fragmented by IP.
const MTU: u32 = 1200;
/// The longest plain text of a record.
pub(super) const MAX_RECORD: usize = 1 << 14;

/// Bytes of memory of an association, as measured with OpenSSL 3.0: 50 KB of one that is half open,
/// and what the memory manager makes of it when thousands come and go.
pub(super) const BYTES: usize = 80 << 10;
/// Bytes of encrypted records that are kept until the client has changed keys: its last message is
/// one, and can overtake the ones before. OpenSSL would keep a hundred, each in a buffer of 16 KB.
const EARLY: usize = 1024;

/// OpenSSL without a socket: whoever calls hands it the [`Wire`] that its datagrams come and go by.
pub(super) struct Association {
    ssl: SslStream<Wire>,
    stage: Stage,
    /// Encrypted records that came too early.
    early: Vec<u8>,
    failure: Option<Failure>,
    /// Alert that came in the clear. Its sender is not known, so it ends nothing; it is the best
    /// guess when the handshake ends otherwise.
    alert: Option<u8>,
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association")
            .field("stage", &self.stage)
            .finish_non_exhaustive()
    }
}

/// Point that a handshake has reached, by what the server waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The rest of the ClientHello.
    Hello,
    /// The client's share of the key.
    KeyExchange,
    /// The client's change of keys.
    ChangeCipherSpec,
    /// The client's last message, which is encrypted.
    Finished,
    Established,
}

/// The association cannot go on, for this reason if the handshake is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended(pub(super) Failure);

impl Association {
    /// Begins with the datagram that holds the first fragment of a ClientHello whose cookie is good.
    ///
    /// OpenSSL keeps to the order of the exchange: it is shown a first hello as well, and what it
    /// answers to that, which the client has had, is thrown away.
    pub(super) fn new(context: &SslContext, wire: &mut Wire, datagram: &[u8]) -> Option<Self> {
        let made = || -> Result<SslStream<Wire>, ErrorStack> {
            let mut ssl = Ssl::new(context)?;
            ssl.set_accept_state();
            ssl.set_mtu(MTU)?;
            SslStream::new(ssl, Wire::default())
        };
        let mut association = Self {
            ssl: made().ok()?,
            stage: Stage::Hello,
            early: Vec::new(),
            failure: None,
            alert: None,
        };
        association.take(wire, &first_hello()).ok()?;
        wire.clear_outgoing();
        association.stage = Stage::Hello;
        // A client that cannot be served gets to know why: an alert waits to be sent.
        let received = association.receive(wire, datagram);
        association.failure = received.err().map(|Ended(failure)| failure);
        Some(association)
    }

    /// Failure of the handshake at its very beginning.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.failure
    }

    /// Failure that an alert in the clear tells of, if one has come.
    pub(super) fn alert(&self) -> Option<Failure> {
        let alert = AlertDescription::from(self.alert?);
        Some(Failure::by_alert(alert))
    }

    /// Name that the client asks for.
    pub(super) fn server_name(&self) -> Option<&str> {
        self.ssl.ssl().servername(NameType::HOST_NAME)
    }

    pub(super) fn is_established(&self) -> bool {
        self.stage == Stage::Established
    }

    /// Takes a datagram; [`Self::read`] tells what it says.
    pub(super) fn receive(&mut self, wire: &mut Wire, datagram: &[u8]) -> Result<(), Ended> {
        wire.drop_unread();
        self.receive_all(wire, datagram)
    }

    fn receive_all(&mut self, wire: &mut Wire, records: &[u8]) -> Result<(), Ended> {
        let mut left = records;
        while !self.is_established() {
            let Some(record) = Record::first_of(left) else {
                return Ok(());
            };
            left = record.rest;
            self.receive_record(wire, &record)?;
        }
        if !left.is_empty() {
            // Behind what came too early and is not read yet.
            wire.append(left);
        }
        Ok(())
    }

    /// Takes a record of the handshake, unless it is one that only memory would be lost on.
    fn receive_record(&mut self, wire: &mut Wire, record: &Record<'_>) -> Result<(), Ended> {
        let clear = record.clear();
        match (clear, self.stage) {
            (None, Stage::Finished) if record.is_encrypted() => self.take(wire, record.bytes),
            (None, _) if record.is_encrypted() => {
                if self.early.len() + record.bytes.len() <= EARLY {
                    self.early.extend_from_slice(record.bytes);
                }
                Ok(())
            }
            // Its sender is not known; a client that gives up is silent as well.
            (Some(Clear::Alert), _) => {
                self.alert = record.payload().and_then(fatal_alert).or(self.alert);
                Ok(())
            }
            (None, _) => Ok(()),
            // OpenSSL would keep a share of a key until it has the whole hello.
            (Some(Clear::KeyExchange), Stage::Hello) => Ok(()),
            (Some(Clear::KeyExchange), Stage::KeyExchange) => {
                self.stage = Stage::ChangeCipherSpec;
                self.take(wire, record.bytes)
            }
            (Some(Clear::ChangeCipherSpec), Stage::ChangeCipherSpec) => {
                self.stage = Stage::Finished;
                self.take(wire, record.bytes)?;
                let early = std::mem::take(&mut self.early);
                self.receive_all(wire, &early)
            }
            (Some(Clear::ChangeCipherSpec), _) => Ok(()),
            // OpenSSL answers what comes again, as the client does not have its last flight.
            (Some(Clear::Hello | Clear::KeyExchange), _) => self.take(wire, record.bytes),
        }
    }

    /// Shows OpenSSL a record.
    fn take(&mut self, wire: &mut Wire, record: &[u8]) -> Result<(), Ended> {
        wire.put(record);
        self.advance(wire)?;
        if self.stage == Stage::Hello && wire.has_outgoing() {
            self.stage = Stage::KeyExchange;
        }
        Ok(())
    }

    /// The next message into `plain`; `Ok(None)` when all has been read.
    pub(super) fn read(
        &mut self,
        wire: &mut Wire,
        plain: &mut [u8],
    ) -> Result<Option<usize>, Ended> {
        if !self.is_established() {
            return Ok(None);
        }
        match self.on(wire, |ssl| ssl.ssl_read(plain)) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(None),
            Err(error) => Err(Ended(failure(&error))),
        }
    }

    /// Goes on with the handshake; sends a flight again when OpenSSL finds that it is time.
    pub(super) fn advance(&mut self, wire: &mut Wire) -> Result<(), Ended> {
        match self.on(wire, SslStream::do_handshake) {
            Ok(()) => {
                self.stage = Stage::Established;
                Ok(())
            }
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(()),
            Err(error) => Err(Ended(failure(&error))),
        }
    }

    /// Encrypts one message; one that is too long is lost.
    pub(super) fn send(&mut self, wire: &mut Wire, message: &[u8]) {
        // An established association always takes a record.
        let _ = self.on(wire, |ssl| ssl.ssl_write(message));
    }

    /// Sends close_notify.
    pub(super) fn close(&mut self, wire: &mut Wire) {
        let _ = self.on(wire, SslStream::shutdown);
    }

    /// Lets OpenSSL act with `wire` for its socket.
    fn on<T>(&mut self, wire: &mut Wire, act: impl FnOnce(&mut SslStream<Wire>) -> T) -> T {
        std::mem::swap(self.ssl.get_mut(), wire);
        let done = act(&mut self.ssl);
        std::mem::swap(self.ssl.get_mut(), wire);
        done
    }
}

/// Description of an alert that ends a connection (RFC 5246 §7.2).
fn fatal_alert(payload: &[u8]) -> Option<u8> {
    match payload {
        [2, description] => Some(*description),
        _ => None,
    }
}

/// The failure behind OpenSSL's error, by the numbers of <openssl/sslerr.h>.
fn failure(error: &ssl::Error) -> Failure {
    /// Alerts of the client have this number and their own.
    const ALERT: i32 = 1000;
    let errors = error.ssl_error().map(ErrorStack::errors);
    let code = errors.and_then(|errors| errors.last());
    match code.map_or(0, |error| error.reason_code()) {
        // WRONG_VERSION_NUMBER, UNSUPPORTED_PROTOCOL, VERSION_TOO_LOW.
        267 | 258 | 396 => Reason::ProtocolVersion.into(),
        // NO_SUITABLE_SIGNATURE_ALGORITHM, NO_SHARED_CIPHER, NO_SHARED_SIGNATURE_ALGORITHMS, NO_SHARED_GROUPS.
        118 | 193 | 376 | 410 => Reason::NoSharedCipher.into(),
        code @ ALERT..=1255 => match u8::try_from(code - ALERT) {
            Ok(alert) => Failure::by_alert(alert.into()),
            Err(_) => Reason::GaveUp.into(),
        },
        _ => Reason::ProtocolError.into(),
    }
}

#[cfg(test)]
mod tests;
