//! Handlers, one file for each STUN and TURN method that a client requests.
//!
//! A handler is given the allocation that the request is about and the [`Context`]; `Ok(None)`
//! means that the answer comes later, or that none is due.
//!
//! [`Context`]: super::context::Context

pub(super) mod allocate;
pub(super) mod binding;
pub(super) mod channel_bind;
pub(super) mod connect;
pub(super) mod connection_bind;
pub(super) mod create_permission;
pub(super) mod refresh;
