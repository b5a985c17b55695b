//! Level of the log, its latest lines, and those to come.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;

use super::super::error::ApiError;
use super::{Body, Params};
use crate::daemon::Daemon;
use crate::daemon::audit::Actor;
use crate::daemon::log::Line;

/// Lines without `lines`.
const DEFAULT_LINES: usize = 100;
/// Longest time to wait for a line: less than a connection lasts.
const MAX_WAIT: Duration = Duration::from_secs(20);

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LevelRequest {
    level: String,
}

/// Sets the level of the log.
pub(super) async fn set_level(
    State(daemon): State<Arc<Daemon>>,
    Extension(by): Extension<Actor>,
    Body(request): Body<LevelRequest>,
) -> Result<Json<LevelRequest>, ApiError> {
    daemon.set_log_level(by, level(&request.level)?);
    Ok(Json(request))
}

fn level(name: &str) -> Result<LevelFilter, ApiError> {
    match name {
        "error" => Ok(LevelFilter::ERROR),
        "warn" => Ok(LevelFilter::WARN),
        "info" => Ok(LevelFilter::INFO),
        "debug" => Ok(LevelFilter::DEBUG),
        "trace" => Ok(LevelFilter::TRACE),
        _ => {
            let text = "level is error, warn, info, debug or trace";
            Err(ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, text))
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LinesQuery {
    level: Option<String>,
    lines: Option<usize>,
    after: Option<u64>,
    #[serde(default)]
    wait_seconds: u64,
}

#[derive(Serialize)]
struct Lines<'a> {
    level: String,
    last: u64,
    missed: u64,
    lines: Vec<&'a Line>,
}

/// Lines after one that the caller has seen, or the latest ones.
pub(super) async fn lines(
    State(daemon): State<Arc<Daemon>>,
    Params(query): Params<LinesQuery>,
) -> Result<Response, ApiError> {
    let least = query.level.as_deref().map(level).transpose()?;
    let least = least.and_then(LevelFilter::into_level);
    let least = least.unwrap_or(Level::TRACE);
    let recent = daemon.log().recent();
    let found = match query.after {
        None => recent.latest(least, query.lines.unwrap_or(DEFAULT_LINES)),
        Some(after) => {
            let wait = Duration::from_secs(query.wait_seconds).min(MAX_WAIT);
            recent.follow(after, least, wait).await
        }
    };
    let answer = Lines {
        level: daemon.log().level().to_string(),
        last: found.last,
        missed: found.missed,
        lines: found.lines.iter().map(AsRef::as_ref).collect(),
    };
    Ok(Json(answer).into_response())
}
