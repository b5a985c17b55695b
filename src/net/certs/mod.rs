//! Certificates in use: the material of new TLS and DTLS handshakes, and its exchange.

mod by_name;
#[cfg_attr(not(feature = "dtls"), path = "dtls/absent.rs")]
pub(super) mod dtls;
mod self_signed;
mod tls;

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

pub use self::self_signed::self_signed;
pub(super) use self::tls::TlsConfigs;
use super::now;
use crate::config::certificate::{self, Certificate};
use crate::config::{Config, Tls};

/// Time before a certificate expires at which an operator is told, in seconds.
const NOTICE: i64 = 14 * 86400;

/// Certificates, which a reload exchanges; handshakes that have begun keep what they began with.
#[derive(Debug)]
pub struct Certificates {
    serves_dtls: bool,
    /// Material of new handshakes, exchanged whole.
    current: RwLock<Arc<Material>>,
    files: Mutex<Files>,
}

/// The files that the current material was read from.
#[derive(Debug)]
struct Files {
    /// Names of the files, and the ciphers.
    tls: Tls,
    /// Stamps of the files when they were read.
    read: Vec<Stamp>,
    /// Stamps of the files when they were looked at last.
    looked: Vec<Stamp>,
    expiries: Expiries,
}

impl Files {
    /// Files that have been read a moment ago.
    fn new(tls: &Tls, certificates: &[Certificate]) -> Self {
        let stamps = stamps(tls);
        let expiries = expiries_of(certificates);
        warn_of_expiry(&expiries);
        Self {
            tls: tls.clone(),
            read: stamps.clone(),
            looked: stamps,
            expiries,
        }
    }

    /// Whether the files have changed since they were read, and not since the last look.
    fn have_changed(&mut self) -> bool {
        let now = stamps(&self.tls);
        // Certificate and key are rarely replaced in one moment.
        let settled = self.looked == now;
        let changed = self.read != now;
        self.looked.clone_from(&now);
        if changed && settled {
            self.read = now;
        }
        changed && settled
    }

    /// Reads the certificates again.
    fn load(&self) -> Result<Vec<Certificate>, String> {
        let password = self.tls.password.as_ref();
        let load = |files| certificate::load(files, password);
        let certificates = self.tls.files.iter().map(load);
        let certificates = certificates.collect::<Result<Vec<_>, _>>();
        let certificates = certificates.map_err(|error| error.to_string())?;
        if certificates.is_empty() {
            return Err("it was made for this demonstration and has no file".to_owned());
        }
        Ok(certificates)
    }
}

/// Keys and settings of new handshakes.
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

/// Time of a file's last change, its length and inode; `None`: it is not there.
type Stamp = Option<(i64, i64, u64, u64)>;

impl Certificates {
    /// Takes the certificates that were read with the configuration; `None`: there are none.
    ///
    /// # Errors
    /// Why the libraries do not accept them.
    pub(super) fn new(config: &Config) -> Result<Option<Arc<Self>>, String> {
        let tls = &config.tls;
        let serves_dtls = config.transports.dtls;
        if tls.certificates.is_empty() {
            return Ok(None);
        }
        let files = Files::new(tls, &tls.certificates);
        let material = Material::new(tls, &tls.certificates, serves_dtls)?;
        Ok(Some(Arc::new(Self {
            serves_dtls,
            current: RwLock::new(Arc::new(material)),
            files: Mutex::new(files),
        })))
    }

    /// Material of a new handshake.
    pub(super) fn current(&self) -> Arc<Material> {
        // A thread that panicked left a whole `Arc` behind.
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&current)
    }

    /// Reads the files again and says what came of it in the log; nothing changes unless all are good.
    pub fn reload(&self) {
        let mut files = self.files();
        let stamps = stamps(&files.tls);
        files.read.clone_from(&stamps);
        files.looked = stamps;
        self.exchange(&mut files);
    }

    /// Reloads when files have changed and now stay as they are, and tells whether they have; to be
    /// called every few seconds.
    pub fn reload_if_changed(&self) -> bool {
        let mut files = self.files();
        let changed = files.have_changed();
        if changed {
            self.exchange(&mut files);
        }
        changed
    }

    /// Says in the log which certificates are about to expire; to be called every day.
    pub fn check_expiry(&self) {
        warn_of_expiry(&self.files().expiries);
    }

    /// The names of each certificate, and when it expires, in seconds since the Unix epoch.
    pub fn expiries(&self) -> Vec<(String, i64)> {
        self.files().expiries.clone()
    }

    fn exchange(&self, files: &mut Files) {
        let read = files.load().and_then(|certificates| {
            let material = Material::new(&files.tls, &certificates, self.serves_dtls)?;
            Ok((certificates, material))
        });
        match read {
            Ok((certificates, material)) => {
                self.set(material);
                tracing::info!(certificates = certificates.len(), "certificates reloaded");
                files.expiries = expiries_of(&certificates);
                warn_of_expiry(&files.expiries);
            }
            Err(reason) => tracing::warn!("certificates: kept the old one, because {reason}"),
        }
    }

    /// Material of handshakes under another configuration.
    ///
    /// # Errors
    /// Why the libraries do not accept it.
    pub(super) fn prepare(&self, tls: &Tls) -> Result<Material, String> {
        Material::new(tls, &tls.certificates, self.serves_dtls)
    }

    /// Goes on with what was prepared for `tls`.
    pub(super) fn adopt(&self, tls: &Tls, material: Material) {
        *self.files() = Files::new(tls, &tls.certificates);
        self.set(material);
    }

    fn set(&self, material: Material) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(material);
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        // At worst, files are read once more than is needed.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Names of certificates, and their times of expiry.
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
