//! OpenSSL: DTLS over UDP.

use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::pkey::{Id, PKey};
use openssl::ssl::{
    AlpnError, NameType, SniError, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions,
    SslSessionCacheMode, SslVersion, select_next_proto,
};
use openssl::x509::X509;

use super::by_name::choose;
use crate::config::certificate::Certificate;

/// Protocols that a client may ask for by ALPN (RFC 7443), each name behind its length.
const PROTOCOLS_WIRE: &[u8] = b"\x09stun.turn\x12stun.nat-discovery";

/// Settings and keys that associations are made with.
pub(in crate::net) type Context = SslContext;

/// A context that chooses among the certificates by name.
pub(in crate::net) fn context(
    certificates: &[Certificate],
    ciphers: &[&str],
) -> Result<Context, ErrorStack> {
    let contexts = certificates
        .iter()
        .map(|certificate| Ok(builder(certificate, ciphers)?.build()))
        .collect::<Result<Vec<_>, ErrorStack>>()?;
    let mut front = builder(&certificates[0], ciphers)?;
    let certificates = Arc::new(certificates.to_vec());
    front.set_servername_callback(move |ssl, _| {
        let name = ssl.servername(NameType::HOST_NAME);
        if let Some(n) = choose(&certificates, name, |_| true) {
            // The first certificate stays where that fails.
            let _ = ssl.set_ssl_context(&contexts[n]);
        }
        // RFC 6066 §3 has a name acknowledged by an empty extension, which pion's client takes for a broken one.
        Err(SniError::NOACK)
    });
    Ok(front.build())
}

fn builder(certificate: &Certificate, ciphers: &[&str]) -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::dtls_server())?;
    builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    let key = PKey::private_key_from_der(certificate.key.secret_der())?;
    let suits = |name: &&&str| match key.id() {
        Id::RSA => name.starts_with("ECDHE-RSA-"),
        _ => name.starts_with("ECDHE-ECDSA-"),
    };
    let ciphers: Vec<_> = ciphers.iter().filter(suits).copied().collect();
    builder.set_cipher_list(&ciphers.join(":"))?;
    builder.set_options(
        // The MTU is told, not asked of a socket that OpenSSL does not have.
        SslOptions::NO_QUERY_MTU
            | SslOptions::NO_RENEGOTIATION
            | SslOptions::NO_TICKET
            | SslOptions::COOKIE_EXCHANGE,
    );
    builder.set_mode(SslMode::RELEASE_BUFFERS);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    let mut chain = certificate.chain.iter().map(|part| X509::from_der(part));
    if let Some(leaf) = chain.next() {
        builder.set_certificate(&*leaf?)?;
    }
    for part in chain {
        builder.add_extra_chain_cert(part?)?;
    }
    builder.set_private_key(&key)?;
    // The cookie has been checked before OpenSSL sees the client; see `net::dtls`.
    builder.set_cookie_generate_cb(|_, cookie| {
        cookie[0] = 0;
        Ok(1)
    });
    builder.set_cookie_verify_cb(|_, _| true);
    builder.set_alpn_select_callback(|_, offered| {
        select_next_proto(PROTOCOLS_WIRE, offered).ok_or(AlpnError::NOACK)
    });
    Ok(builder)
}
