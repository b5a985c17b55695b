//! The TURN server as a state machine: no socket, no runtime, no clock.
//!
//! | module | contents |
//! |---|---|
//! | [`server`] | the server: allocations, permissions, channels, and the requests about them |
//! | [`auth`] | long-term credentials, keys and nonces |
//! | [`policy`] | peers that may be reached, quotas and rates |
//! | [`wire`] | STUN, TURN, PROXY and DTLS bytes to typed values and back |
//!
//! # How the server is driven
//!
//! [`server::Server`], and all below it, knows no socket, no runtime and no clock. Its driver
//!
//! 1. gives it one input, together with [`Now`]: [`handle_client`], [`handle_peer`],
//!    [`handle_relay_opened`] or [`handle_timeout`];
//! 2. does what the returned verdict says with the packet, which is borrowed and never copied;
//! 3. takes [`poll_output`] until it is empty and does each: an answer to send, a relay socket to
//!    open or close;
//! 4. calls [`handle_timeout`] no later than [`poll_timeout`] says.
//!
//! Relayed data is a verdict and never an output, so that a packet costs no allocation.
//!
//! [`handle_client`]: server::Server::handle_client
//! [`handle_peer`]: server::Server::handle_peer
//! [`handle_relay_opened`]: server::Server::handle_relay_opened
//! [`handle_timeout`]: server::Server::handle_timeout
//! [`poll_output`]: server::Server::poll_output
//! [`poll_timeout`]: server::Server::poll_timeout

pub mod auth;
mod now;
pub mod policy;
pub mod random;
pub mod server;
pub mod wire;

pub use now::Now;
