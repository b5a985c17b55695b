//! Long-term credentials (RFC 8489 §9.2).

pub mod algorithm;
pub mod features;
pub mod key;
pub mod keys;
pub mod nonce;
pub mod rest;
pub mod secret;
pub mod settings;

mod outcome;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use crate::Now;
use crate::wire::integrity;
use crate::wire::message::Message;
use crate::wire::numbers::AttributeType;
use crate::wire::response::Challenge;
use algorithm::{OFFERED, PasswordAlgorithm, chosen};
use key::{Key, Part, PrepareError, lookup_form, prepare, user_hash};
use nonce::NonceKey;
use secret::Secret;

pub use features::Features;
pub use keys::Keys;
pub use outcome::{Identity, Rejected, Rejection, Standing, Unauthorized};
pub use settings::{Credential, Lookup, RestExpiry, Settings, User};

/// The longest USERNAME that is looked at, in bytes (RFC 5389 §15.3).
const MAX_USERNAME: usize = 513;

/// Checks who sent a request.
#[derive(Clone, Debug)]
pub struct Authenticator {
    /// As it is sent: OpaqueString applied.
    realm: Arc<str>,
    no_auth: bool,
    users: HashMap<Arc<str>, StaticUser>,
    /// The users by their USERHASH.
    by_hash: HashMap<[u8; 32], Arc<str>>,
    secrets: Vec<Secret>,
    rest_separator: char,
    rest_expiry: RestExpiry,
    stale_nonce: Duration,
    features: Features,
    nonces: NonceKey,
    lookup: Option<Lookup>,
    /// Stand in for the keys of a user who does not exist.
    nobody: [Key; 2],
}

/// User that a request names.
#[derive(Clone, Copy)]
enum Claim<'m> {
    /// USERNAME.
    Name(&'m str),
    /// USERHASH.
    Hash(&'m [u8; 32]),
}

/// A user of the settings.
#[derive(Clone, Debug)]
struct StaticUser {
    keys: Keys,
    /// Makes the keys of other realms; `None`: the key was given in its place.
    password: Option<Secret>,
}

impl Authenticator {
    /// An authenticator for the configured users and secrets.
    ///
    /// # Errors
    /// When a realm, user name or password cannot be used with STUN, or a user is there twice.
    pub fn new(auth: &Settings, nonces: NonceKey) -> Result<Self, BuildError> {
        let realm: Arc<str> = prepare(&auth.realm, Part::Realm)
            .map_err(BuildError::Realm)?
            .as_ref()
            .into();
        let mut users = HashMap::with_capacity(auth.users.len());
        let mut by_hash = HashMap::with_capacity(auth.users.len());
        for user in &auth.users {
            let failed = |error| BuildError::User(user.name.clone(), error);
            let name = prepare(&user.name, Part::UserName).map_err(failed)?;
            let (keys, password) = match &user.credential {
                Credential::Password(password) => {
                    let keys = Keys::from_password(&name, &realm, password.reveal());
                    (keys.map_err(failed)?, Some(password.clone()))
                }
                Credential::Keys(keys) => (keys.clone(), None),
            };
            let name: Arc<str> = Arc::from(name);
            let hash = user_hash(&name, &realm).map_err(failed)?;
            by_hash.insert(hash, Arc::clone(&name));
            match users.entry(name) {
                Entry::Vacant(entry) => entry.insert(StaticUser { keys, password }),
                Entry::Occupied(_) => return Err(BuildError::Duplicate(user.name.clone())),
            };
        }
        Ok(Self {
            realm,
            no_auth: auth.no_auth,
            users,
            by_hash,
            secrets: auth.secrets.clone(),
            rest_separator: auth.rest_separator,
            rest_expiry: auth.rest_expiry,
            stale_nonce: auth.stale_nonce,
            features: auth.features,
            nonces,
            lookup: auth.lookup,
            nobody: [Key::md5([0; 16]), Key::sha256([0; 32])],
        })
    }

    /// The REALM to send with 401 and 438.
    #[must_use]
    pub fn realm(&self) -> &str {
        &self.realm
    }

    /// A fresh NONCE for a request that came from `source`.
    #[must_use]
    pub fn nonce(&self, now: Now, source: SocketAddr) -> String {
        self.nonces.issue(now.unix, source, self.features)
    }

    /// The challenge of a realm, with a fresh nonce.
    #[must_use]
    pub fn challenge<'a>(&self, realm: &'a str, nonce: &'a str) -> Challenge<'a> {
        let algorithms = self.features.password_algorithms;
        Challenge {
            realm,
            nonce,
            password_algorithms: algorithms.then_some(&OFFERED[..]),
        }
    }

    /// Finds out who sent a request, in the order of RFC 8489 §9.2.4 (D2).
    ///
    /// `owner` made the allocation that the request is about, if there is one: REST credentials
    /// say until when an allocation may be made, and a call that outlives them goes on, unless
    /// `rest-expiry` ends it. The owner's realm is as good as the server's, which may have changed
    /// since: a client keeps the one that it was told first.
    ///
    /// Attributes after MESSAGE-INTEGRITY are not looked at. With `no-auth`, a request without
    /// MESSAGE-INTEGRITY is anyone's; one that has it is held to it, because its sender will
    /// drop an answer that is not signed.
    ///
    /// # Errors
    /// The rejection says what the response looks like.
    pub fn authenticate(
        &self,
        now: Now,
        source: IpAddr,
        msg: &Message<'_>,
        owner: Option<&Identity>,
    ) -> Result<Identity, Rejected> {
        self.authenticate_with(now, source, msg, owner, None)
    }

    /// Finds out who sent a request, as [`Self::authenticate`] does, with the key that a look-up of the
    /// user found.
    ///
    /// # Errors
    /// The rejection says what the response looks like.
    pub fn authenticate_with(
        &self,
        now: Now,
        source: IpAddr,
        msg: &Message<'_>,
        owner: Option<&Identity>,
        found: Option<&Key>,
    ) -> Result<Identity, Rejected> {
        // 1. No MESSAGE-INTEGRITY: 401 (A1).
        if !msg.is_signed() {
            return if self.no_auth {
                Ok(Identity::anonymous(source, &self.realm))
            } else {
                Err(Rejected {
                    rejection: Unauthorized::NoIntegrity.into(),
                    fresh_nonce: false,
                })
            };
        }
        let nonce = msg.get(AttributeType::NONCE);
        let fresh_nonce = nonce.is_some_and(|nonce| self.is_fresh(now, source, nonce));
        let rejected = |rejection| Rejected {
            rejection,
            fresh_nonce,
        };
        let unauthorized = |reason: Unauthorized| rejected(reason.into());
        // 2. MESSAGE-INTEGRITY, but not all that it takes to check it: 400 (A2). The nonce says what
        // else counts, genuine or not: whoever alters it on its way gets a 438 in the end.
        let features = nonce.map(Features::of).unwrap_or_default();
        let username = msg.get(AttributeType::USERNAME);
        let hash = msg
            .get(AttributeType::USERHASH)
            .filter(|_| features.username_anonymity && username.is_none());
        let (Some(user), Some(realm), Some(_)) =
            (username.or(hash), msg.get(AttributeType::REALM), nonce)
        else {
            return Err(rejected(Rejection::BadRequest));
        };
        // 3. Password algorithms, if the nonce announces them: 400 (A7).
        let algorithm = if features.password_algorithms {
            chosen(msg).map_err(|_| rejected(Rejection::NotOffered))?
        } else {
            PasswordAlgorithm::Md5
        };
        // 4. A realm that is neither ours nor the owner's: 401 (D6).
        let is_ours = realm == self.realm.as_bytes();
        let owner = owner.filter(|owner| owner.realm.as_bytes() == realm);
        if !is_ours && owner.is_none() {
            return Err(unauthorized(Unauthorized::Realm));
        }
        // 5. The user, and whether the key is the user's: 401 (A3).
        let claim = match hash {
            Some(hash) => hash.try_into().ok().map(Claim::Hash),
            None if user.len() > MAX_USERNAME => None,
            None => std::str::from_utf8(user).ok().map(Claim::Name),
        };
        let claim = claim.ok_or_else(|| unauthorized(Unauthorized::MalformedName))?;
        let owner = owner.filter(|owner| match claim {
            Claim::Name(name) => {
                !self.has_run_out(now, owner)
                    && owner.is_named(name)
                    && owner.has_signed(algorithm, msg)
            }
            Claim::Hash(hash) => owner.has_hash(hash) && owner.has_signed(algorithm, msg),
        });
        let identity = match owner {
            Some(owner) => owner.clone(),
            // Nobody but the owner has a key for another realm.
            None if !is_ours => return Err(unauthorized(Unauthorized::Realm)),
            None => match self.identify(now, claim, algorithm, msg, found) {
                Ok(identity) => identity,
                // The same for everyone: the users of the settings do not show.
                Err(Unauthorized::UnknownUser | Unauthorized::WrongKey)
                    if self.lookup.is_some() && !fresh_nonce =>
                {
                    return Err(rejected(Rejection::StaleNonceOfAnyone));
                }
                Err(reason) => return Err(unauthorized(reason)),
            },
        };
        // 6. The age of the nonce: 438 (A4, A5).
        if fresh_nonce {
            Ok(identity)
        } else {
            Err(rejected(Rejection::StaleNonce(identity)))
        }
    }

    /// The bounds on look-ups, if one may yet find the user of a rejected request. No name can be
    /// asked for by its USERHASH.
    #[must_use]
    pub fn lookup(&self, rejected: &Rejected, msg: &Message<'_>) -> Option<Lookup> {
        let unknown = Rejection::Unauthorized(Unauthorized::UnknownUser);
        self.lookup
            .filter(|_| rejected.fresh_nonce && rejected.rejection == unknown)
            .filter(|_| msg.contains(AttributeType::USERNAME))
    }

    /// [`Lookup::rate`]; `None`: no limit.
    #[must_use]
    pub fn lookup_rate(&self) -> Option<u32> {
        self.lookup?.rate
    }

    /// Whether users are looked up at all.
    #[must_use]
    pub fn looks_up(&self) -> bool {
        self.lookup.is_some()
    }

    /// Whether a request carries a nonce that was sent to `source`, and so is not forged.
    #[must_use]
    pub fn proves_address(&self, now: Now, source: IpAddr, msg: &Message<'_>) -> bool {
        let nonce = msg.get(AttributeType::NONCE);
        nonce.is_some_and(|nonce| self.is_fresh(now, source, nonce))
    }

    fn is_fresh(&self, now: Now, source: IpAddr, nonce: &[u8]) -> bool {
        let nonces = &self.nonces;
        nonces.is_fresh(nonce, now.unix, source, self.stale_nonce)
    }

    /// Looks for the user whose key signed the message.
    ///
    /// Every name costs the same until a key fits: one static key, the user's or nobody's, and
    /// one key of each secret, whether or not the name could be a REST one (A3). A key that a
    /// look-up found comes last, and not before a user or a secret of the settings. Every USERHASH
    /// costs one static key: the names of REST credentials, and of users who are kept elsewhere, are
    /// not known before they come.
    fn identify(
        &self,
        now: Now,
        claim: Claim<'_>,
        algorithm: PasswordAlgorithm,
        msg: &Message<'_>,
        found: Option<&Key>,
    ) -> Result<Identity, Unauthorized> {
        let (username, name) = match claim {
            Claim::Name(username) => {
                let name = lookup_form(username).ok_or(Unauthorized::MalformedName)?;
                (Some(username), name)
            }
            // No user has the empty name, which takes nobody's hash the same way.
            Claim::Hash(hash) => (None, self.by_hash.get(hash).map_or("", |name| name).into()),
        };
        let known = self.users.get_key_value::<str>(&name);
        let static_key = known.and_then(|(name, user)| Some((name, user.keys.get(algorithm)?)));
        let key = static_key.map_or_else(|| self.nobody(algorithm), |(_, key)| key);
        // The order matters: nobody's key is tried like any other, and then counts for nothing.
        if integrity::verify(msg, key.as_bytes())
            && let Some((name, key)) = static_key
        {
            return Ok(Identity::of_user(name, &self.realm, key));
        }
        let rest = username.and_then(|name| rest::parse(name, self.rest_separator));
        let secrets = username.map_or(&[][..], |_| &self.secrets);
        for secret in secrets {
            let username = username.unwrap_or_default();
            let key = rest_key(secret, username, &self.realm, algorithm);
            if integrity::verify(msg, key.as_bytes())
                && let Some(rest) = rest
            {
                return if rest.expiry < now.unix {
                    Err(Unauthorized::Expired)
                } else {
                    Ok(Identity::of_rest(username, &self.realm, rest, key))
                };
            }
        }
        let has_key = known.is_some() || (rest.is_some() && !self.secrets.is_empty());
        match found {
            _ if has_key => Err(Unauthorized::WrongKey),
            None => Err(Unauthorized::UnknownUser),
            Some(key) if key.algorithm() == algorithm && integrity::verify(msg, key.as_bytes()) => {
                Ok(Identity::of_lookup(&name, &self.realm, key))
            }
            Some(_) => Err(Unauthorized::WrongKey),
        }
    }

    fn nobody(&self, algorithm: PasswordAlgorithm) -> &Key {
        let [md5, sha256] = &self.nobody;
        match algorithm {
            PasswordAlgorithm::Md5 => md5,
            PasswordAlgorithm::Sha256 => sha256,
        }
    }

    /// Whether an identity, which another authenticator may have made, would be made now under its
    /// own realm.
    #[must_use]
    pub fn standing(&self, now: Now, identity: &Identity) -> Standing {
        let good = match (&identity.user, &identity.key) {
            (Some(user), Some(key)) => match identity.expires {
                None => match self.users.get(user) {
                    Some(known) => known.has(user, &identity.realm, key),
                    // No look-up here: an operator ends the allocations of a user who is gone.
                    None => identity.looked_up && self.lookup.is_some(),
                },
                Some(expiry) => {
                    let parsed = rest::parse(user, self.rest_separator);
                    parsed.is_some_and(|rest| rest.expiry == expiry)
                        && self.secrets.iter().any(|secret| {
                            rest_key(secret, user, &identity.realm, key.algorithm()) == *key
                        })
                }
            },
            _ => self.no_auth,
        };
        if !good {
            Standing::Revoked
        } else if self.has_run_out(now, identity) {
            Standing::RunOut
        } else {
            Standing::Good
        }
    }

    /// Longest lifetime of an allocation of this identity; `None`: no bound.
    ///
    /// RFC 7635 §9 has the same of an access token.
    #[must_use]
    pub fn time_left(&self, now: Now, identity: &Identity) -> Option<Duration> {
        let last = identity
            .expires
            .filter(|_| self.rest_expiry == RestExpiry::End)?;
        Some(Duration::from_secs(
            last.saturating_add(1).saturating_sub(now.unix),
        ))
    }

    /// Whether the time of an identity's credentials is over, and with it that of its allocations.
    #[must_use]
    pub fn has_run_out(&self, now: Now, identity: &Identity) -> bool {
        self.time_left(now, identity) == Some(Duration::ZERO)
    }
}

impl StaticUser {
    /// Whether `key` is this user's in `realm`. A key that is given is good for one realm, which only
    /// whoever gave it knows.
    fn has(&self, name: &str, realm: &str, key: &Key) -> bool {
        let of_password = |password: &Secret| {
            Key::from_password_with(key.algorithm(), name, realm, password.reveal())
                .is_ok_and(|own| own == *key)
        };
        self.keys.get(key.algorithm()) == Some(key)
            || self.password.as_ref().is_some_and(of_password)
    }
}

/// The key that `secret` gives a REST user name.
///
/// The name is taken as it came: RFC 8489 §14.3 has the client prepare it, and browsers, which
/// do not, sign with what they send.
fn rest_key(secret: &Secret, username: &str, realm: &str, algorithm: PasswordAlgorithm) -> Key {
    let password = rest::password(secret.reveal(), username);
    Key::from_prepared(algorithm, username, realm, &password)
}

/// Why the configured credentials cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// `realm` cannot be used.
    Realm(PrepareError),
    /// The name or password of this `user` cannot be used.
    User(String, PrepareError),
    /// The configuration has this `user` twice.
    Duplicate(String),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Realm(error) => write!(f, "realm: {error}"),
            Self::User(name, error) => write!(f, "user {name:?}: {error}"),
            Self::Duplicate(name) => write!(f, "user {name:?} is there twice; remove one"),
        }
    }
}

impl std::error::Error for BuildError {}

#[cfg(test)]
mod tests;
