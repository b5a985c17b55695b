//! One DTLS association: datagrams in and out, no waiting.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};

use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslStream};

use turnd_proto::wire::dtls_hello::first_hello;
use turnd_proto::wire::dtls_record::{Clear, Record};

/// What fits every path in use, so that handshake messages are not fragmented by IP.
const MTU: u32 = 1200;
/// The longest plain text of a record.
pub(super) const MAX_RECORD: usize = 1 << 14;

/// Bytes of memory of an association, as measured with OpenSSL 3.0: 50 KB of one that is half open,
/// and what the memory manager makes of it when thousands come and go.
pub(super) const BYTES: usize = 80 << 10;
/// Bytes of encrypted records that are kept until the client has changed keys: its last message is
/// one, and can overtake the ones before. OpenSSL would keep a hundred, each in a buffer of 16 KB.
const EARLY: usize = 1024;

/// OpenSSL between two queues of datagrams.
pub(super) struct Association {
    ssl: SslStream<Pipe>,
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

/// It cannot go on.
#[derive(Debug)]
pub(super) struct Ended;

/// What OpenSSL takes for a socket.
#[derive(Debug, Default)]
struct Pipe {
    incoming: Option<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.take().ok_or(io::ErrorKind::WouldBlock)?;
        // OpenSSL reads whole datagrams; one that is longer than any record is no loss.
        let len = datagram.len().min(out.len());
        out[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.outgoing.push_back(datagram.to_vec());
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Association {
    /// Begins with the datagram that holds the first fragment of a ClientHello whose cookie is good.
    ///
    /// OpenSSL keeps to the order of the exchange: it is shown a first hello as well, and what it
    /// answers to that, which the client has had, is thrown away.
    pub(super) fn new(context: &SslContext, datagram: &[u8]) -> Option<Self> {
        let made = || -> Result<SslStream<Pipe>, ErrorStack> {
            let mut ssl = Ssl::new(context)?;
            ssl.set_accept_state();
            ssl.set_mtu(MTU)?;
            SslStream::new(ssl, Pipe::default())
        };
        let mut association = Self {
            ssl: made().ok()?,
            stage: Stage::Hello,
            early: Vec::new(),
            failed: false,
        };
        association.take(&first_hello()).ok()?;
        association.ssl.get_mut().outgoing.clear();
        association.stage = Stage::Hello;
        // A client that cannot be served gets to know why: an alert waits to be sent.
        association.failed = association.receive(datagram).is_err();
        Some(association)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn is_established(&self) -> bool {
        self.stage == Stage::Established
    }

    /// Takes a datagram; [`Self::read`] tells what it says.
    pub(super) fn receive(&mut self, datagram: &[u8]) -> Result<(), Ended> {
        let mut left = datagram;
        while !self.is_established() {
            let Some(record) = Record::first_of(left) else {
                return Ok(());
            };
            left = record.rest;
            self.receive_record(&record)?;
        }
        if !left.is_empty() {
            let incoming = &mut self.ssl.get_mut().incoming;
            // Behind what came too early and is not read yet.
            incoming.get_or_insert_default().extend_from_slice(left);
        }
        Ok(())
    }

    /// Takes a record of the handshake, unless it is one that only memory would be lost on.
    fn receive_record(&mut self, record: &Record<'_>) -> Result<(), Ended> {
        let clear = record.clear();
        match (clear, self.stage) {
            (None, Stage::Finished) if record.is_encrypted() => self.take(record.bytes),
            (None, _) if record.is_encrypted() => {
                if self.early.len() + record.bytes.len() <= EARLY {
                    self.early.extend_from_slice(record.bytes);
                }
                Ok(())
            }
            // Whoever says it is not known; a client that gives up is silent as well.
            (None | Some(Clear::Alert), _) => Ok(()),
            // OpenSSL would keep a share of a key until it has the whole hello.
            (Some(Clear::KeyExchange), Stage::Hello) => Ok(()),
            (Some(Clear::KeyExchange), Stage::KeyExchange) => {
                self.stage = Stage::ChangeCipherSpec;
                self.take(record.bytes)
            }
            (Some(Clear::ChangeCipherSpec), Stage::ChangeCipherSpec) => {
                self.stage = Stage::Finished;
                self.take(record.bytes)?;
                let early = std::mem::take(&mut self.early);
                self.receive(&early)
            }
            (Some(Clear::ChangeCipherSpec), _) => Ok(()),
            // OpenSSL answers what comes again, as the client does not have its last flight.
            (Some(Clear::Hello | Clear::KeyExchange), _) => self.take(record.bytes),
        }
    }

    /// Shows OpenSSL a record.
    fn take(&mut self, record: &[u8]) -> Result<(), Ended> {
        self.ssl.get_mut().incoming = Some(record.to_vec());
        self.advance()?;
        if self.stage == Stage::Hello && !self.ssl.get_ref().outgoing.is_empty() {
            self.stage = Stage::KeyExchange;
        }
        Ok(())
    }

    /// The next message into `plain`; `Ok(None)` when all has been read.
    pub(super) fn read(&mut self, plain: &mut [u8]) -> Result<Option<usize>, Ended> {
        if !self.is_established() {
            return Ok(None);
        }
        match self.ssl.ssl_read(plain) {
            Ok(len) => Ok(Some(len)),
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(None),
            Err(_) => Err(Ended),
        }
    }

    /// Goes on with the handshake; sends a flight again when OpenSSL finds that it is time.
    pub(super) fn advance(&mut self) -> Result<(), Ended> {
        match self.ssl.do_handshake() {
            Ok(()) => {
                self.stage = Stage::Established;
                Ok(())
            }
            Err(error) if error.code() == ErrorCode::WANT_READ => Ok(()),
            Err(_) => Err(Ended),
        }
    }

    /// Encrypts one message; one that is too long is lost.
    pub(super) fn send(&mut self, message: &[u8]) {
        // An established association always takes a record.
        let _ = self.ssl.ssl_write(message);
    }

    /// Says goodbye.
    pub(super) fn close(&mut self) {
        let _ = self.ssl.shutdown();
    }

    /// The next datagram for the client.
    pub(super) fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.ssl.get_mut().outgoing.pop_front()
    }
}

#[cfg(test)]
mod tests;
