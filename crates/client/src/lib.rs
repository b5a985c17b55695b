//! Clients of STUN and TURN servers, and programs that tell what such a server, or the network before it, does.
//!
//! | module | contents |
//! |---|---|
//! | [`probe`] | whether a server serves a browser, and what is wrong if not |
//! | [`nat`] | the NAT that this host is behind (RFC 5780) |

pub mod nat;
pub mod probe;
mod random;
