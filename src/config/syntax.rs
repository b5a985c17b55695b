//! Explains a file that is no TOML: coturn's own, text without quotes, a key twice.

use std::path::Path;

use toml::de::DeTable;

use super::coturn;
use super::error::shown;
use super::keys::{Keys, SECRETS, example, expected};
use crate::problem::Problem;

/// Line and problem of a text that the parser refuses at `line` with `message`.
pub(super) fn explain(
    path: &Path,
    text: &str,
    line: usize,
    message: &str,
) -> (Option<usize>, Problem) {
    if is_coturns(path, text) {
        // The import overwrites nothing.
        let own = path.file_name().is_some_and(|name| name == "turnd.toml");
        let new = if own { "turnd-new.toml" } else { "turnd.toml" };
        let path = path.display();
        let remedy = format!("`turnd import {path} -o {new}` turns it into turnd's");
        return (
            None,
            Problem::new("this looks like coturn's configuration", remedy),
        );
    }
    let at = text.lines().nth(line.saturating_sub(1)).unwrap_or_default();
    let problem = match Entry::new(at) {
        Some(Entry { key, .. }) if message.contains("duplicate") => twice(text, line, key),
        Some(entry) => entry.explain(),
        None => None,
    };
    let otherwise = || Problem::new(message, "write `key = value`, and text in quotes");
    (Some(line), problem.unwrap_or_else(otherwise))
}

/// Whether a text is coturn's by its name, or by more lines than are TOML's alone.
fn is_coturns(path: &Path, text: &str) -> bool {
    if path
        .file_name()
        .is_some_and(|name| name == "turnserver.conf")
    {
        return true;
    }
    let (mut coturns, mut tomls) = (0, 0);
    for entry in text.lines().filter_map(Entry::new) {
        match entry.value {
            None if coturn::is_flag(entry.key) => coturns += 1,
            Some(value) if value.starts_with(['"', '\'', '[']) => tomls += 1,
            Some(value) if entry.tight && !is_toml(value) && coturn::is_option(entry.key) => {
                coturns += 1;
            }
            _ => {}
        }
    }
    coturns > tomls.max(1)
}

/// Whether a value alone is one of TOML's.
fn is_toml(value: &str) -> bool {
    DeTable::parse(&format!("key = {value}")).is_ok()
}

/// A line as `key = value` or as a word alone.
struct Entry<'a> {
    key: &'a str,
    /// Without a comment after it.
    value: Option<&'a str>,
    /// Has no space before `=`, as most lines of coturn's.
    tight: bool,
}

impl<'a> Entry<'a> {
    /// `None`: a comment, nothing, or no key.
    fn new(line: &'a str) -> Option<Self> {
        let line = line.trim_start_matches('\u{feff}').trim();
        let (key, value) = match line.split_once('=') {
            Some((key, value)) => (key.trim(), Some(without_comment(value))),
            None => (without_comment(line), None),
        };
        let is_key = !key.is_empty()
            && key
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let tight = !line.contains(" =");
        is_key.then_some(Self { key, value, tight })
    }

    /// Problem of a value that is not one of TOML's; `None`: nothing better than the parser's message.
    fn explain(&self) -> Option<Problem> {
        let keys = Keys::new();
        let key = self.key;
        let expected = keys.find(key).map_or("a text", expected);
        let example = example(key, expected);
        let Some(value) = self.value.filter(|value| !value.is_empty()) else {
            let known = keys.find(key).is_some();
            let remedy = format!("write {key} = {example}");
            return known.then(|| Problem::new(format!("{key} has no value"), remedy));
        };
        if value.starts_with(['"', '\'', '[', '{']) || is_toml(value) {
            return None;
        }
        let secret = SECRETS.contains(&key);
        if expected == "true or false"
            || expected.starts_with("a port")
            || expected.starts_with("a number")
        {
            let problem = format!("{key}: {} is not {expected}", shown(value));
            return Some(Problem::new(problem, format!("write {key} = {example}")));
        }
        // A secret is not repeated.
        let text = if secret {
            "\"…\"".to_owned()
        } else {
            toml::Value::from(value).to_string()
        };
        let problem = format!("{key}: a text must be in quotes");
        Some(Problem::new(problem, format!("write {key} = {text}")))
    }
}

/// A value in quotes may hold the sign of a comment.
fn without_comment(text: &str) -> &str {
    let text = text.trim();
    if text.starts_with(['"', '\'']) {
        return text;
    }
    match text.find(" #") {
        Some(at) => text[..at].trim_end(),
        None => text,
    }
}

/// Problem of a key that stands in an earlier line too.
fn twice(text: &str, line: usize, key: &str) -> Option<Problem> {
    let is_key = |line: &str| Entry::new(line).is_some_and(|entry| entry.key == key);
    let first = 1 + text.lines().position(is_key)?;
    if first >= line {
        return None;
    }
    let list = Keys::new()
        .find(key)
        .is_some_and(|key| expected(key).starts_with("a text or a list"));
    let remedy = if list {
        format!("write one list: {key} = [\"…\", \"…\"]")
    } else {
        "remove one of them".to_owned()
    };
    Some(Problem::new(
        format!("{key} is in line {first} already"),
        remedy,
    ))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn error(text: &str) -> String {
        let errors = Config::from_toml(text).map(drop).unwrap_err();
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn coturns_file_is_known_by_its_lines() {
        let import = "turnd.toml: this looks like coturn's configuration; \
                      `turnd import turnd.toml -o turnd-new.toml` turns it into turnd's";
        for text in [
            "listening-port=3478\nfingerprint\nlt-cred-mech\nuser=jun:123456\nrealm=turn.example.org\n",
            "# comment\nuse-auth-secret\nstatic-auth-secret=north\n",
            "fingerprint # comment\nexternal-ip=203.0.113.7\npidfile=\"/run/x\"\n",
        ] {
            assert_eq!(error(text), import, "{text}");
        }
        assert_eq!(
            error("realm = turn.example.org\nstatic-auth-secret = north\n"),
            "turnd.toml:1: realm: a text must be in quotes; write realm = \"turn.example.org\""
        );
        let own = "realm = 'a'\nuser = ['a:b']\nlog-file = 'x'\nfingerprint\nverbose\n";
        assert_eq!(
            error(own),
            "turnd.toml:4: fingerprint has no value; write fingerprint = true"
        );
    }

    #[test]
    fn text_without_quotes() {
        for (line, message) in [
            (
                "realm = turn.example.org # ours",
                "realm: a text must be in quotes; write realm = \"turn.example.org\"",
            ),
            (
                "static-auth-secret = north",
                "static-auth-secret: a text must be in quotes; write static-auth-secret = \"…\"",
            ),
            (
                "external-ip = 203.0.113.7",
                "external-ip: a text must be in quotes; write external-ip = \"203.0.113.7\"",
            ),
            (
                "drain-timeout = 1h",
                "drain-timeout: a text must be in quotes; write drain-timeout = \"1h\"",
            ),
            (
                "verbose = yes",
                "verbose: \"yes\" is not true or false; write verbose = true",
            ),
            (
                "min-port = high",
                "min-port: \"high\" is not a port from 1 to 65535; write min-port = 49152",
            ),
            ("realm =", "realm has no value; write realm = \"…\""),
        ] {
            let text = format!("no-tcp-relay = true\n{line}\n");
            assert_eq!(error(&text), format!("turnd.toml:2: {message}"));
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_named_with_both_lines() {
        assert_eq!(
            error("realm = 'a'\n\nrealm = 'b'\n"),
            "turnd.toml:3: realm is in line 1 already; remove one of them"
        );
        assert_eq!(
            error("user = 'a:b'\nuser = 'c:d'\n"),
            "turnd.toml:2: user is in line 1 already; write one list: user = [\"…\", \"…\"]"
        );
    }
}
