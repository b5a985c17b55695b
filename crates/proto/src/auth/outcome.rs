//! Results of authenticating a request.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::algorithm::PasswordAlgorithm;
use super::key::{Key, lookup_form, user_hash};
use super::rest::Rest;
use crate::ip::canonical_ip;
use crate::wire::integrity;
use crate::wire::message::Message;
use crate::wire::numbers::ErrorCode;

/// Sender of a request. Two are equal when their users are (A11: otherwise 441).
#[derive(Clone, Debug)]
pub struct Identity {
    /// The user name; `None` for anyone, with `no-auth`.
    pub user: Option<Arc<str>>,
    /// Name under which allocations are counted together: for REST credentials the name without the expiry.
    pub quota_id: Arc<str>,
    /// Realm of the key; an allocation keeps the one that it was made under.
    pub realm: Arc<str>,
    /// Signs the response; `None`: it is not signed.
    pub key: Option<Key>,
    /// The last second in which REST credentials are good, since the Unix epoch.
    pub expires: Option<u64>,
    /// Whether the key came from a look-up, and not from the settings.
    pub looked_up: bool,
}

impl Identity {
    /// Anyone; quotas then count by address, or by the /64 that one IPv6 host has.
    pub(super) fn anonymous(source: IpAddr, realm: &Arc<str>) -> Self {
        let host = match canonical_ip(source) {
            IpAddr::V4(v4) => v4.to_string(),
            IpAddr::V6(v6) => {
                let [a, b, c, d, ..] = v6.segments();
                format!("{}/64", Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        };
        Self {
            user: None,
            quota_id: format!("anonymous@{host}").into(),
            realm: Arc::clone(realm),
            key: None,
            expires: None,
            looked_up: false,
        }
    }

    /// Whether USERNAME names this user.
    pub(super) fn is_named(&self, username: &str) -> bool {
        self.user.as_deref().is_some_and(|user| {
            user == username || (self.looked_up && lookup_form(username).as_deref() == Some(user))
        })
    }

    /// Whether this is a user of the settings, with this USERHASH.
    pub(super) fn has_hash(&self, hash: &[u8; 32]) -> bool {
        let user = self.user.as_deref();
        user.filter(|_| self.expires.is_none() && !self.looked_up)
            .and_then(|user| user_hash(user, &self.realm).ok())
            .is_some_and(|own| own == *hash)
    }

    /// Whether the message is signed with this user's key, and that is of this algorithm.
    pub(super) fn has_signed(&self, algorithm: PasswordAlgorithm, msg: &Message<'_>) -> bool {
        let key = self.key.as_ref();
        key.filter(|key| key.algorithm() == algorithm)
            .is_some_and(|key| integrity::verify(msg, key.as_bytes()))
    }

    pub(super) fn of_user(name: &Arc<str>, realm: &Arc<str>, key: &Key) -> Self {
        Self {
            user: Some(Arc::clone(name)),
            quota_id: Arc::clone(name),
            realm: Arc::clone(realm),
            key: Some(key.clone()),
            expires: None,
            looked_up: false,
        }
    }

    pub(super) fn of_lookup(name: &str, realm: &Arc<str>, key: &Key) -> Self {
        Self {
            looked_up: true,
            ..Self::of_user(&name.into(), realm, key)
        }
    }

    pub(super) fn of_rest(username: &str, realm: &Arc<str>, rest: Rest<'_>, key: Key) -> Self {
        Self {
            user: Some(username.into()),
            quota_id: rest.name.unwrap_or(username).into(),
            realm: Arc::clone(realm),
            key: Some(key),
            expires: Some(rest.expiry),
            looked_up: false,
        }
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user
    }
}

impl Eq for Identity {}

/// State of the credentials of an identity under the present settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The credentials are good.
    Good,
    /// The user is gone, or has another key.
    Revoked,
    /// The credentials have expired, and allocations made with them end (`rest-expiry`).
    RunOut,
}

/// Why a request is answered 401; for logs, and never part of the answer (A3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unauthorized {
    /// There is no MESSAGE-INTEGRITY: how every client begins.
    NoIntegrity,
    /// REALM is not this server's.
    Realm,
    /// USERNAME is empty, too long, not UTF-8 or holds a control character; or USERHASH has another
    /// length than 32 bytes.
    MalformedName,
    /// There is no such user.
    UnknownUser,
    /// The password is wrong.
    WrongKey,
    /// The REST credentials are genuine and their time is over.
    Expired,
}

impl Unauthorized {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; Self::COUNT] = [
        Self::NoIntegrity,
        Self::Realm,
        Self::MalformedName,
        Self::UnknownUser,
        Self::WrongKey,
        Self::Expired,
    ];
    /// Number of reasons.
    pub const COUNT: usize = Self::Expired as usize + 1;
    /// The word for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoIntegrity => "no-integrity",
            Self::Realm => "wrong-realm",
            Self::MalformedName => "malformed-user-name",
            Self::UnknownUser => "unknown-user",
            Self::WrongKey => "wrong-password",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Unauthorized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A request that is not served, and what the response to it looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// 401 with REALM and NONCE, not signed (A1, A3, D6).
    Unauthorized(Unauthorized),
    /// 400 with nothing else, not signed (A2).
    BadRequest,
    /// 400 with nothing else, not signed: PASSWORD-ALGORITHMS was altered on its way, or
    /// PASSWORD-ALGORITHM is not one of them (A7).
    NotOffered,
    /// 438 with the REALM of the key and a fresh NONCE, signed (A4).
    ///
    /// RFC 8489 §9.2.4 leaves the signature open. The sender has proven to hold the key, so it
    /// can check one, and a signed 438 cannot be forged to keep a client from being served.
    StaleNonce(Identity),
    /// 438 with REALM and a fresh NONCE, not signed, where users are looked up: nobody is looked up
    /// for a stale nonce, and a 401 would have a client give up whose password is right.
    StaleNonceOfAnyone,
}

impl Rejection {
    /// The error code of the response.
    #[must_use]
    pub fn code(&self) -> ErrorCode {
        match self {
            Self::Unauthorized(_) => ErrorCode::UNAUTHENTICATED,
            Self::BadRequest | Self::NotOffered => ErrorCode::BAD_REQUEST,
            Self::StaleNonce(_) | Self::StaleNonceOfAnyone => ErrorCode::STALE_NONCE,
        }
    }

    /// Whether REALM and a fresh NONCE go into the response.
    #[must_use]
    pub fn challenges(&self) -> bool {
        !matches!(self, Self::BadRequest | Self::NotOffered)
    }

    /// Realm of the sender's key, if that is known; else the challenge has the server's own.
    #[must_use]
    pub fn realm(&self) -> Option<&str> {
        match self {
            Self::StaleNonce(identity) => Some(&identity.realm),
            Self::Unauthorized(_)
            | Self::BadRequest
            | Self::NotOffered
            | Self::StaleNonceOfAnyone => None,
        }
    }

    /// The key that signs the response, if it is signed.
    #[must_use]
    pub fn key(&self) -> Option<&Key> {
        match self {
            Self::StaleNonce(identity) => identity.key.as_ref(),
            Self::Unauthorized(_)
            | Self::BadRequest
            | Self::NotOffered
            | Self::StaleNonceOfAnyone => None,
        }
    }
}

impl From<Unauthorized> for Rejection {
    fn from(reason: Unauthorized) -> Self {
        Self::Unauthorized(reason)
    }
}

/// A rejection, and whether the request's source address is proven to be its sender's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The response.
    pub rejection: Rejection,
    /// Whether the request carried a nonce that this server gave its source address no longer than
    /// `stale-nonce` ago. A sender that does not receive what is sent to that address has none.
    pub fresh_nonce: bool,
}
