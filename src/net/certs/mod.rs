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
    /// Names of the files, the ciphers, and the certificates that are in use.
    tls: Tls,
    /// Stamps of the files when they were read.
    read: Vec<Stamp>,
    /// Stamps of the files when they were looked at last.
    looked: Vec<Stamp>,
}

impl Files {
    /// Files that have been read a moment ago.
    fn new(tls: &Tls) -> Self {
        let stamps = stamps(tls);
        warn_of_expiry(&tls.certificates);
        Self {
            tls: tls.clone(),
            read: stamps.clone(),
            looked: stamps,
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
    fn load(&self) -> Result<Tls, String> {
        let certificates = self.tls.load().map_err(|error| error.to_string())?;
        if certificates.is_empty() {
            return Err("it was made for this demonstration and has no file".to_owned());
        }
        Ok(Tls {
            certificates,
            unusable: None,
            ..self.tls.clone()
        })
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
        let files = Files::new(tls);
        let material = Material::new(tls, serves_dtls)?;
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
        let files = self.files();
        warn_of_expiry(&files.tls.certificates);
        if let Some(reason) = &files.tls.unusable {
            tracing::warn!("{}", certificate::kept(reason));
        }
    }

    /// The names of each certificate, and when it expires, in seconds since the Unix epoch.
    pub fn expiries(&self) -> Vec<(String, i64)> {
        let expiry = |c: &Certificate| (c.names.join(", "), c.not_after);
        self.files().tls.certificates.iter().map(expiry).collect()
    }

    /// Why the files cannot be used as they are now, so that the certificates of before are in use.
    pub fn unusable(&self) -> Option<String> {
        self.files().tls.unusable.clone()
    }

    /// Puts the certificates that are in use into settings.
    pub fn put_into(&self, tls: &mut Tls) {
        let files = self.files();
        // The demonstration's certificate is in no configuration.
        if !tls.files.is_empty() {
            tls.certificates.clone_from(&files.tls.certificates);
            tls.unusable.clone_from(&files.tls.unusable);
        }
    }

    fn exchange(&self, files: &mut Files) {
        let read = files.load().and_then(|tls| {
            let material = Material::new(&tls, self.serves_dtls)?;
            Ok((tls, material))
        });
        match read {
            Ok((tls, material)) => {
                self.set(material);
                tracing::info!(
                    certificates = tls.certificates.len(),
                    "certificates reloaded"
                );
                for doubt in tls.doubts() {
                    tracing::warn!("{doubt}");
                }
                warn_of_lost_names(&files.tls.certificates, &tls.certificates);
                warn_of_expiry(&tls.certificates);
                files.tls = tls;
            }
            Err(reason) => {
                tracing::warn!("{}", certificate::kept(&reason));
                files.tls.unusable = Some(reason);
            }
        }
    }

    /// Material of handshakes under another configuration.
    ///
    /// # Errors
    /// Why the libraries do not accept it.
    pub(super) fn prepare(&self, tls: &Tls) -> Result<Material, String> {
        Material::new(tls, self.serves_dtls)
    }

    /// Goes on with what was prepared for `tls`.
    pub(super) fn adopt(&self, tls: &Tls, material: Material) {
        let mut files = self.files();
        // Nobody misses the names of a demonstration.
        if !files.tls.files.is_empty() {
            warn_of_lost_names(&files.tls.certificates, &tls.certificates);
        }
        *files = Files::new(tls);
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
    fn new(tls: &Tls, serves_dtls: bool) -> Result<Self, String> {
        let certificates = &tls.certificates;
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

/// Warns of names that the certificates of before had.
fn warn_of_lost_names(before: &[Certificate], now: &[Certificate]) {
    let names = before.iter().flat_map(|certificate| &certificate.names);
    let lost: Vec<_> = names
        .filter(|name| {
            let has = |other: &Certificate| other.names.contains(name) || other.is_for(name);
            !now.iter().any(has)
        })
        .map(String::as_str)
        .collect();
    if !lost.is_empty() {
        let names = lost.join(", ");
        tracing::warn!(%names, "no certificate is for these names any more: clients refuse it under them");
    }
}

fn warn_of_expiry(certificates: &[Certificate]) {
    let now = i64::try_from(now().unix).unwrap_or(i64::MAX);
    for certificate in certificates {
        let names = certificate.names.join(", ");
        let left = certificate.not_after.saturating_sub(now);
        if left <= 0 {
            tracing::warn!(%names, "the certificate has expired: clients refuse it; renew it");
        } else if left < NOTICE {
            let days = left / 86400;
            tracing::warn!(%names, days, "the certificate expires soon; renew it");
        }
    }
}
