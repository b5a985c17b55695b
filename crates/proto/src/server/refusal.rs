//! Error responses as values.

use std::net::{IpAddr, SocketAddr};

use stun::attributes::AttrType;
use stun::error_code::{
    CODE_ADDR_FAMILY_NOT_SUPPORTED, CODE_ALLOC_MISMATCH, CODE_ALLOC_QUOTA_REACHED,
    CODE_BAD_REQUEST, CODE_CONN_ALREADY_EXISTS, CODE_CONN_TIMEOUT_OR_FAILURE, CODE_FORBIDDEN,
    CODE_INSUFFICIENT_CAPACITY, CODE_PEER_ADDR_FAMILY_MISMATCH, CODE_TRY_ALTERNATE,
    CODE_UNKNOWN_ATTRIBUTE, CODE_UNSUPPORTED_TRANS_PROTO, CODE_WRONG_CREDENTIALS, ErrorCode,
};

use crate::wire::message::{Head, Reply};

/// Types that UNKNOWN-ATTRIBUTES lists at the most, so that the reply stays below 548 bytes (S13).
const MAX_UNKNOWN: usize = 64;

/// Alternate servers that are named at the most, for the same reason.
const MAX_ALTERNATES: usize = 8;

/// The error response to a request of an authenticated client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// ERROR-CODE.
    pub code: u16,
    /// Why, for the log.
    pub reason: &'static str,
    /// UNKNOWN-ATTRIBUTES, with code 420.
    pub unknown: Vec<AttrType>,
    /// ALTERNATE-SERVER, with code 300.
    pub alternates: Vec<SocketAddr>,
}

impl Refusal {
    fn new(code: ErrorCode, reason: &'static str) -> Self {
        Self {
            code: code.0,
            reason,
            unknown: Vec::new(),
            alternates: Vec::new(),
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
            // What finds no room need not be compared.
            if unknown.len() == MAX_UNKNOWN {
                break;
            }
            if !unknown.contains(&typ) {
                unknown.push(typ);
            }
        }
        Self {
            unknown,
            ..Self::new(CODE_UNKNOWN_ATTRIBUTE, "unknown attribute")
        }
    }

    /// 300 with the alternates, those of the client's family first (S14); 508 without.
    #[must_use]
    pub fn draining(alternates: &[SocketAddr], client: IpAddr) -> Self {
        if alternates.is_empty() {
            return Self::no_capacity("draining");
        }
        let mut alternates = alternates.to_vec();
        alternates.sort_by_key(|server| server.is_ipv4() != client.is_ipv4());
        alternates.truncate(MAX_ALTERNATES);
        Self {
            alternates,
            ..Self::new(CODE_TRY_ALTERNATE, "draining")
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
        Self::new(
            CODE_UNSUPPORTED_TRANS_PROTO,
            "transport is neither UDP nor TCP",
        )
    }

    /// 443.
    #[must_use]
    pub fn family_mismatch() -> Self {
        Self::new(
            CODE_PEER_ADDR_FAMILY_MISMATCH,
            "peer and relay are of different families",
        )
    }

    /// 437, it is for UDP.
    #[must_use]
    pub fn no_tcp_allocation() -> Self {
        Self::new(CODE_ALLOC_MISMATCH, "no TCP allocation on this five-tuple")
    }

    /// 446.
    #[must_use]
    pub fn connection_exists() -> Self {
        Self::new(
            CODE_CONN_ALREADY_EXISTS,
            "there is a connection with this peer",
        )
    }

    /// 447.
    #[must_use]
    pub fn connection_failed() -> Self {
        Self::new(
            CODE_CONN_TIMEOUT_OR_FAILURE,
            "the peer cannot be connected to",
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
        let mut reply = Reply::error(request, ErrorCode(self.code));
        for server in &self.alternates {
            reply = reply.with_alternate(*server);
        }
        if self.unknown.is_empty() {
            reply
        } else {
            reply.with_unknown(&self.unknown)
        }
    }
}
