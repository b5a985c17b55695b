//! Requests that clients were refused, and failures.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;

use super::super::error::ApiError;
use crate::daemon::Daemon;
use crate::net::log::escape_name;
use crate::net::refusals;

/// Characters of a name that are shown.
const NAME: usize = 128;

#[derive(Serialize)]
pub(super) struct Refusals {
    counts: Vec<Count>,
    /// The newest first.
    refusals: Vec<Refusal>,
}

#[derive(Serialize)]
struct Count {
    kind: &'static str,
    code: Option<u16>,
    reason: &'static str,
    count: u64,
}

#[derive(Serialize)]
struct Refusal {
    kind: &'static str,
    time: u64,
    client: Option<String>,
    transport: Option<&'static str>,
    proven: bool,
    user: Option<String>,
    method: Option<String>,
    code: Option<u16>,
    reason: String,
    why: Option<&'static str>,
    peer: Option<String>,
    allowed_by: Option<&'static str>,
}

impl From<&refusals::Refusal> for Refusal {
    fn from(refusal: &refusals::Refusal) -> Self {
        Self {
            kind: refusal.kind.as_str(),
            time: refusal.at,
            client: refusal.client.map(|(address, _)| address.to_string()),
            transport: refusal.client.map(|(_, transport)| transport.name()),
            proven: refusal.proven,
            user: refusal.user.as_deref().map(shortened),
            method: refusal.method.map(|method| method.to_string()),
            code: refusal.code,
            reason: refusal.reason.to_string(),
            why: refusal.why,
            peer: refusal.peer.map(|peer| peer.to_string()),
            allowed_by: refusal.allowed_by,
        }
    }
}

/// A name that breaks no line and fills no page.
fn shortened(name: &str) -> String {
    let mut shown = escape_name(name);
    if let Some((end, _)) = shown.char_indices().nth(NAME) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

pub(super) async fn refusals(
    State(daemon): State<Arc<Daemon>>,
) -> Result<Json<Refusals>, ApiError> {
    let refusals = daemon.control().refusals().await?;
    let count = |count: refusals::Count| Count {
        kind: count.kind.as_str(),
        code: count.code,
        reason: count.reason,
        count: count.count,
    };
    Ok(Json(Refusals {
        counts: refusals.counts().into_iter().map(count).collect(),
        refusals: refusals.latest().into_iter().map(Refusal::from).collect(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_and_short() {
        assert_eq!(shortened("a\nb\u{202e}"), "a\\nb\\u{202e}");
        assert_eq!(shortened(&"é".repeat(500)), "é".repeat(NAME) + "…");
    }
}
