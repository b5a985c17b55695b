//! Waiting for a descriptor on the runtime.
#![allow(
    unsafe_code,
    reason = "the runtime's safe registration of owned descriptors is deprecated without a successor"
)]

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Has the runtime watch for `fd` to become readable.
///
/// # Errors
/// What the system says.
pub fn watch_readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open for as long as it lives, which is as long as the `AsyncFd` that
    // takes it over.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE)? })
}
