//! One file for each STUN and TURN method that a client requests.

pub mod allocate;
pub(super) mod binding;
mod channel_bind;
mod connect;
mod connection_bind;
mod create_permission;
mod refresh;
