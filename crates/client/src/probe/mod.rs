//! Whether a STUN or TURN server works, seen from where a browser sits.
//!
//! [`resolve`] finds a URI's addresses, [`gather`] asks one of them for what a browser's ICE agent
//! would ask, sends data through the relay, and collects [`Finding`]s with cause and remedy.

mod connection;
mod dns;
mod explain;
mod finding;
mod gather;
mod internal;
mod link;
mod relay;
mod resolve;
mod tls;
mod uri;

use std::time::Duration;

use tokio::time::timeout;

pub use dns::SystemDns;
pub use finding::{Finding, Level};
pub use gather::{Candidate, Gathered, Means, gather};
pub use relay::Traffic;
pub use resolve::{Dns, Naptr, Resolved, Srv, Target, resolve};
pub use tls::{Roots, date, moment};
pub use uri::{Host, Transport, Uri};

/// Results of one URI.
#[derive(Clone, Debug)]
pub struct Probed {
    /// URI that was probed.
    pub uri: Uri,
    /// Results of each of its addresses.
    pub addresses: Vec<Gathered>,
    /// Faults that show before any address is asked.
    pub findings: Vec<Finding>,
}

impl Probed {
    /// Whether a browser with this URI would be served.
    pub fn serves(&self) -> bool {
        let good = |finding: &Finding| finding.level < Level::Fault;
        self.findings.iter().all(good)
            && self
                .addresses
                .iter()
                .any(|address| address.serves(self.uri.turn))
    }
}

/// Probes one URI; each of its addresses may take the limit, and so may finding them.
pub async fn probe(
    uri: &Uri,
    dns: &impl Dns,
    means: &Means,
    mut progress: impl FnMut(&Target),
) -> Probed {
    let mut probed = Probed {
        uri: uri.clone(),
        addresses: Vec::new(),
        findings: Vec::new(),
    };
    if uri.transport().is_none() {
        probed.findings.push(explain::dtls(uri));
        return probed;
    }
    let limit = means.limit.max(Duration::from_millis(1));
    let resolved = match timeout(limit, resolve(uri, dns)).await {
        Ok(resolved) => resolved,
        Err(_) => Resolved {
            targets: Vec::new(),
            failure: Some(format!("no answer in {} s", limit.as_secs())),
        },
    };
    if let Some(why) = resolved.failure {
        let remedy = if resolved.targets.is_empty() {
            "look at the spelling and at the DNS"
        } else {
            "give the name an A or AAAA record: browsers do not look for SRV and NAPTR records"
        };
        let what = format!("{} does not resolve", uri.host);
        probed
            .findings
            .push(Finding::fault(what, why, remedy).with_code(701));
    }
    for target in resolved.targets {
        progress(&target);
        probed.addresses.push(gather(uri, target, means).await);
    }
    probed
}
