//! Clients that come and go.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use rustls::ClientConfig;
use socket2::SockRef;
use stun::attributes::{ATTR_REALM, ATTR_USERNAME};
use stun::message::{METHOD_ALLOCATE, METHOD_BINDING, METHOD_REFRESH};
use turnd_proto::auth::rest;

use crate::Counts;
use crate::support::Dice;
use crate::support::client::{Client, Kind, connect, trust};
use crate::support::messages::{error_code, raw, request, transport};
use crate::support::server::{PASSWORD, REALM, Server, USER};

/// Streams that a hostile thread keeps open.
const KEPT: usize = 300;
/// The beginning of a TLS ClientHello.
const HALF_HELLO: [u8; 16] = [22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, 7, 7, 7, 7, 7];

/// Target of the load.
pub(crate) struct Load {
    server: SocketAddr,
    trusted: Arc<ClientConfig>,
    echo: SocketAddr,
}

impl Load {
    pub(crate) fn new(server: &Server, echo: SocketAddr) -> Self {
        Self {
            server: server.address(),
            trusted: trust(&server.certificate),
            echo,
        }
    }

    fn client(&self, kind: Kind, dice: &mut Dice, network: u8) -> io::Result<Client> {
        Client::new(kind, dice.source(network), self.server, &self.trusted)
    }
}

/// Calls of clients with good credentials, one after the other.
pub(crate) fn valid(load: &Load, kind: Kind, thread: u64, stop: &AtomicBool, counts: &Counts) {
    let mut dice = Dice(1 + thread + 10 * kind as u64);
    while !stop.load(Ordering::Relaxed) {
        counts.calls.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = call(load, kind, &mut dice) {
            let failed = counts.failed.fetch_add(1, Ordering::Relaxed);
            if failed < 20 {
                println!("{kind:?}: {error}");
            }
        }
    }
}

fn call(load: &Load, kind: Kind, dice: &mut Dice) -> io::Result<()> {
    let mut client = load.client(kind, dice, 1 + kind as u8)?;
    // Some go without a word, and a few of these leave an allocation to its lifetime.
    if dice.below(500) == 0 {
        return client.call(USER, PASSWORD, load.echo);
    }
    let now = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap();
    let user = rest::username(
        now.as_secs() + 3600,
        Some(&format!("user{}", dice.below(300))),
        ':',
    );
    client.call(
        &user,
        &rest::password("a secret of the application", &user),
        load.echo,
    )?;
    for _ in 0..dice.below(4) {
        client.echo(b"more")?;
    }
    if kind != Kind::Udp && dice.below(2) == 0 {
        return Ok(());
    }
    for seconds in [600, 0] {
        if let Some(code) = client.refresh(seconds)? {
            return Err(io::Error::other(format!(
                "a Refresh is refused with {code}"
            )));
        }
    }
    Ok(())
}

/// Requests that are refused.
pub(crate) fn invalid(load: &Load, kind: Kind, stop: &AtomicBool, counts: &Counts) {
    let mut dice = Dice(99 + kind as u64);
    while !stop.load(Ordering::Relaxed) {
        // A limit may close the connection in between.
        let _ = refused(load, kind, &mut dice, counts);
    }
}

fn refused(load: &Load, kind: Kind, dice: &mut Dice, counts: &Counts) -> io::Result<()> {
    let mut client = load.client(kind, dice, 10 + kind as u8)?;
    for _ in 0..10 {
        let names = ["mallory", "アリス", "alice\u{30FB}", "1:2:3", USER];
        let name = raw(ATTR_USERNAME, names[dice.below(names.len())].as_bytes());
        let code = match dice.below(4) {
            0 => error_code(&client.ask(request(METHOD_ALLOCATE, vec![transport()]))?),
            1 => error_code(&client.ask(request(
                METHOD_REFRESH,
                vec![name, raw(ATTR_REALM, REALM.as_bytes())],
            ))?),
            2 => {
                let wrong = client.call(USER, "wrong", load.echo);
                wrong.is_err().then_some(401)
            }
            _ => error_code(&client.ask(request(
                METHOD_BINDING,
                vec![raw(stun::attributes::AttrType(0x7FFF), b"?")],
            ))?),
        };
        assert!(code.is_some(), "what is wrong was taken");
        counts.refused.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Everything else that an unauthenticated client may do.
pub(crate) fn hostile(load: &Load, thread: u64, stop: &AtomicBool, counts: &Counts) {
    let mut dice = Dice(7 + thread);
    let (mut streams, mut clients) = (VecDeque::new(), VecDeque::new());
    while !stop.load(Ordering::Relaxed) {
        // Being refused is what it expects.
        let _ = one(load, &mut dice, &mut streams, &mut clients);
        counts.hostile.fetch_add(1, Ordering::Relaxed);
        streams.truncate(KEPT);
        clients.truncate(KEPT / 10);
    }
}

fn one(
    load: &Load,
    dice: &mut Dice,
    streams: &mut VecDeque<TcpStream>,
    clients: &mut VecDeque<Client>,
) -> io::Result<()> {
    let source = dice.source(20);
    let garbage: Vec<u8> = (0..dice.below(1200)).map(|_| dice.next() as u8).collect();
    let allocate = request(METHOD_ALLOCATE, vec![transport()]).raw;
    match dice.below(9) {
        // The first in the queue is the youngest.
        0 => streams.push_front(connect(source, load.server)?),
        what @ 1..=4 => {
            let mut stream = connect(source, load.server)?;
            match what {
                1 => stream.write_all(&garbage)?,
                2 => stream.write_all(&HALF_HELLO)?,
                3 => stream.write_all(&allocate[..dice.below(allocate.len())])?,
                _ => SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
            }
            if what != 4 {
                streams.push_front(stream);
            }
        }
        5 => {
            let mut client = load.client(Kind::Tls, dice, 21)?;
            client.send(&garbage)?;
            clients.push_front(client);
        }
        6 => {
            // Asks and never reads.
            let mut client = load.client(Kind::Tcp, dice, 21)?;
            (0..50).try_for_each(|_| client.send(&allocate))?;
            clients.push_front(client);
        }
        what => {
            let socket = UdpSocket::bind((source, 0))?;
            socket.connect(load.server)?;
            for _ in 0..64 {
                let _ = socket.send(if what == 7 { &garbage } else { &allocate });
            }
        }
    }
    Ok(())
}
