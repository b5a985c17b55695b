//! Certificates in use: what new TLS and DTLS handshakes are made with, and its exchange.

mod by_name;
#[cfg_attr(not(feature = "dtls"), path = "dtls/absent.rs")]
pub(super) mod dtls;
mod self_signed;
mod tls;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

pub use self::self_signed::self_signed;
pub(super) use self::tls::TlsConfigs;
use super::now;
use crate::config::certificate::{self, Certificate};
use crate::config::{Config, Tls};

/// An operator hears so long before a certificate expires.
const NOTICE: i64 = 14 * 86400;

/// Certificates, which a reload exchanges; handshakes that have begun keep what they began with.
#[derive(Debug)]
pub struct Secure {
    /// Which files, and which ciphers.
    tls: Mutex<Tls>,
    serves_dtls: bool,
    current: RwLock<Arc<Material>>,
    /// What the files looked like when they were read last, and when they were looked at last.
    seen: Mutex<[Vec<Stamp>; 2]>,
    expiries: Mutex<Expiries>,
}

/// What handshakes are made with.
pub(super) struct Material {
    pub(super) tls: TlsConfigs,
    /// `None` without `dtls`.
    pub(super) dtls: Option<dtls::Context>,
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").finish_non_exhaustive()
    }
}

/// When a file was changed, its length and inode; `None`: it is not there.
type Stamp = Option<(i64, i64, u64, u64)>;

impl Secure {
    /// Takes the certificates that were read with the configuration; `None`: there are none.
    ///
    /// # Errors
    /// What the libraries do not accept.
    pub(super) fn new(config: &Config) -> Result<Option<Arc<Self>>, String> {
        let tls = &config.tls;
        let serves_dtls = config.transports.dtls;
        if tls.certificates.is_empty() {
            return Ok(None);
        }
        let expiries = expiries_of(&tls.certificates);
        warn_of_expiry(&expiries);
        let stamps = stamps(tls);
        Ok(Some(Arc::new(Self {
            current: RwLock::new(Arc::new(Material::new(
                tls,
                &tls.certificates,
                serves_dtls,
            )?)),
            serves_dtls,
            seen: Mutex::new([stamps.clone(), stamps]),
            expiries: Mutex::new(expiries),
            tls: Mutex::new(tls.clone()),
        })))
    }

    /// What a new handshake is made with.
    pub(super) fn current(&self) -> Arc<Material> {
        // Whoever panicked left a whole `Arc` behind.
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Reads the files again and says what came of it in the log; nothing changes unless all are good.
    pub fn reload(&self) {
        let stamps = stamps(&self.tls());
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = [stamps.clone(), stamps];
        self.exchange();
    }

    /// Reloads when files have changed and now stay as they are, and tells whether they have; to be
    /// called every few seconds.
    pub fn reload_if_changed(&self) -> bool {
        let now = stamps(&self.tls());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let [read, looked] = &mut *seen;
        // Certificate and key are rarely replaced in one moment.
        let settled = *looked == now;
        let changed = *read != now;
        looked.clone_from(&now);
        if changed && settled {
            *read = now;
            drop(seen);
            self.exchange();
        }
        changed && settled
    }

    /// Says in the log which certificates are about to expire; to be called every day.
    pub fn check_expiry(&self) {
        let expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        warn_of_expiry(&expiries);
    }

    /// The names of each certificate, and when it expires, in seconds since the Unix epoch.
    #[must_use]
    pub fn expiries(&self) -> Vec<(String, i64)> {
        let expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
        expiries.clone()
    }

    fn exchange(&self) {
        match self.read() {
            Ok(certificates) => {
                tracing::info!(certificates = certificates.len(), "certificates reloaded");
                let mut expiries = self.expiries.lock().unwrap_or_else(PoisonError::into_inner);
                *expiries = expiries_of(&certificates);
                warn_of_expiry(&expiries);
            }
            Err(reason) => tracing::warn!("certificates: kept the old one, because {reason}"),
        }
    }

    fn read(&self) -> Result<Vec<Certificate>, String> {
        let tls = self.tls();
        let password = tls.password.as_ref();
        let load = |files| certificate::load(files, password);
        let certificates = tls.files.iter().map(load).collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| error.to_string())?;
        if certificates.is_empty() {
            return Err("it was made for this demonstration and has no file".to_owned());
        }
        let material = Material::new(&tls, &certificates, self.serves_dtls)?;
        self.set(material);
        Ok(certificates)
    }

    /// What handshakes would be made with under another configuration.
    ///
    /// # Errors
    /// What the libraries do not accept.
    pub(super) fn prepare(&self, tls: &Tls) -> Result<Material, String> {
        Material::new(tls, &tls.certificates, self.serves_dtls)
    }

    /// Goes on with what was prepared for `tls`.
    pub(super) fn adopt(&self, tls: &Tls, material: Material) {
        let stamps = stamps(tls);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = [stamps.clone(), stamps];
        *self.tls.lock().unwrap_or_else(PoisonError::into_inner) = tls.clone();
        let expiries = expiries_of(&tls.certificates);
        warn_of_expiry(&expiries);
        *self.expiries.lock().unwrap_or_else(PoisonError::into_inner) = expiries;
        self.set(material);
    }

    fn set(&self, material: Material) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
    }

    fn tls(&self) -> Tls {
        self.tls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Material {
    fn new(tls: &Tls, certificates: &[Certificate], serves_dtls: bool) -> Result<Self, String> {
        let dtls = serves_dtls.then(|| dtls::context(certificates, &tls.ciphers));
        let refused =
            |error| format!("DTLS does not take certificate, key or cipher-list: {error}");
        Ok(Self {
            tls: TlsConfigs::new(certificates, &tls.ciphers)?,
            dtls: dtls.transpose().map_err(refused)?,
        })
    }
}

fn stamps(tls: &Tls) -> Vec<Stamp> {
    let paths = tls.files.iter().flat_map(|files| [&files.cert, &files.key]);
    paths.map(|path| stamp(path)).collect()
}

fn stamp(path: &Path) -> Stamp {
    let about = path.metadata().ok()?;
    Some((about.mtime(), about.mtime_nsec(), about.len(), about.ino()))
}

/// Names and when they expire.
type Expiries = Vec<(String, i64)>;

fn expiries_of(certificates: &[Certificate]) -> Expiries {
    let expiry = |c: &Certificate| (c.names.join(", "), c.not_after);
    certificates.iter().map(expiry).collect()
}

fn warn_of_expiry(expiries: &[(String, i64)]) {
    let now = i64::try_from(now().unix).unwrap_or(i64::MAX);
    for (names, not_after) in expiries {
        let left = not_after.saturating_sub(now);
        if left <= 0 {
            tracing::warn!(%names, "the certificate has expired: clients refuse it; renew it");
        } else if left < NOTICE {
            let days = left / 86400;
            tracing::warn!(%names, days, "the certificate expires soon; renew it");
        }
    }
}
