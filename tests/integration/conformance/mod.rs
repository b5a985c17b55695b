//! A test for each line of the RFCs that the server keeps to: the server itself, without sockets, under a virtual clock.
//! Names begin with the line's id.

mod allocate;
mod authentication;
mod channels;
mod clock;
mod decisions;
mod indications;
mod lifetimes;
mod offload;
mod paths;
mod permissions;
mod ports;
mod redirection;
mod refresh;
mod rest;
mod rfc8489;
mod state;
mod stun;
mod tcp;
