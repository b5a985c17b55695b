//! Ways in that OpenSSL's client tries, or that take networks and limits of the tests' own.

mod bad_input;
mod certificates;
#[cfg(feature = "dtls")]
mod dtls;
mod handshakes;
mod unallocated;

use crate::support::transports::*;
