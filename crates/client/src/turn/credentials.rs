//! Long-term credentials (RFC 8489 §9.2).

use std::fmt;

use stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME};
use stun::integrity::MessageIntegrity;
use stun::message::{Message, Setter};
use turnd_proto::auth::key::Key;
use turnd_proto::auth::secret::Secret;

use super::message::{raw, text, verify};

/// Longest REALM and NONCE in bytes (RFC 8489 §14.9 and §14.10).
const LONGEST: usize = 763;

/// A user and the proof of being that user.
#[derive(Clone, Debug)]
pub struct Login {
    /// USERNAME.
    pub user: String,
    /// A password or a key.
    pub proof: Proof,
}

/// A password, or the key made from one.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A password.
    Password(Secret),
    /// A key as `turnd key` prints, good for one realm.
    Key(Key),
}

/// Credentials for one realm, and the nonce that the server wants back.
#[derive(Clone)]
pub struct Credentials {
    /// USERNAME.
    pub user: String,
    /// REALM.
    pub realm: String,
    /// NONCE.
    pub nonce: String,
    /// The long-term key.
    pub integrity: MessageIntegrity,
}

/// The reason why no request can be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChallengeError {
    /// The 401 lacks REALM or NONCE, or one is too long to be sent back.
    Challenge,
    /// Name or password cannot be used with STUN, for the reason in the text.
    Credentials(String),
}

impl Credentials {
    /// Credentials for the realm and the nonce of a 401.
    pub fn answer(login: &Login, challenge: &Message) -> Result<Self, ChallengeError> {
        let text = |typ| text(challenge, typ).filter(|text| text.len() <= LONGEST);
        let (Some(realm), Some(nonce)) = (text(ATTR_REALM), text(ATTR_NONCE)) else {
            return Err(ChallengeError::Challenge);
        };
        let key = match &login.proof {
            Proof::Password(password) => Key::from_password(&login.user, &realm, password.reveal())
                .map_err(|error| ChallengeError::Credentials(error.to_string()))?,
            Proof::Key(key) => key.clone(),
        };
        Ok(Self {
            user: login.user.clone(),
            realm,
            nonce,
            integrity: MessageIntegrity(key.as_bytes().to_vec()),
        })
    }

    /// Takes over the nonce of a 438; `false`: it has none to use.
    pub fn renew(&mut self, challenge: &Message) -> bool {
        let nonce = text(challenge, ATTR_NONCE).filter(|nonce| nonce.len() <= LONGEST);
        nonce.map(|nonce| self.nonce = nonce).is_some()
    }

    /// Adds USERNAME, REALM, NONCE and MESSAGE-INTEGRITY to a message without FINGERPRINT.
    pub fn sign(&self, message: &mut Message) {
        for (typ, text) in [
            (ATTR_USERNAME, &self.user),
            (ATTR_REALM, &self.realm),
            (ATTR_NONCE, &self.nonce),
        ] {
            // As it is: `TextAttribute` refuses names that are too long.
            let added = raw(typ, text.as_bytes()).add_to(message);
            debug_assert!(added.is_ok(), "{added:?}");
        }
        let signed = self.integrity.add_to(message);
        debug_assert!(signed.is_ok(), "{signed:?}");
    }

    /// Whether a response is signed with the same key.
    pub fn have_signed(&self, response: &Message) -> bool {
        verify(response, &self.integrity)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}
