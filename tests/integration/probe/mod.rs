//! `turnd probe`: servers that work, and servers that are wrong in one way each.

mod bad_input;
mod faults;
mod tls;

use crate::support::probe::*;
