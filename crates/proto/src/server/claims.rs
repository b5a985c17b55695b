//! User names that requests claim.

use super::context::Context;
use super::five_tuple::Path;
use super::rates::Proof;
use crate::auth::Identity;
use crate::wire::message::Message;
use crate::wire::numbers::AttributeType;

/// Bytes of the longest user name that is checked however many come.
const LONG_NAME: usize = 64;

/// Whether the user name of a request is checked: of long ones, which cost more than any other
/// message, each source network has so many, beside those that its allocations' owners sign.
pub(super) fn may_claim(
    ctx: &Context,
    path: &Path,
    message: &Message<'_>,
    owner: Option<&Identity>,
) -> bool {
    let name = message.get(AttributeType::USERNAME);
    let Some(name) = name.filter(|name| name.len() > LONG_NAME) else {
        return true;
    };
    let own = owner.and_then(|owner| owner.user.as_deref());
    if own.is_some_and(|own| own.as_bytes() == name) {
        return true;
    }
    let source = path.tuple.client.ip();
    let proven = path.tuple.transport.proves_address()
        || ctx.shared.auth.proves_address(ctx.now, source, message);
    let proof = if proven { Proof::Nonce } else { Proof::None };
    ctx.shared
        .rates
        .allow_long_name(ctx.now.mono, source, proof)
}
