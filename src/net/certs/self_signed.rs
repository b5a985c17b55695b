//! A certificate for the demonstration.

use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, Error, KeyPair};
use rustls::pki_types::PrivateKeyDer;

use crate::config::certificate::Certificate;

/// Time that it is good for: a demonstration is over by then.
const LIFETIME: Duration = Duration::from_secs(30 * 86400);

/// Makes a certificate for `localhost` that nobody has signed: browsers refuse it.
///
/// # Errors
/// The library's error.
pub fn self_signed() -> Result<Certificate, String> {
    let (certificate, key) = made().map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Certificate::new(vec![certificate.into()], key).map_err(|error| error.to_string())
}

fn made() -> Result<(rcgen::Certificate, KeyPair), Error> {
    let key = KeyPair::generate()?;
    let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
    let mut about = CertificateParams::new(names)?;
    let now = SystemTime::now();
    about.not_before = now.into();
    about.not_after = (now + LIFETIME).into();
    about.distinguished_name = DistinguishedName::new();
    let name = &mut about.distinguished_name;
    name.push(DnType::CommonName, "turnd demonstration");
    Ok((about.self_signed(&key)?, key))
}
