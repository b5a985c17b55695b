//! Advice to the reader of the result: values that are doubtful, and what coturn did without being told.

use std::path::Path;

use super::options;
use super::rule::{Given, Place, Setting, Value};
use super::rules::is_detected;

/// Folders that the service may write to, with the key that names a file there.
const WRITABLE: [(&str, &str, &str); 2] = [
    ("log-file", "/var/log/turnd", "/var/log/turnd/turnd.log"),
    ("pidfile", "/run/turnd", "/run/turnd/turnd.pid"),
];

/// Quotes that only a program for letters makes.
const CURLY: [char; 8] = ['“', '”', '„', '‟', '‘', '’', '«', '»'];

/// The advice, one line each; the weightiest first.
pub(super) fn of(given: &[Given], settings: &[Setting]) -> Vec<String> {
    let mut notes: Vec<_> = given
        .iter()
        .filter(|option| options::find(&option.name).is_some())
        .filter_map(|option| {
            let doubt = doubt(option)?;
            Some(format!("{}, {}: {doubt}", option.place, option.name))
        })
        .collect();
    let find = |key: &str| settings.iter().find(|setting| setting.key == key);
    for (key, folder, instead) in WRITABLE {
        let Some(Value::Text(path)) = find(key).map(|setting| &setting.value) else {
            continue;
        };
        if !Path::new(path).starts_with(folder) || path.contains("/../") {
            notes.push(format!(
                "{key}: the service may write to {folder} only and would not start: write {key} = \"{instead}\", or leave it out"
            ));
        }
    }
    if find("realm").is_none() && find("server-name").is_none() {
        let keyed = |s: &Setting| {
            s.key == "user" && matches!(&s.value, Value::Text(user) if user.contains(":0x"))
        };
        let keys = if settings.iter().any(keyed) {
            ": a key (user:0x…) is good for one realm only"
        } else {
            ""
        };
        notes.push(format!(
            "there is no realm: turnd says \"turnd\", where coturn takes the domain of the host; set realm to the one that coturn used{keys}"
        ));
    }
    if find("cert").is_some() && find("dtls").is_none() {
        notes.push(
            "coturn before 4.17 served DTLS wherever it served TLS: here it is off unless dtls = true, \
             which only clients that are no browsers need"
                .to_owned(),
        );
    }
    if find("user-quota").is_none() {
        notes.push(
            "one user has a tenth of the relay ports at the most, where coturn has no limit: where all clients share one user, write user-quota = 0"
                .to_owned(),
        );
    }
    if find("allowed-peer-ip").is_none() {
        notes.push(
            "peers at private addresses are refused: name a bridge or SFU that has one in allowed-peer-ip"
                .to_owned(),
        );
    }
    notes
}

/// Reason why a value is hardly what was meant. Never holds the value.
fn doubt(given: &Given) -> Option<String> {
    let of_line = |remark: &&String| {
        ["holds ", "is one of"]
            .iter()
            .any(|begin| remark.starts_with(begin))
    };
    if let Some(remark) = given.remarks.iter().find(of_line) {
        return Some(remark.clone());
    }
    let value = given.value.as_deref()?.trim();
    if given.name == "external-ip" && is_detected(value) {
        return None;
    }
    // The part of `user` that is secret, as well.
    let secret = value.rsplit(':').next().unwrap_or_default();
    let enclosed = |open: &str, close: &str| {
        [value, secret].iter().any(|text| {
            text.len() > open.len() + close.len() && text.starts_with(open) && text.ends_with(close)
        })
    };
    let ends = [value.chars().next(), value.chars().next_back()];
    let doubt = if ends.iter().flatten().any(|c| CURLY.contains(c)) {
        "has curly quotes, which are a part of the value: write it without"
    } else if value.contains("$(") || enclosed("`", "`") {
        "holds a command, which nobody runs here: write what the command prints"
    } else if value.starts_with('$') || value.contains("${") {
        "holds a variable, which nobody fills in: write its value, or make it ${NAME} for one of the environment"
    } else if enclosed("__", "__")
        || enclosed("{{", "}}")
        || enclosed("<", ">")
        || enclosed("[", "]") && !is_address(value)
    {
        "looks like a placeholder: write the value that belongs there"
    } else {
        return None;
    };
    // The line of a row is its id, and its values are as the operator made them.
    (!matches!(given.place, Place::Row(_))).then(|| doubt.to_owned())
}

/// Whether brackets are those of an IPv6 address.
fn is_address(value: &str) -> bool {
    let inner = value.trim_matches(['[', ']']);
    inner.parse::<std::net::Ipv6Addr>().is_ok()
}
