//! What is limited: replies to senders who may be forged, users whose credentials are gone, quotas, bandwidth.

mod replies;
mod revocation;
