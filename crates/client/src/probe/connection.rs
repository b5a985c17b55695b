//! A client and its transport, which tell what they meet.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::link::Link;
use crate::Oddity;
use crate::turn::{
    ChallengeError, Client, Event, Framing, Login, Request, RequestId, Response, Timing,
};

/// First time-out of libwebrtc, which doubles.
const FIRST_RTO: Duration = Duration::from_millis(250);
/// Channel of the round trip.
const CHANNEL: u16 = 0x4000;
/// Time in which a server that answers at all answers a Binding request.
const BINDING: Duration = Duration::from_secs(1);
/// Longest datagram that is read whole.
const DATAGRAM: usize = 4096;

/// Reason why there is no response.
#[derive(Debug)]
pub(super) enum NoResponse {
    /// Nothing came in time, but perhaps something odd.
    Silent(Option<Oddity>),
    /// The transport failed.
    Broken(io::Error),
}

/// A payload, and its sender where it came in an indication.
type Payload = (Option<SocketAddr>, Vec<u8>);

/// A client with its transport to a server.
pub(super) struct Connection {
    link: Link,
    client: Client,
    deadline: Instant,
    /// Payloads that came while a response was waited for.
    data: VecDeque<Payload>,
}

impl Connection {
    /// A connection whose requests fail at `deadline`.
    pub(super) fn new(link: Link, deadline: Instant) -> Self {
        Self {
            client: Client::new(link.framing()),
            link,
            deadline,
            data: VecDeque::new(),
        }
    }

    /// Asks, and leaves challenges to the caller.
    pub(super) async fn ask_once(&mut self, request: &Request) -> Result<Response, NoResponse> {
        let now = self.now();
        let id = self.client.ask_once(now, request);
        self.response(id).await
    }

    /// Whether a Binding request is answered, after others were not.
    pub(super) async fn answers_binding(&mut self) -> bool {
        self.deadline = self.deadline.max(Instant::now() + BINDING);
        self.ask_once(&Request::Binding).await.is_ok()
    }

    /// Asks, once more when the nonce was stale.
    async fn ask(&mut self, request: Request) -> Result<Response, NoResponse> {
        let now = self.now();
        let id = self.client.ask(now, request);
        self.response(id).await
    }

    /// Asks all at once; the responses have the order of the requests.
    pub(super) async fn ask_all(
        &mut self,
        requests: Vec<Request>,
    ) -> Result<Vec<Response>, NoResponse> {
        let now = self.now();
        let ask = |request| self.client.ask(now, request);
        let ids: Vec<RequestId> = requests.into_iter().map(ask).collect();
        self.responses(&ids).await
    }

    /// The time, from which the next request has until the deadline.
    fn now(&mut self) -> std::time::Instant {
        let now = Instant::now();
        self.client.set_timing(Timing {
            rto: FIRST_RTO,
            sends: u32::MAX,
            timeout: self.deadline.saturating_duration_since(now),
        });
        now.into_std()
    }

    async fn response(&mut self, id: RequestId) -> Result<Response, NoResponse> {
        let mut responses = self.responses(&[id]).await?;
        responses.pop().ok_or(NoResponse::Silent(None))
    }

    /// The responses to these requests, or why there is none to one of them.
    async fn responses(&mut self, ids: &[RequestId]) -> Result<Vec<Response>, NoResponse> {
        let mut responses = vec![None; ids.len()];
        let mut oddity = None;
        let mut bytes = vec![0; DATAGRAM];
        loop {
            self.flush().await.map_err(NoResponse::Broken)?;
            while let Some(event) = self.client.poll_event() {
                match event {
                    Event::Response(of, response) => {
                        if let Some(at) = ids.iter().position(|id| *id == of) {
                            responses[at] = Some(response);
                        }
                    }
                    Event::TimedOut(of, _) if ids.contains(&of) => {
                        return Err(NoResponse::Silent(oddity.or(self.oddity())));
                    }
                    Event::Odd(odd) if self.is_stream() => {
                        return Err(NoResponse::Silent(Some(odd)));
                    }
                    Event::Odd(odd) => oddity = oddity.or(Some(odd)),
                    other => self.data.extend(payload(other)),
                }
            }
            if responses.iter().all(Option::is_some) {
                break;
            }
            let until = self.client.poll_timeout();
            let until = until.map_or(self.deadline, Instant::from_std);
            match timeout_at(until, self.link.receive(&mut bytes)).await {
                Ok(received) => {
                    let len = received.and_then(|len| self.not_the_end(len));
                    let len = len.map_err(NoResponse::Broken)?;
                    self.client
                        .handle_input(Instant::now().into_std(), &bytes[..len]);
                }
                Err(_) => self.client.handle_timeout(Instant::now().into_std()),
            }
        }
        Ok(responses.into_iter().flatten().collect())
    }

    fn is_stream(&self) -> bool {
        self.link.framing() == Framing::Stream
    }

    /// An answer from a wrong address, or half a message of which the rest never came.
    fn oddity(&self) -> Option<Oddity> {
        let partial = self.client.has_partial_message();
        self.link.oddity().or(partial.then_some(Oddity::NotStun))
    }

    /// The length of what was received, unless a stream has ended.
    fn not_the_end(&self, len: usize) -> io::Result<usize> {
        match len {
            0 if self.is_stream() && self.client.has_partial_message() => {
                Err(io::ErrorKind::InvalidData.into())
            }
            0 if self.is_stream() => Err(io::ErrorKind::UnexpectedEof.into()),
            len => Ok(len),
        }
    }

    /// Sends what the client has to send.
    async fn flush(&mut self) -> io::Result<()> {
        while let Some(bytes) = self.client.poll_transmit(Instant::now().into_std()) {
            self.link.send(&bytes).await?;
        }
        Ok(())
    }

    /// Signs from now on, for the realm and with the nonce of a 401; tells the realm.
    pub(super) fn log_in(
        &mut self,
        login: &Login,
        challenge: &Response,
    ) -> Result<String, ChallengeError> {
        self.client.log_in(login, &challenge.message)?;
        let credentials = self.client.credentials();
        Ok(credentials.map_or_else(String::new, |credentials| credentials.realm.clone()))
    }

    /// Permits a peer.
    pub(super) async fn permit(&mut self, peer: SocketAddr) -> Result<Response, NoResponse> {
        self.ask(Request::CreatePermission(vec![peer])).await
    }

    /// Binds the channel to a peer.
    pub(super) async fn bind_channel(&mut self, peer: SocketAddr) -> Result<Response, NoResponse> {
        self.ask(Request::ChannelBind(CHANNEL, peer)).await
    }

    /// Deletes the allocation, if the server hears it.
    pub(super) async fn release(&mut self) {
        self.deadline = self.deadline.max(Instant::now() + FIRST_RTO);
        let _ = self.ask(Request::Refresh(Duration::ZERO)).await;
    }

    /// Sends over the channel.
    pub(super) async fn send_channel(&mut self, payload: &[u8]) -> io::Result<()> {
        self.client.send_channel(CHANNEL, payload);
        self.flush().await
    }

    /// Sends to a peer in an indication.
    pub(super) async fn send_to(&mut self, peer: SocketAddr, payload: &[u8]) -> io::Result<()> {
        self.client.send(peer, payload);
        self.flush().await
    }

    /// The next payload, and its sender where it came in an indication; dropping the future loses nothing.
    pub(super) async fn receive_data(&mut self) -> io::Result<Payload> {
        let mut bytes = [0; DATAGRAM];
        loop {
            if let Some(payload) = self.data.pop_front() {
                return Ok(payload);
            }
            while let Some(event) = self.client.poll_event() {
                if matches!(event, Event::Odd(_)) && self.is_stream() {
                    return Err(io::ErrorKind::InvalidData.into());
                }
                self.data.extend(payload(event));
            }
            if self.data.is_empty() {
                let len = self.link.receive(&mut bytes).await?;
                let len = self.not_the_end(len)?;
                self.client
                    .handle_input(Instant::now().into_std(), &bytes[..len]);
            }
        }
    }
}

/// The payload that an event tells of.
fn payload(event: Event) -> Option<Payload> {
    match event {
        Event::ChannelData(CHANNEL, payload) => Some((None, payload)),
        Event::Data(peer, payload) => Some((Some(peer), payload)),
        _ => None,
    }
}
