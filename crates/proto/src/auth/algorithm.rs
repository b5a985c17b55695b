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
        (Some(offered), Some(chosen)) if offered == OFFERED => match chosen {
            [0, 1, 0, 0] => Ok(PasswordAlgorithm::Md5),
            [0, 2, 0, 0] => Ok(PasswordAlgorithm::Sha256),
            _ => Err(NotOffered),
        },
        _ => Err(NotOffered),
    }
}
