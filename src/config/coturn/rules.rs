//! Options that become more than a key of another name.

use std::net::IpAddr;
use std::num::NonZeroUsize;

use super::rule::{Given, Outcome, Value, Verdict};
use crate::config::error::shown;
use crate::config::transports::CIPHERS;

/// A switch as coturn reads one: without a value it is on.
pub(super) fn switch(value: Option<&str>) -> Result<bool, String> {
    let value = value.unwrap_or("on").to_lowercase();
    match value.chars().next() {
        Some('1'..='9' | 'y' | 't') => Ok(true),
        Some('0' | 'n' | 'f') => Ok(false),
        _ if value == "on" => Ok(true),
        _ if value == "off" => Ok(false),
        _ => Err("is neither on nor off".to_owned()),
    }
}

/// A number as coturn reads one: what follows the digits is ignored.
pub(super) fn number(value: Option<&str>, most: u64) -> Result<u64, String> {
    let value = value.unwrap_or_default().trim();
    let end = value
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(value.len());
    match value[..end].parse::<u64>() {
        Ok(number) if number <= most => Ok(number),
        Ok(_) => Err(format!("is above {most}")),
        Err(_) if end > 0 => Err(format!("is above {most}")),
        Err(_) => Err("is not a number".to_owned()),
    }
}

fn kept(key: &'static str, value: Value) -> Outcome {
    Outcome::Set(key, value, Verdict::Kept, String::new())
}

fn mapped(key: &'static str, value: Value, text: impl Into<String>) -> Outcome {
    Outcome::Set(key, value, Verdict::Mapped, text.into())
}

pub(super) fn nothing(why: impl Into<String>) -> Outcome {
    Outcome::Drop(Verdict::WithoutEffect, why.into())
}

pub(super) fn refused(why: impl Into<String>) -> Outcome {
    Outcome::Drop(Verdict::NotSupported, why.into())
}

pub(super) fn relay_threads(given: &Given) -> Outcome {
    const KEY: &str = "relay-threads";
    let cpus = std::thread::available_parallelism().map_or(1, NonZeroUsize::get) as u64;
    match number(given.value.as_deref(), u32::MAX.into()) {
        Ok(0) => mapped(KEY, Value::Number(1), "1: here 0 is one per CPU"),
        Ok(threads) if threads > cpus => {
            let text = format!(
                "0, one per CPU: {threads} threads on {cpus} CPUs only get in each other's way"
            );
            mapped(KEY, Value::Number(0), text)
        }
        Ok(threads) => kept(KEY, Value::Number(threads)),
        Err(problem) => refused(problem),
    }
}

pub(super) fn relay_ip(given: &Given) -> Outcome {
    let text = given.value.clone().unwrap_or_default();
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() => {
            nothing("without relay-ip a relay has the address that the client reached")
        }
        _ => kept("relay-ip", Value::Text(text)),
    }
}

/// The script of coturn's image, which a shell runs where the option is written.
const DETECT: &str = "detect-external-ip";

fn public_and_private(text: &str) -> (&str, Option<&str>) {
    match text.rsplit_once('/') {
        Some((public, private)) if private.parse::<IpAddr>().is_ok() => (public, Some(private)),
        _ => (text, None),
    }
}

/// Whether the public address of an `external-ip` is found by that script.
pub(super) fn is_detected(text: &str) -> bool {
    let (public, _) = public_and_private(text);
    let inside = |open, close| public.strip_prefix(open)?.strip_suffix(close);
    let commands = [inside("$(", ")"), inside("`", "`")];
    let detects = |text: &str| text.split_whitespace().next() == Some(DETECT);
    commands.into_iter().flatten().any(detects)
}

pub(super) fn external_ip(given: &Given) -> Outcome {
    const KEY: &str = "external-ip";
    let text = given.value.clone().unwrap_or_default();
    let (public, private) = public_and_private(&text);
    if !is_detected(&text) && !public.eq_ignore_ascii_case("auto") {
        return kept(KEY, Value::Text(text));
    }
    let auto = match private {
        Some(private) => format!("auto/{private}"),
        None => "auto".to_owned(),
    };
    let text = "\"auto\", which asks the cloud; outside one name a STUN server in external-ip-stun";
    mapped(KEY, Value::Text(auto), text)
}

pub(super) fn keep_address_family(given: &Given) -> Outcome {
    const KEY: &str = "allocation-default-address-family";
    match switch(given.value.as_deref()) {
        Ok(true) => mapped(
            KEY,
            Value::Text("keep".to_owned()),
            format!("{KEY} = \"keep\""),
        ),
        Ok(false) => nothing("it is off"),
        Err(problem) => refused(problem),
    }
}

pub(super) fn separator(given: &Given) -> Outcome {
    const KEY: &str = "rest-api-separator";
    let text = given.value.clone().unwrap_or_default();
    let first: String = text.chars().take(1).collect();
    if first == text {
        kept(KEY, Value::Text(text))
    } else {
        mapped(KEY, Value::Text(first), "its first character, as in coturn")
    }
}

pub(super) fn stale_nonce(given: &Given) -> Outcome {
    const LONGEST: u64 = 3600;
    const KEY: &str = "stale-nonce";
    if given.value.is_none() {
        return kept(KEY, Value::Number(600));
    }
    match number(given.value.as_deref(), u64::MAX) {
        Ok(0) => mapped(
            KEY,
            Value::Number(LONGEST),
            format!("{LONGEST}: every nonce ends"),
        ),
        Ok(seconds) if seconds > LONGEST => mapped(
            KEY,
            Value::Number(LONGEST),
            format!("{LONGEST}, the longest"),
        ),
        Ok(seconds) => kept(KEY, Value::Number(seconds)),
        Err(problem) => refused(problem),
    }
}

pub(super) fn max_allocate_lifetime(given: &Given) -> Outcome {
    lifetime("max-allocate-lifetime", given, 3600, 600)
}

pub(super) fn channel_lifetime(given: &Given) -> Outcome {
    lifetime("channel-lifetime", given, 600, 1)
}

pub(super) fn permission_lifetime(given: &Given) -> Outcome {
    lifetime("permission-lifetime", given, 300, 1)
}

fn lifetime(key: &'static str, given: &Given, default: u64, least: u64) -> Outcome {
    if given.value.is_none() {
        return kept(key, Value::Number(default));
    }
    match number(given.value.as_deref(), u32::MAX.into()) {
        Ok(seconds) if seconds < least => {
            mapped(key, Value::Number(least), format!("{least}, the shortest"))
        }
        Ok(seconds) => kept(key, Value::Number(seconds)),
        Err(problem) => refused(problem),
    }
}

pub(super) fn rate_limit(given: &Given) -> Outcome {
    match switch(given.value.as_deref()) {
        Ok(true) => nothing("always on: unauthenticated-rate says how much"),
        Ok(false) => mapped(
            "unauthenticated-rate",
            Value::Number(0),
            "unauthenticated-rate = 0",
        ),
        Err(problem) => refused(problem),
    }
}

pub(super) fn rate_limit_rps(given: &Given) -> Outcome {
    match number(given.value.as_deref(), u32::MAX.into()) {
        Ok(0) => nothing("coturn takes its default then"),
        Ok(rate) => mapped(
            "unauthenticated-rate",
            Value::Number(rate),
            "unauthenticated-rate, which is for a source network and not for one address",
        ),
        Err(problem) => refused(problem),
    }
}

/// DTLS was on until coturn 4.17, where it became an option of its own, and this one to be given up.
pub(super) fn no_dtls(given: &Given) -> Outcome {
    const KEY: &str = "dtls";
    match switch(given.value.as_deref()) {
        // Written down all the same, so that of this and `dtls` the last one counts.
        Ok(true) => Outcome::Set(
            KEY,
            Value::Switch(false),
            Verdict::WithoutEffect,
            "off unless dtls = true".to_owned(),
        ),
        Ok(false) => mapped(KEY, Value::Switch(true), "dtls = true"),
        Err(problem) => refused(problem),
    }
}

pub(super) fn log_file(given: &Given) -> Outcome {
    let path = given.value.clone().unwrap_or_default();
    match path.as_str() {
        "stdout" | "-" => nothing("without log-file the log goes to standard error"),
        "syslog" => mapped("syslog", Value::Switch(true), "syslog = true"),
        _ => kept("log-file", Value::Text(path)),
    }
}

pub(super) fn pidfile(given: &Given) -> Outcome {
    let path = given.value.clone().unwrap_or_default();
    match path.as_str() {
        "" => nothing("none is written"),
        _ => kept("pidfile", Value::Text(path)),
    }
}

/// coturn's file, which `turnd import --db` reads.
pub(super) fn sqlite(given: &Given) -> Outcome {
    refused(format!(
        "its users and secrets are read with `turnd import --db {}` beside this",
        shown_path(given.value.as_deref().unwrap_or_default())
    ))
}

/// A path as a shell takes it.
fn shown_path(path: &str) -> String {
    match shlex::try_quote(path) {
        Ok(quoted) => quoted.escape_debug().to_string(),
        Err(_) => "FILE".to_owned(),
    }
}

/// Ciphers that turnd has. Those of TLS 1.3, which coturn's list does not touch, come first.
pub(super) fn cipher_list(given: &Given) -> Outcome {
    const KEY: &str = "cipher-list";
    const NAMED: usize = 4;
    let text = given.value.as_deref().unwrap_or_default();
    let names = text.split([':', ',', ' ']).filter(|name| !name.is_empty());
    let (ours, others): (Vec<_>, Vec<_>) = names.partition(|name| CIPHERS.contains(name));
    let total = ours.len() + others.len();
    let list: Vec<_> = CIPHERS
        .into_iter()
        .filter(|name| name.starts_with("TLS_") && !ours.contains(name))
        .chain(ours.iter().copied())
        .collect();
    let is_dhe = |name: &&str| name.starts_with("DHE-") || name.starts_with("EDH-");
    let rest = match others.len() {
        0 => String::new(),
        1 if is_dhe(&others[0]) => "; the other is DHE".to_owned(),
        count if others.iter().all(is_dhe) => format!("; the other {count} are DHE"),
        count => {
            let named: Vec<_> = others.iter().take(NAMED).map(|n| shown(n)).collect();
            let more = match count.saturating_sub(NAMED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("; turnd has no {}{more}", named.join(", "))
        }
    };
    if ours.is_empty() {
        return refused(format!(
            "none of {total} is one of turnd's, which are all ECDHE with AES-GCM or ChaCha20: without the list all of these are offered{rest}"
        ));
    }
    let text = format!(
        "{} of {total} kept, beside those of TLS 1.3{rest}",
        ours.len()
    );
    mapped(KEY, Value::Text(list.join(":")), text)
}

pub(super) fn log_min_level(given: &Given) -> Outcome {
    const KEY: &str = "log-min-level";
    let given = given.value.as_deref().unwrap_or_default();
    let level = given.to_lowercase();
    match level.as_str() {
        "error" | "warning" | "info" | "debug" if level == given => kept(KEY, Value::Text(level)),
        "error" | "warning" | "info" | "debug" => {
            let text = format!("{KEY} = \"{level}\"");
            mapped(KEY, Value::Text(level), text)
        }
        _ => refused("is no level: write error, warning, info or debug"),
    }
}
