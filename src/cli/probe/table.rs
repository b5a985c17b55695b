//! The report for people.

use std::time::Duration;

use turnd_client::probe::{Candidate, Gathered, Probed, Target, moment};

/// The results of one URI, for people.
pub(super) fn table(probed: &Probed) -> String {
    let mut lines = vec![probed.uri.to_string()];
    lines.extend(probed.findings.iter().map(|finding| format!("  {finding}")));
    for address in &probed.addresses {
        lines.extend(address_lines(address));
    }
    lines.push(if probed.serves() {
        "  a browser is served".to_owned()
    } else {
        "  a browser is NOT served".to_owned()
    });
    lines.join("\n")
}

fn address_lines(address: &Gathered) -> Vec<String> {
    let Target {
        addr,
        transport,
        browser,
    } = address.target;
    let by = if browser {
        ""
    } else {
        " (by SRV or NAPTR records, which browsers do not use)"
    };
    let mut lines = vec![format!("  {} {addr}{by}", transport.name())];
    let candidate = |name: &str, candidate: &Option<Candidate>| {
        let Candidate { addr, after } = candidate.as_ref()?;
        Some(format!(
            "    {name:<11} {addr} after {}",
            milliseconds(*after)
        ))
    };
    lines.extend(candidate("reflexive", &address.reflexive));
    lines.extend(candidate("relayed", &address.relayed));
    if let Some(traffic) = &address.traffic {
        lines.push(format!(
            "    through it  {} of {} packets ({:.0}% lost), there and back in {} (95% in {}), {:.1} of 20 Mbit/s",
            traffic.returned,
            traffic.sent,
            traffic.loss(),
            milliseconds(traffic.median),
            milliseconds(traffic.p95),
            traffic.rate as f64 / 1e6,
        ));
    }
    if let Some(end) = address.certificate_ends {
        lines.push(format!("    certificate until {}", moment(end)));
    }
    if address.internal_peers.as_ref().is_some_and(Vec::is_empty) {
        lines.push("    refuses private and loopback peers".to_owned());
    }
    lines.extend(
        address
            .findings
            .iter()
            .map(|finding| format!("    {finding}")),
    );
    lines
}

/// A time as people read it.
fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{milliseconds:.0} ms")
    }
}
