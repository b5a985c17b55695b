//! The attributes of NAT behaviour discovery (RFC 5780 §7).

use std::net::SocketAddr;

use stun::attributes::{ATTR_CHANGE_REQUEST, ATTR_PADDING, ATTR_RESPONSE_PORT, AttrType};
use stun::message::{Getter, Message, Setter};

use super::address;

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

    /// Whether nothing is to be changed.
    #[must_use]
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl Setter for ChangeRequest {
    fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
        let ip = if self.ip { Self::IP } else { 0 };
        let port = if self.port { Self::PORT } else { 0 };
        message.add(ATTR_CHANGE_REQUEST, &(ip | port).to_be_bytes());
        Ok(())
    }
}

impl Getter for ChangeRequest {
    fn get_from(&mut self, message: &Message) -> Result<(), stun::Error> {
        *self = Self::decode(&message.get(ATTR_CHANGE_REQUEST)?)
            .ok_or(stun::Error::ErrAttributeSizeInvalid)?;
        Ok(())
    }
}

/// RESPONSE-PORT (RFC 5780 §7.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResponsePort(pub u16);

impl Setter for ResponsePort {
    fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
        let [high, low] = self.0.to_be_bytes();
        message.add(ATTR_RESPONSE_PORT, &[high, low, 0, 0]);
        Ok(())
    }
}

impl Getter for ResponsePort {
    /// Takes the two bytes with the RFC's padding counted in the length or not.
    fn get_from(&mut self, message: &Message) -> Result<(), stun::Error> {
        self.0 = match message.get(ATTR_RESPONSE_PORT)?[..] {
            [0, 0] | [0, 0, _, _] => return Err(stun::Error::ErrAttributeSizeInvalid),
            [high, low] | [high, low, _, _] => u16::from_be_bytes([high, low]),
            _ => return Err(stun::Error::ErrAttributeSizeInvalid),
        };
        Ok(())
    }
}

/// PADDING of so many zero bytes (RFC 5780 §7.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Padding(pub u16);

impl Setter for Padding {
    fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
        message.add(ATTR_PADDING, &vec![0; usize::from(self.0)]);
        Ok(())
    }
}

/// An attribute that holds an address without XOR: MAPPED-ADDRESS and its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainAddress(pub AttrType, pub SocketAddr);

impl Setter for PlainAddress {
    fn add_to(&self, message: &mut Message) -> Result<(), stun::Error> {
        let mut value = [0; address::MAX_LEN];
        let len = address::encode_plain(self.1, &mut value);
        message.add(self.0, &value[..len]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(setter: &dyn Setter) -> Message {
        let mut message = Message::new();
        setter.add_to(&mut message).unwrap();
        message
    }

    #[test]
    fn n2_change_request_bits() {
        for (ip, port, value) in [
            (false, false, [0, 0, 0, 0]),
            (true, false, [0, 0, 0, 4]),
            (false, true, [0, 0, 0, 2]),
            (true, true, [0, 0, 0, 6]),
        ] {
            let message = with(&ChangeRequest { ip, port });
            assert_eq!(message.get(ATTR_CHANGE_REQUEST).unwrap(), value);
            let mut read = ChangeRequest::default();
            read.get_from(&message).unwrap();
            assert_eq!(read, ChangeRequest { ip, port });
        }
        assert_eq!(ChangeRequest::decode(&[0, 0, 6]), None);
    }

    #[test]
    fn n3_response_port_in_both_lengths() {
        let read = |value: &[u8]| {
            let mut message = Message::new();
            message.add(ATTR_RESPONSE_PORT, value);
            let mut port = ResponsePort::default();
            port.get_from(&message).is_ok().then_some(port.0)
        };
        assert_eq!(read(&[0x12, 0x34]), Some(0x1234));
        assert_eq!(read(&[0x12, 0x34, 0, 0]), Some(0x1234));
        assert_eq!(read(&[0, 0, 0, 0]), None);
        assert_eq!(read(&[1]), None);
        assert_eq!(read(&[]), None);
        let message = with(&ResponsePort(0x1234));
        assert_eq!(message.get(ATTR_RESPONSE_PORT).unwrap(), [0x12, 0x34, 0, 0]);
    }
}
