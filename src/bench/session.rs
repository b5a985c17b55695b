//! One client's requests, without a socket: datagrams in, datagrams out.

use std::fmt;
use std::net::SocketAddr;

use stun::agent::TransactionId;
use stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, ATTR_XOR_RELAYED_ADDRESS};
use stun::error_code::{CODE_STALE_NONCE, CODE_UNAUTHORIZED, ErrorCodeAttribute};
use stun::message::{
    CLASS_REQUEST, CLASS_SUCCESS_RESPONSE, Getter as _, METHOD_ALLOCATE, METHOD_CHANNEL_BIND,
    METHOD_CREATE_PERMISSION, METHOD_REFRESH, Message, MessageType, Method, Setter,
};
use stun::textattrs::TextAttribute;
use stun::xoraddr::XorMappedAddress;
use turn::proto::PROTO_UDP;
use turn::proto::channum::ChannelNumber;
use turn::proto::lifetime::Lifetime;
use turn::proto::peeraddr::PeerAddress;
use turn::proto::reqfamily::REQUESTED_FAMILY_IPV6;
use turn::proto::reqtrans::RequestedTransport;

use crate::config::Secret;
use crate::stun_message;
use turnd_proto::auth::key::Key;

/// The number of the one channel that every allocation has.
pub(super) const CHANNEL: u16 = 0x4000;

/// A user and a password.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) user: String,
    pub(crate) password: Secret,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({})", self.user)
    }
}

/// What the allocation is to have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// A relayed address of that family.
    pub(super) ipv6: bool,
    /// Leave to exchange data with this peer.
    pub(super) peer: Option<SocketAddr>,
    /// By channel; otherwise by permission.
    pub(super) channel: bool,
}

/// Realm and nonce of the server, and the key for them.
struct Challenge {
    realm: String,
    nonce: String,
    key: Key,
}

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Allocate,
    Peer,
    Ready,
}

/// What a datagram from the server leads to.
#[derive(Debug)]
pub(super) enum Progress {
    /// It was no answer to what was asked.
    None,
    /// Send [`Session::request`].
    Send,
    /// All that was wished is there.
    Ready,
    /// The server refuses; the text says what.
    Failed(String),
}

/// A client's side of one allocation.
pub(super) struct Session {
    login: Option<Login>,
    wish: Wish,
    challenge: Option<Challenge>,
    step: Step,
    request: Message,
    relayed: Option<SocketAddr>,
    /// Answers 401 and 438 to signed requests; a second one in a row is an end.
    challenges: u8,
}

impl Session {
    pub(super) fn new(login: Option<Login>, wish: Wish) -> Self {
        Self {
            login,
            wish,
            challenge: None,
            step: Step::Allocate,
            request: Message::new(),
            relayed: None,
            challenges: 0,
        }
    }

    /// Begins; the first request is then in [`Self::request`].
    pub(super) fn start(&mut self) {
        self.ask();
    }

    /// What the server is being asked, to be sent now or again.
    pub(super) fn request(&self) -> &[u8] {
        &self.request.raw
    }

    /// The relayed transport address, once there is one.
    pub(super) fn relayed(&self) -> Option<SocketAddr> {
        self.relayed
    }

    pub(super) fn is_ready(&self) -> bool {
        self.step == Step::Ready
    }

    /// Takes a datagram from the server.
    pub(super) fn handle(&mut self, datagram: &[u8]) -> Progress {
        let mut reply = Message::new();
        let ours = reply.unmarshal_binary(datagram).is_ok()
            && reply.transaction_id == self.request.transaction_id
            && reply.typ.class != CLASS_REQUEST;
        if !ours || self.step == Step::Ready {
            return Progress::None;
        }
        if reply.typ.class != CLASS_SUCCESS_RESPONSE {
            return self.refused(&reply);
        }
        self.challenges = 0;
        self.step = match self.step {
            Step::Allocate => {
                let mut relayed = XorMappedAddress::default();
                if let Err(error) = relayed.get_from_as(&reply, ATTR_XOR_RELAYED_ADDRESS) {
                    return Progress::Failed(format!("no XOR-RELAYED-ADDRESS: {error}"));
                }
                self.relayed = Some(SocketAddr::new(relayed.ip, relayed.port));
                match self.wish.peer {
                    Some(_) => Step::Peer,
                    None => Step::Ready,
                }
            }
            Step::Peer | Step::Ready => Step::Ready,
        };
        if self.step == Step::Ready {
            return Progress::Ready;
        }
        self.ask();
        Progress::Send
    }

    fn refused(&mut self, reply: &Message) -> Progress {
        let mut error = ErrorCodeAttribute::default();
        let code = error.get_from(reply).map(|()| error.code);
        let challenged = matches!(code, Ok(CODE_UNAUTHORIZED | CODE_STALE_NONCE));
        if challenged && self.challenges < 2 {
            self.challenges += 1;
            match self.login.as_ref().map(|login| challenge(login, reply)) {
                Some(Some(challenge)) => {
                    self.challenge = Some(challenge);
                    self.ask();
                    return Progress::Send;
                }
                Some(None) => {
                    return Progress::Failed("the 401 has no realm and nonce to use".to_owned());
                }
                None => {}
            }
        }
        Progress::Failed(match code {
            Ok(CODE_UNAUTHORIZED) => "the server wants other credentials (401); \
                 give --user and --password, or --secret-file"
                .to_owned(),
            Ok(_) => format!(
                "the server refuses {} of allocation and peer: {error}",
                reply.typ.method
            ),
            Err(_) => format!("an error response without code: {reply}"),
        })
    }

    /// Makes the next request.
    fn ask(&mut self) {
        let (method, attributes): (_, Vec<Box<dyn Setter>>) = match (self.step, self.wish.peer) {
            (Step::Peer, Some(peer)) => {
                let address = PeerAddress {
                    ip: peer.ip(),
                    port: peer.port(),
                };
                if self.wish.channel {
                    let number = Box::new(ChannelNumber(CHANNEL));
                    (METHOD_CHANNEL_BIND, vec![number, Box::new(address)])
                } else {
                    (METHOD_CREATE_PERMISSION, vec![Box::new(address)])
                }
            }
            _ => {
                let transport = RequestedTransport {
                    protocol: PROTO_UDP,
                };
                let mut attributes: Vec<Box<dyn Setter>> = vec![Box::new(transport)];
                if self.wish.ipv6 {
                    attributes.push(Box::new(REQUESTED_FAMILY_IPV6));
                }
                (METHOD_ALLOCATE, attributes)
            }
        };
        self.request = self.signed(method, attributes);
    }

    /// A Refresh that ends the allocation.
    pub(super) fn delete(&self) -> Vec<u8> {
        let lifetime = Box::new(Lifetime(std::time::Duration::ZERO));
        self.signed(METHOD_REFRESH, vec![lifetime]).raw
    }

    fn signed(&self, method: Method, attributes: Vec<Box<dyn Setter>>) -> Message {
        let mut setters: Vec<Box<dyn Setter>> = vec![
            Box::new(TransactionId::new()),
            Box::new(MessageType::new(method, CLASS_REQUEST)),
        ];
        setters.extend(attributes);
        if let (Some(login), Some(challenge)) = (&self.login, &self.challenge) {
            let text = |typ, text: &str| Box::new(TextAttribute::new(typ, text.to_owned()));
            setters.push(text(ATTR_USERNAME, &login.user));
            setters.push(text(ATTR_REALM, &challenge.realm));
            setters.push(text(ATTR_NONCE, &challenge.nonce));
        }
        let mut message = Message::new();
        let mut built = message.build(&setters);
        if let Some(challenge) = &self.challenge {
            built = built.and_then(|()| stun_message::sign(&mut message, &challenge.key));
        }
        // Fails only on texts that `challenge` has refused.
        debug_assert!(built.is_ok(), "{built:?}");
        message
    }
}

fn challenge(login: &Login, reply: &Message) -> Option<Challenge> {
    let text = |typ| TextAttribute::get_from_as(reply, typ).map(|attribute| attribute.text);
    let (realm, nonce) = (text(ATTR_REALM).ok()?, text(ATTR_NONCE).ok()?);
    // What RFC 8489 §14.9 and §14.10 allow; longer ones cannot be sent back.
    if realm.len() > 763 || nonce.len() > 763 {
        return None;
    }
    let key = Key::from_password(&login.user, &realm, login.password.reveal()).ok()?;
    Some(Challenge { realm, nonce, key })
}
