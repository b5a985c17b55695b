//! turnd from outside: the built binary, spoken to by other people's clients.

#![allow(clippy::unwrap_used)]

mod bench;
mod browser;
mod client;
mod fairness;
mod interop;
mod namespaces;
mod support;
