//! Bytes to typed values and back: the first byte, channel data, STUN messages, addresses.
//!
//! Reading borrows the packet and allocates nothing; writing appends to the caller's buffer.

pub mod address;
pub mod channel_data;
pub mod classic;
pub mod classify;
pub mod discovery;
pub mod dtls_hello;
pub mod dtls_record;
pub mod encoder;
pub mod framing;
pub mod indication;
pub mod integrity;
pub mod message;
pub mod numbers;
pub mod proxy;
pub mod request;
pub mod response;
