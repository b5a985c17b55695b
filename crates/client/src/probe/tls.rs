//! TLS as browsers do it, and the faults of certificates.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, Error, RootCertStore};
use time::OffsetDateTime;

use super::finding::Finding;
use crate::tls::{self, Judge};

/// Remaining time below which a certificate is worth a warning.
const SOON: Duration = Duration::from_secs(14 * 24 * 3600);
/// Later than any certificate ends.
const NEVER: u64 = 250_000_000_000;

/// The certificate authorities that are trusted.
#[derive(Clone, Debug)]
pub struct Roots {
    authorities: Arc<RootCertStore>,
    /// Certificates that are trusted as a server's own, too.
    pinned: Arc<[CertificateDer<'static>]>,
}

impl Roots {
    /// The authorities of the system, and the certificates in the PEM text `extra`: authorities, or servers' own.
    ///
    /// # Errors
    /// When `extra` holds no certificate.
    pub fn new(extra: Option<&[u8]>) -> Result<Self, String> {
        use rustls::pki_types::pem::PemObject;
        let mut roots = RootCertStore::empty();
        // The parts of the system's store that cannot be read are left out.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let pinned: Vec<_> = CertificateDer::pem_slice_iter(extra.unwrap_or_default())
            .flatten()
            .collect();
        let (added, _) = roots.add_parsable_certificates(pinned.iter().cloned());
        if extra.is_some() && added == 0 {
            return Err("it holds no certificate; give a PEM file with one".to_owned());
        }
        Ok(Self {
            authorities: Arc::new(roots),
            pinned: pinned.into(),
        })
    }
}

/// Properties of a server's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    /// End of its validity, in seconds since the Unix epoch.
    pub(super) not_after: Option<u64>,
    /// The certificate is signed with its own key.
    pub(super) self_signed: bool,
}

/// A configuration for one connection, and where to find what it saw.
pub(super) fn config(roots: &Roots) -> Result<(Arc<ClientConfig>, Arc<Mutex<Seen>>), Error> {
    let provider = ring::default_provider();
    let seen = Arc::new(Mutex::new(Seen::default()));
    let shared = Arc::new(provider.clone());
    let observer = Observer {
        inner: verifier(&roots.authorities, &shared),
        pinned: Arc::clone(&roots.pinned),
        provider: shared,
        seen: Arc::clone(&seen),
    };
    let config = tls::config(provider, observer)?;
    Ok((Arc::new(config), seen))
}

/// `None` when no authority is trusted at all.
fn verifier(
    roots: &Arc<RootCertStore>,
    provider: &Arc<CryptoProvider>,
) -> Option<Arc<WebPkiServerVerifier>> {
    WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .build()
        .ok()
}

/// Lets the usual verifier judge, and takes notes.
#[derive(Debug)]
struct Observer {
    inner: Option<Arc<WebPkiServerVerifier>>,
    pinned: Arc<[CertificateDer<'static>]>,
    provider: Arc<CryptoProvider>,
    seen: Arc<Mutex<Seen>>,
}

impl Observer {
    fn look(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
    ) -> Seen {
        // By itself as authority: its end shows apart from the chain's, and who signed it.
        let mut alone = RootCertStore::empty();
        let _ = alone.add(end.clone().into_owned());
        let alone = verifier(&Arc::new(alone), &self.provider);
        let verify = |verifier: &Option<Arc<WebPkiServerVerifier>>, at| {
            let verifier = verifier.as_ref()?;
            let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
            verifier.verify_server_cert(end, chain, name, &[], at).err()
        };
        let ends = |error| match error {
            Some(Error::InvalidCertificate(CertificateError::ExpiredContext {
                not_after, ..
            })) => Some(not_after.as_secs()),
            _ => None,
        };
        let not_after = ends(verify(&alone, NEVER)).or_else(|| ends(verify(&self.inner, NEVER)));
        let by_another = matches!(
            verify(&alone, not_after.unwrap_or(NEVER)),
            Some(Error::InvalidCertificate(CertificateError::UnknownIssuer))
        );
        Seen {
            not_after,
            self_signed: !by_another && chain.is_empty(),
        }
    }
}

impl Judge for Observer {
    fn judge(
        &self,
        end: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let seen = self.look(end, chain, name);
        if let Ok(mut place) = self.seen.lock() {
            *place = seen;
        }
        let Some(inner) = &self.inner else {
            return Err(CertificateError::UnknownIssuer.into());
        };
        match inner.verify_server_cert(end, chain, name, &[], now) {
            Ok(_) => Ok(()),
            // webpki refuses an authority as a server, which `openssl req -x509` makes. It looks at the time first.
            Err(error) if self.pinned.contains(end) && !is_about_time(&error) => {
                verify_server_name(&ParsedCertificate::try_from(end)?, name)
            }
            Err(error) => Err(error),
        }
    }
}

fn is_about_time(error: &Error) -> bool {
    use CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    matches!(
        error,
        Error::InvalidCertificate(
            Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
        )
    )
}

/// Reason why the handshake failed.
pub(super) fn failure(error: &Error, seen: &Seen, host: &str) -> Finding {
    let renew = "give turnd a certificate that is good now (cert, pkey) and reload it";
    let finding = match error {
        Error::InvalidCertificate(why) => match why {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                let date = seen
                    .not_after
                    .map_or_else(String::new, |at| format!(" on {}", moment(at)));
                Finding::fault(
                    "the TLS certificate has expired",
                    format!("it ended{date}"),
                    renew,
                )
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                let why = "its first day is in the future, or the clock here is wrong";
                Finding::fault("the TLS certificate is not valid yet", why, renew)
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Finding::fault(
                    format!("the TLS certificate is not for {host}"),
                    match why {
                        CertificateError::NotValidForNameContext { presented, .. }
                            if presented.is_empty() =>
                        {
                            "it has no name in subjectAltName, and CN counts no more".to_owned()
                        }
                        CertificateError::NotValidForNameContext { presented, .. } => {
                            format!("it is for {}", presented.join(", "))
                        }
                        _ => "it names others".to_owned(),
                    },
                    "write the name of the certificate into the URI, or get a certificate for this one",
                )
            }
            _ if seen.self_signed => Finding::fault(
                "the TLS certificate is self-signed",
                "no browser trusts what vouches for itself",
                "get one from a public authority such as Let's Encrypt; to trust it here alone: --ca-file",
            ),
            CertificateError::UnknownIssuer => Finding::fault(
                "the TLS certificate comes from an authority that is not trusted",
                "it is a private one, or the server does not send the intermediate certificates",
                "put the whole chain into cert (fullchain.pem); to trust a private authority here: --ca-file",
            ),
            CertificateError::BadSignature => Finding::fault(
                "the TLS certificate is not signed with the key of the authority that it names",
                "the authority has been made anew since, or another one has its name",
                "get a certificate from the authority that is trusted here, or trust the one that signed it: --ca-file",
            ),
            other => Finding::fault(
                "the TLS certificate is not accepted",
                format!("{other}"),
                renew,
            ),
        },
        Error::InvalidMessage(_) => Finding::fault(
            "what answers there does not speak TLS",
            "the port serves another protocol",
            "write the tls-listening-port into the URI",
        ),
        other => Finding::fault(
            "the TLS handshake failed",
            format!("{other}"),
            "TLS 1.2 or 1.3 with a certificate is needed: look at cert, pkey and cipher-list",
        ),
    };
    finding.with_code(701)
}

/// A warning when the certificate ends soon.
pub(super) fn ending(seen: &Seen, now: u64) -> Option<Finding> {
    let not_after = seen.not_after?;
    (not_after < now.saturating_add(SOON.as_secs())).then(|| {
        Finding::warning(
            "the TLS certificate ends soon",
            format!("it is good until {}", moment(not_after)),
            "renew it and reload it (SIGUSR2)",
        )
    })
}

/// The day (UTC) that holds `unix`, in seconds since the Unix epoch.
pub fn date(unix: u64) -> String {
    calendar(unix).map_or_else(after_all, |time| time.date().to_string())
}

/// Day and time (UTC) of `unix`, in seconds since the Unix epoch.
pub fn moment(unix: u64) -> String {
    calendar(unix).map_or_else(after_all, |time| {
        let (hour, minute, second) = time.to_hms();
        format!("{} {hour:02}:{minute:02}:{second:02} UTC", time.date())
    })
}

fn calendar(unix: u64) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(i64::try_from(unix).ok()?).ok()
}

fn after_all() -> String {
    "after the year 9999".to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(1_709_164_800), "2024-02-29");
        assert_eq!(date(1_735_689_599), "2024-12-31");
        assert_eq!(date(4_102_444_800), "2100-01-01");
        assert_eq!(date(NEVER), "9892-03-08");
        assert_eq!(date(u64::MAX), "after the year 9999");
        assert_eq!(moment(1_735_689_599), "2024-12-31 23:59:59 UTC");
        assert_eq!(moment(u64::MAX), "after the year 9999");
    }

    #[test]
    fn a_certificate_that_ends_soon() {
        let seen = |not_after| Seen {
            not_after: Some(not_after),
            self_signed: false,
        };
        let now = 1_700_000_000;
        assert!(ending(&seen(now + 20 * 86_400), now).is_none());
        assert!(ending(&seen(now + 10 * 86_400), now).is_some());
    }
}
