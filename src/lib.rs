//! turnd: a STUN and TURN relay daemon that operators run in place of coturn.
//!
//! | module | contents |
//! |---|---|
//! | [`cli`] | the commands of the program |
//! | [`admin`] | metrics, API and page over HTTP |
//! | [`probe`], [`nat`], `bench` | what checks a server, a NAT and a load from outside |
//! | [`daemon`] | the running program: reload, drain, log |
//! | [`config`] | `turnd.toml` and its checked form |
//! | [`net`] | sockets, threads and the clock |
//!
//! The TURN server itself is the crate `turnd-proto`, which knows none of these.

pub mod admin;
mod bench;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod ice_servers;
pub mod nat;
pub mod net;
pub mod probe;
mod random;
mod stun_message;
