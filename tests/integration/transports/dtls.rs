//! DTLS where datagrams get lost.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::Duration;

use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode};
use stun::message::METHOD_BINDING;

use crate::support::messages::{decode, status};
use crate::support::{Authority, Turnd, request};

/// The record type of ChangeCipherSpec, with which the server's last flight begins.
const CHANGE_CIPHER_SPEC: u8 = 20;
/// When OpenSSL sends a flight again, and a little more.
const RETRANSMISSION: Duration = Duration::from_millis(1100);

/// A socket that loses the server's last flight once.
#[derive(Debug)]
struct Lossy {
    socket: UdpSocket,
    lost: bool,
    /// An answer did not come.
    silence: bool,
}

impl Read for Lossy {
    fn read(&mut self, datagram: &mut [u8]) -> io::Result<usize> {
        // Silence is no error to OpenSSL, which asks again.
        let received = self.socket.recv(datagram);
        self.silence |= received.is_err();
        let len = received?;
        if datagram[0] == CHANGE_CIPHER_SPEC && !self.lost {
            self.lost = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(len)
    }
}

impl Write for Lossy {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.socket.send(datagram)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn x3_a_last_flight_that_is_lost_is_sent_again_when_the_client_asks() {
    let authority = Authority::new();
    authority.issue("server", "localhost", "rsa:2048", 2);
    let turnd = Turnd::start(&authority.toml(&["server"]));
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(turnd.address()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let mut context = SslContext::builder(SslMethod::dtls_client()).unwrap();
    context.set_verify(SslVerifyMode::NONE);
    context.set_options(SslOptions::NO_QUERY_MTU);
    let mut ssl = Ssl::new(&context.build()).unwrap();
    ssl.set_connect_state();
    ssl.set_mtu(1200).unwrap();
    let lossy = Lossy {
        socket,
        lost: false,
        silence: false,
    };
    let mut stream = SslStream::new(ssl, lossy).unwrap();
    let error = stream.do_handshake().unwrap_err();
    assert_eq!(error.code(), ErrorCode::WANT_READ, "{error}");
    assert!(stream.get_ref().lost);
    thread::sleep(RETRANSMISSION);
    stream.do_handshake().unwrap();
    assert!(!stream.get_ref().silence, "the client had to ask twice");

    stream
        .ssl_write(&request(METHOD_BINDING, vec![]).raw)
        .unwrap();
    let mut answer = [0; 1500];
    let len = stream.ssl_read(&mut answer).unwrap();
    assert_eq!(status(&decode(&answer[..len])), 200);
}
