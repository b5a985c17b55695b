//! turnd: a STUN and TURN relay daemon that operators run in place of coturn.
//!
//! | module | what is in it |
//! |---|---|
//! | [`cli`] | the commands of the program |
//! | [`admin`] | metrics, API and page over HTTP |
//! | [`nat`] | finding out what NAT one sits behind |
//! | [`daemon`] | the running program: reload, drain, log |
//! | [`config`] | `turnd.toml` and its checked form |
//! | [`net`] | sockets, threads and the clock |
//! | [`server`] | the TURN server as a state machine |
//! | [`auth`], [`policy`] | who may come; what they may do |
//! | [`wire`] | bytes to meaning and back |
//!
//! Dependencies point downwards in this table.
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

pub mod admin;
pub mod auth;
mod bench;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod ice_servers;
pub mod nat;
pub mod net;
mod now;
pub mod policy;
pub mod probe;
pub mod problem;
mod random;
pub mod server;
pub mod wire;

pub use now::Now;
#[cfg(fuzzing)]
pub use random::start_over;
