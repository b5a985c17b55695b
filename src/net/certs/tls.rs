//! rustls: TLS over TCP.

use std::sync::Arc;

use rustls::crypto::ring;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{CipherSuite, ServerConfig};

use super::by_name::choose;
use crate::config::certificate::Certificate;

/// Protocols that a client may ask for by ALPN (RFC 7443).
const PROTOCOLS: [&str; 2] = ["stun.turn", "stun.nat-discovery"];

/// Settings and keys that TLS handshakes are made with.
pub(in crate::net) struct TlsConfigs {
    /// For clients that offer one of ours.
    named: Arc<ServerConfig>,
    /// For clients that offer nothing, or nothing of ours, as other servers let them.
    unnamed: Arc<ServerConfig>,
}

impl TlsConfigs {
    pub(super) fn new(certificates: &[Certificate], ciphers: &[&str]) -> Result<Self, String> {
        let mut provider = ring::default_provider();
        provider
            .cipher_suites
            .retain(|suite| name(suite.suite()).is_some_and(|name| ciphers.contains(&name)));
        let resolver = Arc::new(ByName::new(certificates));
        let config = ServerConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(|error| format!("cipher-list leaves nothing for TLS: {error}"))?
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        let mut named = config.clone();
        named.alpn_protocols = PROTOCOLS.map(|name| name.as_bytes().to_vec()).into();
        Ok(Self {
            named: Arc::new(named),
            unnamed: Arc::new(config),
        })
    }

    /// The configuration for this client.
    pub(in crate::net) fn choose(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let ours = |name: &[u8]| PROTOCOLS.iter().any(|own| own.as_bytes() == name);
        let named = hello.alpn().is_some_and(|mut names| names.any(ours));
        Arc::clone(if named { &self.named } else { &self.unnamed })
    }
}

/// OpenSSL's name of a suite.
fn name(suite: CipherSuite) -> Option<&'static str> {
    Some(match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256 => "TLS_AES_128_GCM_SHA256",
        CipherSuite::TLS13_AES_256_GCM_SHA384 => "TLS_AES_256_GCM_SHA384",
        CipherSuite::TLS13_CHACHA20_POLY1305_SHA256 => "TLS_CHACHA20_POLY1305_SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 => "ECDHE-ECDSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => "ECDHE-RSA-AES128-GCM-SHA256",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 => "ECDHE-ECDSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => "ECDHE-RSA-AES256-GCM-SHA384",
        CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 => {
            "ECDHE-ECDSA-CHACHA20-POLY1305"
        }
        CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 => "ECDHE-RSA-CHACHA20-POLY1305",
        _ => return None,
    })
}

/// Certificates by name, and by what the client can verify.
#[derive(Debug)]
struct ByName {
    certificates: Vec<Certificate>,
    keys: Vec<Arc<CertifiedKey>>,
}

impl ByName {
    fn new(certificates: &[Certificate]) -> Self {
        let certified = |certificate: &Certificate| {
            let signer = Arc::clone(&certificate.signer);
            Arc::new(CertifiedKey::new(certificate.chain.clone(), signer))
        };
        Self {
            certificates: certificates.to_vec(),
            keys: certificates.iter().map(certified).collect(),
        }
    }
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |n: usize| {
            let key = &self.keys[n].key;
            key.choose_scheme(hello.signature_schemes()).is_some()
        };
        let chosen = choose(&self.certificates, hello.server_name(), usable)?;
        Some(Arc::clone(&self.keys[chosen]))
    }
}
