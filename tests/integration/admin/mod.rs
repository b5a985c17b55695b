//! The admin listener, `turnd ctl` and the page, on a server that relays.

mod access;
mod audit;
mod credentials;
mod ctl;
mod drain;
mod listeners;
mod live;
mod live_reload;
mod metrics;
mod names;
mod notify;
mod observer;
mod openapi;
mod places;
mod reload;
mod sessions;
mod workers;

use crate::support::admin::*;
