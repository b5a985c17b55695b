//! NAT behaviour discovery (RFC 5780, RFC 3489): through NATs of the kernel and of a library, and by coturn's programs.

mod coturn;
mod namespaces;
mod server;
mod virtual_network;
