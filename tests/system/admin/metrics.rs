//! `/metrics` while sessions run.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use super::{api, start, usual_session};
use crate::support::admin::samples;
use crate::support::{Authority, Key};

/// Has Prometheus' own tool look at a page of metrics.
pub(super) fn promtool(metrics: &str) {
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool: {error} (tests/setup installs what is needed)"));
    tool.stdin
        .take()
        .unwrap()
        .write_all(metrics.as_bytes())
        .unwrap();
    let output = tool.wait_with_output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said, "");
}

#[test]
fn promtool_finds_nothing_wrong() {
    let turnd = start("");
    promtool(&api(&turnd).get("/metrics").body);
    let _client = usual_session(&turnd);
    promtool(&api(&turnd).get("/metrics").body);
}

#[test]
fn the_end_of_every_certificate_is_told() {
    let authority = Authority::new();
    authority.issue("one", "localhost", Key::Ecdsa, 2);
    let turnd = start(&authority.toml(&["one"]));
    let samples = samples(&turnd);
    let name = "turnd_certificate_expiry_timestamp_seconds{";
    let (_, expiry) = samples
        .iter()
        .find(|(sample, _)| sample.starts_with(name))
        .unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs_f64();
    let left = expiry - now;
    assert!((86_400.0..=172_800.0).contains(&left), "{left}");
    promtool(&api(&turnd).get("/metrics").body);
}
