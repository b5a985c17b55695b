//! The process that serves: how it is told a secret, and what it writes.

mod lines;
mod told;
mod weak;

use crate::support::log::{LIMIT, wait_for};
