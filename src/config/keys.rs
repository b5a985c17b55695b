//! The keys that exist, the values that each takes, and what is said of others.

use clap::{Arg, ArgAction, Args, Command};
use toml::de::DeValue;

use super::error::{nearest, shown};
use super::file::FileConfig;
use super::quantity;
use crate::problem::Problem;

/// The keys that hold secrets; each has another with `-file` behind its name.
pub(crate) const SECRETS: [&str; 5] = [
    "user",
    "static-auth-secret",
    "nonce-secret",
    "admin-token",
    "pkey-pwd",
];

/// The keys that exist, taken from the flags.
pub(super) struct Keys(Command);

impl Keys {
    pub(super) fn new() -> Self {
        Self(FileConfig::augment_args(Command::new("turnd")))
    }

    pub(super) fn find(&self, name: &str) -> Option<&Arg> {
        self.0.get_arguments().find(|a| a.get_long() == Some(name))
    }

    pub(super) fn unknown(&self, name: &str, value: &DeValue<'_>) -> Problem {
        if matches!(value, DeValue::Table(_)) {
            let problem = format!("section {} is not known", shown(name));
            return Problem::new(problem, "write all keys without sections");
        }
        if name.to_lowercase().replace('_', "-") == "no-dtls" {
            let remedy = "leave it out: DTLS is off unless `dtls = true`".to_owned();
            return Problem::new(format!("unknown key {}", shown(name)), remedy);
        }
        let remedy = match nearest(name, self.0.get_arguments().filter_map(Arg::get_long)) {
            Some(key) => format!("did you mean `{key}`?"),
            None => "`turnd serve --help` lists every key".to_owned(),
        };
        Problem::new(format!("unknown key {}", shown(name)), remedy)
    }
}

/// Description of the values that a key takes.
pub(super) fn expected(key: &Arg) -> &'static str {
    let parser = key.get_value_parser().type_id();
    let is = |known: clap::builder::ValueParser| parser == known.type_id();
    let name = key.get_value_names().and_then(|names| names.first());
    let named = |name_of_value: &str| name.is_some_and(|name| name == name_of_value);
    if matches!(key.get_action(), ArgAction::Append) {
        "a text or a list of texts"
    } else if named(quantity::TIME_NAME) {
        quantity::TIME
    } else if named(quantity::BYTES_NAME) {
        quantity::BYTES
    } else if is(clap::value_parser!(bool)) {
        "true or false"
    } else if is(clap::value_parser!(u16).into()) {
        "a port from 1 to 65535"
    } else if is(clap::value_parser!(u32).into()) {
        "a number from 0 to 4294967295"
    } else {
        "a text"
    }
}

/// Value that `check` accepts for a key.
pub(super) fn example(name: &str, expected: &str) -> &'static str {
    match (name, expected) {
        (_, "true or false") => "true",
        ("min-port", _) => "49152",
        ("max-port", _) => "65535",
        ("tls-listening-port", _) => "5349",
        ("alt-listening-port", _) => "3479",
        ("alt-tls-listening-port", _) => "5350",
        (_, "a port from 1 to 65535") => "3478",
        ("max-idle-memory", _) => "\"64 MiB\"",
        ("max-allocate-timeout" | "stale-nonce", _) => "\"10m\"",
        (_, "a text") => "\"…\"",
        (_, "a text or a list of texts") => "[\"…\"]",
        (_, quantity::TIME) => "\"1h\"",
        (_, quantity::BYTES) => "\"10 Mbit\"",
        _ => "100",
    }
}

/// Description of a value that does not fit; nothing of the value when it may be a secret.
pub(super) fn found(value: &DeValue<'_>, secret: bool) -> String {
    match value {
        DeValue::String(_) if secret => "a text".to_owned(),
        DeValue::String(text) => shown(text),
        DeValue::Integer(_) if secret => "a number".to_owned(),
        DeValue::Integer(value) => value.to_string(),
        DeValue::Float(_) => "a fraction".to_owned(),
        DeValue::Boolean(_) => "true or false".to_owned(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "this list".to_owned(),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_example_is_accepted() {
        let keys = Keys::new();
        for key in keys.0.get_arguments() {
            let name = key.get_long().unwrap();
            let expected = expected(key);
            if expected.starts_with("a text") || name == "dtls" || name == "rfc5780" {
                continue;
            }
            let mut text = format!("{name} = {}\n", example(name, expected));
            if !["no-auth", "use-auth-secret", "lt-cred-mech"].contains(&name) {
                text += "no-auth = true\n";
            } else {
                text += "user = 'a:b'\nstatic-auth-secret = 'c'\n";
            }
            if name.starts_with("alt-") {
                text += "rfc5780 = true\nlistening-ip = ['127.0.0.1', '127.0.0.2']\n";
            }
            let read = Config::from_toml(&text);
            assert!(read.is_ok(), "{text}{:?}", read.map(drop));
        }
    }
}
