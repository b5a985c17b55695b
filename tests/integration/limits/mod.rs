//! Limits: replies to sources that may be forged, users whose credentials are gone, quotas, bandwidth.

mod amplification;
mod bandwidth;
mod quotas;
mod replies;
mod revocation;
