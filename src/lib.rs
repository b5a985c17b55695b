//! turnd: a STUN and TURN relay daemon.

pub mod auth;
pub mod policy;
pub mod wire;
mod now;

pub use now::Now;
