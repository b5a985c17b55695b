//! NAT behaviour discovery (RFC 5780, RFC 3489), the server's side.

mod server;
