//! Bad input from clients without an allocation: each ends within its limit, and others do not notice.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use stun::message::{METHOD_ALLOCATE, METHOD_BINDING};

use super::{memory, wait_until};
use crate::support::messages::{channel_data, status, transport};
use crate::support::{
    Authority, Key, PASSWORD, Peer, StreamClient, StunClient, Turnd, USER, connect, request,
    trusting,
};

/// The longest that a server whose limit is two seconds may take to close a connection.
const CLOSED: Duration = Duration::from_secs(4);

/// Reads to the end; what came, and when.
fn to_the_end(stream: &mut TcpStream) -> (Vec<u8>, Duration) {
    let start = Instant::now();
    stream
        .set_read_timeout(Some(CLOSED + Duration::from_secs(4)))
        .unwrap();
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = stream.read_to_end(&mut bytes);
    (bytes, start.elapsed())
}

/// Another client is served meanwhile.
fn serves(turnd: &Turnd) {
    let start = Instant::now();
    assert!(StunClient::new(turnd.address()).binding().is_some());
    StreamClient::new(turnd.address()).binding();
    assert!(start.elapsed() < Duration::from_secs(1), "others wait");
}

#[test]
fn x1_http_and_garbage_are_closed_without_an_answer() {
    let turnd = Turnd::start("");
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\n\r\n",
        b"HEAD / HTTP/1.1\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\n\r\n",
        b"SSH-2.0-x\r\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\x80\x01\x02\x03",
        &[0xFF; 1000],
        // A length that is no multiple of four; a wrong cookie; channel data without an allocation.
        &[0, 1, 0, 3],
        &[0, 1, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x40, 0, 0, 4, 1, 2, 3, 4],
    ] {
        let mut stream = connect(turnd.address());
        stream.write_all(bytes).unwrap();
        let (answer, took) = to_the_end(&mut stream);
        assert_eq!(answer, b"", "an answer to {bytes:02x?}");
        assert!(took < Duration::from_secs(1), "{bytes:02x?} takes {took:?}");
    }
    serves(&turnd);
}

#[test]
fn tls_garbage_ends_the_connection_and_nothing_else() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let turnd = Turnd::start(&authority.toml(&["server"]));
    for bytes in [
        &b"\x16\x03\x01\x00\x05hello"[..],
        b"\x16\x03\x01\xFF\xFFxxxxxxxxxxxxxxxxxx",
        &[
            &b"\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"[..],
            &[7; 600],
        ]
        .concat(),
        &[22; 20_000],
    ] {
        let mut stream = connect(turnd.address());
        stream.write_all(bytes).unwrap();
        let _ = stream.shutdown(Shutdown::Write);
        let (answer, took) = to_the_end(&mut stream);
        assert!(answer.len() < 100, "an alert at the most: {answer:02x?}");
        assert!(took < Duration::from_secs(1), "{took:?}");
    }
    StreamClient::secure(turnd.address(), &authority.certificate(), "localhost").binding();
}

/// 16 KiB of an unfinished ClientHello wait for more; above that the connection ends.
#[test]
fn a_client_hello_is_bounded() {
    let authority = Authority::new();
    authority.issue("server", "localhost", Key::Ecdsa, 2);
    let turnd = Turnd::start(&authority.toml(&["server"]));
    const MOST: usize = 16 << 10;
    // The largest records, and a length that rustls takes.
    let body = [&[1, 0, 0xEA, 0x60, 3, 3][..], &[0; 40_000]].concat();
    let records = body.chunks(8000).flat_map(|part| {
        let len = u16::try_from(part.len()).unwrap().to_be_bytes();
        [&[22, 3, 1, len[0], len[1]][..], part].concat()
    });
    let hello: Vec<u8> = records.collect();
    let mut stream = connect(turnd.address());
    stream.write_all(&hello[..MOST]).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    let silence = stream.read(&mut [0]).unwrap_err();
    assert_eq!(silence.kind(), ErrorKind::WouldBlock);
    stream.write_all(&hello[MOST..=MOST]).unwrap();
    let (answer, took) = to_the_end(&mut stream);
    assert!(took < CLOSED, "{took:?}");
    assert_eq!(answer, b"");
    // One that is long and whole is answered.
    let mut config = trusting(&authority.certificate());
    config.alpn_protocols = vec![vec![b'x'; 200]; 60];
    StreamClient::secure_over(connect(turnd.address()), config, "localhost").binding();
    serves(&turnd);
}

#[test]
fn x4_who_says_nothing_or_one_byte_a_second_is_closed_in_time() {
    let turnd = Turnd::start("max-allocate-timeout = 2");
    let mut silent = connect(turnd.address());
    let mut lying = connect(turnd.address());
    // 4,000 bytes are announced and never come.
    lying.write_all(&[0, 1, 0x0F, 0xA0, 0x21, 0x12]).unwrap();
    let mut slow = connect(turnd.address());
    let dripping = thread::spawn(move || {
        let start = Instant::now();
        for byte in request(METHOD_BINDING, vec![]).raw {
            if slow.write_all(&[byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(500));
        }
        start.elapsed()
    });
    serves(&turnd);
    for stream in [&mut silent, &mut lying] {
        let (answer, took) = to_the_end(stream);
        assert_eq!(answer, b"");
        assert!(took < CLOSED, "{took:?}");
    }
    assert!(dripping.join().unwrap() < CLOSED + Duration::from_secs(1));
    // Binding requests alone keep no connection open; an allocation does.
    let mut client = StreamClient::new(turnd.address());
    client.log_in(USER, PASSWORD);
    let reply = client.ask_signed(METHOD_ALLOCATE, vec![transport()]);
    assert_eq!(status(&reply), 200);
    thread::sleep(Duration::from_secs(5));
    client.binding();
}

#[test]
fn a_length_above_what_strangers_may_send_is_refused_at_once() {
    let turnd = Turnd::start("");
    let mut stream = connect(turnd.address());
    stream.write_all(&[0, 1, 0xFF, 0xF0]).unwrap();
    let (answer, took) = to_the_end(&mut stream);
    assert_eq!(answer, b"");
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_client_that_never_reads_loses_data_and_costs_little() {
    let turnd = Turnd::start("");
    let echo = Peer::echo(Ipv4Addr::LOCALHOST);
    let mut client = StreamClient::new(turnd.address());
    client.bind_channel(echo.address());
    let before = memory(&turnd);
    // Far more than the buffers of the kernel hold.
    let frame = channel_data(0x4000, &[7; 8000]);
    let mut other = StreamClient::new(turnd.address());
    for round in 0..4000 {
        client.send(&frame);
        if round % 500 == 0 {
            other.binding();
            serves(&turnd);
        }
    }
    let grown = memory(&turnd).saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more");
    // Once it reads, it is served again: whole frames, and then the newest ones.
    let mut frames = 0;
    client
        .stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    while let Ok(got) = client.try_receive() {
        assert_eq!(got.len(), 8004);
        frames += 1;
    }
    assert!((1..4000).contains(&frames), "{frames} frames");
    client
        .stream
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    client.send(&frame);
    assert_eq!(client.receive().len(), 8004);
    drop(client);
    wait_until("the allocation lives on", &turnd, || {
        turnd.log().contains("reason=\"disconnected\"")
    });
}

#[test]
fn a_client_that_asks_and_never_reads_is_given_up() {
    let turnd = Turnd::start("");
    let mut stream = connect(turnd.address());
    stream
        .set_write_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    let questions: Vec<u8> = (0..2000)
        .flat_map(|_| request(METHOD_BINDING, vec![]).raw)
        .collect();
    let before = memory(&turnd);
    let start = Instant::now();
    while stream.write_all(&questions).is_ok() {
        assert!(
            start.elapsed() < Duration::from_secs(30),
            "it is never given up"
        );
    }
    serves(&turnd);
    let grown = memory(&turnd).saturating_sub(before);
    assert!(grown < 8 << 10, "{grown} KiB more");
}

#[test]
fn clients_with_allocations_are_not_among_the_idle_ones() {
    let turnd = Turnd::start("max-idle-streams-per-ip = 2");
    let allocated = |_| {
        let mut client = StreamClient::new(turnd.address());
        client.log_in(USER, PASSWORD);
        let reply = client.ask_signed(METHOD_ALLOCATE, vec![transport()]);
        assert_eq!(status(&reply), 200, "{}", turnd.log());
        client
    };
    let mut clients: Vec<_> = (0..10).map(allocated).collect();
    let mut idle = [(); 2].map(|()| StreamClient::new(turnd.address()));
    // In this order, whichever worker has which.
    for client in &mut idle {
        client.binding();
    }
    let mut last = StreamClient::new(turnd.address());
    last.binding();
    assert!(idle[0].try_receive().is_err(), "one too many");
    for client in clients.iter_mut().chain([&mut idle[1], &mut last]) {
        client.binding();
    }
}
