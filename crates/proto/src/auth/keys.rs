//! The long-term keys of one user.

use super::algorithm::PasswordAlgorithm;
use super::key::{Key, PrepareError};

/// Long-term keys of one user, at most one for each password algorithm.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    md5: Option<Key>,
    sha256: Option<Key>,
}

impl Keys {
    /// The keys of a password for both algorithms.
    ///
    /// # Errors
    /// When a part is empty or holds a character that STUN does not allow.
    pub fn from_password(user: &str, realm: &str, password: &str) -> Result<Self, PrepareError> {
        let key = |algorithm| Key::from_password_with(algorithm, user, realm, password);
        Ok(Self {
            md5: Some(key(PasswordAlgorithm::Md5)?),
            sha256: Some(key(PasswordAlgorithm::Sha256)?),
        })
    }

    /// Reads one key as `turnd key` prints it, or one of each algorithm with a comma between them.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut keys = Self::default();
        for key in text.split(',') {
            let key = Key::from_hex(key)?;
            let place = keys.place(key.algorithm());
            if place.replace(key).is_some() {
                return None;
            }
        }
        Some(keys)
    }

    /// The form that [`Self::from_hex`] reads. It is as secret as a password.
    #[must_use]
    pub fn to_hex(&self) -> String {
        let keys = self.md5.iter().chain(&self.sha256);
        keys.map(Key::to_hex).collect::<Vec<_>>().join(",")
    }

    /// The key for an algorithm, if there is one.
    #[must_use]
    pub fn get(&self, algorithm: PasswordAlgorithm) -> Option<&Key> {
        match algorithm {
            PasswordAlgorithm::Md5 => self.md5.as_ref(),
            PasswordAlgorithm::Sha256 => self.sha256.as_ref(),
        }
    }

    fn place(&mut self, algorithm: PasswordAlgorithm) -> &mut Option<Key> {
        match algorithm {
            PasswordAlgorithm::Md5 => &mut self.md5,
            PasswordAlgorithm::Sha256 => &mut self.sha256,
        }
    }
}

impl From<Key> for Keys {
    fn from(key: Key) -> Self {
        let mut keys = Self::default();
        let place = keys.place(key.algorithm());
        *place = Some(key);
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_key_or_one_of_each_algorithm_reads_back() {
        let both = Keys::from_password("user", "realm", "pass").unwrap();
        let text = both.to_hex();
        let (md5, sha256) = text.split_once(',').unwrap();
        assert_eq!((md5.len(), sha256.len()), (2 + 32, 2 + 64));
        assert_eq!(Keys::from_hex(&text).as_ref(), Some(&both));
        assert_eq!(Keys::from_hex(&format!("{sha256},{md5}")), Some(both));
        for (text, algorithm, other) in [
            (md5, PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256),
            (sha256, PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5),
        ] {
            let one = Keys::from_hex(text).unwrap();
            assert_eq!(one, Keys::from(Key::from_hex(text).unwrap()));
            assert_eq!(one.get(algorithm).unwrap().to_hex(), text);
            assert_eq!(one.get(other), None);
            assert_eq!(one.to_hex(), text);
            for wrong in [
                format!("{text},{text}"),
                format!("{text},"),
                format!(",{text}"),
            ] {
                assert_eq!(Keys::from_hex(&wrong), None, "{wrong}");
            }
        }
        assert_eq!(Keys::from_hex(""), None);
    }
}
