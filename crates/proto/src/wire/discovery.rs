//! Values of the attributes of NAT behaviour discovery (RFC 5780 §7).

/// CHANGE-REQUEST (RFC 5780 §7.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ChangeRequest {
    /// Answer from the other address.
    pub ip: bool,
    /// Answer from the other port.
    pub port: bool,
}

impl ChangeRequest {
    const IP: u32 = 0x4;
    const PORT: u32 = 0x2;

    /// Reads the attribute's value; `None` unless it has four bytes.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        let bits = u32::from_be_bytes(value.try_into().ok()?);
        Some(Self {
            ip: bits & Self::IP != 0,
            port: bits & Self::PORT != 0,
        })
    }

    /// The attribute's value.
    #[must_use]
    pub fn encode(self) -> [u8; 4] {
        let ip = if self.ip { Self::IP } else { 0 };
        let port = if self.port { Self::PORT } else { 0 };
        (ip | port).to_be_bytes()
    }

    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// RESPONSE-PORT (RFC 5780 §7.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponsePort(pub u16);

impl ResponsePort {
    /// Reads the attribute's value: two bytes, with the RFC's padding counted in the length or
    /// not. `None` for any other length, and for port 0.
    #[must_use]
    pub fn decode(value: &[u8]) -> Option<Self> {
        match *value {
            [0, 0] | [0, 0, _, _] => None,
            [high, low] | [high, low, _, _] => Some(Self(u16::from_be_bytes([high, low]))),
            _ => None,
        }
    }

    /// The attribute's value.
    #[must_use]
    pub fn encode(self) -> [u8; 4] {
        let [high, low] = self.0.to_be_bytes();
        [high, low, 0, 0]
    }
}

/// The tests ask with the `stun` crate, which has no such attributes.
#[cfg(test)]
mod setters {
    use stun::attributes::{ATTR_CHANGE_REQUEST, ATTR_PADDING, ATTR_RESPONSE_PORT};
    use stun::message::{Message, Setter};

    use super::{ChangeRequest, ResponsePort};

    /// PADDING of so many zero bytes (RFC 5780 §7.6).
    pub(crate) struct Padding(pub(crate) u16);

    impl Setter for Padding {
        fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
            message.add(ATTR_PADDING, &vec![0; usize::from(self.0)]);
            Ok(())
        }
    }

    impl Setter for ChangeRequest {
        fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
            message.add(ATTR_CHANGE_REQUEST, &self.encode());
            Ok(())
        }
    }

    impl Setter for ResponsePort {
        fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
            message.add(ATTR_RESPONSE_PORT, &self.encode());
            Ok(())
        }
    }
}

#[cfg(test)]
pub(crate) use setters::Padding;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n2_change_request_bits() {
        for (ip, port, value) in [
            (false, false, [0, 0, 0, 0]),
            (true, false, [0, 0, 0, 4]),
            (false, true, [0, 0, 0, 2]),
            (true, true, [0, 0, 0, 6]),
        ] {
            let change = ChangeRequest { ip, port };
            assert_eq!(change.encode(), value);
            assert_eq!(ChangeRequest::decode(&value), Some(change));
        }
        assert_eq!(ChangeRequest::decode(&[0, 0, 6]), None);
    }

    #[test]
    fn n3_response_port_in_both_lengths() {
        let read = |value: &[u8]| ResponsePort::decode(value).map(|port| port.0);
        assert_eq!(read(&[0x12, 0x34]), Some(0x1234));
        assert_eq!(read(&[0x12, 0x34, 0, 0]), Some(0x1234));
        assert_eq!(read(&[0, 0, 0, 0]), None);
        assert_eq!(read(&[1]), None);
        assert_eq!(read(&[]), None);
        assert_eq!(ResponsePort(0x1234).encode(), [0x12, 0x34, 0, 0]);
    }
}
