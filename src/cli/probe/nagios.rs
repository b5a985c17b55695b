//! The report as a Nagios plugin prints it, by the Monitoring Plugins' guidelines.

use std::time::{SystemTime, UNIX_EPOCH};

use turnd_client::probe::{Gathered, Level, Probed};

use super::super::Failure;
use super::table::table;

/// Exit codes of plugins.
const OK: u8 = 0;
const WARNING: u8 = 1;
const CRITICAL: u8 = 2;
const UNKNOWN: u8 = 3;

/// Line and exit code for a command line that is wrong.
pub(super) const WRONG_USAGE: (&str, u8) = (
    "TURN UNKNOWN - wrong usage; run it by hand to see what is wrong",
    UNKNOWN,
);

/// The text of the report, and its exit code.
pub(super) fn report(outcome: Result<Vec<Probed>, Failure>) -> (String, u8) {
    match outcome {
        Ok(probed) => told(&probed),
        Err(failure) => (
            format!("TURN UNKNOWN - {}", clean(&failure.text())),
            UNKNOWN,
        ),
    }
}

fn told(probed: &[Probed]) -> (String, u8) {
    let served = probed.iter().filter(|probed| probed.serves()).count();
    let findings = probed.iter().flat_map(|probed| {
        let of_addresses = probed
            .addresses
            .iter()
            .flat_map(|address| &address.findings);
        probed.findings.iter().chain(of_addresses)
    });
    let worst = findings.max_by_key(|finding| finding.level);
    let worst = worst.filter(|finding| finding.level > Level::Note);
    let (state, code) = match worst {
        _ if served < probed.len() => ("CRITICAL", CRITICAL),
        // A fault of one address that others stand in for, too.
        Some(_) => ("WARNING", WARNING),
        None => ("OK", OK),
    };
    let mut line = format!(
        "TURN {state} - {served} of {} URIs serve a browser",
        probed.len()
    );
    if let Some(worst) = worst {
        line += &format!(": {}", clean(&worst.what));
    }
    let data: Vec<String> = probed.iter().flat_map(performance).collect();
    if !data.is_empty() {
        line += &format!(" | {}", data.join(" "));
    }
    let tables: Vec<String> = probed.iter().map(|probed| clean(&table(probed))).collect();
    (format!("{line}\n{}", tables.join("\n")), code)
}

/// Performance data of a URI's addresses.
fn performance(probed: &Probed) -> Vec<String> {
    let scheme = if probed.uri.turn { "turn" } else { "stun" };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_secs();
    let of = |address: &Gathered| {
        let transport = address.target.transport.name().to_lowercase();
        let place = format!("{scheme} {transport} {}", address.target.addr);
        let mut data = Vec::new();
        for (name, candidate) in [
            ("reflexive", address.reflexive),
            ("relayed", address.relayed),
        ] {
            if let Some(candidate) = candidate {
                let ms = candidate.after.as_secs_f64() * 1000.0;
                data.push(format!("'{place} {name}'={ms:.1}ms;;;0"));
            }
        }
        if let Some(traffic) = address.traffic {
            let ms = traffic.median.as_secs_f64() * 1000.0;
            data.push(format!("'{place} round trip'={ms:.1}ms;;;0"));
            data.push(format!("'{place} loss'={:.0}%;;;0;100", traffic.loss()));
        }
        if let Some(end) = address.certificate_ends {
            let left = end.saturating_sub(now);
            data.push(format!("'{place} certificate'={left}s;;;0"));
        }
        data
    };
    probed.addresses.iter().flat_map(of).collect()
}

/// Text without the character that performance data begins with.
fn clean(text: &str) -> String {
    text.replace('|', "/")
}
