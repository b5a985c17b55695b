//! NAT behaviour discovery (RFC 5780, RFC 3489): the server's side, and the command.

mod command;
mod server;
