//! turnd from outside: the built binary, and its server without sockets. Nothing here needs root or a program besides turnd.

#![allow(clippy::unwrap_used)]

mod admin;
mod client;
mod conformance;
mod details;
mod fairness;
mod faults;
mod import;
mod limits;
mod nat;
mod own_services;
mod peers;
mod probe;
mod process;
mod properties;
mod security;
mod sockets;
#[path = "../support/mod.rs"]
#[allow(
    dead_code,
    unused_imports,
    reason = "each test target uses a part of it"
)]
mod support;
mod transports;
