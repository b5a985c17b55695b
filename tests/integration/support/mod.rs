//! What the tests share: a running turnd, ports that are free, and clients.

mod coturn;
mod namespace;
mod node;
mod peer;
mod ports;
mod process;
mod stun_client;
mod turnd;

pub(crate) use coturn::Coturn;
pub(crate) use namespace::{Namespace, link};
pub(crate) use node::node;
pub(crate) use peer::Peer;
pub(crate) use ports::Ports;
pub(crate) use process::{Running, Scratch, run};
pub(crate) use stun_client::{StunClient, error_code, request, xor_address};
pub(crate) use turnd::{PASSWORD, REALM, Turnd, USER};
