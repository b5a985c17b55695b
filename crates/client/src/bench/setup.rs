//! Makes and deletes the allocations of a run.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use turnd_udp::Receiver;

use super::BenchError;
use super::link::{Link, is_closed};
use super::progress::{Progress, Stage};
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
/// Time that the server has to answer when allocations are deleted.
const FAREWELL: Duration = Duration::from_secs(2);
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
    /// The server has closed the connection.
    pub(super) closed: bool,
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
            closed: false,
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

    /// Whether the server answers that there is no such allocation; `None`: it has not answered yet.
    fn is_gone(&mut self) -> Option<bool> {
        while let Some(event) = self.turn.poll_event() {
            match event {
                Event::Response(_, response) => return Some(response.error == Some(437)),
                // Silence is no answer.
                Event::TimedOut(..) => return Some(false),
                _ => {}
            }
        }
        None
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
        let remedy = match (code, &self.login) {
            (401, Some(login)) if unusable(login) => {
                return "the 401 has no realm and nonce to use".to_owned();
            }
            (401, Some(login)) => {
                return format!(
                    "the server refuses the credentials of {:?} (401): look at --user and --password, or at --secret",
                    login.user
                );
            }
            (401, None) => {
                return "the server wants credentials (401): give --user and --password, or --secret-file"
                    .to_owned();
            }
            (0, _) => return format!("an error response without code: {message}"),
            (403, _) => ": it forbids this host as a peer; on one host set allow-loopback-peers",
            (486, _) => {
                ": a quota is reached; raise user-quota or total-quota, or give fewer --allocations"
            }
            (508, _) => {
                ": it is draining, or has no relay port left; widen min-port to max-port, or give fewer --allocations"
            }
            _ => "",
        };
        format!(
            "the server refuses {} with error {code}{remedy}",
            message.typ.method
        )
    }
}

/// Makes all allocations. Stops at the first refusal.
pub(super) fn establish(
    clients: &mut [Client],
    stop: &AtomicBool,
    progress: &mut Progress<'_>,
) -> Outcome {
    let start = Instant::now();
    let error = make(clients, stop, progress).err();
    Outcome {
        elapsed: start.elapsed(),
        error,
    }
}

fn make(
    clients: &mut [Client],
    stop: &AtomicBool,
    progress: &mut Progress<'_>,
) -> Result<(), BenchError> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(AT_ONCE);
    let mut receiver = Receiver::new();
    let wanted = clients.len();
    let failed = |done: usize, error: String| {
        BenchError::new(match done {
            0 => error,
            _ => format!("after {done} of {wanted} allocations: {error}"),
        })
    };
    let (mut started, mut done, mut looked) = (0, 0, Instant::now());
    while done < clients.len() && !stop.load(Ordering::Relaxed) {
        let now = Instant::now();
        while started < clients.len() && started - done < AT_ONCE {
            let client = &mut clients[started];
            client.link.watch(poll.registry(), Token(started))?;
            client.start(now)?;
            started += 1;
        }
        progress.tell(now, || Stage::Allocating { done, wanted });
        // Busy, as in `traffic`.
        poll.poll(&mut events, Some(Duration::ZERO))?;
        for event in &events {
            let Token(index) = event.token();
            let client = &mut clients[index];
            match client.receive(now, &mut receiver) {
                Err(error) if is_closed(&error) => {
                    let text = format!("{} has closed the connection", client.server);
                    return Err(failed(done, text));
                }
                received => received?,
            }
            client.advance(now).map_err(|error| failed(done, error))?;
            if client.is_ready() {
                done += 1;
                client.link.unwatch(poll.registry())?;
            }
        }
        if now.duration_since(looked) >= LOOK {
            looked = now;
            for client in &mut clients[..started] {
                client.look(now)?;
                client.advance(now).map_err(|error| failed(done, error))?;
            }
        }
    }
    Ok(())
}

/// Deletes what was allocated; tells how many allocations the server had ended before. Its own deadlines clear up what is
/// lost on the way.
pub(super) fn delete(clients: &mut [Client]) -> Result<usize, BenchError> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(AT_ONCE);
    let mut receiver = Receiver::new();
    let allocated = |client: &&mut Client| client.relayed().is_some();
    let mut clients: Vec<_> = clients.iter_mut().filter(allocated).collect();
    let mut gone = clients.iter().filter(|client| client.closed).count();
    clients.retain(|client| !client.closed);
    let (mut asked, mut answered) = (0, 0);
    let end = Instant::now() + FAREWELL;
    while answered < clients.len() {
        let now = Instant::now();
        // The rest is asked, and not waited for.
        let late = now >= end;
        if late && asked == clients.len() {
            break;
        }
        while asked < clients.len() && (late || asked - answered < AT_ONCE) {
            let client = &mut clients[asked];
            client.link.watch(poll.registry(), Token(asked))?;
            // Answers to what was asked before have been seen.
            while client.turn.poll_event().is_some() {}
            let _ = client.ask(now, Request::Refresh(Duration::ZERO));
            asked += 1;
        }
        poll.poll(&mut events, Some(LOOK))?;
        for event in &events {
            let Token(index) = event.token();
            let client = &mut clients[index];
            match client.receive(now, &mut receiver) {
                Ok(()) => {}
                Err(error) if is_closed(&error) => client.closed = true,
                Err(error) => return Err(error.into()),
            }
            let answer = if client.closed {
                Some(true)
            } else {
                client.is_gone()
            };
            if let Some(was_gone) = answer {
                answered += 1;
                gone += usize::from(was_gone);
                client.link.unwatch(poll.registry())?;
            }
        }
    }
    Ok(gone)
}
