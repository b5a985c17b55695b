//! Certificates and keys, read from PEM files.

mod doubts;
mod key;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SigningKey;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::x509::SubjectPublicKeyInfo;
use zeroize::Zeroizing;

pub(super) use self::doubts::doubts;
use super::Secret;
use super::source::read;
use crate::problem::Problem;

/// Paths of a certificate and its key.
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
    pub chain: Vec<CertificateDer<'static>>,
    /// The key; its memory is overwritten with the last copy.
    pub key: Arc<Zeroizing<PrivateKeyDer<'static>>>,
    /// The key as TLS signs with it.
    pub signer: Arc<dyn SigningKey>,
    /// Names in the certificate, in lower case; a first label of `*` stands for any one.
    pub names: Vec<String>,
    /// End of its validity, in seconds since the Unix epoch.
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

/// File that is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// `cert`.
    Certificate,
    /// `pkey`.
    Key,
}

/// Error of a certificate or its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateError {
    /// File that is wrong.
    pub part: Part,
    /// The error itself, which names the file.
    pub problem: Problem,
}

impl fmt::Display for CertificateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.problem.fmt(f)
    }
}

impl std::error::Error for CertificateError {}

/// Reads a certificate and its key and sees that they belong together.
pub fn load(
    files: &CertificateFiles,
    password: Option<&Secret>,
) -> Result<Certificate, CertificateError> {
    let chain = read_chain(&files.cert)?;
    let key = key::read_key(&files.key, password)?;
    let wrong = |part, path: &Path, problem: String, remedy: &str| CertificateError {
        part,
        problem: Problem::new(problem, remedy).of(path.display()),
    };
    Certificate::new(chain, key).map_err(|error| match error {
        Unfit::Certificate(reason) => wrong(
            Part::Certificate,
            &files.cert,
            format!("cannot be used: {reason}"),
            "have it issued anew",
        ),
        Unfit::Key(reason) => wrong(
            Part::Key,
            &files.key,
            format!("is no private key that TLS can use: {reason}"),
            "make one with RSA of 2048 bits, ECDSA on P-256 or P-384, or Ed25519, and a certificate for it",
        ),
        Unfit::Pair => wrong(
            Part::Key,
            &files.key,
            format!(
                "is not the key of the first certificate in {}",
                files.cert.display()
            ),
            "name the key that the certificate was made for, and put the server's certificate before its chain",
        ),
    })
}

/// Warning that the certificates of before stay in use, and why.
pub(crate) fn kept(reason: &str) -> String {
    format!("certificates: kept the old one, because {reason}")
}

/// Reason why a certificate and a key do not make a [`Certificate`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The certificate is damaged, with the reason.
    Certificate(String),
    /// TLS has no use for the key, with the reason.
    Key(String),
    /// The key is another certificate's.
    Pair,
}

impl fmt::Display for Unfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(reason) | Self::Key(reason) => f.write_str(reason),
            Self::Pair => f.write_str("the key is not the certificate's"),
        }
    }
}

impl std::error::Error for Unfit {}

impl Certificate {
    /// Takes a certificate, its chain, and its key.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, Unfit> {
        let key = Zeroizing::new(key);
        let leaf = chain.first().map_or(&[][..], |leaf| leaf);
        let (_, leaf) = X509Certificate::from_der(leaf)
            .map_err(|error| Unfit::Certificate(error.to_string()))?;
        let signer = rustls::crypto::ring::sign::any_supported_type(&key)
            .map_err(|error| Unfit::Key(error.to_string()))?;
        let own = signer.public_key();
        let own = own.as_deref().map(SubjectPublicKeyInfo::from_der);
        // The key itself: parameters that mean the same are written in several ways.
        if let Some(Ok((_, own))) = own
            && own.subject_public_key != leaf.public_key().subject_public_key
        {
            return Err(Unfit::Pair);
        }
        Ok(Self {
            names: names(&leaf),
            not_after: leaf.validity().not_after.timestamp(),
            key: Arc::new(key),
            signer,
            chain,
        })
    }

    /// Day (UTC) that its validity ends on.
    pub fn last_day(&self) -> String {
        time::OffsetDateTime::from_unix_timestamp(self.not_after).map_or_else(
            |_| "after the year 9999".to_owned(),
            |time| time.date().to_string(),
        )
    }

    /// Whether the certificate is for `name`, which is in lower case (RFC 6125 §6.4).
    pub fn is_for(&self, name: &str) -> bool {
        self.names.iter().any(|own| match own.strip_prefix("*.") {
            Some(parent) => name.split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => own == name,
        })
    }
}

fn names(leaf: &X509Certificate<'_>) -> Vec<String> {
    let alternatives = leaf.subject_alternative_name().ok().flatten();
    let alternatives = alternatives
        .iter()
        .flat_map(|list| &list.value.general_names);
    let dns = alternatives.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(name.to_lowercase()),
        _ => None,
    });
    let mut names: Vec<_> = dns.collect();
    if names.is_empty() {
        let common = leaf.subject().iter_common_name();
        names.extend(common.filter_map(|name| Some(name.as_str().ok()?.to_lowercase())));
    }
    names
}

fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let of_file = |problem: Problem| CertificateError {
        part: Part::Certificate,
        problem: problem.of(path.display()),
    };
    let wrong = |what: String, remedy: &str| of_file(Problem::new(what, remedy));
    let as_pem = "write it as PEM: -----BEGIN CERTIFICATE-----";
    let source = read(path, "name a PEM file that this user may read").map_err(of_file)?;
    let sections = pem::parse_many(&source.bytes)
        .map_err(|error| wrong(format!("is no certificate: {error}"), as_pem))?;
    let chain: Vec<_> = sections
        .into_iter()
        .filter(|section| matches!(section.tag(), "CERTIFICATE" | "X509 CERTIFICATE"))
        .map(|section| CertificateDer::from(section.into_contents()))
        .collect();
    if chain.is_empty() {
        return Err(wrong("holds no certificate".to_owned(), as_pem));
    }
    for (n, part) in (1..).zip(&chain) {
        X509Certificate::from_der(part).map_err(|error| {
            let problem = format!("is damaged: its certificate number {n}: {error}");
            wrong(problem, "get it anew from who issued it")
        })?;
    }
    Ok(chain)
}
