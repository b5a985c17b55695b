//! Makes and deletes the allocations of a run.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use turnd_udp::Receiver;

use super::BenchError;
use super::link::Link;
use super::session::{Login, Progress, Session, Wish};

/// Clients that wait for an answer at the same time.
const AT_ONCE: usize = 64;
/// How long an answer may take before the request is sent again (RFC 8489 §6.2.1).
const PATIENCE: Duration = Duration::from_millis(500);
/// How often a request is sent.
const TRIES: u8 = 5;

/// One client: its way to the server, its allocation, its peer.
pub(super) struct Client {
    pub(super) link: Link,
    pub(super) server: SocketAddr,
    /// Index of its peer's socket.
    pub(super) peer: usize,
    session: Session,
    /// What the last answer has led to.
    progress: Progress,
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
        link: Link,
        server: SocketAddr,
        peer: usize,
        login: Option<Login>,
        wish: Wish,
    ) -> Self {
        Self {
            link,
            server,
            peer,
            session: Session::new(login, wish),
            progress: Progress::None,
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

    /// Takes one batch of what has come; `true` when there may be more.
    fn receive(&mut self, receiver: &mut Receiver) -> io::Result<bool> {
        let more = self.link.receive(receiver)?;
        let (session, progress) = (&mut self.session, &mut self.progress);
        self.link
            .messages(receiver, |message| match session.handle(message) {
                Progress::None => {}
                other => *progress = other,
            });
        Ok(more)
    }

    fn take_progress(&mut self) -> Progress {
        std::mem::replace(&mut self.progress, Progress::None)
    }

    fn ask(&mut self, now: Instant) -> io::Result<()> {
        self.asked = Some(now);
        self.tries += 1;
        self.link.send(self.session.request(), self.server)
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
            client.link.watch(poll.registry(), Token(started))?;
            client.session.start();
            client.ask(now)?;
            started += 1;
        }
        // Busy, as in `traffic`.
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            let Token(index) = event.token();
            let client = &mut clients[index];
            while client.receive(&mut receiver)? {}
            match client.take_progress() {
                Progress::None => {}
                Progress::Send => {
                    client.tries = 0;
                    client.ask(now)?;
                }
                Progress::Ready => {
                    client.asked = None;
                    done += 1;
                    client.link.unwatch(poll.registry())?;
                }
                Progress::Failed(text) => {
                    return Err(BenchError::new(format!("allocation {index}: {text}")));
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
                "{} does not answer",
                client.server
            )));
        }
        if client.link.is_stream() {
            // It is not lost: it waits.
            client.asked = Some(now);
            client.tries += 1;
        } else {
            client.ask(now)?;
        }
    }
    Ok(())
}

/// Deletes what was allocated. The server's own deadlines clear up what is lost on the way.
pub(super) fn delete(clients: &mut [Client]) {
    for (index, client) in clients.iter_mut().enumerate() {
        if client.relayed().is_some() {
            let _ = client.link.send(&client.session.delete(), client.server);
        }
        if index % AT_ONCE == AT_ONCE - 1 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
