//! Limits.
pub mod peer_filter;
