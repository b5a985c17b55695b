//! Handshakes of TLS and DTLS that fail, as log and metrics tell them.

use rustls::{AlertDescription, Error, PeerIncompatible};

/// A handshake that has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: Reason,
    /// The client's own word for it; `None`: it sent no alert.
    pub(super) alert: Option<AlertDescription>,
}

/// Reason why a handshake fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub(super) enum Reason {
    UnknownCa,
    CertificateExpired,
    BadCertificate,
    CertificateUnknown,
    ProtocolVersion,
    NoSharedCipher,
    NoCertificate,
    Http,
    PlainStun,
    NotTls,
    GaveUp,
    ProtocolError,
    CutOff,
    TimedOut,
    /// `handshake-rate`.
    Rate,
    /// Another client needed the place: `max-idle-streams` and its kin.
    Displaced,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub(super) const ALL: [Self; 16] = [
        Self::UnknownCa,
        Self::CertificateExpired,
        Self::BadCertificate,
        Self::CertificateUnknown,
        Self::ProtocolVersion,
        Self::NoSharedCipher,
        Self::NoCertificate,
        Self::Http,
        Self::PlainStun,
        Self::NotTls,
        Self::GaveUp,
        Self::ProtocolError,
        Self::CutOff,
        Self::TimedOut,
        Self::Rate,
        Self::Displaced,
    ];

    /// The word for metric labels and the log.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::UnknownCa => "unknown-ca",
            Self::CertificateExpired => "certificate-expired",
            Self::BadCertificate => "bad-certificate",
            Self::CertificateUnknown => "certificate-unknown",
            Self::ProtocolVersion => "protocol-version",
            Self::NoSharedCipher => "no-shared-cipher",
            Self::NoCertificate => "no-certificate",
            Self::Http => "http",
            Self::PlainStun => "plain-stun",
            Self::NotTls => "not-tls",
            Self::GaveUp => "gave-up",
            Self::ProtocolError => "protocol-error",
            Self::CutOff => "cut-off",
            Self::TimedOut => "timed-out",
            Self::Rate => "handshake-rate",
            Self::Displaced => "too-many-streams",
        }
    }

    /// The explanation for operators.
    pub(super) const fn explanation(self) -> &'static str {
        match self {
            Self::UnknownCa => {
                "the client does not trust the certificate: it is self-signed, its chain is not complete (fullchain.pem), or the client does not know its authority"
            }
            Self::CertificateExpired => {
                "the client does not trust the certificate: its time is over, or the client's clock is wrong"
            }
            Self::BadCertificate => {
                "the client does not trust the certificate: it is for another name, damaged, or not signed by the authority that it names"
            }
            Self::CertificateUnknown => {
                "the client does not trust the certificate, and does not say why: look at its names, chain and dates"
            }
            Self::ProtocolVersion => {
                "client and server have no version in common: it takes TLS 1.2 or 1.3"
            }
            Self::NoSharedCipher => {
                "client and server have no cipher, group or signature in common; cipher-list and the certificate's key decide"
            }
            Self::NoCertificate => {
                "the client speaks TLS, which is not served: that takes cert and pkey, and no no-tls"
            }
            Self::Http => "the client speaks HTTP: this is no web server",
            Self::PlainStun => "the client speaks STUN without TLS, which no-tcp refuses",
            Self::NotTls => "the client speaks neither TLS nor STUN",
            Self::GaveUp => "the client has given up, with this alert",
            Self::ProtocolError => "the client does not keep to the protocol",
            Self::CutOff => {
                "the client has left in the middle, as some do that do not trust the certificate"
            }
            Self::TimedOut => "the client did not go on with it in time",
            Self::Rate => "its network begins more handshakes than handshake-rate allows",
            Self::Displaced => {
                "another client needed its place (max-idle-streams, max-idle-memory)"
            }
        }
    }

    /// Whether the client has refused the certificate, which the operator can most likely cure.
    pub(super) fn blames_certificate(self) -> bool {
        matches!(
            self,
            Self::UnknownCa
                | Self::CertificateExpired
                | Self::BadCertificate
                | Self::CertificateUnknown
        )
    }
}

impl Failure {
    /// A failure that the client has sent this alert about.
    pub(super) fn by_alert(alert: AlertDescription) -> Self {
        let reason = match alert {
            AlertDescription::UnknownCA => Reason::UnknownCa,
            AlertDescription::CertificateExpired => Reason::CertificateExpired,
            // The second: a signature is wrong, as under an authority of the same name.
            AlertDescription::BadCertificate | AlertDescription::DecryptError => {
                Reason::BadCertificate
            }
            AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::BadCertificateStatusResponse => Reason::CertificateUnknown,
            AlertDescription::ProtocolVersion | AlertDescription::InappropriateFallback => {
                Reason::ProtocolVersion
            }
            AlertDescription::HandshakeFailure | AlertDescription::InsufficientSecurity => {
                Reason::NoSharedCipher
            }
            _ => Reason::GaveUp,
        };
        Self {
            reason,
            alert: Some(alert),
        }
    }

    /// The failure behind an error of a handshake.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::AlertReceived(alert) => Self::by_alert(*alert),
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired
                // It came with TLS 1.2, and rustls looks for it first.
                | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
            ) => Reason::ProtocolVersion.into(),
            // No certificate fits the signatures that the client knows.
            Error::PeerIncompatible(_) | Error::General(_) => Reason::NoSharedCipher.into(),
            _ => Reason::ProtocolError.into(),
        }
    }
}

impl From<Reason> for Failure {
    fn from(reason: Reason) -> Self {
        Self {
            reason,
            alert: None,
        }
    }
}

/// Whether bytes are the start of an HTTP request.
pub(super) fn is_http(bytes: &[u8]) -> bool {
    const METHODS: [&[u8]; 8] = [
        b"GET ",
        b"HEAD ",
        b"POST ",
        b"PUT ",
        b"DELETE ",
        b"OPTIONS ",
        b"CONNECT ",
        // HTTP/2 without TLS.
        b"PRI ",
    ];
    METHODS.iter().any(|method| bytes.starts_with(method))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_stand_in_the_order_of_their_numbers_with_a_word_each() {
        let mut words = Vec::new();
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
            words.push(reason.as_str());
        }
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reason::ALL.len());
    }

    #[test]
    fn errors_have_reasons() {
        let reason = |error: Error| Failure::of(&error).reason;
        let alert = |alert| reason(Error::AlertReceived(alert));
        assert_eq!(alert(AlertDescription::UnknownCA), Reason::UnknownCa);
        assert_eq!(
            alert(AlertDescription::BadCertificate),
            Reason::BadCertificate
        );
        assert_eq!(
            alert(AlertDescription::CertificateExpired),
            Reason::CertificateExpired
        );
        // Chromium has this for all.
        assert_eq!(
            alert(AlertDescription::CertificateUnknown),
            Reason::CertificateUnknown
        );
        assert_eq!(alert(AlertDescription::UserCanceled), Reason::GaveUp);
        assert_eq!(
            reason(PeerIncompatible::Tls12NotOffered.into()),
            Reason::ProtocolVersion
        );
        assert_eq!(
            reason(PeerIncompatible::NoCipherSuitesInCommon.into()),
            Reason::NoSharedCipher
        );
        assert_eq!(reason(Error::DecryptError), Reason::ProtocolError);
    }

    #[test]
    fn http_is_told_from_other_bytes() {
        assert!(is_http(b"GET / HTTP/1.1\r\n"));
        assert!(!is_http(b"GET"));
        assert!(!is_http(&[0, 1, 0, 0]));
    }
}
