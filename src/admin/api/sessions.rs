//! Live allocations: which there are, and their end by an operator.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::{Deserialize, Serialize};

use super::super::error::ApiError;
use super::super::observer::Observer;
use super::super::rates::{Rate, Rates};
use super::{Body, Id, Params, whole};
use crate::daemon::Daemon;
use crate::daemon::audit::Actor;
use turnd_proto::server::{Filter, SessionBrief, SessionInfo};

/// Sessions on one page at the most, and without `limit`.
const MAX_PAGE: usize = 1000;
const DEFAULT_PAGE: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionQuery {
    user: Option<String>,
    client: Option<String>,
    /// Part of a user's name, or of the client's or the relayed address.
    search: Option<String>,
    sort: Option<Sort>,
    #[serde(default)]
    offset: usize,
    #[serde(default)]
    after: u64,
    limit: Option<usize>,
}

/// Order of sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Sort {
    /// The lowest numbers first, which are the oldest.
    Id,
    /// The most bytes a second first.
    Rate,
    /// The most bytes in all first.
    Traffic,
    /// The oldest first.
    Age,
}

/// Sessions that a query means.
struct Wanted {
    user: Option<String>,
    client: Option<IpAddr>,
    /// In lower case.
    search: Option<String>,
}

impl Wanted {
    fn new(query: &SessionQuery) -> Result<Self, ApiError> {
        let client = query.client.as_deref().map(client_address).transpose()?;
        let search = query.search.as_deref().map(str::trim);
        Ok(Self {
            user: query.user.clone(),
            client,
            search: search
                .filter(|text| !text.is_empty())
                .map(str::to_lowercase),
        })
    }

    fn matches(&self, session: &turnd_proto::server::output::Session) -> bool {
        let user = session.user.as_deref();
        let has = |text: &str| {
            let addresses = [session.tuple.client, session.relayed];
            user.is_some_and(|user| user.to_lowercase().contains(text))
                || addresses
                    .iter()
                    .any(|address| address.to_string().contains(text))
        };
        self.user.as_deref().is_none_or(|name| user == Some(name))
            && self.client.is_none_or(|ip| ip == session.tuple.client.ip())
            && self.search.as_deref().is_none_or(has)
    }
}

fn client_address(text: &str) -> Result<IpAddr, ApiError> {
    text.parse().map_err(|_| {
        let problem = format!("client: {text:?} is not an IP address; write one as 192.0.2.1");
        ApiError::new(StatusCode::BAD_REQUEST, problem)
    })
}

#[derive(Serialize)]
pub(super) struct Sessions {
    total: usize,
    /// `after` of the next page; none on the last one, and in another order than by number.
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
    /// `None`: it is not known yet.
    per_second: Option<PerSecond>,
    permissions: Vec<String>,
    channels: Vec<Channel>,
}

/// Packets and payload bytes a second, over the last few.
#[derive(Serialize)]
struct PerSecond {
    packets_to_peers: u64,
    bytes_to_peers: u64,
    packets_to_client: u64,
    bytes_to_client: u64,
}

impl From<Rate> for PerSecond {
    fn from(rate: Rate) -> Self {
        let whole = |value: f64| value.round() as u64;
        Self {
            packets_to_peers: whole(rate.to_peers),
            bytes_to_peers: whole(rate.to_peers_bytes),
            packets_to_client: whole(rate.to_client),
            bytes_to_client: whole(rate.to_client_bytes),
        }
    }
}

#[derive(Serialize)]
struct Channel {
    number: u16,
    peer: String,
}

impl Session {
    fn new(info: SessionInfo, rates: &Rates) -> Self {
        let SessionInfo {
            session, traffic, ..
        } = info;
        Self {
            per_second: rates.of(session.serial).map(PerSecond::from),
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
    Extension(observer): Extension<Arc<Observer>>,
    Params(query): Params<SessionQuery>,
) -> Result<Json<Sessions>, ApiError> {
    let limit = query.limit.unwrap_or(DEFAULT_PAGE).clamp(1, MAX_PAGE);
    let wanted = Wanted::new(&query)?;
    if query.sort.is_some() || query.offset > 0 || wanted.search.is_some() {
        let sort = query.sort.unwrap_or(Sort::Id);
        let (sessions, total) =
            sorted(&daemon, &observer, &wanted, sort, query.offset, limit).await?;
        return Ok(Json(Sessions {
            total,
            next: None,
            sessions,
        }));
    }
    let filter = Filter {
        serial: None,
        user: wanted.user,
        client: wanted.client,
    };
    // A session more than asked for shows that there is a next page.
    let page = daemon
        .control()
        .sessions(filter, query.after, limit + 1)
        .await?;
    let more = page.sessions.len() > limit;
    let rates = observer.rates();
    let sessions: Vec<Session> = page
        .sessions
        .into_iter()
        .take(limit)
        .map(|info| Session::new(info, &rates))
        .collect();
    Ok(Json(Sessions {
        total: page.total,
        next: sessions.last().filter(|_| more).map(|session| session.id),
        sessions,
    }))
}

/// A page of the wanted sessions in this order, and how many there are in all.
async fn sorted(
    daemon: &Daemon,
    observer: &Observer,
    wanted: &Wanted,
    sort: Sort,
    offset: usize,
    limit: usize,
) -> Result<(Vec<Session>, usize), ApiError> {
    let control = daemon.control();
    let mut briefs = observer.sessions(control, sort == Sort::Rate).await?;
    briefs.retain(|brief| wanted.matches(&brief.session));
    let total = briefs.len();
    let key = |brief: &SessionBrief| match sort {
        // Numbers are given in the order of time; ages are measured by each worker a moment apart.
        Sort::Id | Sort::Age => 0,
        Sort::Rate => {
            let rate = observer.rates().of(brief.session.serial);
            rate.map_or(0, |rate| rate.bytes().round() as u64)
        }
        Sort::Traffic => brief.traffic.to_peers_bytes + brief.traffic.to_client_bytes,
    };
    briefs.sort_by_cached_key(|brief| (Reverse(key(brief)), brief.session.serial));
    let serials: Vec<u64> = briefs
        .iter()
        .skip(offset)
        .take(limit)
        .map(|brief| brief.session.serial)
        .collect();
    let mut infos = control.sessions_by_serial(serials.clone()).await?;
    let places: HashMap<u64, usize> = serials.into_iter().zip(0..).collect();
    infos.sort_unstable_by_key(|info| places.get(&info.session.serial).copied());
    let rates = observer.rates();
    let sessions = infos.into_iter().map(|info| Session::new(info, &rates));
    Ok((sessions.collect(), total))
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
    Extension(observer): Extension<Arc<Observer>>,
    Id(id): Id<u64>,
) -> Result<Json<Session>, ApiError> {
    let page = daemon.control().sessions(by_id(id), 0, 1).await?;
    let found = page
        .sessions
        .into_iter()
        .next()
        .ok_or_else(no_such_session)?;
    Ok(Json(Session::new(found, &observer.rates())))
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
