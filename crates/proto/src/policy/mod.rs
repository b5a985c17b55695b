//! Limits: which peers, how many allocations, how many bytes and replies.

pub mod account;
pub mod ip_range;
pub(crate) mod network;
pub mod peer_filter;
pub mod quota;
pub mod rate;
pub mod unallocated;
