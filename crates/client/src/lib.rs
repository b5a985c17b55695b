//! Clients of STUN and TURN servers, and programs that tell what such a server, or the network before it, does.
//!
//! | module | contents |
//! |---|---|
//! | [`turn`] | the client: requests, credentials and data, without sockets or clock |
//! | [`blocking`] | the same over sockets that block |
//! | [`probe`] | whether a server serves a browser, and what is wrong if not |
//! | [`mod@bench`] | a load on a server, measured |
//! | [`nat`] | the NAT that this host is behind (RFC 5780) |
//!
//! The server's crate, `turnd-proto`, lends two things: the key of a password, and the names of address
//! ranges that peers may not be in, by which `probe` explains a relayed address. Its codec is not used, so
//! that client and server do not share their mistakes.

pub mod bench;
pub mod blocking;
mod local;
pub mod nat;
mod oddity;
pub mod probe;
mod random;
mod tls;
pub mod turn;

pub use oddity::Oddity;
