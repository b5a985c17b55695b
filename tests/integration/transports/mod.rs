//! Every transport of clients: streams, TLS, DTLS, PROXY protocol, and bad input on each.

#[cfg(feature = "dtls")]
mod associations;
mod bad_input;
mod certificates;
mod data_connections;
#[cfg(feature = "dtls")]
mod dtls;
mod handshakes;
mod proxy;
mod streams;
mod unallocated;

use crate::support::transports::*;
