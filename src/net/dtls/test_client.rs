//! Client of DTLS in tests.

use openssl::ssl::{
    ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion,
};

use super::wire::Wire;

/// OpenSSL's client on datagrams in memory.
pub(super) struct Client(SslStream<Wire>);

impl Client {
    pub(super) fn new(cipher: &str, newest: SslVersion) -> Self {
        Self::with_mtu(cipher, newest, 1200)
    }

    pub(super) fn with_mtu(cipher: &str, newest: SslVersion, mtu: u32) -> Self {
        let mut context = SslContext::builder(SslMethod::dtls_client()).unwrap();
        context.set_security_level(0);
        context.set_max_proto_version(Some(newest)).unwrap();
        context.set_verify(SslVerifyMode::NONE);
        context.set_cipher_list(cipher).unwrap();
        context.set_options(SslOptions::NO_QUERY_MTU);
        let mut ssl = Ssl::new(&context.build()).unwrap();
        ssl.set_connect_state();
        ssl.set_mtu(mtu).unwrap();
        Self(SslStream::new(ssl, Wire::default()).unwrap())
    }

    /// Takes a datagram of the server, for whatever the client does next.
    pub(super) fn put(&mut self, datagram: &[u8]) {
        self.0.get_mut().put(datagram);
    }

    /// Goes on with the handshake, and tells whether it is over.
    pub(super) fn handshake(&mut self) -> bool {
        match self.0.do_handshake() {
            Ok(()) => true,
            Err(error) if error.code() == ErrorCode::WANT_READ => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// Takes the datagrams that are to be sent.
    pub(super) fn take(&mut self) -> Vec<Vec<u8>> {
        let wire = self.0.get_mut();
        let datagrams = wire.outgoing().map(<[u8]>::to_vec).collect();
        wire.clear_outgoing();
        datagrams
    }

    /// The datagram that carries `text`.
    pub(super) fn record(&mut self, text: &[u8]) -> Vec<u8> {
        assert_eq!(self.0.ssl_write(text).unwrap(), text.len());
        self.take().remove(0)
    }

    /// The text in a datagram of the server.
    pub(super) fn open(&mut self, datagram: &[u8]) -> Vec<u8> {
        self.put(datagram);
        let mut text = vec![0; 2048];
        let len = self.0.ssl_read(&mut text).unwrap();
        text.truncate(len);
        text
    }
}
