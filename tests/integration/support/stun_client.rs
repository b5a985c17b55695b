//! A client that sends exactly what a test says, over UDP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use stun::agent::TransactionId;
use stun::attributes::{ATTR_MESSAGE_INTEGRITY, ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, AttrType};
use stun::error_code::ErrorCodeAttribute;
use stun::integrity::MessageIntegrity;
use stun::message::{
    CLASS_REQUEST, Getter, METHOD_ALLOCATE, METHOD_BINDING, Message, MessageType, Method, Setter,
};
use stun::textattrs::TextAttribute;
use stun::xoraddr::XorMappedAddress;

/// How long a reply may take. Long, since it costs a passing test nothing.
const PATIENCE: Duration = Duration::from_secs(5);

pub(crate) type Attributes = Vec<Box<dyn Setter>>;

pub(crate) struct StunClient {
    socket: UdpSocket,
    server: SocketAddr,
    patience: Duration,
    login: Option<Login>,
}

#[derive(Clone)]
struct Login {
    user: String,
    realm: String,
    nonce: String,
    integrity: MessageIntegrity,
}

impl StunClient {
    /// A client on the loopback address of the server's family.
    pub(crate) fn new(server: SocketAddr) -> Self {
        let ip: IpAddr = if server.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        };
        let socket = UdpSocket::bind((ip, 0)).unwrap();
        Self {
            socket,
            server,
            patience: PATIENCE,
            login: None,
        }
    }

    pub(crate) fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().unwrap()
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        self.socket.send_to(bytes, self.server).unwrap();
    }

    /// The next datagram from the server, or None when none comes in time.
    pub(crate) fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = vec![0; 65_536];
        let deadline = Instant::now() + self.patience;
        loop {
            let left = deadline
                .checked_duration_since(Instant::now())
                .filter(|left| !left.is_zero())?;
            self.socket.set_read_timeout(Some(left)).unwrap();
            if let Ok((len, from)) = self.socket.recv_from(&mut buffer) {
                assert_eq!(
                    from, self.server,
                    "a datagram from an address that was not asked"
                );
                buffer.truncate(len);
                return Some(buffer);
            }
        }
    }

    /// Sends a request and returns the response, which must be one to it.
    pub(crate) fn ask(&self, request: &Message) -> Option<Message> {
        self.send(&request.raw);
        let reply = decode(self.receive()?);
        assert_eq!(reply.transaction_id, request.transaction_id);
        assert_eq!(reply.typ.method, request.typ.method);
        Some(reply)
    }

    pub(crate) fn binding(&self) -> Option<Message> {
        self.ask(&request(METHOD_BINDING, vec![]))
    }

    /// Learns realm and nonce from the 401 to an unsigned Allocate; `signed` works from then on.
    pub(crate) fn log_in(&mut self, user: &str, password: &str) {
        let reply = self
            .ask(&request(METHOD_ALLOCATE, vec![]))
            .expect("no answer to an unsigned Allocate");
        assert_eq!(error_code(&reply), Some(401), "{reply}");
        assert!(!reply.contains(ATTR_MESSAGE_INTEGRITY), "a signed 401");
        let text = |attribute| TextAttribute::get_from_as(&reply, attribute).unwrap().text;
        let (realm, nonce) = (text(ATTR_REALM), text(ATTR_NONCE));
        let integrity =
            MessageIntegrity::new_long_term_integrity(user.into(), realm.clone(), password.into());
        self.login = Some(Login {
            user: user.into(),
            realm,
            nonce,
            integrity,
        });
    }

    /// A request with these attributes, signed.
    pub(crate) fn signed(&self, method: Method, mut attributes: Attributes) -> Message {
        let login = self.login.clone().expect("log_in comes first");
        attributes.push(Box::new(UserName(login.user)));
        attributes.push(Box::new(TextAttribute::new(ATTR_REALM, login.realm)));
        attributes.push(Box::new(TextAttribute::new(ATTR_NONCE, login.nonce)));
        attributes.push(Box::new(login.integrity));
        request(method, attributes)
    }

    /// Sends a signed request and returns the response, which must be signed too.
    pub(crate) fn ask_signed(&self, method: Method, attributes: Attributes) -> Message {
        let mut reply = self
            .ask(&self.signed(method, attributes))
            .expect("no answer to a signed request");
        let login = self.login.as_ref().expect("log_in comes first");
        login
            .integrity
            .check(&mut reply)
            .unwrap_or_else(|error| panic!("signature of {reply}: {error}"));
        reply
    }
}

/// USERNAME, longer than RFCs allow if the test likes.
struct UserName(String);

impl Setter for UserName {
    fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
        message.add(ATTR_USERNAME, self.0.as_bytes());
        Ok(())
    }
}

/// A request with a fresh transaction id and these attributes.
pub(crate) fn request(method: Method, attributes: Attributes) -> Message {
    let mut setters: Attributes = vec![
        Box::new(TransactionId::new()),
        Box::new(MessageType::new(method, CLASS_REQUEST)),
    ];
    setters.extend(attributes);
    let mut message = Message::new();
    message.build(&setters).unwrap();
    message
}

fn decode(bytes: Vec<u8>) -> Message {
    let mut message = Message::new();
    message
        .unmarshal_binary(&bytes)
        .unwrap_or_else(|error| panic!("not a STUN message ({error}): {bytes:02x?}"));
    message
}

pub(crate) fn error_code(message: &Message) -> Option<u16> {
    let mut attribute = ErrorCodeAttribute::default();
    attribute.get_from(message).ok()?;
    Some(attribute.code.0)
}

pub(crate) fn xor_address(message: &Message, attribute: AttrType) -> Option<SocketAddr> {
    let mut address = XorMappedAddress::default();
    address.get_from_as(message, attribute).ok()?;
    Some(SocketAddr::new(address.ip, address.port))
}
