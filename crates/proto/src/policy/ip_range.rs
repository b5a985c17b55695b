//! Address ranges as operators write them.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;

use crate::ip::canonical_ip;

/// An inclusive range of addresses of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpRange {
    first: IpAddr,
    last: IpAddr,
}

impl IpRange {
    /// The range from `first` to `last`, both included.
    ///
    /// # Errors
    /// When the two are of different families or in the wrong order.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self, RangeProblem> {
        let (first, last) = (canonical_ip(first), canonical_ip(last));
        if first.is_ipv4() != last.is_ipv4() {
            Err(RangeProblem::MixedFamilies)
        } else if first > last {
            Err(RangeProblem::Reversed)
        } else {
            Ok(Self { first, last })
        }
    }

    /// The first address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.first
    }

    /// The last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        self.last
    }

    /// Whether `ip` lies in the range; an address of the other family never does.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        // `IpAddr` orders IPv4 before IPv6, so a comparison across families excludes itself.
        self.first <= ip && ip <= self.last
    }

    /// The number of addresses less one (`::/0` would not fit otherwise); smaller is more specific.
    #[must_use]
    pub fn span(&self) -> u128 {
        number(self.last) - number(self.first)
    }
}

/// The address as a number; both families count from zero.
fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            return write!(f, "{}", self.first);
        }
        let bits = if self.first.is_ipv4() { 32 } else { 128 };
        // The bits in which the ends differ are the host part, if this is a network at all.
        let host_bits = 128 - (number(self.first) ^ number(self.last)).leading_zeros();
        let network = u8::try_from(bits - host_bits)
            .ok()
            .and_then(|len| IpNet::new(self.first, len).ok())
            .filter(|net| net.network() == self.first && net.broadcast() == self.last);
        match network {
            Some(net) => write!(f, "{net}"),
            None => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl FromStr for IpRange {
    type Err = ParseRangeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text.trim()).map_err(|problem| ParseRangeError {
            text: text.to_owned(),
            problem,
        })
    }
}

fn parse(text: &str) -> Result<IpRange, RangeProblem> {
    if let Some((first, last)) = text.split_once('-') {
        return IpRange::new(address(first)?, address(last)?);
    }
    let Some((base, len)) = text.split_once('/') else {
        let ip = address(text)?;
        return IpRange::new(ip, ip);
    };
    let base = address(base)?;
    // `parse` alone would take a sign.
    let len = Some(len.trim())
        .filter(|len| !len.is_empty() && len.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|len| len.parse().ok())
        .ok_or(RangeProblem::PrefixLength)?;
    let net = IpNet::new(base, len).map_err(|_| RangeProblem::PrefixLength)?;
    IpRange::new(net.network(), net.broadcast())
}

fn address(text: &str) -> Result<IpAddr, RangeProblem> {
    text.trim().parse().map_err(|_| RangeProblem::Address)
}

/// Why a text is no address range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseRangeError {
    text: String,
    problem: RangeProblem,
}

/// Fault of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RangeProblem {
    /// An address does not parse.
    Address,
    /// The prefix length does not parse, or is too long for the family.
    PrefixLength,
    /// The first address is IPv4 and the last IPv6, or the other way round.
    MixedFamilies,
    /// The first address comes after the last.
    Reversed,
}

impl fmt::Display for RangeProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => {
                "not an address; write an address (192.0.2.1), a network (192.0.2.0/24) or a range \
                 (192.0.2.1-192.0.2.9)"
            }
            Self::PrefixLength => {
                "the number after `/` must be 0 to 32 for IPv4, 0 to 128 for IPv6"
            }
            Self::MixedFamilies => "one end is IPv4 and the other IPv6; write one range for each",
            Self::Reversed => "the first address comes after the last; swap them",
        })
    }
}

impl fmt::Display for ParseRangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.text, self.problem)
    }
}

impl std::error::Error for RangeProblem {}
impl std::error::Error for ParseRangeError {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn range(text: &str) -> IpRange {
        text.parse().unwrap()
    }

    #[test]
    fn every_spelling_reads_and_is_written_back_in_its_shortest_form() {
        for (text, shown) in [
            ("192.0.2.1", "192.0.2.1"),
            ("192.0.2.77/24", "192.0.2.0/24"),
            (" 192.0.2.0 - 192.0.2.255 ", "192.0.2.0/24"),
            ("192.0.2.1-192.0.2.9", "192.0.2.1-192.0.2.9"),
            ("192.0.2.1-192.0.2.4", "192.0.2.1-192.0.2.4"),
            ("192.0.2.1/32", "192.0.2.1"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("::/0", "::/0"),
            ("2001:db8::1", "2001:db8::1"),
            ("2001:db8::1/32", "2001:db8::/32"),
            ("2001:db8::1-2001:db8::ffff", "2001:db8::1-2001:db8::ffff"),
        ] {
            assert_eq!(range(text).to_string(), shown, "{text}");
        }
    }

    #[test]
    fn d7_a_mapped_range_is_the_ipv4_range() {
        assert_eq!(range("::ffff:10.1.2.3"), range("10.1.2.3"));
        assert_eq!(range("::ffff:10.0.0.0/104"), range("10.0.0.0/8"));
        assert_eq!(
            range("::ffff:10.0.0.1-10.0.0.2"),
            range("10.0.0.1-10.0.0.2")
        );
    }

    #[test]
    fn rubbish_is_refused_with_a_remedy() {
        use RangeProblem::*;
        for (text, problem) in [
            ("", Address),
            ("example.org", Address),
            ("10.0.0.256", Address),
            ("10.0.0.0/8/8", PrefixLength),
            ("10.0.0.0/33", PrefixLength),
            ("10.0.0.0/+8", PrefixLength),
            ("10.0.0.0/", PrefixLength),
            ("::1/129", PrefixLength),
            ("10.0.0.1-", Address),
            ("10.0.0.1-::1", MixedFamilies),
            ("10.0.0.2-10.0.0.1", Reversed),
            ("fe80::1%eth0", Address),
        ] {
            let error = text.parse::<IpRange>().unwrap_err();
            assert_eq!(error.problem, problem, "{text}");
            assert!(error.to_string().starts_with(&format!("{text:?}: ")));
        }
    }

    #[test]
    fn ipv6_ranges_compare_as_numbers_not_byte_by_byte() {
        // security.md: a per-byte comparison takes 2001:db8::ff:1 for outside of this range.
        let r = range("2001:db8::1:2-2001:db8::2:1");
        assert!(r.contains("2001:db8::1:ff".parse().unwrap()));
        assert!(!r.contains("2001:db8::1:1".parse().unwrap()));
        assert!(!r.contains("2001:db8::2:2".parse().unwrap()));
    }

    #[test]
    fn families_do_not_mix() {
        assert!(!range("::/0").contains("10.0.0.1".parse().unwrap()));
        assert!(!range("0.0.0.0/0").contains("::1".parse().unwrap()));
        assert_eq!(range("::/0").span(), u128::MAX);
        assert_eq!(range("0.0.0.0/0").span(), u128::from(u32::MAX));
    }

    proptest! {
        #[test]
        fn display_reads_back(a: u128, b: u128, v4: bool) {
            let ip = |n: u128| -> IpAddr {
                if v4 { IpAddr::V4((n as u32).into()) } else { IpAddr::V6(n.into()) }
            };
            let (a, b) = (canonical_ip(ip(a)), canonical_ip(ip(b)));
            prop_assume!(a.is_ipv4() == b.is_ipv4());
            let range = IpRange::new(a.min(b), a.max(b)).unwrap();
            prop_assert_eq!(range.to_string().parse::<IpRange>().unwrap(), range);
        }

        #[test]
        fn no_text_panics(text in "[0-9a-f:./ -]{0,40}|.{0,20}") {
            let _ = text.parse::<IpRange>();
        }
    }
}
