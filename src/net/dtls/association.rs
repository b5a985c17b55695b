//! One DTLS association: datagrams in and out, no waiting.

use std::fmt;

use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslStream};

use turnd_proto::wire::dtls_hello::first_hello;
use turnd_proto::wire::dtls_record::{Clear, Record};

use super::wire::Wire;

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
    failed: bool,
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

/// The association cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ended;

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
            failed: false,
        };
        association.take(wire, &first_hello()).ok()?;
        wire.clear_outgoing();
        association.stage = Stage::Hello;
        // A client that cannot be served gets to know why: an alert waits to be sent.
        association.failed = association.receive(wire, datagram).is_err();
        Some(association)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
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
            (None | Some(Clear::Alert), _) => Ok(()),
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
            Err(_) => Err(Ended),
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
            Err(_) => Err(Ended),
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

#[cfg(test)]
mod tests;
