//! `turnd probe` on networks of the tests' own, and against coturn.

mod faults;
mod namespaces;
mod tls;

use crate::support::probe::*;
