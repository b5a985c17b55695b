//! Makes and deletes the allocations of a run.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use turnd_udp::Receiver;

use super::BenchError;
use super::link::Link;
use crate::turn::{Client as TurnClient, Credentials, Event, Login, Request, Response, Timing};

/// Number of the one channel that every allocation has.
pub(super) const CHANNEL: u16 = 0x4000;
/// Clients that wait for an answer at the same time.
const AT_ONCE: usize = 64;
/// Repetition of requests; a server that is asked for load is expected to answer soon.
const TIMING: Timing = Timing {
    rto: Duration::from_millis(500),
    sends: 4,
    timeout: Duration::from_secs(5),
};
/// Interval between two looks for requests to be repeated.
const LOOK: Duration = Duration::from_millis(100);

/// Properties of an allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// A relayed address of IPv6.
    pub(super) ipv6: bool,
    /// Peer that data is exchanged with.
    pub(super) peer: Option<SocketAddr>,
    /// Exchange by a channel and not by a permission alone.
    pub(super) channel: bool,
}

/// One client: its transport, its allocation, its peer.
pub(super) struct Client {
    pub(super) link: Link,
    pub(super) server: SocketAddr,
    /// Index of its peer's socket.
    pub(super) peer: usize,
    login: Option<Login>,
    wanted: Wanted,
    turn: TurnClient,
    relayed: Option<SocketAddr>,
    ready: bool,
}

/// Result of making the allocations.
pub(super) struct Outcome {
    /// Time from the first request to the last answer.
    pub(super) elapsed: Duration,
    /// The first error.
    pub(super) error: Option<BenchError>,
}

impl Client {
    pub(super) fn new(
        link: Link,
        server: SocketAddr,
        peer: usize,
        login: Option<Login>,
        wanted: Wanted,
    ) -> Self {
        let mut turn = TurnClient::new(link.framing());
        turn.set_timing(TIMING);
        if let Some(login) = &login {
            turn.set_login(login.clone());
        }
        Self {
            link,
            server,
            peer,
            login,
            wanted,
            turn,
            relayed: None,
            ready: false,
        }
    }

    /// Everything that is wanted of the server is there.
    pub(super) fn is_ready(&self) -> bool {
        self.ready
    }

    /// The relayed transport address, once there is one.
    pub(super) fn relayed(&self) -> Option<SocketAddr> {
        self.relayed
    }

    fn ask(&mut self, now: Instant, request: Request) -> io::Result<()> {
        self.turn.ask(now, request);
        self.transmit(now)
    }

    fn transmit(&mut self, now: Instant) -> io::Result<()> {
        while let Some(bytes) = self.turn.poll_transmit(now) {
            self.link.send(&bytes, self.server)?;
        }
        Ok(())
    }

    /// Begins to make the allocation.
    fn start(&mut self, now: Instant) -> io::Result<()> {
        let ipv6 = self.wanted.ipv6;
        self.ask(now, Request::Allocate { tcp: false, ipv6 })
    }

    /// Takes all that has come.
    fn receive(&mut self, now: Instant, receiver: &mut Receiver) -> io::Result<()> {
        loop {
            let more = self.link.receive(receiver)?;
            let turn = &mut self.turn;
            self.link
                .messages(receiver, |message| turn.handle_input(now, message));
            if !more {
                return self.transmit(now);
            }
        }
    }

    /// Repeats requests.
    fn look(&mut self, now: Instant) -> io::Result<()> {
        self.turn.handle_timeout(now);
        self.transmit(now)
    }

    /// Goes on by what the server has said.
    fn advance(&mut self, now: Instant) -> Result<(), String> {
        while let Some(event) = self.turn.poll_event() {
            match event {
                Event::Response(_, response) => self.response(now, &response)?,
                Event::TimedOut(..) => return Err(format!("{} does not answer", self.server)),
                _ => {}
            }
        }
        Ok(())
    }

    fn response(&mut self, now: Instant, response: &Response) -> Result<(), String> {
        if let Some(code) = response.error {
            return Err(self.refused(code, response));
        }
        let allocated = self.relayed.is_none();
        if allocated {
            let relayed = response.relayed();
            self.relayed = Some(relayed.ok_or("the answer has no XOR-RELAYED-ADDRESS")?);
        }
        match self.wanted.peer.filter(|_| allocated) {
            Some(peer) => {
                let request = if self.wanted.channel {
                    Request::ChannelBind(CHANNEL, peer)
                } else {
                    Request::CreatePermission(vec![peer])
                };
                let sent = self.ask(now, request);
                sent.map_err(|error| BenchError::from(error).to_string())?;
            }
            None => self.ready = true,
        }
        Ok(())
    }

    fn refused(&self, code: u16, response: &Response) -> String {
        let message = &response.message;
        let unusable = |login| Credentials::answer(login, message).is_err();
        match (code, &self.login) {
            (401, Some(login)) if unusable(login) => {
                "the 401 has no realm and nonce to use".to_owned()
            }
            (401, _) => "the server wants other credentials (401); \
                 give --user and --password, or --secret-file"
                .to_owned(),
            (0, _) => format!("an error response without code: {message}"),
            (code, _) => format!(
                "the server refuses {} of allocation and peer: error {code}",
                message.typ.method
            ),
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
    let failed = |index, error: String| BenchError::new(format!("allocation {index}: {error}"));
    let (mut started, mut done, mut looked) = (0, 0, Instant::now());
    while done < clients.len() && !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        while started < clients.len() && started - done < AT_ONCE {
            let client = &mut clients[started];
            client.link.watch(poll.registry(), Token(started))?;
            client.start(now)?;
            started += 1;
        }
        // Busy, as in `traffic`.
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            let Token(index) = event.token();
            let client = &mut clients[index];
            client.receive(now, &mut receiver)?;
            client.advance(now).map_err(|error| failed(index, error))?;
            if client.is_ready() {
                done += 1;
                client.link.unwatch(poll.registry())?;
            }
        }
        if now.duration_since(looked) >= LOOK {
            looked = now;
            for (index, client) in clients[..started].iter_mut().enumerate() {
                client.look(now)?;
                client.advance(now).map_err(|error| failed(index, error))?;
            }
        }
    }
    Ok(())
}

/// Deletes what was allocated. The server's own deadlines clear up what is lost on the way.
pub(super) fn delete(clients: &mut [Client]) {
    let now = Instant::now();
    for (index, client) in clients.iter_mut().enumerate() {
        if client.relayed().is_some() {
            let _ = client.ask(now, Request::Refresh(Duration::ZERO));
        }
        if index % AT_ONCE == AT_ONCE - 1 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
