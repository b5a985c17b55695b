//! Which attributes turnd knows, and those that the `stun` and `turn` crates lack.

use stun::attributes::{
    ATTR_CHANNEL_NUMBER, ATTR_CONNECTION_ID, ATTR_DATA, ATTR_DONT_FRAGMENT, ATTR_ERROR_CODE,
    ATTR_EVEN_PORT, ATTR_LIFETIME, ATTR_MAPPED_ADDRESS, ATTR_MESSAGE_INTEGRITY, ATTR_NONCE,
    ATTR_PRIORITY, ATTR_REALM, ATTR_REQUESTED_ADDRESS_FAMILY, ATTR_REQUESTED_TRANSPORT,
    ATTR_RESERVATION_TOKEN, ATTR_UNKNOWN_ATTRIBUTES, ATTR_USE_CANDIDATE, ATTR_USERNAME,
    ATTR_XOR_PEER_ADDRESS, ATTR_XOR_RELAYED_ADDRESS, ATTR_XORMAPPED_ADDRESS, AttrType,
};

/// ADDITIONAL-ADDRESS-FAMILY (RFC 8656 §18.11).
pub const ATTR_ADDITIONAL_ADDRESS_FAMILY: AttrType = AttrType(0x8000);

/// Comprehension-required attributes that are understood in some message; the rest are answered
/// with 420 (RFC 8489 §6.3.1).
const KNOWN: [AttrType; 21] = [
    ATTR_MAPPED_ADDRESS,
    ATTR_USERNAME,
    ATTR_MESSAGE_INTEGRITY,
    ATTR_ERROR_CODE,
    ATTR_UNKNOWN_ATTRIBUTES,
    ATTR_CHANNEL_NUMBER,
    ATTR_LIFETIME,
    ATTR_XOR_PEER_ADDRESS,
    ATTR_DATA,
    ATTR_REALM,
    ATTR_NONCE,
    ATTR_XOR_RELAYED_ADDRESS,
    ATTR_REQUESTED_ADDRESS_FAMILY,
    ATTR_EVEN_PORT,
    ATTR_REQUESTED_TRANSPORT,
    ATTR_DONT_FRAGMENT,
    ATTR_XORMAPPED_ADDRESS,
    ATTR_RESERVATION_TOKEN,
    ATTR_PRIORITY,
    ATTR_USE_CANDIDATE,
    ATTR_CONNECTION_ID,
];

/// Whether a message with this attribute can be processed: it is optional, or known.
#[must_use]
pub fn is_understood(typ: AttrType) -> bool {
    typ.optional() || KNOWN.contains(&typ)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s7_optional_and_ice_attributes_are_understood() {
        assert!(is_understood(AttrType(0x8FFF)));
        assert!(is_understood(ATTR_PRIORITY));
        assert!(!is_understood(AttrType(0x7FFF)));
    }

    #[test]
    fn n9_response_address_is_not_known() {
        assert!(!is_understood(AttrType(0x0002)));
    }
}
