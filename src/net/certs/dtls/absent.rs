//! DTLS in a program that is built without it.

use crate::config::certificate::Certificate;

/// Settings of associations, of which there are none.
#[derive(Debug)]
pub(in crate::net) enum Context {}

/// Refuses; the configuration has been refused before.
pub(super) fn context(_: &[Certificate], _: &[&str]) -> Result<Context, &'static str> {
    Err("this program is built without it")
}
