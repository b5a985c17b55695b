//! Password algorithms: the hashes that make a key of a password (RFC 8489 §18.5).

use crate::wire::message::Message;
use crate::wire::numbers::AttributeType;

/// Password algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PasswordAlgorithm {
    /// 0x0001: the key has 16 bytes.
    Md5,
    /// 0x0002: the key has 32 bytes.
    Sha256,
}

impl PasswordAlgorithm {
    /// The value of PASSWORD-ALGORITHM, without parameters (RFC 8489 §14.12).
    #[must_use]
    pub const fn value(self) -> [u8; 4] {
        match self {
            Self::Md5 => [0, 1, 0, 0],
            Self::Sha256 => [0, 2, 0, 0],
        }
    }

    /// Reads PASSWORD-ALGORITHM; `None`: it is another algorithm, or has parameters.
    #[must_use]
    pub fn from_value(value: &[u8]) -> Option<Self> {
        [Self::Md5, Self::Sha256]
            .into_iter()
            .find(|algorithm| value == algorithm.value())
    }

    /// The algorithms of PASSWORD-ALGORITHMS that are known, in their order (RFC 8489 §14.11).
    pub fn list(mut value: &[u8]) -> impl Iterator<Item = Self> {
        let entries = std::iter::from_fn(move || {
            let &[_, _, high, low, ..] = value else {
                return None;
            };
            let parameters = usize::from(u16::from_be_bytes([high, low]));
            let entry = value.get(..4 + parameters)?;
            value = value
                .get(entry.len().next_multiple_of(4)..)
                .unwrap_or_default();
            Some(entry)
        });
        entries.filter_map(Self::from_value)
    }
}

/// The value of PASSWORD-ALGORITHMS: what is offered, the preferred one first, without parameters
/// (RFC 8489 §14.11).
pub const OFFERED: [u8; 8] = [0, 2, 0, 0, 0, 1, 0, 0];

/// A choice of password algorithm that was not offered, or an offer that was altered on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotOffered;

/// The algorithm that a request chooses out of those that its nonce offered (A7).
///
/// # Errors
/// Unless PASSWORD-ALGORITHMS comes back as it was sent, with one of them in PASSWORD-ALGORITHM.
pub(super) fn chosen(msg: &Message<'_>) -> Result<PasswordAlgorithm, NotOffered> {
    let algorithms = msg.get(AttributeType::PASSWORD_ALGORITHMS);
    match (algorithms, msg.get(AttributeType::PASSWORD_ALGORITHM)) {
        (None, None) => Ok(PasswordAlgorithm::Md5),
        (Some(offered), Some(chosen)) if offered == OFFERED => {
            PasswordAlgorithm::from_value(chosen).ok_or(NotOffered)
        }
        _ => Err(NotOffered),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a7_the_offer_reads_back_and_what_is_not_known_is_passed_over() {
        use PasswordAlgorithm::{Md5, Sha256};
        for (value, found) in [
            (&OFFERED[..], &[Sha256, Md5][..]),
            (&[0, 3, 0, 2, 9, 9, 0, 0, 0, 1, 0, 0], &[Md5]),
            (&[0, 2, 0, 1, 9, 0, 0, 0, 0, 1, 0, 0], &[Md5]),
            (&[0, 1, 0, 0, 0, 2, 0, 9], &[Md5]),
            (&[0, 2, 0], &[]),
            (&[], &[]),
        ] {
            assert!(
                PasswordAlgorithm::list(value).eq(found.iter().copied()),
                "{value:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_list_panics_or_goes_on_for_ever(value in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(PasswordAlgorithm::list(&value).count() <= 16);
        }
    }
}
