//! OpenSSL: DTLS over UDP.

use std::sync::Arc;

use openssl::error::ErrorStack;
use openssl::pkey::Id;
use openssl::ssl::{
    AlpnError, NameType, SniError, SslContext, SslContextBuilder, SslMethod, SslMode, SslOptions,
    SslSessionCacheMode, SslVersion, select_next_proto,
};

use super::by_name::choose;
use crate::config::certificate::Certificate;

/// What a client may ask for by ALPN (RFC 7443), each name behind its length.
const PROTOCOLS_WIRE: &[u8] = b"\x09stun.turn\x12stun.nat-discovery";

/// A context that chooses among the certificates by name.
pub(in crate::net) fn context(
    certificates: &[Certificate],
    ciphers: &[&str],
) -> Result<SslContext, ErrorStack> {
    let contexts = certificates
        .iter()
        .map(|certificate| Ok(builder(certificate, ciphers)?.build()))
        .collect::<Result<Vec<_>, ErrorStack>>()?;
    let mut front = builder(&certificates[0], ciphers)?;
    let certificates = Arc::new(certificates.to_vec());
    front.set_servername_callback(move |ssl, _| {
        let name = ssl.servername(NameType::HOST_NAME);
        match choose(&certificates, name, |_| true) {
            Some(n) if ssl.set_ssl_context(&contexts[n]).is_ok() => Ok(()),
            _ => Err(SniError::NOACK),
        }
    });
    Ok(front.build())
}

fn builder(certificate: &Certificate, ciphers: &[&str]) -> Result<SslContextBuilder, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::dtls_server())?;
    builder.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
    let suits = |name: &&&str| match certificate.key.id() {
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
    builder.set_certificate(&certificate.chain[0])?;
    for part in &certificate.chain[1..] {
        builder.add_extra_chain_cert(part.clone())?;
    }
    builder.set_private_key(&certificate.key)?;
    // The cookie has been checked before OpenSSL sees the client; see `net::session`.
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
