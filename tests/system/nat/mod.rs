//! NAT behaviour discovery (RFC 5780, RFC 3489), through NATs of the kernel and with coturn's programs.

mod coturn;
mod namespaces;
mod server;
