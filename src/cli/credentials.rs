//! `turnd credentials`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::secret::{self, SecretArgs};
use super::{Failure, complain, say};
use crate::config::file::FileConfig;
use crate::config::{self, Config, Operation, SEARCH, quantity};
use crate::ice_servers::{Access, Format, Offer, check_ttl, doubt, login, places};

/// Lifetime of credentials without `--ttl`.
const DAY: Duration = Duration::from_secs(86_400);

/// Print credentials: iceServers for an RTCPeerConnection, or what another application takes.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  turnd credentials --host turn.example.org --name alice --ttl 1h
  turnd credentials --secret-file secret --host 192.0.2.1
  turnd credentials --secret-file secret --host turn.example.org:443
  turnd credentials --host turn.example.org --host 'turns:turn.example.org:443?transport=tcp' --format prosody"
)]
pub(super) struct Credentials {
    /// Configuration file; otherwise turnd.toml here, then /etc/turnd/turnd.toml.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["secret", "secret_file"])]
    config: Option<PathBuf>,
    #[command(flatten)]
    secret: SecretArgs,
    /// User to make credentials for, or the static user to print.
    #[arg(long)]
    name: Option<String>,
    /// Lifetime of the credentials, as 90 (seconds), 30m, 24h or 7d; otherwise 24h, or max-credential-ttl if that is less.
    #[arg(long, value_parser = duration)]
    ttl: Option<Duration>,
    /// Host of the server, with :PORT behind it where all comes by that port (443 and 5349 with turns:), or a whole URI. May
    /// be given several times. Otherwise the certificate's name, external-ip, listening-ip, the realm, or 127.0.0.1.
    #[arg(long)]
    host: Vec<String>,
    /// Form to print; for applications that make credentials themselves it holds the secret.
    #[arg(long, value_enum, default_value = "iceservers")]
    format: Format,
}

impl Credentials {
    pub(super) fn run(self) -> Result<(), Failure> {
        let no_file = self.config.is_none() && config::search().is_none();
        let secret = match self.secret.read()? {
            None if no_file => Some(secret::variable(secret::SECRET)?.ok_or_else(none)?),
            given => given,
        };
        // A secret that is given by itself has no max-credential-ttl.
        let bounded = secret.is_none();
        let loaded = match secret {
            Some(secret) => config::from_flags(&FileConfig {
                static_auth_secret: Some(vec![secret]),
                ..FileConfig::default()
            })?,
            None => config::load(self.config.as_deref(), &FileConfig::default())?,
        };
        for warning in &loaded.warnings {
            complain(format_args!("warning: {warning}"));
        }
        let config = &loaded.config;
        let hosts: Vec<&str> = self.host.iter().map(String::as_str).collect();
        let places = places(config, &hosts).map_err(Failure::usage)?;
        if let Some(doubt) = doubt(&places) {
            complain(format_args!("warning: {doubt}"));
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let ttl = self.ttl(&config.operation, bounded)?;
        let offer = Offer {
            places,
            access: self.access(config, now.saturating_add(ttl))?,
            ttl,
            now,
        };
        say(offer.show(self.format).map_err(Failure::usage)?)
    }

    fn access(&self, config: &Config, expiry: Duration) -> Result<Access, Failure> {
        if config.server.protocol.stun_only {
            return Ok(Access::Free);
        }
        let secret = config.auth.secrets.first();
        match secret.filter(|_| self.format.is_configuration() && self.name.is_none()) {
            Some(secret) => Ok(Access::Secret(secret.clone())),
            None => login(&config.auth, self.name.as_deref(), expiry)
                .map(Access::Login)
                .map_err(Failure::usage),
        }
    }

    fn ttl(&self, operation: &Operation, bounded: bool) -> Result<Duration, Failure> {
        let max = operation.max_credential_ttl;
        match self.ttl {
            None if bounded => Ok(DAY.min(max)),
            Some(ttl) if bounded => {
                check_ttl(ttl, max).map_err(|why| Failure::usage(format!("--{why}")))?;
                Ok(ttl)
            }
            ttl => Ok(ttl.unwrap_or(DAY)),
        }
    }
}

fn none() -> Failure {
    Failure::usage(format!(
        "no configuration file ({}); name one with -c, or give --secret-file, --secret - for standard input, or {}",
        SEARCH.join(", "),
        secret::SECRET
    ))
}

/// Reads `90`, `90s`, `30m`, `24h` or `7d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    const FORM: &str = "write seconds, or a number with s, m, h or d";
    match quantity::seconds(text) {
        Some(0) => Err("nothing is good for no time".to_owned()),
        seconds => seconds
            .map(Duration::from_secs)
            .ok_or_else(|| FORM.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("30m"), Ok(Duration::from_secs(1800)));
        assert_eq!(duration("24h"), Ok(Duration::from_secs(86400)));
        assert_eq!(duration("7d"), Ok(Duration::from_secs(604_800)));
        assert!(duration("4294967295d").is_ok());
        for wrong in ["", "h", "-1h", "1.5h", "1w", "99999999999", "h24", "é"] {
            assert_eq!(
                duration(wrong),
                Err("write seconds, or a number with s, m, h or d".to_owned())
            );
        }
        assert_eq!(
            duration("0h"),
            Err("nothing is good for no time".to_owned())
        );
    }
}
