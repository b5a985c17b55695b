//! UDP in batches on Linux, without a lock or an allocation per datagram.
//!
//! A [`Receiver`] takes a batch of datagrams from one [`UdpSocket`] into its buffers: one
//! `recvmmsg`, and datagrams that the kernel has joined (`UDP_GRO`) are taken apart again. A
//! [`SendQueue`] collects datagrams whose payloads lie in those buffers, with a [`Header`] in front
//! of each, and sends those of one size to one destination together (`UDP_SEGMENT`). Sockets are
//! non-blocking; waiting until one is readable is the caller's business.
//!
//! ```
//! use turnd_udp::{Header, Outgoing, Receiver, SendQueue, UdpSocket};
//!
//! # fn main() -> std::io::Result<()> {
//! let addr = ([127, 0, 0, 1], 0).into();
//! let (client, server) = (UdpSocket::bind(addr)?, UdpSocket::bind(addr)?);
//! let (mut receiver, mut queue) = (Receiver::new(), SendQueue::new());
//!
//! client.send(b"hello", server.addr(), None)?;
//! while receiver.datagrams().count() == 0 {
//!     receiver.receive(&server)?;
//! }
//! for datagram in receiver.datagrams() {
//!     let mut reply = Outgoing::plain("server", datagram.source, None, datagram.bytes);
//!     reply.header = Header::new(b"echo: ", 0);
//!     queue.push(&receiver, &reply);
//! }
//! queue.flush(&receiver, |name| (name == "server").then_some(&server));
//!
//! while receiver.receive(&client).is_ok() && receiver.datagrams().count() == 0 {}
//! assert_eq!(receiver.datagrams().next().unwrap().bytes, b"echo: hello");
//! # Ok(())
//! # }
//! ```
#![allow(
    unsafe_code,
    reason = "the batch calls and control messages exist in no safe wrapper that sends scattered payloads"
)]

mod batch;
mod buffers;
mod control;
mod datagram;
mod dont_fragment;
mod errors;
mod header;
mod options;
mod queue;
mod receiver;
mod run;
mod sender;
mod sockaddr;
mod socket;
#[cfg(test)]
mod tests;

pub use datagram::Datagram;
pub use errors::{ErrorOrigin, SocketError};
pub use header::Header;
pub use queue::{Outgoing, SendCounters, SendQueue};
pub use receiver::Receiver;
pub use socket::{Burst, UdpSocket, check_free};
