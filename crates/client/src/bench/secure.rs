//! TLS of a client that puts load on a server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, Error, SupportedCipherSuite};

use crate::tls::{self, Judge};

/// Cipher suites to offer: one of each version and key, so that all servers are measured with the same.
const SUITES: [SupportedCipherSuite; 3] = [
    cipher_suite::TLS13_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    cipher_suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
];

/// A connection with TLS.
pub(super) struct Secure {
    tcp: TcpStream,
    tls: ClientConnection,
}

impl Secure {
    /// Shakes hands with the server `name` on a connection that waits.
    pub(super) fn connect(name: &str, mut tcp: TcpStream) -> io::Result<Self> {
        let failed = |error: &dyn std::fmt::Display| {
            io::Error::other(format!("the TLS handshake failed: {error}"))
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|error| failed(&error))?;
        let config = config().map_err(|error| failed(&error))?;
        let mut tls = ClientConnection::new(config, name).map_err(|error| failed(&error))?;
        while tls.is_handshaking() {
            tls.complete_io(&mut tcp).map_err(|error| failed(&error))?;
        }
        Ok(Self { tcp, tls })
    }

    pub(super) fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Reads plain text, without waiting; nothing: the server has closed.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.tls.reader().read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                read => return read,
            }
            if self.tls.read_tls(&mut self.tcp)? == 0 {
                return Ok(0);
            }
            let processed = self.tls.process_new_packets();
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    /// Encrypts and writes, without waiting; takes nothing while earlier text is not written.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.flush()?;
        let taken = self.tls.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(taken),
            flushed => flushed.map(|()| taken),
        }
    }

    /// Writes what is encrypted.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.tcp)?;
        }
        Ok(())
    }
}

fn config() -> Result<Arc<ClientConfig>, Error> {
    let provider = CryptoProvider {
        cipher_suites: SUITES.to_vec(),
        ..ring::default_provider()
    };
    tls::config(provider, AnyServer).map(Arc::new)
}

/// Trusts every server: whoever puts load on one knows whose it is.
#[derive(Debug)]
struct AnyServer;

impl Judge for AnyServer {
    fn judge(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: UnixTime,
    ) -> Result<(), Error> {
        Ok(())
    }
}
