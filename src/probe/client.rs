//! A TURN client that tells what it meets.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use stun::agent::TransactionId;
use stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, ATTR_XOR_PEER_ADDRESS, AttrType};
use stun::error_code::ErrorCodeAttribute;
use stun::message::{
    CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter, METHOD_ALLOCATE, METHOD_CHANNEL_BIND,
    METHOD_CREATE_PERMISSION, METHOD_DATA, METHOD_REFRESH, METHOD_SEND, Message, MessageType,
    Method, Setter,
};
use stun::textattrs::TextAttribute;
use tokio::time::{Instant, timeout_at};
use turn::proto::PROTO_UDP;
use turn::proto::channum::ChannelNumber;
use turn::proto::data::Data;
use turn::proto::lifetime::Lifetime;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::reqtrans::RequestedTransport;

use super::link::Link;
use crate::nat::Oddity;
use turnd_proto::auth::key::Key;
use turnd_proto::policy::peer_filter::canonical_socket;

use crate::stun_message::{self, decode};
use turnd_proto::wire::{address, channel_data, numbers};

/// libwebrtc's first time-out, which doubles.
const FIRST_RTO: Duration = Duration::from_millis(250);
/// The channel of the round trip.
const CHANNEL: u16 = 0x4000;

/// Attributes of a request.
pub(super) type Attributes = Vec<Box<dyn Setter + Send>>;

/// Who logs in.
#[derive(Clone, Debug)]
pub struct Login {
    /// USERNAME.
    pub user: String,
    /// What proves it.
    pub proof: Proof,
}

/// A password, or the key made from one.
#[derive(Clone)]
pub enum Proof {
    /// A password.
    Password(String),
    /// A key as `turnd key` prints, good for one realm.
    Key(Key),
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof(…)")
    }
}

/// Why there is no response.
#[derive(Debug)]
pub(super) enum NoResponse {
    /// Nothing came in time, but perhaps this.
    Silent(Option<Oddity>),
    /// The link broke.
    Broken(io::Error),
}

/// What an authenticated request led to.
pub(super) struct Response {
    /// The message.
    pub(super) message: Message,
    /// ERROR-CODE; `Some(None)`: an error response without one.
    pub(super) error: Option<Option<u16>>,
    /// Its MESSAGE-INTEGRITY is right.
    pub(super) signed: bool,
}

#[derive(Clone)]
struct Session {
    user: String,
    realm: String,
    nonce: String,
    key: Key,
}

/// A client with one way to a server.
pub(super) struct Client {
    pub(super) link: Link,
    deadline: Instant,
    session: Option<Session>,
    /// A peer is permitted, so data may come.
    open: bool,
    /// Data that came while a response was waited for.
    data: VecDeque<Vec<u8>>,
}

impl Client {
    /// A client whose patience ends at `deadline`.
    pub(super) fn new(link: Link, deadline: Instant) -> Self {
        Self {
            link,
            deadline,
            session: None,
            open: false,
            data: VecDeque::new(),
        }
    }

    /// Sends a request and waits for the response to it.
    pub(super) async fn ask(
        &mut self,
        method: Method,
        attributes: Attributes,
    ) -> Result<Response, NoResponse> {
        let (mut message, _) = build(method, attributes);
        if let Some(session) = &self.session {
            let texts = [
                (ATTR_USERNAME, &session.user),
                (ATTR_REALM, &session.realm),
                (ATTR_NONCE, &session.nonce),
            ];
            for (typ, text) in texts {
                message.add(typ, text.as_bytes());
            }
            // Fails only behind a FINGERPRINT, of which there is none.
            let _ = stun_message::sign(&mut message, &session.key);
        }
        let mut oddity = None;
        let mut rto = FIRST_RTO;
        loop {
            self.link
                .send(&message.raw)
                .await
                .map_err(NoResponse::Broken)?;
            let until = if self.link.is_stream() {
                self.deadline
            } else {
                (Instant::now() + rto).min(self.deadline)
            };
            rto *= 2;
            while let Ok(received) = timeout_at(until, self.link.receive()).await {
                let bytes = received.map_err(NoResponse::Broken)?;
                match self.response(&message, bytes) {
                    Ok(response) => return Ok(response),
                    Err(odd) => oddity = oddity.or(odd),
                }
            }
            if self.deadline <= Instant::now() {
                return Err(NoResponse::Silent(oddity.or(self.link.oddity())));
            }
        }
    }

    /// The response in `bytes`; otherwise what is odd about them.
    fn response(&mut self, request: &Message, bytes: Vec<u8>) -> Result<Response, Option<Oddity>> {
        if self.open && matches!(bytes.first(), Some(64..=79)) {
            self.data.push_back(bytes);
            return Err(None);
        }
        if bytes.first().is_none_or(|first| *first > 3) {
            return Err(Some(Oddity::NotStun));
        }
        let Some(message) = decode(&bytes) else {
            return Err(Some(Oddity::Damaged));
        };
        if message.typ.method == METHOD_DATA {
            self.data.push_back(bytes);
            return Err(None);
        }
        if message.transaction_id != request.transaction_id {
            return Err(Some(Oddity::Forged));
        }
        if message.typ.method != request.typ.method || message.typ.class == CLASS_REQUEST {
            return Err(Some(Oddity::Damaged));
        }
        let error = (message.typ.class != CLASS_SUCCESS_RESPONSE).then(|| {
            let mut code = ErrorCodeAttribute::default();
            code.get_from(&message).ok().map(|()| code.code.0)
        });
        let signed = (self.session.as_ref())
            .is_some_and(|session| stun_message::verify(&message, &session.key));
        Ok(Response {
            message,
            error,
            signed,
        })
    }

    /// Signs from now on, by the realm and nonce of `challenge`; tells the realm.
    ///
    /// # Errors
    /// What the challenge or the credentials lack.
    pub(super) fn log_in(&mut self, login: &Login, challenge: &Message) -> Result<String, LogIn> {
        let text = |typ| TextAttribute::get_from_as(challenge, typ).map(|text| text.text);
        let (Ok(realm), Ok(nonce)) = (text(ATTR_REALM), text(ATTR_NONCE)) else {
            return Err(LogIn::Challenge);
        };
        let key = match &login.proof {
            Proof::Password(password) => Key::from_password(&login.user, &realm, password)
                .map_err(|error| LogIn::Credentials(error.to_string()))?,
            Proof::Key(key) => key.clone(),
        };
        self.session = Some(Session {
            user: login.user.clone(),
            realm: realm.clone(),
            nonce,
            key,
        });
        Ok(realm)
    }

    /// Asks once more when the nonce was stale.
    async fn ask_signed(
        &mut self,
        method: Method,
        attributes: impl Fn() -> Attributes,
    ) -> Result<Response, NoResponse> {
        let response = self.ask(method, attributes()).await?;
        if response.error == Some(Some(438))
            && let Ok(nonce) = TextAttribute::get_from_as(&response.message, ATTR_NONCE)
            && let Some(session) = &mut self.session
        {
            session.nonce = nonce.text;
            return self.ask(method, attributes()).await;
        }
        Ok(response)
    }

    /// Allocates as browsers do (RFC 8656 §7.1).
    pub(super) async fn allocate(&mut self) -> Result<Response, NoResponse> {
        let transport = RequestedTransport {
            protocol: PROTO_UDP,
        };
        self.ask(METHOD_ALLOCATE, vec![Box::new(transport)]).await
    }

    /// Permits a peer.
    pub(super) async fn permit(&mut self, peer: SocketAddr) -> Result<Response, NoResponse> {
        self.open = true;
        self.ask_signed(METHOD_CREATE_PERMISSION, || {
            vec![Box::new(peer_address(peer))]
        })
        .await
    }

    /// Binds a peer to the one channel.
    pub(super) async fn bind_channel(&mut self, peer: SocketAddr) -> Result<Response, NoResponse> {
        self.open = true;
        let attributes = || -> Attributes {
            vec![
                Box::new(ChannelNumber(CHANNEL)),
                Box::new(peer_address(peer)),
            ]
        };
        self.ask_signed(METHOD_CHANNEL_BIND, attributes).await
    }

    /// Gives the allocation back, if the server hears it.
    pub(super) async fn release(&mut self) {
        self.deadline = self.deadline.max(Instant::now() + FIRST_RTO);
        let none = || -> Attributes { vec![Box::new(Lifetime(Duration::ZERO))] };
        let _ = self.ask_signed(METHOD_REFRESH, none).await;
    }

    /// Sends over the channel.
    pub(super) async fn send_channel(&mut self, payload: &[u8]) -> io::Result<()> {
        let mut frame = channel_data::header(CHANNEL, payload.len() as u16).to_vec();
        frame.extend_from_slice(payload);
        self.link.send(&frame).await
    }

    /// Sends to a peer in an indication.
    pub(super) async fn send_to(&mut self, peer: SocketAddr, payload: &[u8]) -> io::Result<()> {
        let attributes: Attributes = vec![
            Box::new(peer_address(peer)),
            Box::new(Data(payload.to_vec())),
        ];
        let (mut message, _) = build(METHOD_SEND, attributes);
        message.typ.class = stun::message::CLASS_INDICATION;
        message.write_type();
        self.link.send(&message.raw).await
    }

    /// The next payload from a peer, and the peer where it came as an indication.
    pub(super) async fn receive_data(&mut self) -> io::Result<(Option<SocketAddr>, Vec<u8>)> {
        loop {
            let bytes = match self.data.pop_front() {
                Some(bytes) => bytes,
                None => self.link.receive().await?,
            };
            if let Some(0x40..=0x4F) = bytes.first() {
                if let Some((CHANNEL, payload)) = channel_data::parse(&bytes) {
                    return Ok((None, payload.to_vec()));
                }
                continue;
            }
            let mut data = Data::default();
            if let Some(message) = decode(&bytes)
                && message.typ.method == METHOD_DATA
                && data.get_from(&message).is_ok()
            {
                return Ok((xor_address(&message, ATTR_XOR_PEER_ADDRESS), data.0));
            }
        }
    }
}

/// Why no signed request can be made.
#[derive(Debug)]
pub(super) enum LogIn {
    /// The 401 lacks REALM or NONCE.
    Challenge,
    /// Name or password cannot be used with STUN.
    Credentials(String),
}

fn build(method: Method, attributes: Attributes) -> (Message, TransactionId) {
    let id = TransactionId(crate::random::bytes());
    let mut message = Message::new();
    message.transaction_id = id;
    message.typ = MessageType::new(method, CLASS_REQUEST);
    message.write_header();
    for attribute in attributes {
        let added = attribute.add_to(&mut message);
        debug_assert!(added.is_ok(), "{added:?}");
    }
    (message, id)
}

fn peer_address(peer: SocketAddr) -> PeerAddress {
    PeerAddress {
        ip: peer.ip(),
        port: peer.port(),
    }
}

/// An XOR-…-ADDRESS attribute.
pub(super) fn xor_address(message: &Message, typ: AttrType) -> Option<SocketAddr> {
    let value = message.get(typ).ok()?;
    let id = numbers::TransactionId(message.transaction_id.0);
    address::decode_xor(&value, &id).map(canonical_socket)
}
