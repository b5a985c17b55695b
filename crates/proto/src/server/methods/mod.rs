//! One file for each STUN and TURN method that a client requests.

pub mod allocate;
pub(super) mod binding;
mod channel_bind;
mod classic;
mod connect;
pub(super) mod connection_bind;
mod create_permission;
mod refresh;

use std::net::SocketAddr;
use std::time::Duration;

use stun::attributes::{ATTR_LIFETIME, ATTR_XOR_PEER_ADDRESS, AttrType};
use stun::message::{Getter, Message};
use turn::proto::lifetime::Lifetime;

use super::refusal::Refusal;
use crate::wire::address;

/// Reads an attribute: `Ok(None)` when it is not there, 400 when it is malformed.
fn optional<T: Getter + Default>(
    message: &Message,
    typ: AttrType,
    reason: &'static str,
) -> Result<Option<T>, Refusal> {
    if !message.contains(typ) {
        return Ok(None);
    }
    let mut value = T::default();
    value
        .get_from(message)
        .map_err(|_| Refusal::bad_request(reason))?;
    Ok(Some(value))
}

/// LIFETIME, if there is one.
fn lifetime(message: &Message) -> Result<Option<Duration>, Refusal> {
    Ok(
        optional::<Lifetime>(message, ATTR_LIFETIME, "malformed LIFETIME")?
            .map(|lifetime| lifetime.0),
    )
}

/// Every XOR-PEER-ADDRESS in turn; `None` for a malformed one.
fn peer_addresses(message: &Message) -> impl Iterator<Item = Option<SocketAddr>> {
    let peers = message
        .attributes
        .0
        .iter()
        .filter(|a| a.typ == ATTR_XOR_PEER_ADDRESS);
    peers.map(|a| address::decode_xor(&a.value, &message.transaction_id))
}
