//! Checks of single values: ports, addresses, ranges, numbers and choices.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::shown;
use super::problems::Problems;
use turnd_proto::policy::peer_filter::{IpRange, ParseRangeError};

pub(super) fn port(key: &str, port: Option<u16>, problems: &mut Problems<'_>) -> u16 {
    let port = port.unwrap_or_default();
    if port == 0 {
        problems.wrong(key, None, "0 is not a port", "choose one from 1 to 65535");
    }
    port
}

/// A list of addresses of this machine.
pub(super) fn addresses(
    key: &str,
    texts: Option<&[String]>,
    problems: &mut Problems<'_>,
) -> Vec<IpAddr> {
    let mut ips = Vec::new();
    for (n, text) in texts.unwrap_or_default().iter().enumerate() {
        match text.parse::<IpAddr>() {
            Ok(ip) if ips.contains(&ip) => {
                problems.wrong(key, Some(n), format!("{ip} is given twice"), "remove one");
            }
            Ok(ip) if ip.is_multicast() => {
                let problem = format!("{ip} is a multicast address");
                problems.wrong(key, Some(n), problem, "name an address of this machine");
            }
            Ok(ip) => ips.push(ip),
            Err(_) => {
                let problem = format!("{} is not an IP address", shown(text));
                let remedy = "write it without port or prefix, as 192.0.2.1 or 2001:db8::1";
                problems.wrong(key, Some(n), problem, remedy);
            }
        }
    }
    ips
}

pub(super) fn ranges(
    key: &str,
    texts: Option<&[String]>,
    problems: &mut Problems<'_>,
) -> Vec<IpRange> {
    let mut ranges = Vec::new();
    for (n, text) in texts.unwrap_or_default().iter().enumerate() {
        match text.parse() {
            Ok(range) => ranges.push(range),
            Err(error) => {
                // The error names the text, whole, and a remedy.
                let error: ParseRangeError = error;
                let error = error.to_string();
                let reason = error.strip_prefix(&format!("{text:?}: ")).unwrap_or(&error);
                let reason = reason.split("; ").next().unwrap_or(reason);
                let problem = format!("{}: {reason}", shown(text));
                let remedy =
                    "write an address, a block as 10.0.0.0/8, or a range as 10.0.0.1-10.0.0.9";
                problems.wrong(key, Some(n), problem, remedy);
            }
        }
    }
    ranges
}

pub(super) fn seconds(
    key: &str,
    value: Option<u32>,
    range: RangeInclusive<u32>,
    problems: &mut Problems<'_>,
) -> Duration {
    Duration::from_secs(within(key, value, range, problems).into())
}

pub(super) fn count(
    key: &str,
    value: Option<u32>,
    range: RangeInclusive<u32>,
    problems: &mut Problems<'_>,
) -> usize {
    usize::try_from(within(key, value, range, problems)).unwrap_or(usize::MAX)
}

pub(super) fn within(
    key: &str,
    value: Option<u32>,
    range: RangeInclusive<u32>,
    problems: &mut Problems<'_>,
) -> u32 {
    let value = value.unwrap_or_default();
    let (low, high) = (range.start(), range.end());
    if value < *low {
        let problem = format!("{value} is below {low}");
        problems.wrong(key, None, problem, format!("write {low} or more"));
    } else if value > *high {
        let problem = format!("{value} is above {high}");
        problems.wrong(key, None, problem, format!("write {high} or less"));
    }
    value
}

pub(super) fn one_of<T: Copy>(
    key: &str,
    text: Option<&str>,
    choices: &[(&str, T)],
    otherwise: T,
    problems: &mut Problems<'_>,
) -> T {
    let text = text.unwrap_or_default();
    if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
        return *choice;
    }
    let names: Vec<_> = choices
        .iter()
        .map(|(name, _)| format!("\"{name}\""))
        .collect();
    let problem = format!("{} is not known", shown(text));
    problems.wrong(key, None, problem, format!("write {}", names.join(" or ")));
    otherwise
}

/// Whether a switch is on.
pub(super) fn on(switch: Option<bool>) -> bool {
    switch.unwrap_or_default()
}
