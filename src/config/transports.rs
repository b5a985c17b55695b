//! Checks of the keys about transports, certificates and ciphers.

use std::path::PathBuf;

use super::certificate::{self, CertificateFiles, Part};
use super::credentials::secret;
use super::error::shown;
use super::file::FileConfig;
use super::problems::Problems;
use super::values::{on, ranges, seconds, within};
use super::{Tls, Transports};
use turnd_proto::policy::unallocated::UnallocatedLimits;

/// Bytes below which `max-idle-memory` leaves no room for a few handshakes.
const LEAST_IDLE_MEMORY: u32 = 1 << 20;

/// Ciphers that both TLS libraries have and RFC 8446 and RFC 9325 recommend, in OpenSSL's names.
pub(super) const CIPHERS: [&str; 9] = [
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
];

/// Whether this program is built with DTLS.
const DTLS_IS_BUILT: bool = cfg!(feature = "dtls");

pub(super) fn check_transports(
    file: &FileConfig,
    tls: &Tls,
    problems: &mut Problems<'_>,
) -> Transports {
    let certified = !tls.certificates.is_empty();
    let wanted_files = file.cert.as_ref().is_some_and(|list| !list.is_empty());
    let transports = Transports {
        udp: !on(file.no_udp),
        tcp: !on(file.no_tcp),
        tls: certified && !on(file.no_tls),
        dtls: certified && on(file.dtls) && DTLS_IS_BUILT,
        proxies: ranges("trusted-proxies", file.trusted_proxies.as_deref(), problems),
        idle_timeout: seconds(
            "max-allocate-timeout",
            file.max_allocate_timeout,
            1..=86400,
            problems,
        ),
        unallocated: UnallocatedLimits {
            clients: within(
                "max-idle-streams",
                file.max_idle_streams,
                1..=u32::MAX,
                problems,
            ),
            per_source: within(
                "max-idle-streams-per-ip",
                file.max_idle_streams_per_ip,
                1..=u32::MAX,
                problems,
            ),
            bytes: within(
                "max-idle-memory",
                file.max_idle_memory,
                LEAST_IDLE_MEMORY..=u32::MAX,
                problems,
            )
            .into(),
        },
        handshake_rate: file.handshake_rate.filter(|rate| *rate > 0),
    };
    let Transports { udp, tcp, .. } = transports;
    if on(file.dtls) && !DTLS_IS_BUILT {
        let remedy = "install turnd's package or image, or build it with --features dtls; \
                          or leave it out: no browser needs DTLS";
        let problem = "this program is built without DTLS";
        problems.wrong("dtls", None, problem, remedy);
    } else if on(file.dtls) && !wanted_files {
        let problem = "needs a certificate";
        problems.wrong("dtls", None, problem, "give cert and pkey, or leave it out");
    }
    let secure = wanted_files && (!on(file.no_tls) || on(file.dtls));
    if !(udp || tcp || secure) {
        let key = problems.given(&["no-udp", "no-tcp"]);
        let problem = "leaves no way for clients to come";
        problems.wrong(key, None, problem, "leave it out, or give cert and pkey");
    }
    transports
}

/// Certificates that a running server has.
#[derive(Clone, Copy)]
pub(super) enum InUse<'a> {
    /// No server runs.
    Nothing,
    /// They stay where the same files cannot be used now.
    IfUnusable(&'a Tls),
    /// They stay, whatever the files hold.
    Always(&'a Tls),
}

pub(super) fn check_tls(file: &FileConfig, in_use: InUse<'_>, problems: &mut Problems<'_>) -> Tls {
    let ciphers = ciphers(file.cipher_list.as_deref(), problems);
    let name = match &file.server_name {
        Some(name) => ("server-name", name.clone()),
        None => ("realm", file.realm.clone().unwrap_or_default()),
    };
    if let InUse::Always(running) = in_use {
        return Tls {
            ciphers,
            name,
            ..running.clone()
        };
    }
    let files = certificate_files(file, problems);
    let password = secret(
        "pkey-pwd",
        file.pkey_pwd.as_ref(),
        file.pkey_pwd_file.as_deref(),
        problems,
    );
    let mut tls = Tls {
        certificates: Vec::new(),
        unusable: None,
        files,
        password,
        ciphers,
        name,
    };
    let mut errors = Vec::new();
    for (n, pair) in tls.files.iter().enumerate() {
        match certificate::load(pair, tls.password.as_ref()) {
            Ok(certificate) => tls.certificates.push(certificate),
            Err(error) => errors.push((n, error)),
        }
    }
    match in_use {
        InUse::IfUnusable(running) if !errors.is_empty() && tls.has_files_of(running) => {
            let reasons: Vec<_> = errors.iter().map(|(_, error)| error.to_string()).collect();
            let reason = reasons.join("; ");
            problems.warn([certificate::kept(&reason)]);
            tls.certificates.clone_from(&running.certificates);
            tls.unusable = Some(reason);
        }
        _ if errors.is_empty() => problems.warn(tls.doubts()),
        _ => {
            for (n, error) in errors {
                let key = match error.part {
                    Part::Certificate => "cert",
                    Part::Key => "pkey",
                };
                problems.add(key, Some(n), error.problem);
            }
        }
    }
    tls
}

fn certificate_files(file: &FileConfig, problems: &mut Problems<'_>) -> Vec<CertificateFiles> {
    let certs = file.cert.as_deref().unwrap_or_default();
    let keys = file.pkey.as_deref().unwrap_or_default();
    if certs.len() != keys.len() {
        let (key, there, missing) = if certs.len() > keys.len() {
            ("cert", "cert", "pkey")
        } else {
            ("pkey", "pkey", "cert")
        };
        let problem = format!(
            "{} of {there}, but {} of {missing}",
            certs.len().max(keys.len()),
            certs.len().min(keys.len())
        );
        let remedy = format!("give as many {missing} as {there}, in the same order");
        problems.wrong(key, None, problem, remedy);
        return Vec::new();
    }
    let pairs = certs.iter().zip(keys);
    pairs
        .map(|(cert, key)| CertificateFiles {
            cert: PathBuf::from(cert),
            key: PathBuf::from(key),
        })
        .collect()
}

fn ciphers(list: Option<&str>, problems: &mut Problems<'_>) -> Vec<&'static str> {
    let Some(list) = list else {
        return CIPHERS.to_vec();
    };
    let mut ciphers = Vec::new();
    for name in list.split(':') {
        match CIPHERS.iter().find(|known| **known == name) {
            Some(known) => ciphers.push(*known),
            None => {
                let problem = format!("{} is not supported", shown(name));
                let remedy = format!("choose from {}", CIPHERS.join(":"));
                problems.wrong("cipher-list", None, problem, remedy);
            }
        }
    }
    ciphers
}
