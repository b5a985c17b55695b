//! The numbers of STUN and TURN as IANA has them, and the RFC that gives each its meaning.

use std::fmt;

/// Bytes 4–7 of every STUN message (RFC 8489 §5).
pub const MAGIC_COOKIE: u32 = 0x2112_A442;

/// Bytes before the attributes: type, length, cookie, transaction id (RFC 8489 §5).
pub const MESSAGE_HEADER_LEN: usize = 20;

/// Bytes before an attribute's value: type and length (RFC 8489 §14).
pub const ATTRIBUTE_HEADER_LEN: usize = 4;

/// Name of a transaction, chosen by the client (RFC 8489 §5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TransactionId(pub [u8; 12]);

/// Method of a message: 12 bits (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Method(pub u16);

impl Method {
    /// RFC 8489 §3.
    pub const BINDING: Self = Self(0x001);
    /// RFC 8656 §7.
    pub const ALLOCATE: Self = Self(0x003);
    /// RFC 8656 §8.
    pub const REFRESH: Self = Self(0x004);
    /// RFC 8656 §11.
    pub const SEND: Self = Self(0x006);
    /// RFC 8656 §11.
    pub const DATA: Self = Self(0x007);
    /// RFC 8656 §10.
    pub const CREATE_PERMISSION: Self = Self(0x008);
    /// RFC 8656 §12.
    pub const CHANNEL_BIND: Self = Self(0x009);
    /// RFC 6062 §4.3.
    pub const CONNECT: Self = Self(0x00A);
    /// RFC 6062 §4.3.
    pub const CONNECTION_BIND: Self = Self(0x00B);
    /// RFC 6062 §4.4.
    pub const CONNECTION_ATTEMPT: Self = Self(0x00C);
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match *self {
            Self::BINDING => "Binding",
            Self::ALLOCATE => "Allocate",
            Self::REFRESH => "Refresh",
            Self::SEND => "Send",
            Self::DATA => "Data",
            Self::CREATE_PERMISSION => "CreatePermission",
            Self::CHANNEL_BIND => "ChannelBind",
            Self::CONNECT => "Connect",
            Self::CONNECTION_BIND => "ConnectionBind",
            Self::CONNECTION_ATTEMPT => "ConnectionAttempt",
            Self(number) => return write!(f, "{number:#x}"),
        };
        f.write_str(name)
    }
}

/// Class of a message: 2 bits (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Class {
    /// A request, which is answered.
    Request = 0b00,
    /// An indication, which is not answered.
    Indication = 0b01,
    /// A success response.
    Success = 0b10,
    /// An error response.
    Error = 0b11,
}

/// Method and class of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageType {
    /// The method.
    pub method: Method,
    /// The class.
    pub class: Class,
}

impl MessageType {
    /// The type of these two.
    #[must_use]
    pub const fn new(method: Method, class: Class) -> Self {
        Self { method, class }
    }

    /// The first two bytes of a message; the bits of the class stand between those of the method
    /// (RFC 8489 §5, figure 3).
    #[must_use]
    pub const fn value(self) -> u16 {
        let Method(method) = self.method;
        let class = self.class as u16;
        (method & 0x000F)
            | (method & 0x0070) << 1
            | (method & 0x0F80) << 2
            | (class & 0b01) << 4
            | (class & 0b10) << 7
    }

    /// The type that the first two bytes of a message name. The two highest bits do not count.
    #[must_use]
    pub const fn from_value(value: u16) -> Self {
        let method = (value & 0x000F) | (value & 0x00E0) >> 1 | (value & 0x3E00) >> 2;
        let class = match (value >> 8 & 1, value >> 4 & 1) {
            (0, 0) => Class::Request,
            (0, _) => Class::Indication,
            (_, 0) => Class::Success,
            _ => Class::Error,
        };
        Self::new(Method(method), class)
    }
}

/// Type of an attribute (RFC 8489 §14).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttributeType(pub u16);

impl AttributeType {
    /// RFC 8489 §14.1.
    pub const MAPPED_ADDRESS: Self = Self(0x0001);
    /// RFC 5780 §7.2.
    pub const CHANGE_REQUEST: Self = Self(0x0003);
    /// RFC 3489 §11.2.5.
    pub const SOURCE_ADDRESS: Self = Self(0x0004);
    /// RFC 3489 §11.2.3.
    pub const CHANGED_ADDRESS: Self = Self(0x0005);
    /// RFC 8489 §14.3.
    pub const USERNAME: Self = Self(0x0006);
    /// RFC 8489 §14.5.
    pub const MESSAGE_INTEGRITY: Self = Self(0x0008);
    /// RFC 8489 §14.8.
    pub const ERROR_CODE: Self = Self(0x0009);
    /// RFC 8489 §14.13.
    pub const UNKNOWN_ATTRIBUTES: Self = Self(0x000A);
    /// RFC 8656 §18.1.
    pub const CHANNEL_NUMBER: Self = Self(0x000C);
    /// RFC 8656 §18.2.
    pub const LIFETIME: Self = Self(0x000D);
    /// RFC 8656 §18.3.
    pub const XOR_PEER_ADDRESS: Self = Self(0x0012);
    /// RFC 8656 §18.4.
    pub const DATA: Self = Self(0x0013);
    /// RFC 8489 §14.9.
    pub const REALM: Self = Self(0x0014);
    /// RFC 8489 §14.10.
    pub const NONCE: Self = Self(0x0015);
    /// RFC 8656 §18.5.
    pub const XOR_RELAYED_ADDRESS: Self = Self(0x0016);
    /// RFC 8656 §18.6.
    pub const REQUESTED_ADDRESS_FAMILY: Self = Self(0x0017);
    /// RFC 8656 §18.7.
    pub const EVEN_PORT: Self = Self(0x0018);
    /// RFC 8656 §18.8.
    pub const REQUESTED_TRANSPORT: Self = Self(0x0019);
    /// RFC 8656 §18.9.
    pub const DONT_FRAGMENT: Self = Self(0x001A);
    /// RFC 8489 §14.6.
    pub const MESSAGE_INTEGRITY_SHA256: Self = Self(0x001C);
    /// RFC 8489 §14.12.
    pub const PASSWORD_ALGORITHM: Self = Self(0x001D);
    /// RFC 8489 §14.4.
    pub const USERHASH: Self = Self(0x001E);
    /// RFC 8489 §14.2.
    pub const XOR_MAPPED_ADDRESS: Self = Self(0x0020);
    /// RFC 8656 §18.10.
    pub const RESERVATION_TOKEN: Self = Self(0x0022);
    /// RFC 8445 §16.1.
    pub const PRIORITY: Self = Self(0x0024);
    /// RFC 8445 §16.1.
    pub const USE_CANDIDATE: Self = Self(0x0025);
    /// RFC 5780 §7.6.
    pub const PADDING: Self = Self(0x0026);
    /// RFC 5780 §7.5.
    pub const RESPONSE_PORT: Self = Self(0x0027);
    /// RFC 6062 §6.2.1.
    pub const CONNECTION_ID: Self = Self(0x002A);
    /// RFC 8656 §18.11.
    pub const ADDITIONAL_ADDRESS_FAMILY: Self = Self(0x8000);
    /// RFC 8489 §14.11.
    pub const PASSWORD_ALGORITHMS: Self = Self(0x8002);
    /// RFC 8489 §14.14.
    pub const SOFTWARE: Self = Self(0x8022);
    /// RFC 8489 §14.15.
    pub const ALTERNATE_SERVER: Self = Self(0x8023);
    /// RFC 8489 §14.7.
    pub const FINGERPRINT: Self = Self(0x8028);
    /// RFC 5780 §7.3.
    pub const RESPONSE_ORIGIN: Self = Self(0x802B);
    /// RFC 5780 §7.4.
    pub const OTHER_ADDRESS: Self = Self(0x802C);

    /// Comprehension-required attributes that some message may hold; any other is answered with
    /// 420 (RFC 8489 §6.3.1).
    const KNOWN: [Self; 24] = [
        Self::MAPPED_ADDRESS,
        Self::USERNAME,
        Self::MESSAGE_INTEGRITY,
        Self::ERROR_CODE,
        Self::UNKNOWN_ATTRIBUTES,
        Self::CHANNEL_NUMBER,
        Self::LIFETIME,
        Self::XOR_PEER_ADDRESS,
        Self::DATA,
        Self::REALM,
        Self::NONCE,
        Self::XOR_RELAYED_ADDRESS,
        Self::REQUESTED_ADDRESS_FAMILY,
        Self::EVEN_PORT,
        Self::REQUESTED_TRANSPORT,
        Self::DONT_FRAGMENT,
        Self::MESSAGE_INTEGRITY_SHA256,
        Self::PASSWORD_ALGORITHM,
        Self::USERHASH,
        Self::XOR_MAPPED_ADDRESS,
        Self::RESERVATION_TOKEN,
        Self::PRIORITY,
        Self::USE_CANDIDATE,
        Self::CONNECTION_ID,
    ];

    /// Whether a receiver that does not know the attribute ignores it: the upper half of the
    /// numbers (RFC 8489 §14).
    #[must_use]
    pub const fn is_optional(self) -> bool {
        self.0 >= 0x8000
    }

    /// Whether a message with this attribute can be processed: it is optional, or known.
    #[must_use]
    pub fn is_understood(self) -> bool {
        self.is_optional() || Self::KNOWN.contains(&self)
    }
}

/// Code of an error response: class times 100 and number (RFC 8489 §14.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ErrorCode(pub u16);

impl ErrorCode {
    /// RFC 8489 §14.8.
    pub const TRY_ALTERNATE: Self = Self(300);
    /// RFC 8489 §14.8.
    pub const BAD_REQUEST: Self = Self(400);
    /// RFC 8489 §14.8.
    pub const UNAUTHENTICATED: Self = Self(401);
    /// RFC 8656 §19.
    pub const FORBIDDEN: Self = Self(403);
    /// RFC 8489 §14.8.
    pub const UNKNOWN_ATTRIBUTE: Self = Self(420);
    /// RFC 8656 §19.
    pub const ALLOCATION_MISMATCH: Self = Self(437);
    /// RFC 8489 §14.8.
    pub const STALE_NONCE: Self = Self(438);
    /// RFC 8656 §19.
    pub const ADDRESS_FAMILY_NOT_SUPPORTED: Self = Self(440);
    /// RFC 8656 §19.
    pub const WRONG_CREDENTIALS: Self = Self(441);
    /// RFC 8656 §19.
    pub const UNSUPPORTED_TRANSPORT: Self = Self(442);
    /// RFC 8656 §19.
    pub const PEER_ADDRESS_FAMILY_MISMATCH: Self = Self(443);
    /// RFC 6062 §6.3.
    pub const CONNECTION_ALREADY_EXISTS: Self = Self(446);
    /// RFC 6062 §6.3.
    pub const CONNECTION_TIMEOUT_OR_FAILURE: Self = Self(447);
    /// RFC 8656 §19.
    pub const ALLOCATION_QUOTA_REACHED: Self = Self(486);
    /// RFC 8656 §19.
    pub const INSUFFICIENT_CAPACITY: Self = Self(508);

    /// The reason phrase (RFC 8489 §14.8, RFC 8656 §19).
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::TRY_ALTERNATE => "Try Alternate",
            Self::BAD_REQUEST => "Bad Request",
            // Nothing: a forged address can have this reply sent to it.
            Self::UNAUTHENTICATED => "",
            Self::FORBIDDEN => "Forbidden",
            // Shorter than the registry has it: the reply to a Binding request of 24 bytes is
            // long already.
            Self::UNKNOWN_ATTRIBUTE => "Unknown",
            Self::ALLOCATION_MISMATCH => "Allocation Mismatch",
            Self::STALE_NONCE => "Stale Nonce",
            Self::ADDRESS_FAMILY_NOT_SUPPORTED => "Address Family not Supported",
            Self::WRONG_CREDENTIALS => "Wrong Credentials",
            Self::UNSUPPORTED_TRANSPORT => "Unsupported Transport Protocol",
            Self::PEER_ADDRESS_FAMILY_MISMATCH => "Peer Address Family Mismatch",
            Self::CONNECTION_ALREADY_EXISTS => "Connection Already Exists",
            Self::CONNECTION_TIMEOUT_OR_FAILURE => "Connection Timeout or Failure",
            Self::ALLOCATION_QUOTA_REACHED => "Allocation Quota Reached",
            Self::INSUFFICIENT_CAPACITY => "Insufficient Capacity",
            _ => "Server Error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_optional_and_ice_attributes_are_understood() {
        assert!(AttributeType(0x8FFF).is_understood());
        assert!(AttributeType::PRIORITY.is_understood());
        assert!(!AttributeType(0x7FFF).is_understood());
    }

    #[test]
    fn n9_response_address_is_not_known() {
        assert!(!AttributeType(0x0002).is_understood());
    }

    #[test]
    fn every_type_reads_back_and_agrees_with_the_stun_crate() {
        for value in 0..0x4000 {
            let typ = MessageType::from_value(value);
            assert_eq!(typ.value(), value);
            let mut theirs = stun::message::MessageType::default();
            theirs.read_value(value);
            assert_eq!(theirs.value(), value);
            let class = [
                Class::Request,
                Class::Indication,
                Class::Success,
                Class::Error,
            ]
            .map(|class| MessageType::new(typ.method, class).value());
            let their_classes = [
                stun::message::CLASS_REQUEST,
                stun::message::CLASS_INDICATION,
                stun::message::CLASS_SUCCESS_RESPONSE,
                stun::message::CLASS_ERROR_RESPONSE,
            ]
            .map(|class| stun::message::MessageType::new(theirs.method, class).value());
            assert_eq!(class, their_classes);
        }
    }

    #[test]
    fn the_numbers_agree_with_the_stun_crate() {
        use stun::attributes as theirs;
        for (ours, theirs) in [
            (AttributeType::MAPPED_ADDRESS, theirs::ATTR_MAPPED_ADDRESS),
            (AttributeType::CHANGE_REQUEST, theirs::ATTR_CHANGE_REQUEST),
            (AttributeType::SOURCE_ADDRESS, theirs::ATTR_SOURCE_ADDRESS),
            (AttributeType::CHANGED_ADDRESS, theirs::ATTR_CHANGED_ADDRESS),
            (AttributeType::USERNAME, theirs::ATTR_USERNAME),
            (
                AttributeType::MESSAGE_INTEGRITY,
                theirs::ATTR_MESSAGE_INTEGRITY,
            ),
            (AttributeType::ERROR_CODE, theirs::ATTR_ERROR_CODE),
            (
                AttributeType::UNKNOWN_ATTRIBUTES,
                theirs::ATTR_UNKNOWN_ATTRIBUTES,
            ),
            (AttributeType::CHANNEL_NUMBER, theirs::ATTR_CHANNEL_NUMBER),
            (AttributeType::LIFETIME, theirs::ATTR_LIFETIME),
            (
                AttributeType::XOR_PEER_ADDRESS,
                theirs::ATTR_XOR_PEER_ADDRESS,
            ),
            (AttributeType::DATA, theirs::ATTR_DATA),
            (AttributeType::REALM, theirs::ATTR_REALM),
            (AttributeType::NONCE, theirs::ATTR_NONCE),
            (
                AttributeType::XOR_RELAYED_ADDRESS,
                theirs::ATTR_XOR_RELAYED_ADDRESS,
            ),
            (
                AttributeType::REQUESTED_ADDRESS_FAMILY,
                theirs::ATTR_REQUESTED_ADDRESS_FAMILY,
            ),
            (AttributeType::EVEN_PORT, theirs::ATTR_EVEN_PORT),
            (
                AttributeType::REQUESTED_TRANSPORT,
                theirs::ATTR_REQUESTED_TRANSPORT,
            ),
            (AttributeType::DONT_FRAGMENT, theirs::ATTR_DONT_FRAGMENT),
            (
                AttributeType::XOR_MAPPED_ADDRESS,
                theirs::ATTR_XORMAPPED_ADDRESS,
            ),
            (
                AttributeType::RESERVATION_TOKEN,
                theirs::ATTR_RESERVATION_TOKEN,
            ),
            (AttributeType::PRIORITY, theirs::ATTR_PRIORITY),
            (AttributeType::USE_CANDIDATE, theirs::ATTR_USE_CANDIDATE),
            (AttributeType::PADDING, theirs::ATTR_PADDING),
            (AttributeType::RESPONSE_PORT, theirs::ATTR_RESPONSE_PORT),
            (AttributeType::CONNECTION_ID, theirs::ATTR_CONNECTION_ID),
            (AttributeType::SOFTWARE, theirs::ATTR_SOFTWARE),
            (
                AttributeType::ALTERNATE_SERVER,
                theirs::ATTR_ALTERNATE_SERVER,
            ),
            (AttributeType::FINGERPRINT, theirs::ATTR_FINGERPRINT),
            (AttributeType::RESPONSE_ORIGIN, theirs::ATTR_RESPONSE_ORIGIN),
            (AttributeType::OTHER_ADDRESS, theirs::ATTR_OTHER_ADDRESS),
        ] {
            assert_eq!(ours.0, theirs.value(), "{theirs}");
        }
    }
}
