//! turnd beside other programs and on networks of the tests' own, and what takes long. Needs root and what `tests/setup` installs;
//! `tests/run` runs it.

#![allow(clippy::unwrap_used)]

mod admin;
mod bench;
mod browser;
mod config;
mod deploy;
mod faults;
mod host_addresses;
mod import;
mod interop;
mod namespaces;
mod nat;
mod probe;
mod process;
mod public_address;
mod rfc8489;
mod sockets;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test target uses a part of it"
)]
mod support;
mod transports;
mod udp;
