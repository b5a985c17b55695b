//! One DTLS association: datagrams in and out, no waiting.

use std::collections::VecDeque;
use std::fmt;
use std::io::{self, Read, Write};

use openssl::error::ErrorStack;
use openssl::ssl::{ErrorCode, Ssl, SslContext, SslStream};

use crate::wire::dtls_hello::{ClientHello, Record};

/// What fits every path in use, so that handshake messages are not fragmented by IP.
const MTU: u32 = 1200;
/// The longest plain text of a record.
pub(super) const MAX_RECORD: usize = 1 << 14;

/// Encrypted records that are taken before the keys change, and then until the handshake is over:
/// its last message is one, and can come too early, or again. OpenSSL keeps each in a buffer of the
/// longest record's size, and would keep a hundred.
const ENCRYPTED: u8 = 8;

/// OpenSSL between two queues of datagrams.
pub(super) struct Association {
    ssl: SslStream<Pipe>,
    /// How many more encrypted records are taken.
    encrypted: u8,
    /// The client has said that it changes keys.
    changing: bool,
    established: bool,
    failed: bool,
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association")
            .field("established", &self.established)
            .finish_non_exhaustive()
    }
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
    /// Begins with a ClientHello whose cookie is good.
    ///
    /// OpenSSL keeps to the order of the exchange: it is shown the first hello as well, and what it
    /// answers to that, which the client has had, is thrown away.
    pub(super) fn new(
        context: &SslContext,
        hello: &ClientHello<'_>,
        datagram: &[u8],
    ) -> Option<Self> {
        let first = hello.without_cookie()?;
        let made = || -> Result<SslStream<Pipe>, ErrorStack> {
            let mut ssl = Ssl::new(context)?;
            ssl.set_accept_state();
            ssl.set_mtu(MTU)?;
            SslStream::new(ssl, Pipe::default())
        };
        let mut association = Self {
            ssl: made().ok()?,
            encrypted: ENCRYPTED,
            changing: false,
            established: false,
            failed: false,
        };
        association.ssl.get_mut().incoming = Some(first);
        association.advance().ok()?;
        association.ssl.get_mut().outgoing.clear();
        association.ssl.get_mut().incoming = Some(datagram.to_vec());
        // A client that cannot be served gets to know why: an alert waits to be sent.
        association.failed = association.advance().is_err();
        Some(association)
    }

    pub(super) fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    /// Takes a datagram; [`Self::read`] tells what it says.
    pub(super) fn receive(&mut self, datagram: &[u8]) -> Result<(), Ended> {
        let mut left = datagram;
        while !self.established {
            let Some(record) = Record::first_of(left) else {
                return Ok(());
            };
            left = record.rest;
            if record.is_encrypted() {
                let Some(fewer) = self.encrypted.checked_sub(1) else {
                    continue;
                };
                self.encrypted = fewer;
            } else if record.is_change_cipher_spec() && !self.changing {
                self.changing = true;
                self.encrypted = ENCRYPTED;
            }
            self.ssl.get_mut().incoming = Some(record.bytes.to_vec());
            self.advance()?;
        }
        self.ssl.get_mut().incoming = Some(left.to_vec()).filter(|left| !left.is_empty());
        Ok(())
    }

    /// The next message into `plain`; `Ok(None)` when all has been read.
    pub(super) fn read(&mut self, plain: &mut [u8]) -> Result<Option<usize>, Ended> {
        if !self.established {
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
                self.established = true;
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
