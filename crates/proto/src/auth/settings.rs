//! Settings of authentication: plain values, checked by whoever builds them.

use std::time::Duration;

use super::features::Features;
use super::keys::Keys;
use super::secret::Secret;

/// Credentials that are accepted, and how long a nonce is.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `realm`.
    pub realm: String,
    /// `no-auth`: anyone may allocate.
    pub no_auth: bool,
    /// `user`.
    pub users: Vec<User>,
    /// `static-auth-secret`, newest first.
    pub secrets: Vec<Secret>,
    /// `rest-api-separator`.
    pub rest_separator: char,
    /// `rest-expiry`.
    pub rest_expiry: RestExpiry,
    /// `stale-nonce`.
    pub stale_nonce: Duration,
    /// `password-algorithms` and `username-anonymity`.
    pub features: Features,
    /// `nonce-secret`; `None`: a random one at each start.
    pub nonce_secret: Option<Secret>,
    /// Look-ups of users who are kept elsewhere; `None`: an unknown name is nobody's.
    pub lookup: Option<Lookup>,
}

/// Bounds on the requests that wait until their users have been looked up.
///
/// A name is looked up when it is no user's of the settings and no REST one, and its request has
/// a fresh nonce; a stale nonce gets a 438 first, which is signed only for whoever is known. The
/// time of an answer then tells whether a name is in the settings. A key that was found is good as
/// long as the allocation that it made; a reload ends that when it turns look-ups off. A Binding
/// request (`secure-stun`) is answered at once, and with a 401 for a user who would have to be
/// looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Requests that wait at a time, on each worker.
    pub pending: usize,
    /// Requests among those of one IPv4 address or one IPv6 /64; a /48 has four times that.
    pub per_source: u32,
    /// Look-ups per second for one IPv4 /24 or IPv6 /56, those of all workers together; `None`: no
    /// limit.
    pub rate: Option<u32>,
    /// Longest time that each waits; shorter than the 39.5 s after which a client gives up (RFC 8489
    /// §6.2.1).
    pub timeout: Duration,
}

/// The end of a call whose TURN REST credentials run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RestExpiry {
    /// The call's own: credentials say until when it may begin.
    Keep,
    /// The end of the credentials.
    End,
}

/// A static user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The name as configured.
    pub name: String,
    /// Secret by which the user is known.
    pub credential: Credential,
}

/// Secret that is stored of a static user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The password itself.
    Password(Secret),
    /// The long-term keys, written `0x…` (see `turnd key`).
    Keys(Keys),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            realm: "turnd".to_owned(),
            no_auth: false,
            users: Vec::new(),
            secrets: Vec::new(),
            rest_separator: ':',
            rest_expiry: RestExpiry::Keep,
            stale_nonce: Duration::from_secs(600),
            features: Features::default(),
            nonce_secret: None,
            lookup: None,
        }
    }
}
