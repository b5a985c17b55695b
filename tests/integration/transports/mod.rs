//! Every way in: streams, TLS, DTLS, PROXY protocol, and what strangers do to them.

#[cfg(feature = "dtls")]
mod associations;
mod bad_input;
mod certificates;
mod data_connections;
#[cfg(feature = "dtls")]
mod dtls;
mod proxy;
mod streams;
mod unallocated;

use crate::support::transports::*;
