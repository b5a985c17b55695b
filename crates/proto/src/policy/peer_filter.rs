//! Peers that a relay may reach.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub use super::ip_range::{IpRange, ParseRangeError, RangeProblem};
use crate::ip::{canonical_ip, canonical_socket};

/// The operator's lists of peers.
#[derive(Clone, Debug, Default)]
pub struct PeerRules {
    /// `allowed-peer-ip`.
    pub allowed: Vec<IpRange>,
    /// `denied-peer-ip`.
    pub denied: Vec<IpRange>,
    /// `allow-loopback-peers`.
    pub allow_loopback: bool,
}

/// Why a peer is refused, for logs and counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The most specific entry that matches is in `denied-peer-ip`.
    Listed,
    /// One of the server's own addresses.
    Own,
    /// Loopback.
    Loopback,
    /// The unspecified address and its network, which many systems take for loopback.
    Unspecified,
    /// Private, shared or unique local addresses.
    Private,
    /// Link-local, where cloud metadata services live.
    LinkLocal,
    /// Multicast.
    Multicast,
    /// Addresses that the registries set aside.
    Reserved,
    /// An IPv6 form that carries an IPv4 address.
    Embedded,
    /// A service that turnd itself offers or uses, its admin listener among them.
    Service,
}

impl Reason {
    /// The word for logs and metric labels.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listed => "listed",
            Self::Own => "own",
            Self::Loopback => "loopback",
            Self::Unspecified => "unspecified",
            Self::Private => "private",
            Self::LinkLocal => "link-local",
            Self::Multicast => "multicast",
            Self::Reserved => "reserved",
            Self::Embedded => "embedded-ipv4",
            Self::Service => "service",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denied {
    /// The configuration key with which an operator would admit the peer; `nothing`: there is none.
    pub option: &'static str,
    /// Cause of the refusal.
    pub reason: Reason,
}

impl Denied {
    /// The refusal of a transport address that no list opens.
    pub const NEVER: Self = Self {
        option: "nothing",
        reason: Reason::Service,
    };

    /// The refusal of one of this server's own addresses with a port that is no relay's.
    pub const NOT_RELAYED: Self = Self {
        option: "allowed-peer-ip",
        reason: Reason::Own,
    };

    fn by_default(reason: Reason) -> Self {
        Self {
            option: "allowed-peer-ip",
            reason,
        }
    }
}

/// Whether a peer may be reached.
pub type Verdict = Result<(), Denied>;

/// The peer policy: the operator's lists, the server's own addresses, then the defaults.
#[derive(Clone, Debug)]
pub struct PeerFilter {
    /// Most specific first; of equals, an allowed one first.
    listed: Vec<(IpRange, bool)>,
    allow_loopback: bool,
    own: Vec<IpAddr>,
    /// Transport addresses that are no peers whatever the lists say.
    never: Vec<SocketAddr>,
}

impl PeerFilter {
    /// The policy that `peers` describes, of a server without own addresses.
    #[must_use]
    pub fn new(peers: &PeerRules) -> Self {
        let allowed = peers.allowed.iter().map(|range| (*range, true));
        let denied = peers.denied.iter().map(|range| (*range, false));
        let mut listed: Vec<_> = allowed.chain(denied).collect();
        listed.sort_by_key(|(range, allow)| (range.span(), !allow));
        Self {
            listed,
            allow_loopback: peers.allow_loopback,
            own: Vec::new(),
            never: Vec::new(),
        }
    }

    /// Refuses these addresses of the server besides, public ones of a NAT included.
    #[must_use]
    pub fn with_own(mut self, own: &[IpAddr]) -> Self {
        self.own = own.iter().copied().map(canonical_ip).collect();
        self
    }

    /// Refuses services that no client may reach through a relay, whatever the lists say, at the
    /// addresses that they are bound to.
    ///
    /// A wildcard or loopback address stands for every own and every loopback address.
    #[must_use]
    pub fn with_never(mut self, never: &[SocketAddr]) -> Self {
        self.never = never.iter().copied().map(canonical_socket).collect();
        self
    }

    /// Whether some ports of `ip`, which [`Self::check`] admits, are never reached.
    #[must_use]
    pub fn has_never(&self, ip: IpAddr) -> bool {
        self.never
            .iter()
            .any(|service| self.leads_to(ip, service.ip()))
    }

    /// Whether what is sent to `peer` may come to one of the services of [`Self::with_never`].
    #[must_use]
    pub fn is_never(&self, peer: SocketAddr) -> bool {
        self.never
            .iter()
            .any(|service| service.port() == peer.port() && self.leads_to(peer.ip(), service.ip()))
    }

    /// Whether a packet for `ip` may come to a socket that is bound to `bound`.
    fn leads_to(&self, ip: IpAddr, bound: IpAddr) -> bool {
        let everywhere = bound.is_unspecified() || bound.is_loopback();
        let leads = |ip: IpAddr| bound == ip || everywhere && self.is_this_host(ip);
        let ip = canonical_ip(ip);
        leads(ip)
            || matches!(ip, IpAddr::V6(v6)
                if embedded_ipv4(v6).is_some_and(|inner| leads(inner.into())))
    }

    /// Whether packets for `ip` stay on this host.
    fn is_this_host(&self, ip: IpAddr) -> bool {
        let unspecified = matches!(default_refusal(ip), Some(Reason::Unspecified));
        ip.is_loopback() || unspecified || self.own.contains(&ip)
    }

    /// Whether a relay may send to `ip` and accept from it (RFC 8656 §21.2).
    ///
    /// An IPv4-mapped address is refused as such: pass it through [`canonical_ip`] first where
    /// D7 wants it served. Relays of this server are [`Reason::Own`] here, and the caller, who
    /// knows its relayed transport addresses, lets them through.
    ///
    /// # Errors
    /// The reason, and the key that would admit the peer.
    pub fn check(&self, ip: IpAddr) -> Verdict {
        self.judge(ip, self.allow_loopback)?;
        match ip {
            // Translators and tunnels deliver to the address inside, so that is judged too;
            // `allow-loopback-peers` means loopback itself and not the ways around to it.
            IpAddr::V6(v6) => {
                embedded_ipv4(v6).map_or(Ok(()), |inner| self.judge(IpAddr::V4(inner), false))
            }
            IpAddr::V4(_) => Ok(()),
        }
    }

    fn judge(&self, ip: IpAddr, allow_loopback: bool) -> Verdict {
        match self.listed.iter().find(|(range, _)| range.contains(ip)) {
            Some((_, true)) => return Ok(()),
            Some((_, false)) => {
                return Err(Denied {
                    option: "denied-peer-ip",
                    reason: Reason::Listed,
                });
            }
            None => {}
        }
        let loopback_option = Denied {
            option: "allow-loopback-peers",
            reason: Reason::Loopback,
        };
        if ip.is_loopback() && allow_loopback {
            Ok(())
        } else if self.own.contains(&ip) {
            let denied = if ip.is_loopback() {
                loopback_option
            } else {
                Denied::by_default(Reason::Own)
            };
            Err(Denied {
                reason: Reason::Own,
                ..denied
            })
        } else if ip.is_loopback() {
            Err(loopback_option)
        } else {
            default_refusal(ip).map_or(Ok(()), |reason| Err(Denied::by_default(reason)))
        }
    }
}

/// IPv4 networks that are refused by default, besides loopback.
const REFUSED_V4: &[(Ipv4Addr, u32, Reason)] = &[
    (Ipv4Addr::new(0, 0, 0, 0), 8, Reason::Unspecified),
    (Ipv4Addr::new(10, 0, 0, 0), 8, Reason::Private),
    (Ipv4Addr::new(100, 64, 0, 0), 10, Reason::Private),
    (Ipv4Addr::new(169, 254, 0, 0), 16, Reason::LinkLocal),
    (Ipv4Addr::new(172, 16, 0, 0), 12, Reason::Private),
    (Ipv4Addr::new(192, 0, 0, 0), 24, Reason::Reserved),
    (Ipv4Addr::new(192, 0, 2, 0), 24, Reason::Reserved),
    (Ipv4Addr::new(192, 31, 196, 0), 24, Reason::Reserved),
    (Ipv4Addr::new(192, 52, 193, 0), 24, Reason::Reserved),
    (Ipv4Addr::new(192, 88, 99, 0), 24, Reason::Reserved),
    (Ipv4Addr::new(192, 168, 0, 0), 16, Reason::Private),
    (Ipv4Addr::new(192, 175, 48, 0), 24, Reason::Reserved),
    (Ipv4Addr::new(198, 18, 0, 0), 15, Reason::Reserved),
    (Ipv4Addr::new(198, 51, 100, 0), 24, Reason::Reserved),
    (Ipv4Addr::new(203, 0, 113, 0), 24, Reason::Reserved),
    (Ipv4Addr::new(224, 0, 0, 0), 4, Reason::Multicast),
    (Ipv4Addr::new(240, 0, 0, 0), 4, Reason::Reserved),
];

const fn v6(a: u16, b: u16, c: u16, d: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0)
}

const MAPPED: Ipv6Addr = Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0);
const NAT64: Ipv6Addr = v6(0x64, 0xff9b, 0, 0);
const NAT64_LOCAL: Ipv6Addr = v6(0x64, 0xff9b, 1, 0);
const TEREDO: Ipv6Addr = v6(0x2001, 0, 0, 0);
const SIX_TO_FOUR: Ipv6Addr = v6(0x2002, 0, 0, 0);

/// IPv6 networks that are refused by default, besides loopback; the first that matches gives the reason.
const REFUSED_V6: &[(Ipv6Addr, u32, Reason)] = &[
    (Ipv6Addr::UNSPECIFIED, 128, Reason::Unspecified),
    (Ipv6Addr::UNSPECIFIED, 96, Reason::Embedded),
    (MAPPED, 96, Reason::Embedded),
    (NAT64, 96, Reason::Embedded),
    (NAT64_LOCAL, 48, Reason::Embedded),
    (v6(0x100, 0, 0, 0), 64, Reason::Reserved),
    (v6(0x100, 0, 0, 1), 64, Reason::Reserved),
    (TEREDO, 32, Reason::Embedded),
    (v6(0x2001, 0, 0, 0), 23, Reason::Reserved),
    (v6(0x2001, 0xdb8, 0, 0), 32, Reason::Reserved),
    (SIX_TO_FOUR, 16, Reason::Embedded),
    (v6(0x2620, 0x4f, 0x8000, 0), 48, Reason::Reserved),
    (v6(0x3fff, 0, 0, 0), 20, Reason::Reserved),
    (v6(0x5f00, 0, 0, 0), 16, Reason::Reserved),
    (v6(0xfc00, 0, 0, 0), 7, Reason::Private),
    (v6(0xfec0, 0, 0, 0), 10, Reason::Private),
    (v6(0xfe80, 0, 0, 0), 10, Reason::LinkLocal),
    (v6(0xff00, 0, 0, 0), 8, Reason::Multicast),
];

fn default_refusal(ip: IpAddr) -> Option<Reason> {
    match ip {
        IpAddr::V4(ip) => REFUSED_V4
            .iter()
            .find(|(net, len, _)| (u32::from(ip) ^ u32::from(*net)) >> (32 - len) == 0)
            .map(|(_, _, reason)| *reason),
        IpAddr::V6(ip) => REFUSED_V6
            .iter()
            .find(|(net, len, _)| in_v6(ip, *net, *len))
            .map(|(_, _, reason)| *reason),
    }
}

fn in_v6(ip: Ipv6Addr, net: Ipv6Addr, len: u32) -> bool {
    (u128::from(ip) ^ u128::from(net)) >> (128 - len) == 0
}

/// The IPv4 address to which a packet for `ip` may end up being delivered.
fn embedded_ipv4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let o = ip.octets();
    let tail = Ipv4Addr::new(o[12], o[13], o[14], o[15]);
    if in_v6(ip, SIX_TO_FOUR, 16) {
        // RFC 3056 §2
        Some(Ipv4Addr::new(o[2], o[3], o[4], o[5]))
    } else if in_v6(ip, TEREDO, 32) {
        // RFC 4380 §4: the client's address, every bit inverted.
        Some(Ipv4Addr::from(!u32::from(tail)))
    } else if in_v6(ip, NAT64, 96) || in_v6(ip, NAT64_LOCAL, 48) || in_v6(ip, MAPPED, 96) {
        // RFC 6052 §2.2; the local prefix (RFC 8215) is read as the /96 networks cut from it.
        Some(tail)
    } else if in_v6(ip, Ipv6Addr::UNSPECIFIED, 96) && !ip.is_unspecified() && !ip.is_loopback() {
        // RFC 4291 §2.5.5.1
        Some(tail)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
