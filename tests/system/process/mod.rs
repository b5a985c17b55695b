//! The process that serves: what it leaves in memory, what it may do, and how it is told a secret.

mod memory;
mod start;
mod told;
mod user;

use crate::support::log::{LIMIT, wait_for};
