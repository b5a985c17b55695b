//! The TURN server as a state machine: no socket, no runtime, no clock.
//!
//! | module | contents |
//! |---|---|
//! | [`server`] | the server: allocations, permissions, channels, and the requests about them |
//! | [`random`] | the seeded generator |
//! | [`auth`] | long-term credentials, keys and nonces |
//! | [`policy`] | peers that may be reached, quotas and rates |
//! | [`ip`] | canonical addresses |
//! | [`wire`] | STUN, TURN, PROXY and DTLS bytes to typed values and back |
//!
//! # How the server is driven
//!
//! [`Server`], and all below it, knows no socket, no runtime and no clock, and draws everything
//! random from the seed that it is given. The one rule for its driver: after **every** call of a
//! `handle_*` method, take [`poll_output`] until it is empty, and then call [`handle_timeout`] no
//! later than [`poll_timeout`] says. An input is a packet, the outcome of an output, a command of
//! an operator, or the time; each comes with [`Now`].
//!
//! Relayed data is the verdict that an input returns, and never an output: it is borrowed from the
//! packet, so that relaying it costs no allocation.
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Instant;
//!
//! use turnd_proto::{
//!     Authenticator, ClientVerdict, NonceKey, Now, Output, Path, Server, Settings, Shared, auth,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Seeds come from the operating system; fixed ones make every run the same.
//! let auth = auth::Settings { no_auth: true, ..auth::Settings::default() };
//! let auth = Authenticator::new(&auth, NonceKey::new(&[1; 32]))?;
//! let reachable = ["198.51.100.1".parse()?];
//! let shared = Arc::new(Shared::new(&Settings::default(), auth, &reachable, &[]));
//! let mut now = Now { mono: Instant::now(), unix: 1_800_000_000 };
//! let mut server = Server::new(shared, [2; 32], now);
//!
//! // Inputs: here, an Allocate request without credentials.
//! let path = Path::udp(0, "192.0.2.1:4000".parse()?, "198.51.100.1:3478".parse()?);
//! let request = b"\x00\x03\x00\x08\x21\x12\xa4\x42twelve bytes\x00\x19\x00\x04\x11\x00\x00\x00";
//! match server.handle_client(now, &path, request) {
//!     ClientVerdict::ToPeer { .. } => unreachable!("send `payload` from the relay to the peer"),
//!     ClientVerdict::Handled | ClientVerdict::Drop(_) => {}
//! }
//!
//! // Outputs, until there are none.
//! let (mut sent, mut open) = (Vec::new(), 0);
//! while let Some(output) = server.poll_output() {
//!     match output {
//!         Output::OpenRelay { relay, addr } => {
//!             open += 1; // Bind a socket to `addr`, and tell how that went.
//!             server.handle_relay_opened(now, relay, Ok(()));
//!         }
//!         Output::CloseRelay { .. } => open -= 1,
//!         Output::Transmit { path, message } => sent.push((path.tuple.client, message)),
//!         _ => {} // TCP allocations, events for the log, channels for a fast path.
//!     }
//! }
//! assert_eq!(sent[0].1[..2], [0x01, 0x03], "an Allocate success response");
//! assert_eq!((open, server.allocations()), (1, 1));
//!
//! // The time, when it is due.
//! while let Some(due) = server.poll_timeout() {
//!     now = now.after(due - now.mono);
//!     server.handle_timeout(now);
//!     while let Some(output) = server.poll_output() {
//!         open -= u32::from(matches!(output, Output::CloseRelay { .. }));
//!     }
//! }
//! assert_eq!((open, server.allocations()), (0, 0), "after ten minutes");
//! # Ok(())
//! # }
//! ```
//!
//! `examples/drive.rs` of the repository is a server with sockets in a page.
//!
//! [`handle_timeout`]: server::Server::handle_timeout
//! [`poll_output`]: server::Server::poll_output
//! [`poll_timeout`]: server::Server::poll_timeout

pub mod auth;
pub mod deadlines;
pub mod ip;
mod now;
pub mod policy;
pub mod random;
pub mod server;
pub mod wire;

pub use auth::Authenticator;
pub use auth::nonce::NonceKey;
pub use auth::secret::Secret;
pub use now::Now;
pub use random::Seed;
pub use server::five_tuple::{ClientSocket, FiveTuple, Path, PeerAddr, Transport};
pub use server::output::{ClientVerdict, Output, PeerVerdict, RelayId};
pub use server::shared::Shared;
pub use server::{OpenError, Server, Settings};
