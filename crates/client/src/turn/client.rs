//! The client.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use stun::agent::TransactionId;
use stun::attributes::{ATTR_REALM, ATTR_XOR_PEER_ADDRESS};
use stun::message::{
    CLASS_ERROR_RESPONSE, CLASS_INDICATION, CLASS_SUCCESS_RESPONSE, Getter, METHOD_CHANNEL_BIND,
    METHOD_CONNECTION_ATTEMPT, METHOD_CREATE_PERMISSION, METHOD_DATA, Message,
};
use turn::proto::data::Data;

use super::credentials::{ChallengeError, Credentials, Login};
use super::event::{Event, RequestId, Response};
use super::framing::{Framing, split};
use super::message::{
    channel_data, connection_id, decode, parse_channel_data, send, text, xor_address,
};
use super::request::Request;
use super::transactions::{Expected, Timing, Transactions};
use crate::Oddity;

/// Challenges that one request answers: a 401, and a nonce that is stale behind it.
const MOST_CHALLENGES: u8 = 2;

/// A client of one server over one transport.
#[derive(Debug)]
pub struct Client {
    framing: Framing,
    timing: Timing,
    login: Option<Login>,
    credentials: Option<Credentials>,
    transactions: Transactions,
    asked: Vec<Asked>,
    next: u32,
    /// A peer was asked for, so data may come.
    expects_data: bool,
    /// A stream's bytes that are no whole message yet; `None`: it cannot be read any more.
    received: Option<Vec<u8>>,
    outgoing: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

/// A request that waits for its response.
#[derive(Debug)]
struct Asked {
    id: RequestId,
    transaction: TransactionId,
    /// Present where challenges are to be answered.
    again: Option<Again>,
}

/// A request that can be made once more, with new credentials.
#[derive(Debug)]
struct Again {
    request: Request,
    signed: bool,
    /// Challenges that were answered.
    challenges: u8,
}

impl Again {
    fn new(request: Request, signed: bool, challenges: u8) -> Self {
        Self {
            request,
            signed,
            challenges,
        }
    }
}

impl Client {
    /// A client that retransmits as RFC 8489 says.
    pub fn new(framing: Framing) -> Self {
        let timing = match framing {
            Framing::Datagrams => Timing::DATAGRAMS,
            Framing::Stream => Timing::STREAM,
        };
        Self {
            framing,
            timing,
            login: None,
            credentials: None,
            transactions: Transactions::default(),
            asked: Vec::new(),
            next: 0,
            expects_data: false,
            received: Some(Vec::new()),
            outgoing: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// Changes when later requests are repeated, and when they have failed. A stream repeats none.
    pub fn set_timing(&mut self, timing: Timing) {
        self.timing = match self.framing {
            Framing::Datagrams => timing,
            Framing::Stream => Timing { sends: 1, ..timing },
        };
    }

    /// Has [`Self::ask`] log in where the server wants it.
    pub fn set_login(&mut self, login: Login) {
        self.login = Some(login);
    }

    /// Signs requests from now on, for the realm and with the nonce of a 401.
    pub fn log_in(&mut self, login: &Login, challenge: &Message) -> Result<(), ChallengeError> {
        self.credentials = Some(Credentials::answer(login, challenge)?);
        Ok(())
    }

    /// The credentials that requests are signed with.
    pub fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }

    /// Begins a request. Logs in when the server wants it and a login is known, and takes a new nonce
    /// when the old one is stale.
    pub fn ask(&mut self, now: Instant, request: Request) -> RequestId {
        let id = self.next_id();
        let (message, signed) = self.signed(&request);
        self.start(now, message, id, Some(Again::new(request, signed, 0)));
        id
    }

    /// Begins a request, and leaves challenges to the caller.
    pub fn ask_once(&mut self, now: Instant, request: &Request) -> RequestId {
        let (message, _) = self.signed(request);
        self.submit(now, message)
    }

    /// Begins a request that is sent as it is.
    pub fn submit(&mut self, now: Instant, request: Message) -> RequestId {
        let id = self.next_id();
        self.start(now, request, id, None);
        id
    }

    fn next_id(&mut self) -> RequestId {
        self.next = self.next.wrapping_add(1);
        RequestId(self.next)
    }

    /// A request with the credentials that there are, and whether there are any.
    fn signed(&self, request: &Request) -> (Message, bool) {
        let mut message = request.encode();
        if let Some(credentials) = &self.credentials {
            credentials.sign(&mut message);
        }
        (message, self.credentials.is_some())
    }

    fn start(&mut self, now: Instant, message: Message, id: RequestId, again: Option<Again>) {
        let method = message.typ.method;
        self.expects_data |= method == METHOD_CREATE_PERMISSION || method == METHOD_CHANNEL_BIND;
        self.asked.push(Asked {
            id,
            transaction: message.transaction_id,
            again,
        });
        self.transactions.start(now, message, self.timing);
    }

    /// Sends a payload to a peer in a Send indication.
    pub fn send(&mut self, peer: SocketAddr, payload: &[u8]) {
        self.outgoing.push_back(send(peer, payload).raw);
    }

    /// Sends a payload on a channel.
    pub fn send_channel(&mut self, number: u16, payload: &[u8]) {
        self.outgoing.push_back(channel_data(number, payload));
    }

    /// Takes one datagram, or some bytes of the stream.
    pub fn handle_input(&mut self, now: Instant, bytes: &[u8]) {
        if self.framing == Framing::Datagrams {
            return self.handle_message(now, bytes);
        }
        let Some(mut received) = self.received.take() else {
            return;
        };
        received.extend_from_slice(bytes);
        let mut at = 0;
        loop {
            match split(&received[at..]) {
                Ok(Some((len, padded))) => {
                    self.handle_message(now, &received[at..at + len]);
                    at += padded;
                }
                Ok(None) => break,
                Err(_) => return self.events.push_back(Event::Odd(Oddity::NotStun)),
            }
        }
        received.drain(..at);
        self.received = Some(received);
    }

    /// Whether the stream has begun a message that has not ended.
    pub fn has_partial_message(&self) -> bool {
        self.received.as_ref().is_none_or(|bytes| !bytes.is_empty())
    }

    fn handle_message(&mut self, now: Instant, bytes: &[u8]) {
        let event = match parse_channel_data(bytes) {
            Some((number, payload)) if self.expects_data => {
                Some(Event::ChannelData(number, payload.to_vec()))
            }
            _ => match decode(bytes) {
                Ok(message) if message.typ.class == CLASS_INDICATION => Some(indication(&message)),
                Ok(message) => self.response(now, message),
                Err(oddity) => Some(Event::Odd(oddity)),
            },
        };
        self.events.extend(event);
    }

    fn response(&mut self, now: Instant, message: Message) -> Option<Event> {
        let id = message.transaction_id;
        match self.transactions.expects(id) {
            Expected::Now => {}
            Expected::Late => return None,
            Expected::Never => return Some(Event::Odd(Oddity::Forged)),
        }
        let class = message.typ.class;
        if self.transactions.method(id) != Some(message.typ.method)
            || (class != CLASS_SUCCESS_RESPONSE && class != CLASS_ERROR_RESPONSE)
        {
            return Some(Event::Odd(Oddity::Damaged));
        }
        self.transactions.end(id);
        let at = (self.asked.iter()).position(|asked| asked.transaction == id)?;
        let mut asked = self.asked.swap_remove(at);
        let signed = self
            .credentials
            .as_ref()
            .is_some_and(|credentials| credentials.have_signed(&message));
        let response = Response::new(message, signed);
        if let Some(again) = asked.again.take()
            && again.challenges < MOST_CHALLENGES
            && self.answers(again.signed, &response)
        {
            let (message, signed) = self.signed(&again.request);
            let again = Again::new(again.request, signed, again.challenges + 1);
            self.start(now, message, asked.id, Some(again));
            return None;
        }
        Some(Event::Response(asked.id, response))
    }

    /// Whether a response is a challenge, and there are new credentials for it now. `signed`: the request was.
    fn answers(&mut self, signed: bool, response: &Response) -> bool {
        let challenge = &response.message;
        match (response.error, &mut self.credentials) {
            (Some(438), Some(credentials)) => credentials.renew(challenge),
            (Some(401), credentials) => {
                // The same credentials once more would be refused once more.
                let realm = credentials.as_ref().map(|credentials| &credentials.realm);
                let refused = signed && realm == text(challenge, ATTR_REALM).as_ref();
                let login = self.login.as_ref().filter(|_| !refused);
                let answer = login.and_then(|login| Credentials::answer(login, challenge).ok());
                let answered = answer.is_some();
                self.credentials = answer.or(self.credentials.take());
                answered
            }
            _ => false,
        }
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((transaction, method)) = self.transactions.handle_timeout(now) {
            let asked = |asked: &Asked| asked.transaction == transaction;
            if let Some(at) = self.asked.iter().position(asked) {
                let id = self.asked.swap_remove(at).id;
                self.events.push_back(Event::TimedOut(id, method));
            }
        }
    }

    /// The next message to send, padded where it goes on a stream.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Vec<u8>> {
        let request = || {
            let (_, bytes) = self.transactions.poll_transmit(now)?;
            Some(bytes.to_vec())
        };
        let mut bytes = self.outgoing.pop_front().or_else(request)?;
        if self.framing == Framing::Stream {
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        Some(bytes)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Time of the next [`Self::handle_timeout`] and [`Self::poll_transmit`]; `None`: no request waits.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.transactions.poll_timeout()
    }

    /// Number of requests that were sent again.
    pub fn retransmitted(&self) -> u32 {
        self.transactions.retransmitted()
    }
}

fn indication(message: &Message) -> Event {
    let peer = xor_address(message, ATTR_XOR_PEER_ADDRESS);
    let mut data = Data::default();
    match (message.typ.method, peer) {
        (METHOD_DATA, Some(peer)) if data.get_from(message).is_ok() => Event::Data(peer, data.0),
        (METHOD_CONNECTION_ATTEMPT, Some(peer)) => match connection_id(message) {
            Some(id) => Event::ConnectionAttempt(id, peer),
            None => Event::Odd(Oddity::Damaged),
        },
        _ => Event::Odd(Oddity::Damaged),
    }
}
