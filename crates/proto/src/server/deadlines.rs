//! Subjects of the server's deadlines.

use super::connections::ConnectionId;
use super::lookups::LookupId;

/// Subject of a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// The allocation of this relay: itself, its permissions and channels.
    Allocation(u32),
    /// A peer connection that is not there, or has no data connection.
    Connection(ConnectionId),
    /// A reserved port that nobody may have asked for.
    Reservation([u8; 8]),
    /// A request whose user is being looked up.
    Lookup(LookupId),
}
