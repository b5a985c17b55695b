//! Bytes to meaning and back: the first byte, channel data, STUN messages, addresses.

pub mod address;
pub mod attributes;
pub mod channel_data;
pub mod classify;
pub mod discovery;
pub mod dtls_hello;
pub mod dtls_record;
pub mod framing;
pub mod indication;
pub mod message;
pub mod proxy;
