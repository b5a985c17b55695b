//! Names that requests claim.

use stun::attributes::ATTR_USERNAME;
use stun::message::Message;

use super::Server;
use super::five_tuple::Path;
use super::rates::Proof;
use crate::Now;
use crate::auth::Identity;

/// Bytes of the longest user name that is checked however many come.
const LONG_NAME: usize = 64;

impl Server {
    /// Whether the user name of a request is checked: of long ones, which cost more than any other
    /// message, each source network has so many, beside those that its allocations' owners sign.
    pub(super) fn may_claim(
        &self,
        now: Now,
        path: &Path,
        message: &Message,
        owner: Option<&Identity>,
    ) -> bool {
        let mut attributes = message.attributes.0.iter();
        let name = attributes.find(|attribute| attribute.typ == ATTR_USERNAME);
        let Some(name) = name.filter(|name| name.value.len() > LONG_NAME) else {
            return true;
        };
        let own = owner.and_then(|owner| owner.user.as_deref());
        if own.is_some_and(|own| own.as_bytes() == name.value) {
            return true;
        }
        let source = path.tuple.client.ip();
        let proven = path.tuple.transport.proves_address()
            || self.shared.auth.proves_address(now, source, message);
        let proof = if proven { Proof::Nonce } else { Proof::None };
        self.shared.rates.allow_long_name(now.mono, source, proof)
    }
}
