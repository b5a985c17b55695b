//! The scripts of tests/browser.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use super::{Namespace, run};

/// Runs a script with one JSON argument, on this host or in a namespace, and returns the JSON that it prints.
pub(crate) fn node(
    namespace: Option<&Namespace>,
    script: &str,
    argument: &Value,
    limit: Duration,
) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/browser")
        .join(script);
    let mut command = match namespace {
        Some(namespace) => namespace.command("node"),
        None => Command::new("node"),
    };
    let output = run(command.arg(path).arg(argument.to_string()), limit);
    serde_json::from_str(&output)
        .unwrap_or_else(|error| panic!("{script} printed no JSON ({error}): {output:?}"))
}
