//! Certificates that work but that clients may refuse.

use x509_parser::prelude::{FromDer, X509Certificate};

use super::{Certificate, CertificateFiles};

/// Warning about the chain of a certificate, as it follows the file's name.
fn of_chain(certificate: &Certificate) -> Option<&'static str> {
    let parsed = |n: usize| {
        let der = certificate.chain.get(n)?;
        X509Certificate::from_der(der).ok().map(|(_, c)| c)
    };
    let leaf = parsed(0)?;
    if leaf.issuer() == leaf.subject() {
        return Some(
            "is self-signed: browsers refuse it; have it issued by an authority that they know",
        );
    }
    match parsed(1) {
        None => Some(
            "holds the certificate without its chain: clients refuse it; name fullchain.pem, or add the issuer's certificate",
        ),
        Some(next) if next.subject() != leaf.issuer() => Some(
            "has something else than the issuer's certificate after the first: clients may refuse it; write the chain in order",
        ),
        Some(_) => None,
    }
}

/// Whether a certificate is for `name` or a host below it, as a realm often is the domain of several.
fn is_for(certificate: &Certificate, name: &str) -> bool {
    let below = |own: &String| {
        own.strip_suffix(name)
            .is_some_and(|rest| rest.ends_with('.'))
    };
    certificate.is_for(name) || certificate.names.iter().any(below)
}

/// Warnings about certificates of a server that is `name` to its clients, said by `key`.
pub(in crate::config) fn doubts(
    files: &[CertificateFiles],
    certificates: &[Certificate],
    key: &str,
    name: &str,
) -> Vec<String> {
    let mut doubts: Vec<_> = files
        .iter()
        .zip(certificates)
        .filter_map(|(files, certificate)| {
            let doubt = of_chain(certificate)?;
            Some(format!("cert: {} {doubt}", files.cert.display()))
        })
        .collect();
    let name = name.to_lowercase();
    let is_host = name.contains('.') && name.parse::<std::net::IpAddr>().is_err();
    if is_host && !certificates.is_empty() && !certificates.iter().any(|c| is_for(c, &name)) {
        let own: Vec<_> = certificates.iter().flat_map(|c| &c.names).collect();
        let own: Vec<_> = own
            .iter()
            .map(|name| name.escape_debug().to_string())
            .collect();
        doubts.push(format!(
            "cert: no certificate is for {key} {}, only for {}; clients refuse it under another name",
            name.escape_debug(),
            own.join(", ")
        ));
    }
    doubts
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    use super::*;

    fn named(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params
    }

    fn certificate(chain: Vec<CertificateDer<'static>>, key: &KeyPair) -> Certificate {
        Certificate::new(chain, PrivateKeyDer::Pkcs8(key.serialize_der().into())).unwrap()
    }

    fn doubts_of(certificate: &Certificate, name: &str) -> Vec<String> {
        let files = CertificateFiles {
            cert: "cert.pem".into(),
            key: "key.pem".into(),
        };
        doubts(&[files], std::slice::from_ref(certificate), "realm", name)
    }

    #[test]
    fn chains_and_names() {
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = named("authority.example");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root = authority.self_signed(&authority_key).unwrap();
        let issuer = Issuer::new(authority, &authority_key);
        let key = KeyPair::generate().unwrap();
        let leaf = named("turn.example.org").signed_by(&key, &issuer).unwrap();
        let leaf: CertificateDer<'static> = leaf.into();

        let whole = certificate(vec![leaf.clone(), root.into()], &key);
        for name in [
            "turn.example.org",
            "TURN.example.org",
            "example.org",
            "turnd",
            "192.0.2.1",
        ] {
            assert_eq!(doubts_of(&whole, name), Vec::<String>::new(), "{name}");
        }
        for name in ["other.example.org", "ample.org"] {
            assert_eq!(
                doubts_of(&whole, name),
                [format!(
                    "cert: no certificate is for realm {name}, only for turn.example.org; clients refuse it under another name"
                )]
            );
        }

        let alone = certificate(vec![leaf.clone()], &key);
        let told = doubts_of(&alone, "turnd");
        assert!(
            told[0].starts_with("cert: cert.pem holds the certificate without its chain"),
            "{told:?}"
        );

        let own: CertificateDer<'static> =
            named("turn.example.org").self_signed(&key).unwrap().into();
        let told = doubts_of(&certificate(vec![own.clone()], &key), "turnd");
        assert!(
            told[0].starts_with("cert: cert.pem is self-signed"),
            "{told:?}"
        );

        let told = doubts_of(&certificate(vec![leaf, own], &key), "turnd");
        assert!(
            told[0].contains("something else than the issuer's"),
            "{told:?}"
        );
    }
}
