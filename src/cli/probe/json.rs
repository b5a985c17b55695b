//! The report for programs.

use serde_json::{Value, json};

use turnd_client::probe::{Candidate, Finding, Gathered, Probed};

/// The whole report.
pub(super) fn report(probed: &[Probed]) -> String {
    let served = probed.iter().all(Probed::serves);
    let uris: Vec<Value> = probed.iter().map(uri).collect();
    format!("{:#}", json!({ "served": served, "uris": uris }))
}

/// The results of one URI, for programs.
fn uri(probed: &Probed) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "level": finding.level.name(),
            "code": finding.code,
            "what": finding.what,
            "why": finding.why,
            "remedy": finding.remedy,
        })
    };
    let candidate = |candidate: &Option<Candidate>| {
        candidate.map(|candidate| {
            json!({
                "address": candidate.addr.to_string(),
                "milliseconds": candidate.after.as_secs_f64() * 1000.0,
            })
        })
    };
    let address = |address: &Gathered| {
        json!({
            "address": address.target.addr.to_string(),
            "transport": address.target.transport.name().to_lowercase(),
            "browser": address.target.browser,
            "reflexive": candidate(&address.reflexive),
            "relayed": candidate(&address.relayed),
            "certificate_ends": address.certificate_ends,
            "internal_peers": address.internal_peers,
            "milliseconds": address.took.as_secs_f64() * 1000.0,
            "traffic": address.traffic.map(|traffic| json!({
                "sent": traffic.sent,
                "arrived": traffic.arrived,
                "returned": traffic.returned,
                "loss_percent": traffic.loss(),
                "median_milliseconds": traffic.median.as_secs_f64() * 1000.0,
                "p95_milliseconds": traffic.p95.as_secs_f64() * 1000.0,
                "bits_per_second": traffic.rate,
            })),
            "findings": address.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    };
    json!({
        "uri": probed.uri.to_string(),
        "served": probed.serves(),
        "findings": probed.findings.iter().map(finding).collect::<Vec<_>>(),
        "addresses": probed.addresses.iter().map(address).collect::<Vec<_>>(),
    })
}
