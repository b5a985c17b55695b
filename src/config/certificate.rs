//! Certificates and keys, read from PEM files.

use std::fmt;
use std::path::{Path, PathBuf};

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private};
use openssl::x509::X509;

use super::Secret;
use super::load::read;

/// Where a certificate and its key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM: the certificate, then its chain.
    pub cert: PathBuf,
    /// PEM: PKCS#1, PKCS#8 or SEC1; may be encrypted.
    pub key: PathBuf,
}

/// A certificate that belongs to its key.
#[derive(Clone)]
pub struct Certificate {
    /// The certificate and its chain.
    pub chain: Vec<X509>,
    /// The key.
    pub key: PKey<Private>,
    /// The names that it is for, in lower case; a first label of `*` stands for any one.
    pub names: Vec<String>,
    /// When it expires, in seconds since the Unix epoch.
    pub not_after: i64,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("names", &self.names)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

/// Which of the two files is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `cert`.
    Certificate,
    /// `pkey`.
    Key,
}

/// Why a certificate cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateError {
    /// Which file.
    pub part: Part,
    /// What is wrong with it; names the file.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem, self.remedy)
    }
}

impl std::error::Error for CertificateError {}

/// Reads a certificate and its key and sees that they belong together.
///
/// # Errors
/// Which file is wrong, and what to do.
pub fn load(
    files: &CertificateFiles,
    password: Option<&Secret>,
) -> Result<Certificate, CertificateError> {
    let chain = read_chain(&files.cert)?;
    let key = read_key(&files.key, password)?;
    let matches = chain[0]
        .public_key()
        .is_ok_and(|public| public.public_eq(&key));
    if !matches {
        return Err(CertificateError {
            part: Part::Key,
            problem: format!(
                "{} is not the key of the first certificate in {}",
                files.key.display(),
                files.cert.display()
            ),
            remedy: "name the key that the certificate was made for, and put the server's \
                     certificate before its chain"
                .to_owned(),
        });
    }
    Certificate::new(chain, key).map_err(|error| CertificateError {
        part: Part::Certificate,
        problem: format!("{}: {error}", files.cert.display()),
        remedy: "have it issued anew".to_owned(),
    })
}

impl Certificate {
    /// Takes a certificate, its chain, and its key, which belong together.
    ///
    /// # Errors
    /// What OpenSSL says of its validity.
    pub fn new(chain: Vec<X509>, key: PKey<Private>) -> Result<Self, ErrorStack> {
        let leaf = &chain[0];
        let since_epoch = Asn1Time::from_unix(0)?.diff(leaf.not_after())?;
        Ok(Self {
            names: names(leaf),
            not_after: i64::from(since_epoch.days) * 86400 + i64::from(since_epoch.secs),
            chain,
            key,
        })
    }

    /// Whether it is for `name`, which is in lower case (RFC 6125 §6.4).
    #[must_use]
    pub fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(parent) => name.split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => own == name,
        })
    }
}

fn names(leaf: &X509) -> Vec<String> {
    let alternatives = leaf.subject_alt_names();
    let dns = alternatives
        .iter()
        .flatten()
        .filter_map(|name| name.dnsname());
    let mut names: Vec<_> = dns.map(str::to_lowercase).collect();
    if names.is_empty() {
        let common = leaf.subject_name().entries_by_nid(Nid::COMMONNAME);
        let text = common.filter_map(|entry| entry.data().to_string().ok());
        names.extend(text.map(|name| name.to_lowercase()));
    }
    names
}

fn read_chain(path: &Path) -> Result<Vec<X509>, CertificateError> {
    let wrong = |problem: String, remedy: &str| CertificateError {
        part: Part::Certificate,
        problem: format!("{} {problem}", path.display()),
        remedy: remedy.to_owned(),
    };
    let source =
        read(path).map_err(|problem| wrong(problem, "name a PEM file that this user may read"))?;
    let chain = X509::stack_from_pem(&source.bytes).map_err(|error| {
        let remedy = "write it as PEM: -----BEGIN CERTIFICATE-----";
        wrong(format!("is no certificate: {}", reason(&error)), remedy)
    })?;
    if chain.is_empty() {
        let remedy = "write it as PEM: -----BEGIN CERTIFICATE-----";
        return Err(wrong("holds no certificate".to_owned(), remedy));
    }
    Ok(chain)
}

fn read_key(path: &Path, password: Option<&Secret>) -> Result<PKey<Private>, CertificateError> {
    let wrong = |problem: String, remedy: &str| CertificateError {
        part: Part::Key,
        problem: format!("{} {problem}", path.display()),
        remedy: remedy.to_owned(),
    };
    let source =
        read(path).map_err(|problem| wrong(problem, "name a PEM file that this user may read"))?;
    // OpenSSL would ask for a password on the terminal if it were not given one.
    let given = password.map_or("", Secret::reveal);
    PKey::private_key_from_pem_passphrase(&source.bytes, given.as_bytes()).map_err(|error| {
        let encrypted = source.bytes.windows(9).any(|word| word == b"ENCRYPTED");
        match (encrypted, password) {
            (true, None) => wrong("is encrypted".to_owned(), "give its password as pkey-pwd"),
            (true, Some(_)) => wrong(
                "cannot be decrypted".to_owned(),
                "check pkey-pwd, or decrypt it with `openssl pkey`",
            ),
            (false, _) => wrong(
                format!("is no private key: {}", reason(&error)),
                "write it as PEM: -----BEGIN PRIVATE KEY-----, RSA PRIVATE KEY or EC PRIVATE KEY",
            ),
        }
    })
}

/// The first reason that OpenSSL gives, in its words.
fn reason(error: &ErrorStack) -> String {
    let reason = error.errors().iter().find_map(|error| error.reason());
    reason.unwrap_or("unknown").to_owned()
}
