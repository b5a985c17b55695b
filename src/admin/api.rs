//! The JSON API. `openapi.json` describes it, and a test holds the two together.

mod config;
mod history;
mod log;
mod qr;
mod refusals;
mod sessions;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::extract::{FromRequest, FromRequestParts, Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post, put};
use axum::{Extension, Json, Router};
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::metrics;
use crate::daemon::audit::{Actor, audit};
use crate::daemon::{ChangedKey, Daemon, LastReload};
use crate::ice_servers::{Access, Format, Offer, Shown, check_ttl, issue, places};
use crate::net::log::escape_name;
use crate::problem::Problem;

/// The largest request body, in bytes.
pub(super) const MAX_BODY: usize = 16 << 10;

/// Lifetime of credentials without `ttl_seconds`.
const DEFAULT_TTL: Duration = Duration::from_secs(86_400);

/// Paths and their handlers.
pub(super) type Routes = Vec<(&'static str, MethodRouter<Arc<Daemon>>)>;

/// Routes of the API, for clients with access.
pub(super) fn guarded() -> Routes {
    vec![
        ("/api/v1/status", get(status)),
        ("/api/v1/sessions", get(sessions::list)),
        (
            "/api/v1/sessions/{id}",
            get(sessions::one).delete(sessions::kill_one),
        ),
        ("/api/v1/kill", post(sessions::kill)),
        ("/api/v1/history", get(history::history)),
        ("/api/v1/refusals", get(refusals::refusals)),
        ("/api/v1/config", get(config::config)),
        ("/api/v1/drain", post(drain)),
        ("/api/v1/reload", post(reload)),
        ("/api/v1/log", get(log::lines)),
        ("/api/v1/log-level", put(log::set_level)),
        ("/api/v1/credentials", post(credentials)),
        ("/api/v1/qr", post(qr::qr)),
        ("/api/v1/openapi.json", get(openapi)),
    ]
}

/// Routes for monitoring.
pub(super) fn metrics() -> Routes {
    vec![("/metrics", get(metrics::handler))]
}

/// Routes for orchestrators, which have no token.
pub(super) fn health() -> Routes {
    vec![("/healthz", get(healthz)), ("/readyz", get(readyz))]
}

/// Routes as a router.
pub(super) fn router(routes: Routes) -> Router<Arc<Daemon>> {
    routes
        .into_iter()
        .fold(Router::new(), |router, (path, answer)| {
            router.route(path, answer)
        })
}

/// A body whose rejection is an [`ApiError`].
#[derive(FromRequest)]
#[from_request(via(Json), rejection(ApiError))]
struct Body<T>(T);

/// A query whose rejection is an [`ApiError`].
#[derive(FromRequestParts)]
#[from_request(via(Query), rejection(ApiError))]
struct Params<T>(T);

/// A path whose rejection is an [`ApiError`].
#[derive(FromRequestParts)]
#[from_request(via(Path), rejection(ApiError))]
struct Id<T>(T);

async fn healthz(State(daemon): State<Arc<Daemon>>) -> Response {
    match daemon.control().status().await {
        Ok(_) => "ok\n".into_response(),
        Err(error) => (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response(),
    }
}

async fn readyz(State(daemon): State<Arc<Daemon>>) -> Response {
    if daemon.is_draining() {
        return (StatusCode::SERVICE_UNAVAILABLE, "draining\n").into_response();
    }
    healthz(State(daemon)).await
}

#[derive(Serialize)]
struct Status {
    version: &'static str,
    uptime_seconds: u64,
    draining: bool,
    public_addresses: Vec<String>,
    allocations: u64,
    allocations_created: u64,
    allocations_ended: u64,
    relay_ports_used: u32,
    relay_ports_total: u32,
    relay_addresses: u32,
    binding_requests: u64,
    auth_failures: u64,
    quota_refusals: u64,
    clients: Flow,
    peers: Flow,
    packets_dropped: u64,
    reloads: u64,
    failed_reloads: u64,
    last_reload_failed: bool,
    last_reload_success_unix: u64,
    pending: Vec<Change>,
    certificates_unusable: Option<String>,
}

#[derive(Serialize)]
struct Flow {
    received_packets: u64,
    received_bytes: u64,
    sent_packets: u64,
    sent_bytes: u64,
}

impl From<turnd_proto::server::counters::Flow> for Flow {
    fn from(flow: turnd_proto::server::counters::Flow) -> Self {
        Self {
            received_packets: flow.received,
            received_bytes: flow.received_bytes,
            sent_packets: flow.sent,
            sent_bytes: flow.sent_bytes,
        }
    }
}

async fn status(State(daemon): State<Arc<Daemon>>) -> Result<Json<Status>, ApiError> {
    let status = daemon.control().status().await?;
    let (reloads, failed_reloads) = daemon.reloads();
    let LastReload { failed, success } = daemon.last_reload();
    let certificates = daemon.control().certificates();
    let counters = &status.counters;
    let external = daemon.config().server.relay.external;
    let mut public_addresses: Vec<_> = external.iter().map(|ip| ip.public.to_string()).collect();
    public_addresses.sort_unstable();
    public_addresses.dedup();
    Ok(Json(Status {
        version: env!("CARGO_PKG_VERSION"),
        uptime_seconds: daemon.uptime().as_secs(),
        draining: daemon.is_draining(),
        public_addresses,
        allocations: status.allocations(),
        allocations_created: counters.created,
        allocations_ended: counters.ended_in_all(),
        relay_ports_used: status.ports_taken,
        relay_ports_total: status.ports_total,
        relay_addresses: status.relay_addresses,
        binding_requests: counters.binding_requests,
        auth_failures: status.auth_failures(),
        quota_refusals: status.quota_refusals(),
        clients: counters.clients.into(),
        peers: counters.peers.into(),
        packets_dropped: status.dropped(),
        reloads,
        failed_reloads,
        last_reload_failed: failed,
        last_reload_success_unix: success.as_secs(),
        pending: Change::all(daemon.pending()),
        certificates_unusable: certificates.and_then(|certificates| certificates.unusable()),
    }))
}

/// Does something as a whole: a client that leaves must not end it halfway, or unrecorded.
async fn whole<T: Send + 'static>(
    action: impl Future<Output = T> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::spawn(action).await;
    done.map_err(|error| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Drain {
    drain: bool,
}

async fn drain(
    State(daemon): State<Arc<Daemon>>,
    Extension(by): Extension<Actor>,
    Body(Drain { drain }): Body<Drain>,
) -> Result<Json<Drain>, ApiError> {
    whole(async move { daemon.drain(by, drain).await }).await??;
    Ok(Json(Drain { drain }))
}

#[derive(Serialize)]
struct Reloaded {
    changes: Vec<Change>,
    /// From the next restart on.
    pending: Vec<Change>,
    certificates_unusable: Option<String>,
}

#[derive(Serialize)]
struct Change {
    key: String,
    old: String,
    new: String,
}

impl Change {
    fn all(changed: Vec<ChangedKey>) -> Vec<Self> {
        let change = |ChangedKey { key, old, new }| Self { key, old, new };
        changed.into_iter().map(change).collect()
    }
}

async fn reload(
    State(daemon): State<Arc<Daemon>>,
    Extension(by): Extension<Actor>,
) -> Result<Json<Reloaded>, ApiError> {
    let outcome = whole(async move { daemon.reload(by).await }).await?;
    let reloaded = outcome.map_err(|details| {
        let text = "not reloaded, the old configuration stays";
        ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, text).with(details)
    })?;
    Ok(Json(Reloaded {
        changes: Change::all(reloaded.changes),
        pending: Change::all(reloaded.pending),
        certificates_unusable: reloaded.certificates_unusable,
    }))
}

async fn openapi() -> Response {
    (
        [("content-type", "application/json")],
        include_str!("openapi.json"),
    )
        .into_response()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialsRequest {
    name: Option<String>,
    host: Option<String>,
    /// Lifetime; absent: a day, or `max-credential-ttl` if that is less.
    ttl_seconds: Option<u32>,
    /// Whether to leave out credentials, for a client that has its own.
    #[serde(default)]
    urls_only: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CredentialsQuery {
    #[serde(default)]
    format: Format,
}

/// Makes credentials that expire, or none: a user's own, and the secret, never leave the server.
async fn credentials(
    State(daemon): State<Arc<Daemon>>,
    Extension(by): Extension<Actor>,
    Params(CredentialsQuery { format }): Params<CredentialsQuery>,
    Body(request): Body<CredentialsRequest>,
) -> Result<Response, ApiError> {
    let refused =
        |problem: Problem| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, problem.to_string());
    let config = daemon.config();
    let places = places(&config, request.host.as_deref().as_slice()).map_err(refused)?;
    let max = config.operation.max_credential_ttl;
    let ttl = match request.ttl_seconds {
        Some(seconds) => Duration::from_secs(seconds.into()),
        None => DEFAULT_TTL.min(max),
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let access = if config.server.protocol.stun_only || request.urls_only {
        Access::Free
    } else {
        check_ttl(ttl, max).map_err(refused)?;
        let expiry = now.saturating_add(ttl);
        let login = issue(&config.auth, request.name.as_deref(), expiry).map_err(refused)?;
        let user = escape_name(&login.name);
        audit!(by, "credentials", user, ttl = ttl.as_secs());
        Access::Login(login)
    };
    let offer = Offer {
        places,
        access,
        ttl,
        now,
    };
    Ok(match offer.show(format).map_err(refused)? {
        Shown::Json(answer) => Json(answer).into_response(),
        Shown::Text(text) => text.into_response(),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The answers are held to the document by tests/integration/admin/openapi.rs.
    #[test]
    fn the_document_has_exactly_the_paths_of_the_router() {
        let document: serde_json::Value =
            serde_json::from_str(include_str!("openapi.json")).unwrap();
        let documented: BTreeSet<&str> = document["paths"]
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let routed: BTreeSet<&str> = guarded()
            .iter()
            .chain(&metrics())
            .chain(&health())
            .map(|(path, _)| *path)
            .collect();
        assert_eq!(documented, routed);
    }
}
