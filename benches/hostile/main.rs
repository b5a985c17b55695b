//! Load of unauthenticated clients: floods, streams that never become clients, and the cost of each kind
//! of message. Prints tables for docs/security.md, and ends with 1 if a limit is passed.
//!
//!     cargo bench --bench hostile [-- [floods] [streams] [connections] [openings] [costs] [live] [DIVISOR]]
//!
//! The openings want `--features dtls`. DIVISOR makes everything so many times smaller. Wants root, for a network namespace of its own, and
//! 20,000 file descriptors.

#![allow(clippy::unwrap_used)]

mod connections;
mod costs;
mod floods;
mod live;
mod messages;
#[cfg(feature = "dtls")]
mod openings;
mod streams;
// No load uses all of this.
#[allow(dead_code)]
#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

fn main() -> ExitCode {
    support::isolate();
    let divisor = support::numbers().first().copied().unwrap_or(1).max(1);
    let parts = [
        "floods",
        "streams",
        "connections",
        "openings",
        "costs",
        "live",
    ];
    let named: Vec<String> = std::env::args()
        .filter(|word| parts.contains(&word.as_str()))
        .collect();
    let wanted = |part: &str| named.is_empty() || named.iter().any(|name| name == part);
    let mut good = true;
    if wanted("floods") {
        good &= floods::run(divisor);
    }
    if wanted("streams") {
        good &= streams::run(divisor);
    }
    if wanted("connections") {
        good &= connections::run(divisor);
    }
    #[cfg(feature = "dtls")]
    if wanted("openings") {
        good &= openings::run(divisor);
    }
    if wanted("costs") {
        good &= costs::run(divisor);
    }
    if wanted("live") {
        good &= live::run(divisor);
    }
    ExitCode::from(u8::from(!good))
}
