//! Long-term credentials (RFC 8489 §9.2).

use std::fmt;

use stun::attributes::{ATTR_NONCE, ATTR_REALM, ATTR_USERNAME, AttrType};
use stun::integrity::MessageIntegrity;
use stun::message::{Message, Setter};
use turnd_proto::auth::algorithm::PasswordAlgorithm;
use turnd_proto::auth::key::{Key, user_hash};
use turnd_proto::auth::secret::Secret;
use turnd_proto::auth::{Features, Keys};

use super::message::{sign_sha256, text, verify};

/// RFC 8489 §14.12.
const PASSWORD_ALGORITHM: AttrType = AttrType(0x001D);
/// RFC 8489 §14.4.
const USERHASH: AttrType = AttrType(0x001E);
/// RFC 8489 §14.11.
const PASSWORD_ALGORITHMS: AttrType = AttrType(0x8002);

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
    /// Keys as `turnd key` prints them, good for one realm.
    Key(Keys),
}

/// Credentials for one realm, and the nonce that the server wants back.
#[derive(Clone)]
pub struct Credentials {
    /// REALM.
    pub realm: String,
    /// NONCE.
    pub nonce: String,
    login: Login,
    key: Key,
    /// PASSWORD-ALGORITHMS as it came; requests are signed with SHA-256 then.
    algorithms: Option<Vec<u8>>,
    /// USERNAME or USERHASH.
    user: (AttrType, Vec<u8>),
}

/// The reason why no request can be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChallengeError {
    /// The 401 lacks REALM or NONCE, or one is too long to be sent back.
    Challenge,
    /// The nonce announces PASSWORD-ALGORITHMS, which is not there: it was taken out on the way (RFC 8489 §9.2.1).
    Altered,
    /// Name, password or key cannot be used with this server, for the reason in the text.
    Credentials(String),
}

impl Credentials {
    /// Credentials for the realm, the nonce and the password algorithms of a 401 (RFC 8489 §9.2.5).
    pub fn answer(login: &Login, challenge: &Message) -> Result<Self, ChallengeError> {
        let text = |typ| text(challenge, typ).filter(|text| text.len() <= LONGEST);
        let (Some(realm), Some(nonce)) = (text(ATTR_REALM), text(ATTR_NONCE)) else {
            return Err(ChallengeError::Challenge);
        };
        let features = Features::of(nonce.as_bytes());
        let algorithms = offered(challenge, features)?;
        let keys = match &login.proof {
            Proof::Password(password) => {
                Keys::from_password(&login.user, &realm, password.reveal())
                    .map_err(|error| ChallengeError::Credentials(error.to_string()))?
            }
            Proof::Key(keys) => keys.clone(),
        };
        let key = match &algorithms {
            Some(list) => PasswordAlgorithm::list(list).find_map(|algorithm| keys.get(algorithm)),
            None => keys.get(PasswordAlgorithm::Md5),
        };
        let Some(key) = key.cloned() else {
            let why = "there is no key for a password algorithm that the server offers";
            return Err(ChallengeError::Credentials(why.to_owned()));
        };
        let user = if features.username_anonymity {
            (USERHASH, hash(login, &realm)?)
        } else {
            (ATTR_USERNAME, login.user.clone().into_bytes())
        };
        Ok(Self {
            realm,
            nonce,
            login: login.clone(),
            key,
            algorithms,
            user,
        })
    }

    /// Takes over the nonce of a 438; `false`: it has none to use.
    pub fn renew(&mut self, challenge: &Message) -> bool {
        let nonce = text(challenge, ATTR_NONCE).filter(|nonce| nonce.len() <= LONGEST);
        let Some(nonce) = nonce else {
            return false;
        };
        let features = Features::of(nonce.as_bytes());
        let same = features == Features::of(self.nonce.as_bytes())
            && offered(challenge, features).as_ref() == Ok(&self.algorithms);
        if same {
            self.nonce = nonce;
            return true;
        }
        let answer = Self::answer(&self.login, challenge);
        answer.map(|answer| *self = answer).is_ok()
    }

    /// Adds the user, REALM, NONCE, the password algorithms if there are some, and a signature to a message without
    /// FINGERPRINT.
    pub fn sign(&self, message: &mut Message) {
        let (user, value) = &self.user;
        // As it is: `TextAttribute` refuses names that are too long.
        message.add(*user, value);
        message.add(ATTR_REALM, self.realm.as_bytes());
        message.add(ATTR_NONCE, self.nonce.as_bytes());
        if let Some(algorithms) = &self.algorithms {
            message.add(PASSWORD_ALGORITHMS, algorithms);
            message.add(PASSWORD_ALGORITHM, &self.key.algorithm().value());
            return sign_sha256(message, self.key.as_bytes());
        }
        let signed = MessageIntegrity(self.key.as_bytes().to_vec()).add_to(message);
        debug_assert!(signed.is_ok(), "{signed:?}");
    }

    /// Whether a response is signed with the same key.
    pub fn have_signed(&self, response: &Message) -> bool {
        verify(response, self.key.as_bytes())
    }
}

/// USERHASH (RFC 8489 §14.4).
fn hash(login: &Login, realm: &str) -> Result<Vec<u8>, ChallengeError> {
    let hash = user_hash(&login.user, realm);
    hash.map(|hash| hash.to_vec())
        .map_err(|error| ChallengeError::Credentials(error.to_string()))
}

/// PASSWORD-ALGORITHMS of a challenge whose nonce announces it.
fn offered(challenge: &Message, features: Features) -> Result<Option<Vec<u8>>, ChallengeError> {
    if !features.password_algorithms {
        return Ok(None);
    }
    match challenge.get(PASSWORD_ALGORITHMS) {
        Ok(list) if list.len() <= LONGEST => Ok(Some(list)),
        _ => Err(ChallengeError::Altered),
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.login.user)
            .field("realm", &self.realm)
            .finish_non_exhaustive()
    }
}
