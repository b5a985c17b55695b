//! Limits: replies to sources that may be forged, users whose credentials are gone, quotas, bandwidth.

mod amplification;
mod bandwidth;
mod quotas;
mod realms;
mod replies;
mod revocation;
