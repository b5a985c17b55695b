//! `turnd ctl`: questions and orders to the running server.

mod client;
mod place;
mod show;

use std::net::IpAddr;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use self::client::{Client, encode};
use self::place::Reach;
use super::{Failure, complain, credentials, say};

/// Interval between two looks at a drain.
const WAIT: Duration = Duration::from_millis(500);

/// Most sessions in one answer of the server.
const PAGE: usize = 1000;

/// Talk to the running server.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  turnd ctl status
  turnd ctl sessions --user alice
  turnd ctl --admin 127.0.0.1:9641 --token-file token drain --wait
Exit codes: 0 done, 1 not done, 2 bad usage")]
pub(super) struct Ctl {
    #[command(flatten)]
    reach: Reach,
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Show the state of the server.
    #[command(after_help = "Example:\n  turnd ctl status --json")]
    Status,
    /// List the sessions (allocations), the oldest first.
    #[command(after_help = "Examples:\n  turnd ctl sessions --user alice
  turnd ctl sessions --client 192.0.2.1 --json
  turnd ctl sessions --all")]
    Sessions(Sessions),
    /// End sessions.
    #[command(after_help = "Examples:\n  turnd ctl kill --id 17
  turnd ctl kill --user alice
  turnd ctl kill --client 192.0.2.1")]
    Kill(Kill),
    /// Refuse new sessions; existing ones go on.
    #[command(after_help = "Examples:\n  turnd ctl drain --wait\n  turnd ctl drain --off")]
    Drain(Drain),
    /// Read the configuration again; sessions go on.
    #[command(after_help = "Example:\n  turnd ctl reload")]
    Reload,
    /// Set the log level until the next reload or restart.
    #[command(after_help = "Example:\n  turnd ctl log-level debug")]
    LogLevel(LogLevel),
    /// Print credentials as iceServers JSON, made by the server.
    #[command(
        after_help = "Example:\n  turnd ctl credentials --host turn.example.org --name alice --ttl 1h"
    )]
    Credentials(Credentials),
}

#[derive(clap::Args)]
struct Sessions {
    /// Sessions of this user only.
    #[arg(long)]
    user: Option<String>,
    /// Sessions from this client address only.
    #[arg(long)]
    client: Option<IpAddr>,
    /// Most sessions to list.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// List all sessions.
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

#[derive(clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).multiple(true))]
struct Kill {
    /// The session with this number.
    #[arg(long, group = "which", conflicts_with_all = ["user", "client"])]
    id: Option<u64>,
    /// The sessions of this user.
    #[arg(long, group = "which")]
    user: Option<String>,
    /// The sessions from this client address.
    #[arg(long, group = "which")]
    client: Option<IpAddr>,
}

#[derive(clap::Args)]
struct Drain {
    /// Accept new sessions again.
    #[arg(long, conflicts_with = "wait")]
    off: bool,
    /// Return when the last session has ended.
    #[arg(long)]
    wait: bool,
}

#[derive(clap::Args)]
struct LogLevel {
    /// Least severe level to log.
    #[arg(value_parser = ["error", "warn", "info", "debug", "trace"])]
    level: String,
}

#[derive(clap::Args)]
struct Credentials {
    /// Name to make credentials for.
    #[arg(long)]
    name: Option<String>,
    /// Lifetime of the credentials, as 90 (seconds), 30m, 24h or 7d; otherwise 24h, or max-credential-ttl if that is less.
    #[arg(long, value_parser = credentials::duration)]
    ttl: Option<Duration>,
    /// Host of the server, HOST:PORT, or a URI; otherwise the certificate's name, external-ip, listening-ip, the realm, or
    /// 127.0.0.1.
    #[arg(long)]
    host: Option<String>,
}

impl Ctl {
    pub(super) fn run(self) -> Result<(), Failure> {
        let caller = Caller {
            client: self.reach.client()?,
            json: self.reach.json,
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Run(format!("cannot use the network: {error}")))?;
        runtime.block_on(caller.run(self.command))
    }
}

/// Asks the server, and shows the answers.
struct Caller {
    client: Client,
    json: bool,
}

impl Caller {
    async fn run(&self, command: Command) -> Result<(), Failure> {
        match command {
            Command::Status => self.show(&self.status().await?, show::status),
            Command::Sessions(which) => self.show(&self.sessions(which).await?, show::sessions),
            Command::Kill(which) => self.show(&self.kill(which).await?, show::killed),
            Command::Drain(how) => self.drain(&how).await,
            Command::Reload => {
                let answer = self.post("/api/v1/reload", json!({})).await?;
                self.show(&answer, show::reloaded)
            }
            Command::LogLevel(LogLevel { level }) => {
                let body = Some(json!({ "level": level }));
                let path = "/api/v1/log-level";
                let answer = self.client.ask(Method::PUT, path, body).await?;
                self.show(&answer, |answer| format!("log level {}", answer["level"]))
            }
            Command::Credentials(Credentials { name, ttl, host }) => {
                let ttl = ttl.map(|ttl| ttl.as_secs());
                let body = json!({ "name": name, "host": host, "ttl_seconds": ttl });
                say(pretty(&self.post("/api/v1/credentials", body).await?)?)
            }
        }
    }

    fn show(&self, answer: &Value, for_people: impl Fn(&Value) -> String) -> Result<(), Failure> {
        say(if self.json {
            pretty(answer)?
        } else {
            for_people(answer)
        })
    }

    async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.client.ask(Method::GET, path, None).await
    }

    async fn post(&self, path: &str, body: Value) -> Result<Value, Failure> {
        self.client.ask(Method::POST, path, Some(body)).await
    }

    async fn status(&self) -> Result<Value, Failure> {
        self.get("/api/v1/status").await
    }

    /// All pages of the list as one.
    async fn sessions(&self, which: Sessions) -> Result<Value, Failure> {
        let mut filter = String::new();
        if let Some(user) = &which.user {
            filter += &format!("&user={}", encode(user));
        }
        if let Some(client) = &which.client {
            filter += &format!("&client={}", encode(&client.to_string()));
        }
        let wanted = if which.all {
            usize::MAX
        } else {
            which.limit as usize
        };
        let mut sessions: Vec<Value> = Vec::new();
        let mut after = json!(0);
        loop {
            let limit = PAGE.min(wanted - sessions.len());
            let path = format!("/api/v1/sessions?limit={limit}&after={after}{filter}");
            let mut page = self.get(&path).await?;
            if let Some(more) = page["sessions"].as_array_mut() {
                sessions.append(more);
            }
            after = page["next"].take();
            if after.is_null() || sessions.len() >= wanted {
                let total = page["total"].take();
                return Ok(json!({ "total": total, "next": after, "sessions": sessions }));
            }
        }
    }

    async fn kill(&self, which: Kill) -> Result<Value, Failure> {
        if let Some(id) = which.id {
            let path = format!("/api/v1/sessions/{id}");
            return self.client.ask(Method::DELETE, &path, None).await;
        }
        let body = json!({ "user": which.user, "client": which.client });
        self.post("/api/v1/kill", body).await
    }

    async fn drain(&self, how: &Drain) -> Result<(), Failure> {
        let body = json!({ "drain": !how.off });
        let answer = self.post("/api/v1/drain", body).await?;
        if !how.wait {
            return self.show(&answer, show::draining);
        }
        let mut told = None;
        loop {
            let status = self.status().await?;
            if status["draining"] == false {
                let text = "somebody has ended the drain; the server accepts new sessions";
                return Err(Failure::Run(text.to_owned()));
            }
            let left = status["allocations"].as_u64().unwrap_or_default();
            if left == 0 {
                return self.show(&status, |_| "drained: no session is left".to_owned());
            }
            if told.replace(left) != Some(left) {
                complain(format_args!("draining, {left} left"));
            }
            tokio::time::sleep(WAIT).await;
        }
    }
}

fn pretty(answer: &Value) -> Result<String, Failure> {
    serde_json::to_string_pretty(answer).map_err(Failure::run)
}
