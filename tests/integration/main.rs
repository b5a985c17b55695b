//! turnd from outside: the built binary, spoken to by other people's clients.

#![allow(clippy::unwrap_used)]

mod browser;
mod client;
mod interop;
mod namespaces;
mod nat;
mod probe;
mod support;
