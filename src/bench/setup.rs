//! Makes and deletes the allocations of a run.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::BenchError;
use super::session::{Login, Progress, Session, Wish};
use crate::net::udp::{Receiver, UdpSocket};

/// Clients that wait for an answer at the same time.
const AT_ONCE: usize = 64;
/// How long an answer may take before the request is sent again (RFC 8489 §6.2.1).
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a request is sent.
const TRIES: u8 = 5;

/// One client: its socket, its allocation, its peer.
pub(super) struct Client {
    pub(super) socket: UdpSocket,
    pub(super) server: SocketAddr,
    /// Index of its peer's socket.
    pub(super) peer: usize,
    session: Session,
    asked: Option<Instant>,
    tries: u8,
}

/// How making the allocations went.
pub(super) struct Outcome {
    /// From the first request to the last answer.
    pub(super) elapsed: Duration,
    /// The first thing that went wrong.
    pub(super) error: Option<BenchError>,
}

impl Client {
    pub(super) fn new(
        socket: UdpSocket,
        server: SocketAddr,
        peer: usize,
        login: Option<Login>,
        wish: Wish,
    ) -> Self {
        Self {
            socket,
            server,
            peer,
            session: Session::new(login, wish),
            asked: None,
            tries: 0,
        }
    }

    pub(super) fn is_ready(&self) -> bool {
        self.session.is_ready()
    }

    /// The relayed transport address, once there is one.
    pub(super) fn relayed(&self) -> Option<SocketAddr> {
        self.session.relayed()
    }

    fn ask(&mut self, now: Instant) -> io::Result<()> {
        self.asked = Some(now);
        self.tries += 1;
        match self.socket.send(self.session.request(), self.server, None) {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ => Ok(()),
        }
    }
}

/// Makes all allocations. Stops at the first refusal.
pub(super) fn establish(clients: &mut [Client], stop: &AtomicBool) -> Outcome {
    let start = Instant::now();
    let error = make(clients, stop).err();
    Outcome {
        elapsed: start.elapsed(),
        error,
    }
}

fn make(clients: &mut [Client], stop: &AtomicBool) -> Result<(), BenchError> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(AT_ONCE);
    let mut receiver = Receiver::new();
    let (mut started, mut done, mut checked) = (0, 0, Instant::now());
    while done < clients.len() && !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        while started < clients.len() && started - done < AT_ONCE {
            let client = &mut clients[started];
            let fd = client.socket.as_raw_fd();
            poll.registry()
                .register(&mut SourceFd(&fd), Token(started), Interest::READABLE)?;
            client.session.start();
            client.ask(now)?;
            started += 1;
        }
        // Busy, as in `traffic`.
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            let Token(index) = event.token();
            let client = &mut clients[index];
            receiver.receive(&client.socket)?;
            for datagram in receiver.datagrams() {
                match client.session.handle(datagram.bytes) {
                    Progress::None => {}
                    Progress::Send => {
                        client.tries = 0;
                        client.ask(now)?;
                    }
                    Progress::Ready => {
                        client.asked = None;
                        done += 1;
                        poll.registry()
                            .deregister(&mut SourceFd(&client.socket.as_raw_fd()))?;
                    }
                    Progress::Failed(text) => {
                        return Err(BenchError::new(format!("allocation {index}: {text}")));
                    }
                }
            }
        }
        if now.duration_since(checked) >= PATIENCE / 5 {
            checked = now;
            ask_again(&mut clients[..started], now)?;
        }
    }
    Ok(())
}

fn ask_again(clients: &mut [Client], now: Instant) -> Result<(), BenchError> {
    let late = |client: &Client| {
        client
            .asked
            .is_some_and(|asked| now.duration_since(asked) >= PATIENCE)
    };
    for client in clients.iter_mut().filter(|client| late(client)) {
        if client.tries == TRIES {
            return Err(BenchError::new(format!(
                "{} does not answer over UDP",
                client.server
            )));
        }
        client.ask(now)?;
    }
    Ok(())
}

/// Deletes what was allocated. The server's own deadlines clear up what is lost on the way.
pub(super) fn delete(clients: &mut [Client]) {
    for (index, client) in clients.iter().enumerate() {
        if client.relayed().is_some() {
            let _ = client
                .socket
                .send(&client.session.delete(), client.server, None);
        }
        if index % AT_ONCE == AT_ONCE - 1 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
