//! Error responses as values.

use stun::attributes::AttrType;
use stun::error_code::{
    CODE_ADDR_FAMILY_NOT_SUPPORTED, CODE_ALLOC_MISMATCH, CODE_ALLOC_QUOTA_REACHED,
    CODE_BAD_REQUEST, CODE_FORBIDDEN, CODE_INSUFFICIENT_CAPACITY, CODE_PEER_ADDR_FAMILY_MISMATCH,
    CODE_UNKNOWN_ATTRIBUTE, CODE_UNSUPPORTED_TRANS_PROTO, CODE_WRONG_CREDENTIALS, ErrorCode,
};

use crate::wire::message::{Head, Reply};

/// Types that UNKNOWN-ATTRIBUTES lists at the most, so that the reply stays below 548 bytes (S13).
const MAX_UNKNOWN: usize = 64;

/// The error response to a request of an authenticated client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// ERROR-CODE.
    pub code: u16,
    /// Why, for the log.
    pub reason: &'static str,
    /// UNKNOWN-ATTRIBUTES, with code 420.
    pub unknown: Vec<AttrType>,
}

impl Refusal {
    fn new(code: ErrorCode, reason: &'static str) -> Self {
        Self {
            code: code.0,
            reason,
            unknown: Vec::new(),
        }
    }

    /// 400.
    #[must_use]
    pub fn bad_request(reason: &'static str) -> Self {
        Self::new(CODE_BAD_REQUEST, reason)
    }

    /// 403.
    #[must_use]
    pub fn forbidden(reason: &'static str) -> Self {
        Self::new(CODE_FORBIDDEN, reason)
    }

    /// 420 with the types, each once.
    #[must_use]
    pub fn unknown_attributes(types: impl Iterator<Item = AttrType>) -> Self {
        let mut unknown = Vec::new();
        for typ in types {
            if !unknown.contains(&typ) && unknown.len() < MAX_UNKNOWN {
                unknown.push(typ);
            }
        }
        Self {
            unknown,
            ..Self::new(CODE_UNKNOWN_ATTRIBUTE, "unknown attribute")
        }
    }

    /// 437, there is none.
    #[must_use]
    pub fn no_allocation() -> Self {
        Self::new(CODE_ALLOC_MISMATCH, "no allocation on this five-tuple")
    }

    /// 437, there is one.
    #[must_use]
    pub fn allocation_exists() -> Self {
        Self::new(CODE_ALLOC_MISMATCH, "the five-tuple has an allocation")
    }

    /// 440.
    #[must_use]
    pub fn family_not_supported() -> Self {
        Self::new(
            CODE_ADDR_FAMILY_NOT_SUPPORTED,
            "no relay address of this family",
        )
    }

    /// 441.
    #[must_use]
    pub fn wrong_credentials() -> Self {
        Self::new(
            CODE_WRONG_CREDENTIALS,
            "the allocation belongs to another user",
        )
    }

    /// 442.
    #[must_use]
    pub fn unsupported_transport() -> Self {
        Self::new(CODE_UNSUPPORTED_TRANS_PROTO, "transport is not UDP")
    }

    /// 443.
    #[must_use]
    pub fn family_mismatch() -> Self {
        Self::new(
            CODE_PEER_ADDR_FAMILY_MISMATCH,
            "peer and relay are of different families",
        )
    }

    /// 486.
    #[must_use]
    pub fn quota(reason: &'static str) -> Self {
        Self::new(CODE_ALLOC_QUOTA_REACHED, reason)
    }

    /// 508.
    #[must_use]
    pub fn no_capacity(reason: &'static str) -> Self {
        Self::new(CODE_INSUFFICIENT_CAPACITY, reason)
    }

    /// The response to `request`, not yet signed.
    #[must_use]
    pub fn reply(&self, request: &Head) -> Reply {
        let reply = Reply::error(request, ErrorCode(self.code));
        if self.unknown.is_empty() {
            reply
        } else {
            reply.with_unknown(&self.unknown)
        }
    }
}
