//! `turnd ctl`: questions and orders to the running server.

mod client;
mod config;
mod log;
mod place;
mod screen;
mod sessions;
mod show;

use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::time::Duration;

use hyper::Method;
use serde_json::{Value, json};

use self::client::Client;
use self::place::Reach;
use self::screen::{Event, Screen};
use super::{Failure, complain, credentials, say};

/// Interval between two looks at a drain.
const WAIT: Duration = Duration::from_millis(500);

/// Interval between two rounds of what is shown anew.
const ROUND: Duration = Duration::from_secs(2);

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
    #[command(after_help = "Examples:\n  turnd ctl status --json\n  turnd ctl status --watch")]
    Status(Status),
    /// List the sessions (allocations).
    #[command(after_help = "Examples:\n  turnd ctl sessions --user alice --peers
  turnd ctl sessions --sort rate --limit 10
  turnd ctl sessions --client 192.0.2.1 --all --json")]
    Sessions(sessions::Sessions),
    /// Watch the sessions that carry most.
    #[command(after_help = "Examples:\n  turnd ctl top\n  turnd ctl top --user alice --once")]
    Top(sessions::Top),
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
    /// Print the configuration in force, without secrets: the keys that differ from their defaults.
    #[command(after_help = "Examples:\n  turnd ctl config\n  turnd ctl config --all")]
    Config(config::Config),
    /// Show the latest lines of the log, and those to come.
    #[command(after_help = "Examples:\n  turnd ctl log --level warn
  turnd ctl log -n 1000 --once | grep alice")]
    Log(log::Log),
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
struct Status {
    /// Show it anew every two seconds, until q or Ctrl-C.
    #[arg(long)]
    watch: bool,
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
    #[arg(value_parser = log::LEVELS)]
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
            Command::Status(how) => {
                let round = async || Ok(show::status(&self.status().await?));
                if how.watch && !self.json {
                    return watch(ROUND, round).await;
                }
                self.show(&self.status().await?, show::status)
            }
            Command::Sessions(how) => how.run(self).await,
            Command::Top(how) => how.run(self).await,
            Command::Config(how) => how.run(self).await,
            Command::Kill(which) => self.show(&self.kill(which).await?, show::killed),
            Command::Drain(how) => self.drain(&how).await,
            Command::Reload => {
                let answer = self.post("/api/v1/reload", json!({})).await?;
                self.show(&answer, show::reloaded)
            }
            Command::Log(how) => how.run(self).await,
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

    async fn kill(&self, which: Kill) -> Result<Value, Failure> {
        if let Some(id) = which.id {
            let path = format!("/api/v1/sessions/{id}");
            return self.client.ask(Method::DELETE, &path, None).await;
        }
        let body = json!({ "user": which.user, "client": which.client });
        let answer = self.post("/api/v1/kill", body).await?;
        match answer["killed"].as_u64() {
            // The server's word for a number that no session has.
            Some(0) => Err(Failure::Run("no such session".to_owned())),
            _ => Ok(answer),
        }
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

/// Shows what `round` says, again after each `period`, until a key or a signal; once where nobody looks on.
async fn watch(
    period: Duration,
    round: impl AsyncFn() -> Result<String, Failure>,
) -> Result<(), Failure> {
    let mut text = round().await?;
    if !io::stdout().is_terminal() {
        return say(text);
    }
    let no_screen = |error| Failure::Run(format!("the terminal cannot be used: {error}"));
    let mut screen = Screen::open().map_err(no_screen)?;
    loop {
        screen.draw(&text).map_err(no_screen)?;
        let next = async {
            tokio::time::sleep(period).await;
            round().await
        };
        tokio::select! {
            event = screen.event() => match event {
                Event::Quit => return Ok(()),
                Event::Resized => {}
            },
            next = next => text = next?,
        }
    }
}

fn pretty(answer: &Value) -> Result<String, Failure> {
    serde_json::to_string_pretty(answer).map_err(Failure::run)
}
