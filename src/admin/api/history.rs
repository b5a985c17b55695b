//! The last day in numbers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::super::error::ApiError;
use super::super::history::COLUMNS;
use super::super::observer::Observer;
use super::Params;
use crate::daemon::Daemon;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    #[serde(default)]
    range: Range,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Range {
    /// The last ten minutes, in steps of seconds.
    Minutes,
    /// The last day, in steps of a minute.
    #[default]
    Day,
}

#[derive(Serialize)]
pub(super) struct Answer {
    /// Time of the answer, since the Unix epoch.
    now: u64,
    step_seconds: u64,
    /// Ends of the steps, since the Unix epoch.
    times: Vec<u64>,
    columns: BTreeMap<&'static str, Vec<u64>>,
}

pub(super) async fn history(
    State(daemon): State<Arc<Daemon>>,
    Extension(observer): Extension<Arc<Observer>>,
    Params(query): Params<HistoryQuery>,
) -> Result<Json<Answer>, ApiError> {
    // Set anew each time, as the clock may have been.
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let start = now.saturating_sub(daemon.uptime()).as_secs();
    let history = observer.history();
    let series = match query.range {
        Range::Minutes => &history.minutes,
        Range::Day => &history.day,
    };
    let column = |index: usize| series.points().map(|point| point.values[index]).collect();
    Ok(Json(Answer {
        now: now.as_secs(),
        step_seconds: series.step,
        times: series.points().map(|point| start + point.end).collect(),
        columns: COLUMNS
            .iter()
            .enumerate()
            .map(|(index, of)| (of.name, column(index)))
            .collect(),
    }))
}
