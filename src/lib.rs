//! turnd: a STUN and TURN relay daemon.

pub mod auth;
pub mod cli;
pub mod config;
pub mod nat;
pub mod net;
mod now;
pub mod policy;
pub mod probe;
mod random;
pub mod server;
pub mod wire;

pub use now::Now;
