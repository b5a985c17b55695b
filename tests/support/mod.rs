//! Helpers of all test targets: a running turnd, a server without sockets, ports that are free, and clients.

pub(crate) mod admin;
mod asking;
mod authority;
mod call;
pub(crate) mod command_line;
mod coturn;
#[cfg(feature = "dtls")]
pub(crate) mod half_open;
mod http;
pub(crate) mod log;
pub(crate) mod messages;
mod namespace;
mod node;
mod peer;
mod ports;
pub(crate) mod probe;
mod process;
pub(crate) mod settings;
mod stream_client;
mod stun_client;
pub(crate) mod transports;
mod turnd;
mod wait;
pub(crate) mod world;

pub(crate) use authority::{Authority, Key};
pub(crate) use call::Call;
pub(crate) use coturn::Coturn;
pub(crate) use messages::{error_code, request, xor_address};
pub(crate) use namespace::{Namespace, client_and_server, link};
pub(crate) use node::node;
pub(crate) use peer::Peer;
pub(crate) use ports::Ports;
pub(crate) use process::{Running, Scratch, run};
pub(crate) use stream_client::{StreamClient, connect, trusting};
pub(crate) use stun_client::{StunClient, mark};
pub(crate) use turnd::{Extras, PASSWORD, REALM, Turnd, USER, dropped};
pub(crate) use wait::wait_until;
