//! The process that serves: how it is told a secret.

mod told;
mod weak;

use crate::support::log::{LIMIT, wait_for};
