//! DTLS from outside (X2, X3), also where datagrams get lost.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, UdpSocket};
use std::thread;
use std::time::Duration;

use openssl::ssl::{ErrorCode, Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode};
use openssl::x509::X509;
use stun::message::METHOD_BINDING;

use super::{client_hello, memory};
use crate::support::messages::{decode, status};
use crate::support::{Authority, Key, StreamClient, Turnd, request};

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

/// The keys of a server with DTLS.
fn served(authority: &Authority) -> String {
    format!("dtls = true\n{}", authority.toml(&["server"]))
}

fn connected(turnd: &Turnd) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.connect(turnd.address()).unwrap();
    socket
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    socket
}

/// A client that asks for this name.
fn client(host: Option<&str>) -> Ssl {
    let mut context = SslContext::builder(SslMethod::dtls_client()).unwrap();
    context.set_verify(SslVerifyMode::NONE);
    context.set_options(SslOptions::NO_QUERY_MTU);
    let mut ssl = Ssl::new(&context.build()).unwrap();
    ssl.set_connect_state();
    ssl.set_mtu(1200).unwrap();
    if let Some(host) = host {
        ssl.set_hostname(host).unwrap();
    }
    ssl
}

#[test]
fn dtls_is_served_when_asked_for_and_without_udp_too() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let toml = served(&authority);
    for (keys, expected) in [
        ("", (true, true)),
        ("no-udp = true", (false, true)),
        ("no-tls = true", (true, true)),
    ] {
        let turnd = Turnd::start(&format!("{keys}\n{toml}"));
        assert_eq!(super::datagrams(turnd.address()), expected, "{keys}");
        StreamClient::new(turnd.address()).binding();
    }
}

/// A socket that keeps what has come.
struct Tap {
    socket: UdpSocket,
    received: Vec<Vec<u8>>,
}

impl Read for Tap {
    fn read(&mut self, datagram: &mut [u8]) -> io::Result<usize> {
        let len = self.socket.recv(datagram)?;
        self.received.push(datagram[..len].to_vec());
        Ok(len)
    }
}

impl Write for Tap {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        self.socket.send(datagram)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The types of the extensions in the ServerHello that one of these datagrams begins with.
fn extensions_of_server_hello(datagrams: &[Vec<u8>]) -> Vec<u16> {
    const RECORD: usize = 13;
    const MESSAGE: usize = 12;
    let hello = datagrams
        .iter()
        .find(|datagram| (datagram[0], datagram[RECORD]) == (22, 2))
        .expect("a ServerHello");
    let number = |at: usize| u16::from_be_bytes([hello[at], hello[at + 1]]);
    // Version and random, session id, cipher suite and compression.
    let session = RECORD + MESSAGE + 34;
    let mut at = session + 1 + usize::from(hello[session]) + 3;
    let end = at + 2 + usize::from(number(at));
    at += 2;
    let mut types = Vec::new();
    while at < end {
        types.push(number(at));
        at += 4 + usize::from(number(at + 2));
    }
    assert_eq!(at, end);
    types
}

#[test]
fn a_name_chooses_the_certificate_and_is_not_acknowledged() {
    let authority = Authority::new();
    let ecdsa = Key::Ecdsa;
    authority.issue("one", "localhost", ecdsa, 2);
    authority.issue("other", "turn.example", ecdsa, 2);
    let toml = authority.toml(&["one", "other"]);
    let turnd = Turnd::start(&format!("dtls = true\n{toml}"));
    for (host, certificate) in [
        (Some("localhost"), "one"),
        (Some("turn.example"), "other"),
        (Some("elsewhere"), "one"),
        (None, "one"),
    ] {
        let tap = Tap {
            socket: connected(&turnd),
            received: Vec::new(),
        };
        let mut stream = SslStream::new(client(host), tap).unwrap();
        stream.do_handshake().unwrap();
        let pem = fs::read(authority.path(&format!("{certificate}.pem"))).unwrap();
        let served = stream.ssl().peer_certificate().unwrap();
        assert_eq!(
            served.to_der().unwrap(),
            X509::from_pem(&pem).unwrap().to_der().unwrap(),
            "{host:?}"
        );
        let extensions = extensions_of_server_hello(&stream.get_ref().received);
        assert!(!extensions.contains(&0), "{host:?}: {extensions:?}");
        assert!(extensions.contains(&23), "extended_master_secret");
    }
}

#[test]
fn x3_a_hello_without_a_cookie_costs_nothing() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let turnd = Turnd::start(&served(&authority));
    let before = memory(&turnd);
    let hello = client_hello();
    let (mut cookies, mut clients) = (Vec::new(), Vec::new());
    for _ in 0..500 {
        let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        client
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        client.send_to(&hello, turnd.address()).unwrap();
        let mut answer = [0; 1500];
        let len = client.recv(&mut answer).unwrap();
        // HelloVerifyRequest, and nothing of a certificate.
        assert_eq!((len, answer[13]), (60, 3));
        cookies.push(answer[28..60].to_vec());
        // Held, so that no port comes again.
        clients.push(client);
    }
    cookies.sort();
    cookies.dedup();
    assert_eq!(cookies.len(), 500, "a cookie is good for one address");
    let grown = memory(&turnd).saturating_sub(before);
    assert!(grown < 1024, "{grown} KiB more");
    // A cookie that was made up.
    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    let at = 13 + 12 + 35;
    let mut forged = hello[..at].to_vec();
    forged.push(32);
    forged.extend_from_slice(&cookies[0]);
    forged.extend_from_slice(&hello[at + 1..]);
    for (index, more) in [(12, 32), (16, 32), (24, 32)] {
        forged[index] += more;
    }
    client.send_to(&forged, turnd.address()).unwrap();
    let mut answer = [0; 1500];
    client.recv(&mut answer).unwrap();
    assert_eq!(answer[13], 3, "another cookie");
}

#[test]
fn x3_a_last_flight_that_is_lost_is_sent_again_when_the_client_asks() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let turnd = Turnd::start(&served(&authority));
    let lossy = Lossy {
        socket: connected(&turnd),
        lost: false,
        silence: false,
    };
    let mut stream = SslStream::new(client(None), lossy).unwrap();
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
