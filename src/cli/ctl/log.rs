//! `turnd ctl log`: the server's log as it grows.

use std::fmt::Write as _;
use std::ops::ControlFlow;

use serde_json::Value;

use super::Caller;
use crate::cli::{Failure, complain, say_more};

/// Levels, the most severe first.
pub(super) const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Seconds that the server waits for a line before it answers that there is none.
const WAIT_SECONDS: u32 = 20;

#[derive(clap::Args)]
pub(super) struct Log {
    /// Least severe level to show. The server has only what it logs: see log-level.
    #[arg(long, default_value = "trace", value_parser = LEVELS)]
    level: String,
    /// Latest lines to begin with.
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: u32,
    /// End after those, in place of waiting for more.
    #[arg(long)]
    once: bool,
}

impl Log {
    /// Writes the latest lines, and those to come until nobody reads them any more.
    pub(super) async fn run(&self, caller: &Caller) -> Result<(), Failure> {
        let Self { level, lines, once } = self;
        let path = format!("/api/v1/log?level={level}&lines={lines}");
        let mut answer = caller.get(&path).await?;
        let rank = |name: &str| LEVELS.iter().position(|level| *level == name);
        if let Some(logged) = answer["level"].as_str()
            && level != "trace"
            && rank(logged) < rank(level)
        {
            complain(format_args!(
                "the server logs from {logged} on; turnd ctl log-level {level} has it log more"
            ));
        }
        loop {
            let missed = answer["missed"].as_u64().unwrap_or_default();
            if missed > 0 {
                complain(format_args!(
                    "{missed} lines came too fast, and are missing"
                ));
            }
            for line in answer["lines"].as_array().into_iter().flatten() {
                let text = if caller.json {
                    line.to_string()
                } else {
                    shown(line)
                };
                if say_more(text)? == ControlFlow::Break(()) {
                    return Ok(());
                }
            }
            if *once {
                return Ok(());
            }
            let after = &answer["last"];
            let path =
                format!("/api/v1/log?level={level}&after={after}&wait_seconds={WAIT_SECONDS}");
            answer = caller.get(&path).await?;
        }
    }
}

/// A line as people read it, without what would move the cursor.
fn shown(line: &Value) -> String {
    let part = |key: &str| line[key].as_str().unwrap_or_default();
    let message = escaped(part("message"));
    let mut text = format!("{} {:>5} {message}", part("time"), part("level"));
    for (key, value) in line["fields"].as_object().into_iter().flatten() {
        let value = match value.as_str() {
            Some(bare) if is_plain(bare) => bare.to_owned(),
            _ => value.to_string(),
        };
        let _ = write!(text, " {key}={}", escaped(&value));
    }
    text
}

/// Whether a value is told from the next without quotes.
fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '"' || c == '=')
}

fn escaped(text: &str) -> String {
    let escape = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_stays_one_line() {
        let line = json!({
            "time": "2026-01-01T00:00:00Z", "level": "WARN", "message": "request\nrefused",
            "fields": {"code": 401, "reason": "wrong-password", "user": "a b\u{1b}[2J\"", "empty": ""},
        });
        assert_eq!(
            shown(&line),
            "2026-01-01T00:00:00Z  WARN request\\nrefused code=401 empty=\"\" reason=wrong-password \
             user=\"a b\\u001b[2J\\\"\""
        );
        assert_eq!(shown(&Value::Null).trim(), "");
    }
}
