//! turnd from outside: the built binary, spoken to by other people's clients.

#![allow(clippy::unwrap_used)]

mod admin;
mod bench;
mod browser;
mod client;
mod conformance;
mod deploy;
mod fairness;
mod faults;
mod host_addresses;
mod import;
mod interop;
mod limits;
mod namespaces;
mod nat;
mod own_services;
mod peers;
mod probe;
mod process;
mod properties;
mod security;
mod sockets;
mod support;
mod transports;
