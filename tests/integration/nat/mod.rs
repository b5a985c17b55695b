//! NAT behaviour discovery (RFC 5780, RFC 3489), on both sides.

mod server;
mod virtual_network;
