//! Live allocations: which there are, and their end by an operator.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::super::error::ApiError;
use super::{Body, Id, Params, whole};
use crate::daemon::Daemon;
use crate::daemon::audit::Actor;
use turnd_proto::server::{Filter, SessionInfo};

/// Sessions on one page at the most, and without `limit`.
const MAX_PAGE: usize = 1000;
const DEFAULT_PAGE: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionQuery {
    user: Option<String>,
    client: Option<IpAddr>,
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(super) struct Sessions {
    total: usize,
    /// `after` of the next page; none on the last one.
    next: Option<u64>,
    sessions: Vec<Session>,
}

#[derive(Serialize)]
pub(super) struct Session {
    id: u64,
    user: Option<String>,
    client: String,
    server: String,
    transport: &'static str,
    relayed: String,
    age_seconds: u64,
    remaining_seconds: u64,
    packets_to_peers: u64,
    bytes_to_peers: u64,
    packets_to_client: u64,
    bytes_to_client: u64,
    permissions: Vec<String>,
    channels: Vec<Channel>,
}

#[derive(Serialize)]
struct Channel {
    number: u16,
    peer: String,
}

impl From<SessionInfo> for Session {
    fn from(info: SessionInfo) -> Self {
        let SessionInfo {
            session, traffic, ..
        } = info;
        Self {
            id: session.serial,
            user: session.user.map(|user| user.to_string()),
            client: session.tuple.client.to_string(),
            server: session.tuple.server.to_string(),
            transport: session.tuple.transport.name(),
            relayed: session.relayed.to_string(),
            age_seconds: info.age.as_secs(),
            remaining_seconds: info.remaining.as_secs(),
            packets_to_peers: traffic.to_peers,
            bytes_to_peers: traffic.to_peers_bytes,
            packets_to_client: traffic.to_client,
            bytes_to_client: traffic.to_client_bytes,
            permissions: info.permissions.iter().map(ToString::to_string).collect(),
            channels: info
                .channels
                .iter()
                .map(|(number, peer)| Channel {
                    number: *number,
                    peer: peer.to_string(),
                })
                .collect(),
        }
    }
}

pub(super) async fn list(
    State(daemon): State<Arc<Daemon>>,
    Params(query): Params<SessionQuery>,
) -> Result<Json<Sessions>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let filter = Filter {
        serial: None,
        user: query.user,
        client: query.client,
    };
    // A session more than asked for shows that there is a next page.
    let page = daemon
        .control()
        .sessions(filter, query.after, limit + 1)
        .await?;
    let more = page.sessions.len() > limit;
    let sessions: Vec<Session> = page
        .sessions
        .into_iter()
        .take(limit)
        .map(Session::from)
        .collect();
    Ok(Json(Sessions {
        total: page.total,
        next: sessions.last().filter(|_| more).map(|session| session.id),
        sessions,
    }))
}

fn by_id(id: u64) -> Filter {
    Filter {
        serial: Some(id),
        ..Filter::default()
    }
}

fn no_such_session() -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "no such session")
}

pub(super) async fn one(
    State(daemon): State<Arc<Daemon>>,
    Id(id): Id<u64>,
) -> Result<Json<Session>, ApiError> {
    let page = daemon.control().sessions(by_id(id), 0, 1).await?;
    let found = page
        .sessions
        .into_iter()
        .next()
        .ok_or_else(no_such_session)?;
    Ok(Json(found.into()))
}

#[derive(Serialize)]
pub(super) struct Killed {
    killed: usize,
}

pub(super) async fn kill_one(
    State(daemon): State<Arc<Daemon>>,
    Extension(by): Extension<Actor>,
    Id(id): Id<u64>,
) -> Result<Json<Killed>, ApiError> {
    match whole(async move { daemon.kill(by, by_id(id)).await }).await?? {
        0 => Err(no_such_session()),
        killed => Ok(Json(Killed { killed })),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KillRequest {
    user: Option<String>,
    client: Option<IpAddr>,
}

pub(super) async fn kill(
    State(daemon): State<Arc<Daemon>>,
    Extension(by): Extension<Actor>,
    Body(KillRequest { user, client }): Body<KillRequest>,
) -> Result<Json<Killed>, ApiError> {
    if user.is_none() && client.is_none() {
        return Err(ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "name a user or a client",
        ));
    }
    let filter = Filter {
        serial: None,
        user,
        client,
    };
    let killed = whole(async move { daemon.kill(by, filter).await }).await??;
    Ok(Json(Killed { killed }))
}
