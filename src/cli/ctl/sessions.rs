//! `turnd ctl sessions` and `turnd ctl top`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::net::IpAddr;

use serde_json::{Value, json};

use super::client::encode;
use super::screen::Screen;
use super::{Caller, ROUND, show, watch};
use crate::cli::Failure;

/// Most sessions in one answer of the server.
const PAGE: usize = 1000;

/// Sessions of `top` where no terminal says how many fit.
const TOP: usize = 20;

/// Lines of `top` beside the sessions.
const TOP_FRAME: usize = 5;

/// Sessions that are meant.
#[derive(clap::Args)]
struct Which {
    /// Sessions of this user only.
    #[arg(long)]
    user: Option<String>,
    /// Sessions from this client address only.
    #[arg(long)]
    client: Option<IpAddr>,
}

impl Which {
    /// As a part of a query.
    fn filter(&self) -> String {
        let mut filter = String::new();
        if let Some(user) = &self.user {
            let _ = write!(filter, "&user={}", encode(user));
        }
        if let Some(client) = &self.client {
            let _ = write!(filter, "&client={}", encode(&client.to_string()));
        }
        filter
    }
}

#[derive(clap::Args)]
pub(super) struct Sessions {
    #[command(flatten)]
    which: Which,
    /// Order: by bytes a second, by bytes in all, or by age, the largest first; without it the oldest first.
    #[arg(long, value_parser = ["rate", "traffic", "age"])]
    sort: Option<String>,
    /// Most sessions to list.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// List all sessions.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    /// List the peers of each session as well.
    #[arg(long)]
    peers: bool,
}

#[derive(clap::Args)]
pub(super) struct Top {
    #[command(flatten)]
    which: Which,
    /// Most sessions to show; otherwise as many as fit.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: Option<u32>,
    /// Show it once, in place of anew every two seconds until q or Ctrl-C.
    #[arg(long)]
    once: bool,
}

impl Sessions {
    pub(super) async fn run(&self, caller: &Caller) -> Result<(), Failure> {
        let (answer, more) = self.ask(caller).await?;
        caller.show(&answer, |answer| show::sessions(answer, more, self.peers))
    }

    /// All pages of the list as one, and whether there are more.
    async fn ask(&self, caller: &Caller) -> Result<(Value, bool), Failure> {
        let filter = self.which.filter();
        let wanted = match self.all {
            true => usize::MAX,
            false => self.limit as usize,
        };
        let mut sessions: Vec<Value> = Vec::new();
        let mut after = json!(0);
        loop {
            let limit = PAGE.min(wanted - sessions.len());
            // A page by number begins behind a session, any other at a place of the list.
            let place = match &self.sort {
                Some(sort) => format!("sort={sort}&offset={}", sessions.len()),
                None => format!("after={after}"),
            };
            let path = format!("/api/v1/sessions?limit={limit}&{place}{filter}");
            let mut page = caller.get(&path).await?;
            let before = sessions.len();
            if let Some(more) = page["sessions"].as_array_mut() {
                sessions.append(more);
            }
            let total = page["total"].take();
            after = page["next"].take();
            let is_last = match self.sort {
                Some(_) => {
                    sessions.len() == before || Some(sessions.len() as u64) >= total.as_u64()
                }
                None => after.is_null(),
            };
            if is_last || sessions.len() >= wanted {
                let all = json!({ "total": total, "next": after, "sessions": sessions });
                return Ok((all, !is_last));
            }
        }
    }
}

impl Top {
    pub(super) async fn run(&self, caller: &Caller) -> Result<(), Failure> {
        if caller.json || self.once || !io::stdout().is_terminal() {
            return caller.show(&self.ask(caller, TOP).await?, show::top);
        }
        let round = async || {
            let fitting = Screen::rows().saturating_sub(TOP_FRAME).max(1);
            Ok(show::top(&self.ask(caller, fitting).await?))
        };
        watch(ROUND, round).await
    }

    /// State of the server, its last seconds, and the sessions that carry most.
    async fn ask(&self, caller: &Caller, fitting: usize) -> Result<Value, Failure> {
        let limit = self.limit.map_or(fitting.min(PAGE), |limit| limit as usize);
        let filter = self.which.filter();
        let path = format!("/api/v1/sessions?sort=rate&limit={limit}{filter}");
        let sessions = caller.get(&path).await?;
        let history = caller.get("/api/v1/history?range=minutes").await?;
        Ok(json!({
            "status": caller.status().await?,
            "per_second": {
                "bytes_to_peers": per_second(&history, "peers_sent_bytes"),
                "bytes_to_clients": per_second(&history, "clients_sent_bytes"),
            },
            "sessions": sessions,
        }))
    }
}

/// The last value of a column of history, for a second; `None` in the first seconds of a server.
fn per_second(history: &Value, column: &str) -> Option<u64> {
    let last = history["columns"][column].as_array()?.last()?.as_u64()?;
    last.checked_div(history["step_seconds"].as_u64()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_step() {
        let history = json!({"step_seconds": 5, "columns": {"x": [9000, 50], "none": []}});
        assert_eq!(per_second(&history, "x"), Some(10));
        assert_eq!(per_second(&history, "none"), None);
        assert_eq!(per_second(&history, "other"), None);
        assert_eq!(per_second(&Value::Null, "x"), None);
    }

    #[test]
    fn filters_hold_any_name() {
        let which = Which {
            user: Some("a&b".to_owned()),
            client: Some([192, 0, 2, 1].into()),
        };
        assert_eq!(which.filter(), "&user=a%26b&client=192.0.2.1");
    }
}
