//! A certificate authority of the test's own.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
};

use super::Scratch;

const DAY: Duration = Duration::from_secs(86_400);
/// One for all tests, since nothing that they link makes RSA keys.
const RSA_KEY: &str = include_str!("rsa.key");

/// Kind of a certificate's key.
#[derive(Clone, Copy)]
pub(crate) enum Key {
    /// P-256, a new one for each certificate.
    Ecdsa,
    /// 2048 bits, the same for all certificates.
    Rsa,
}

pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    scratch: Scratch,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = valid(CertificateParams::default(), 2);
        params.distinguished_name = named("turnd-test-authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let scratch = Scratch::new();
        fs::write(scratch.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, scratch }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The authority's own certificate.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("ca.pem")
    }

    /// Makes NAME.pem and NAME.key for a host.
    pub(crate) fn issue(&self, name: &str, host: &str, key: Key, days: u32) {
        let key = match key {
            Key::Ecdsa => KeyPair::generate(),
            Key::Rsa => KeyPair::from_pem(RSA_KEY),
        };
        let key = key.unwrap();
        let names = [host, "127.0.0.1", "::1"].map(str::to_owned);
        let mut params = valid(CertificateParams::new(names).unwrap(), days);
        params.distinguished_name = named(host);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(self.path(&format!("{name}.pem")), certificate.pem()).unwrap();
        fs::write(self.path(&format!("{name}.key")), key.serialize_pem()).unwrap();
    }

    /// The keys of the configuration for these certificates.
    pub(crate) fn toml(&self, names: &[&str]) -> String {
        let list = |ending: &str| {
            let paths = names
                .iter()
                .map(|name| self.path(&format!("{name}.{ending}")));
            paths
                .map(|path| format!("'{}'", path.display()))
                .collect::<Vec<_>>()
                .join(", ")
        };
        format!("cert = [{}]\npkey = [{}]\n", list("pem"), list("key"))
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// Valid from now on, for so many days.
fn valid(mut params: CertificateParams, days: u32) -> CertificateParams {
    let now = SystemTime::now();
    params.not_before = now.into();
    params.not_after = (now + days * DAY).into();
    params
}
