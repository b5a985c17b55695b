//! A STUN and TURN client without sockets or clock (RFC 8489, RFC 8656, RFC 6062).
//!
//! [`Client`] is driven like this:
//!
//! 1. call a method that makes a request or a message, [`Client::handle_input`] with bytes that came
//!    from the server, or [`Client::handle_timeout`];
//! 2. send what [`Client::poll_transmit`] gives, until it gives nothing;
//! 3. take [`Client::poll_event`] until it gives nothing;
//! 4. wait for bytes, or until [`Client::poll_timeout`].
//!
//! [`Transactions`] is the part of it that STUN without TURN needs: requests, repeated until an answer
//! comes or their time is up. Messages are coded with the `stun` and `turn` crates, so that nothing
//! here shares code with the server.

mod client;
mod credentials;
mod event;
mod framing;
pub mod message;
mod request;
mod transactions;

pub use client::Client;
pub use credentials::{ChallengeError, Credentials, Login, Proof};
pub use event::{Event, RequestId, Response};
pub use framing::{Framing, NotStun, split};
pub use request::Request;
pub use transactions::{Expected, Timing, Transactions};

#[cfg(test)]
mod tests;
