//! The results.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use crate::Oddity;

/// Choice of the public port for a local one (RFC 4787 §4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The same towards everyone; also where nothing is translated.
    EndpointIndependent,
    /// Another one for each address.
    AddressDependent,
    /// Another one for each address and port.
    AddressAndPortDependent,
    /// One of the last two; two plain servers cannot tell which.
    Dependent,
}

impl Mapping {
    /// The name, as RFC 4787 has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
            Self::Dependent => "endpoint-dependent",
        }
    }
}

/// Senders whose packets are let in to a port that has sent to someone (RFC 4787 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filtering {
    /// Everyone.
    EndpointIndependent,
    /// Every port of an address that the port has sent to.
    AddressDependent,
    /// The very address and port that the port has sent to.
    AddressAndPortDependent,
}

impl Filtering {
    /// The name, as RFC 4787 has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::EndpointIndependent => "endpoint-independent",
            Self::AddressDependent => "address-dependent",
            Self::AddressAndPortDependent => "address-and-port-dependent",
        }
    }
}

/// Lifetime of a mapping without traffic, as far as it was watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Longest time after which the mapping was alive.
    pub alive: Duration,
    /// Shortest time after which the mapping was gone; `None`: never seen gone.
    pub gone: Option<Duration>,
}

/// The names of RFC 3489 §5, which people know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Classic {
    /// No UDP at all.
    UdpBlocked,
    /// Neither NAT nor filter.
    OpenInternet,
    /// No NAT, but only answers from addresses that were sent to come in.
    SymmetricFirewall,
    /// Endpoint-independent mapping and filtering.
    FullCone,
    /// Endpoint-independent mapping, address-dependent filtering.
    RestrictedCone,
    /// Endpoint-independent mapping, address- and port-dependent filtering.
    PortRestrictedCone,
    /// Any other mapping.
    Symmetric,
}

impl Classic {
    /// The name.
    pub fn name(self) -> &'static str {
        match self {
            Self::UdpBlocked => "UDP blocked",
            Self::OpenInternet => "open internet",
            Self::SymmetricFirewall => "symmetric firewall",
            Self::FullCone => "full cone",
            Self::RestrictedCone => "restricted cone",
            Self::PortRestrictedCone => "port-restricted cone",
            Self::Symmetric => "symmetric",
        }
    }
}

/// Reason why something could not be learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// No answer from the server.
    Silent(SocketAddr, Option<Oddity>),
    /// No answer from the server over TCP.
    SilentOverTcp(SocketAddr),
    /// The server answered with this error.
    Refused(SocketAddr, u16),
    /// The server has no second address to answer from.
    NoOtherAddress,
    /// No answer from the second address.
    OtherSilent(SocketAddr),
    /// The server does not do what the test needs.
    NotSupported(&'static str),
    /// No NAT is there, so nothing can be learned of it.
    NotTranslated,
    /// The user has not asked for it.
    NotAsked,
    /// The time was up.
    OutOfTime,
    /// The network of this host failed.
    Local(std::io::ErrorKind),
}

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Silent(server, None) => write!(
                f,
                "no answer from {server}: UDP is blocked, or no STUN server is there"
            ),
            Self::SilentOverTcp(server) => write!(
                f,
                "no answer from {server} over TCP: a firewall drops it, or the server has no TCP"
            ),
            Self::Silent(server, Some(oddity)) => write!(f, "no answer from {server}; {oddity}"),
            Self::Refused(server, code) => write!(f, "{server} refused with error {code}"),
            Self::NoOtherAddress => f.write_str(
                "the server has no second address (rfc5780), name one that has, or a second server for the mapping",
            ),
            Self::OtherSilent(other) => write!(
                f,
                "the server names {other} as its second address, but no answer comes from there"
            ),
            Self::NotSupported(what) => write!(f, "the server does not support {what}"),
            Self::NotTranslated => f.write_str("there is no NAT"),
            Self::NotAsked => f.write_str("not measured"),
            Self::OutOfTime => f.write_str("the time was up"),
            Self::Local(kind) => write!(f, "this host's network failed: {kind}"),
        }
    }
}

impl std::error::Error for Unknown {}

/// A result, or the reason why there is none.
pub type Learned<T> = Result<T, Unknown>;

/// All results of one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Server that was asked.
    pub server: SocketAddr,
    /// Local address.
    pub local: Option<SocketAddr>,
    /// Public address: the client's address as the server saw it.
    pub mapped: Learned<SocketAddr>,
    /// The mapping of UDP ports.
    pub mapping: Learned<Mapping>,
    /// Filtering of packets to UDP ports.
    pub filtering: Learned<Filtering>,
    /// Whether two hosts behind the NAT reach each other by their public addresses.
    pub hairpinning: Learned<bool>,
    /// Lifetime of a UDP mapping without traffic.
    pub lifetime: Learned<Lifetime>,
    /// Whether the public port is the local one.
    pub port_preservation: Learned<bool>,
    /// Whether something rewrites addresses inside packets (RFC 5780 §3.6).
    pub alg: Learned<bool>,
    /// The mapping of TCP ports.
    pub tcp_mapping: Learned<Mapping>,
}

impl Report {
    /// A report in which nothing is known for this reason.
    pub fn unknown(server: SocketAddr, why: Unknown) -> Self {
        Self {
            server,
            local: None,
            mapped: Err(why),
            mapping: Err(why),
            filtering: Err(why),
            hairpinning: Err(why),
            lifetime: Err(why),
            port_preservation: Err(why),
            alg: Err(why),
            tcp_mapping: Err(why),
        }
    }

    /// Whether the server saw another address than this host has.
    pub fn translated(&self) -> Option<bool> {
        Some(self.mapped.ok()? != self.local?)
    }

    /// The RFC 3489 name; `None` when not enough is known for one.
    pub fn classic(&self) -> Option<Classic> {
        if let Err(Unknown::Silent(_, None)) = self.mapped {
            return Some(Classic::UdpBlocked);
        }
        let open = |filtering| filtering == Filtering::EndpointIndependent;
        if !self.translated()? {
            return Some(if open(self.filtering.ok()?) {
                Classic::OpenInternet
            } else {
                Classic::SymmetricFirewall
            });
        }
        Some(match self.mapping.ok()? {
            Mapping::EndpointIndependent => match self.filtering.ok()? {
                Filtering::EndpointIndependent => Classic::FullCone,
                Filtering::AddressDependent => Classic::RestrictedCone,
                Filtering::AddressAndPortDependent => Classic::PortRestrictedCone,
            },
            _ => Classic::Symmetric,
        })
    }

    /// The meaning for WebRTC: whether peers connect directly, or TURN is needed.
    pub fn meaning(&self) -> &'static str {
        use Filtering as F;
        match (
            &self.mapped,
            self.translated(),
            &self.mapping,
            &self.filtering,
        ) {
            (Err(Unknown::Silent(_, None)), ..) => {
                "No UDP gets through to the server: if that is so with other servers too, calls need a TURN server over TCP or TLS."
            }
            (Err(_), ..) => "Nothing can be said: the server gave no answer that can be used.",
            (_, Some(false), _, Ok(F::EndpointIndependent)) => {
                "Peers connect directly, no TURN server is needed on this side."
            }
            (_, _, Ok(Mapping::EndpointIndependent), Ok(F::AddressAndPortDependent)) => {
                "Peers connect directly, except those behind a symmetric NAT: with them a TURN server is needed."
            }
            (_, _, Ok(Mapping::EndpointIndependent), Ok(_)) => {
                "Peers connect directly, also those behind a symmetric NAT."
            }
            (_, _, Ok(Mapping::EndpointIndependent), Err(_)) => {
                "Most peers connect directly; a TURN server may be needed with those behind a symmetric NAT."
            }
            (_, _, Ok(_), _) => {
                "Each peer sees another port: many connect only through a TURN server."
            }
            (_, _, Err(_), _) => {
                "UDP gets through, but how the NAT picks ports is not known: have a TURN server ready."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(
        translated: bool,
        mapping: Learned<Mapping>,
        filtering: Learned<Filtering>,
    ) -> Report {
        let local = SocketAddr::from(([10, 0, 0, 1], 1));
        let public = SocketAddr::from(([192, 0, 2, 1], 1));
        Report {
            local: Some(local),
            mapped: Ok(if translated { public } else { local }),
            mapping,
            filtering,
            ..Report::unknown(public, Unknown::NotAsked)
        }
    }

    #[test]
    fn n8_the_seven_names() {
        use Classic as C;
        use Filtering as F;
        use Mapping as M;
        let server = SocketAddr::from(([192, 0, 2, 1], 3478));
        let blocked = Report::unknown(server, Unknown::Silent(server, None));
        assert_eq!(blocked.classic(), Some(C::UdpBlocked));
        let odd = Unknown::Silent(server, Some(Oddity::NotStun));
        assert_eq!(Report::unknown(server, odd).classic(), None);
        for (translated, mapping, filtering, name) in [
            (
                false,
                M::EndpointIndependent,
                F::EndpointIndependent,
                C::OpenInternet,
            ),
            (
                false,
                M::EndpointIndependent,
                F::AddressDependent,
                C::SymmetricFirewall,
            ),
            (
                false,
                M::EndpointIndependent,
                F::AddressAndPortDependent,
                C::SymmetricFirewall,
            ),
            (
                true,
                M::EndpointIndependent,
                F::EndpointIndependent,
                C::FullCone,
            ),
            (
                true,
                M::EndpointIndependent,
                F::AddressDependent,
                C::RestrictedCone,
            ),
            (
                true,
                M::EndpointIndependent,
                F::AddressAndPortDependent,
                C::PortRestrictedCone,
            ),
            (
                true,
                M::AddressDependent,
                F::EndpointIndependent,
                C::Symmetric,
            ),
            (
                true,
                M::AddressAndPortDependent,
                F::AddressAndPortDependent,
                C::Symmetric,
            ),
            (true, M::Dependent, F::AddressDependent, C::Symmetric),
        ] {
            assert_eq!(
                report(translated, Ok(mapping), Ok(filtering)).classic(),
                Some(name)
            );
        }
        let unknown = Err(Unknown::NoOtherAddress);
        assert_eq!(
            report(true, Ok(M::Dependent), unknown).classic(),
            Some(C::Symmetric)
        );
        let unknown = Err(Unknown::NoOtherAddress);
        assert_eq!(
            report(true, Ok(M::EndpointIndependent), unknown).classic(),
            None
        );
    }
}
