//! The report as JUnit's XML.

use turnd_client::probe::{Finding, Gathered, Level, Probed};

/// The whole report: a test case for each address.
pub(super) fn report(probed: &[Probed]) -> String {
    let cases: Vec<Case> = probed.iter().flat_map(cases).collect();
    let failures = cases.iter().filter(|case| case.failure.is_some()).count();
    let skipped = cases.iter().filter(|case| case.skipped.is_some()).count();
    let time: f64 = cases.iter().map(|case| case.seconds).sum();
    let body: String = cases.iter().map(Case::xml).collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites>\n\
         <testsuite name=\"turnd probe\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\" time=\"{time:.3}\">\n\
         {body}</testsuite>\n\
         </testsuites>",
        cases.len()
    )
}

/// A test case.
struct Case {
    class: String,
    name: String,
    seconds: f64,
    failure: Option<Finding>,
    /// Reason why nothing could be tried.
    skipped: Option<Finding>,
    /// Everything that is no fault.
    output: Vec<String>,
}

impl Case {
    fn xml(&self) -> String {
        let mut xml = format!(
            "<testcase classname=\"{}\" name=\"{}\" time=\"{:.3}\">",
            escaped(&self.class),
            escaped(&self.name),
            self.seconds
        );
        for (tag, finding) in [("failure", &self.failure), ("skipped", &self.skipped)] {
            if let Some(finding) = finding {
                let message = escaped(&finding.what);
                let text = escaped(&finding.to_string());
                xml += &format!("<{tag} message=\"{message}\">{text}</{tag}>");
            }
        }
        if !self.output.is_empty() {
            let text = escaped(&self.output.join("\n"));
            xml += &format!("<system-out>{text}</system-out>");
        }
        xml + "</testcase>\n"
    }
}

fn cases(probed: &Probed) -> Vec<Case> {
    let mut cases = Vec::new();
    if !probed.findings.is_empty() || probed.addresses.is_empty() {
        cases.push(case(
            probed,
            "addresses".to_owned(),
            0.0,
            &probed.findings,
            true,
        ));
    }
    for address in &probed.addresses {
        let name = format!(
            "{} {}",
            address.target.transport.name(),
            address.target.addr
        );
        let seconds = address.took.as_secs_f64();
        let tried = is_tried(address);
        cases.push(case(probed, name, seconds, &address.findings, tried));
    }
    cases
}

/// Whether anything came of an address, or went wrong.
fn is_tried(address: &Gathered) -> bool {
    let is_fault = |finding: &Finding| finding.level == Level::Fault;
    address.reflexive.is_some()
        || address.relayed.is_some()
        || address.findings.iter().any(is_fault)
}

fn case(probed: &Probed, name: String, seconds: f64, findings: &[Finding], tried: bool) -> Case {
    let is_fault = |finding: &&Finding| finding.level == Level::Fault;
    Case {
        class: probed.uri.to_string(),
        name,
        seconds,
        failure: findings.iter().find(is_fault).cloned(),
        skipped: findings.first().filter(|_| !tried).cloned(),
        output: findings.iter().map(ToString::to_string).collect(),
    }
}

/// Text as XML 1.0 can hold it.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' | '\t' => escaped.push(c),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped() {
        assert_eq!(
            escaped("<a \"b\"> & \u{1}\n"),
            "&lt;a &quot;b&quot;&gt; &amp; \u{fffd}\n"
        );
    }
}
