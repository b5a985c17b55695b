//! `turnd ctl config`: the configuration in force.

use std::fmt::Write as _;

use serde_json::Value;

use super::Caller;
use crate::cli::Failure;
use crate::config::summary::Summary;

#[derive(clap::Args)]
pub(super) struct Config {
    /// Print all keys, with those that have their default.
    #[arg(short, long)]
    all: bool,
}

impl Config {
    pub(super) async fn run(&self, caller: &Caller) -> Result<(), Failure> {
        let mut answer = caller.get("/api/v1/config").await?;
        if !self.all
            && let Some(keys) = answer["keys"].as_array_mut()
        {
            keys.retain(|key| key["changed"] == true);
        }
        caller.show(&answer, shown)
    }
}

/// TOML, with all else as comments.
fn shown(answer: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut shown = match answer["file"].as_str() {
        Some(file) => format!("# in force, from {file}"),
        None => "# in force, without a file".to_owned(),
    };
    let of = |key: &str| text(&answer["summary"][key]);
    let summary = Summary {
        listens: of("listens"),
        relays: of("relays"),
        announces: of("announces"),
        allows: of("allows"),
        certificates: of("certificates"),
    };
    for line in summary.lines() {
        let _ = write!(shown, "\n# {line}");
    }
    for key in answer["keys"].as_array().into_iter().flatten() {
        let (name, default) = (text(&key["key"]), &key["default"]);
        let _ = match key["value"].as_str() {
            None => write!(shown, "\n# {name} is absent"),
            Some(value) => write!(shown, "\n{name} = {value}"),
        };
        if key["changed"] == true && default.as_str().is_some_and(|text| text != "[]") {
            let _ = write!(shown, "  # default: {}", text(default));
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_printed_is_toml() {
        let key = |key: &str, value: Value, default: Value, changed: bool| json!({"key": key, "value": value, "default": default, "changed": changed});
        let answer = json!({
            "file": "/etc/turnd/turnd.toml",
            "summary": {"listens": "0.0.0.0:3478 by UDP", "relays": "x", "announces": "", "allows": "alice", "certificates": ""},
            "keys": [
                key("min-port", json!("50000"), json!("49152"), true),
                key("realm", json!("\"example.org\""), Value::Null, true),
                key("max-port", json!("65535"), json!("65535"), false),
                key("cert", Value::Null, Value::Null, false),
            ],
        });
        let text = shown(&answer);
        assert!(
            text.starts_with(
                "# in force, from /etc/turnd/turnd.toml\n# listens on:   0.0.0.0:3478 by UDP\n"
            ),
            "{text}"
        );
        assert!(
            text.contains("\nmin-port = 50000  # default: 49152\nrealm = \"example.org\"\n"),
            "{text}"
        );
        let table: toml::Table = text.parse().unwrap();
        assert_eq!(table.len(), 3);
        assert!(!shown(&Value::Null).is_empty());
    }
}
