//! Times and amounts of bytes as people write them: "90s", "1h", "10 Mbit", "1.5M".

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Unexpected, Visitor};

/// Form of a time.
pub(crate) const TIME: &str = "seconds, or a time as \"90s\", \"30m\", \"24h\" or \"7d\"";

/// Form of an amount.
pub(crate) const BYTES: &str = "bytes, or an amount as \"64 MiB\", \"1.5M\" or \"10 Mbit\"";

/// Name of the value of a flag that takes a time.
pub(crate) const TIME_NAME: &str = "TIME";

/// Name of the value of a flag that takes an amount.
pub(crate) const BYTES_NAME: &str = "BYTES";

/// Digits behind the point of an amount that are read.
const MOST_DECIMALS: usize = 9;

/// Seconds of `90`, `90s`, `30m`, `24h` or `7d`.
pub(crate) fn seconds(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let unit = match unit {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86400,
        _ => return None,
    };
    let number: u32 = number.parse().ok()?;
    Some(u64::from(number) * unit)
}

/// Bytes of `1500`, `64 MiB`, `1.5M` or `10 Mbit`; rates may end with `/s` or `ps`.
pub(crate) fn bytes(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let unit = unit.strip_suffix("/s").unwrap_or(unit);
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    let is_number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_number(decimals) || decimals.len() > MOST_DECIMALS {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(decimals.len()).ok()?);
    let digits: u128 = format!("{whole}{decimals}").parse().ok()?;
    let (factor, divisor) = factor(unit)?;
    let bytes = digits.checked_mul(factor)? / (scale * divisor);
    u64::try_from(bytes).ok()
}

/// Factor of a unit, and the divisor that turns it into bytes.
fn factor(unit: &str) -> Option<(u128, u128)> {
    let (power, rest) = match unit.chars().next().map(|c| c.to_ascii_lowercase()) {
        Some('k') => (1, &unit[1..]),
        Some('m') => (2, &unit[1..]),
        Some('g') => (3, &unit[1..]),
        _ => (0, unit),
    };
    let (base, rest) = match rest.strip_prefix('i') {
        Some(rest) if power > 0 => (1024_u128, rest),
        _ => (1000, rest),
    };
    // A small b alone could be either.
    let divisor = match rest {
        "" | "B" | "Bps" | "byte" | "bytes" => 1,
        "bit" | "bits" | "bps" => 8,
        _ => return None,
    };
    Some((base.pow(power), divisor))
}

/// The number of a text, and the unit behind it.
fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    (number, unit.trim_start())
}

/// Reads the seconds of a flag.
pub(crate) fn seconds_flag(text: &str) -> Result<u32, String> {
    let seconds = seconds(text).and_then(|seconds| u32::try_from(seconds).ok());
    seconds.ok_or_else(|| format!("write {TIME}"))
}

/// Reads the bytes of a flag.
pub(crate) fn bytes_flag<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    // TOML has no larger integer, and `turnd check` prints TOML.
    let bytes = bytes(text).filter(|bytes| i64::try_from(*bytes).is_ok());
    let bytes = bytes.and_then(|bytes| N::try_from(bytes).ok());
    bytes.ok_or_else(|| format!("write {BYTES}"))
}

/// Reads the seconds of a key.
pub(super) fn seconds_key<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u32>, D::Error> {
    let quantity = Quantity {
        form: TIME,
        read: seconds,
    };
    number(from, quantity)
}

/// Reads the bytes of a key.
pub(super) fn bytes_key<'de, D, N>(from: D) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    let quantity = Quantity {
        form: BYTES,
        read: bytes,
    };
    number(from, quantity)
}

fn number<'de, D, N>(from: D, quantity: Quantity) -> Result<Option<N>, D::Error>
where
    D: Deserializer<'de>,
    N: TryFrom<u64>,
{
    let number = from.deserialize_any(quantity)?;
    let fits = Some(number).filter(|number| i64::try_from(*number).is_ok());
    fits.and_then(|number| N::try_from(number).ok())
        .map(Some)
        .ok_or_else(|| Error::invalid_value(Unexpected::Unsigned(number), &quantity))
}

/// Reads a number, or a text that stands for one.
#[derive(Clone, Copy)]
struct Quantity {
    form: &'static str,
    read: fn(&str) -> Option<u64>,
}

impl Visitor<'_> for Quantity {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.form)
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, expected) in [
            ("90", Some(90)),
            ("90s", Some(90)),
            ("30m", Some(1800)),
            ("5 min", Some(300)),
            ("1h", Some(3600)),
            ("24 h", Some(86400)),
            ("7d", Some(604_800)),
            ("0", Some(0)),
            ("", None),
            ("h", None),
            ("-1h", None),
            ("1.5h", None),
            ("1w", None),
            ("99999999999", None),
            ("h24", None),
            ("é", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn amounts() {
        for (text, expected) in [
            ("1500", Some(1500)),
            ("1.5M", Some(1_500_000)),
            ("10 Mbit", Some(1_250_000)),
            ("10Mbit/s", Some(1_250_000)),
            ("10 Mbps", Some(1_250_000)),
            ("100 kbit", Some(12_500)),
            ("1 MB/s", Some(1_000_000)),
            ("64 MiB", Some(64 << 20)),
            ("64Mi", Some(64 << 20)),
            ("1 Gbit", Some(125_000_000)),
            ("2k", Some(2000)),
            ("8 bit", Some(1)),
            ("10 Mb", None),
            ("10 i", None),
            ("1.M.", None),
            (".5M", None),
            ("M", None),
            ("-1M", None),
            ("1,5M", None),
            ("1 T", None),
            ("999999999999999999999999999999999999999 G", None),
            ("1.00000000000000000000000000000000000001M", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(bytes_flag::<u32>("4 GB"), Ok(4_000_000_000));
        assert!(bytes_flag::<u32>("5 GB").is_err());
        assert!(bytes_flag::<u64>("18446744073709551615").is_err());
        assert!(seconds_flag("4294967295d").is_err());
    }
}
