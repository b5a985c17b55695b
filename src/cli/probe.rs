//! `turnd probe`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::credentials::duration;
use super::login::LoginArgs;
use super::progress::Progress;
use super::{Failure, complain, say};
use crate::config::file::FileConfig;
use crate::config::{self, Config, Secret};
use crate::ice_servers;
use turnd_client::probe::{
    Candidate, Finding, Gathered, Means, Probed, Roots, SystemDns, Target, Uri, probe,
};
use turnd_client::turn::{Login, Proof};
use turnd_proto::auth::Keys;

/// Validity of a fresh credential.
const FRESH: Duration = Duration::from_secs(3600);

/// Find out whether a STUN or TURN server would serve a browser, and what is wrong if not.
#[derive(clap::Args)]
#[command(after_help = "Examples:
  turnd probe turn:turn.example.org --user alice
  turnd probe stun:turn.example.org 'turns:turn.example.org:443?transport=tcp' --secret-file secret
  turnd probe -c /etc/turnd/turnd.toml

Exit code 0: a browser is served by every URI. 1: it is not. 2: wrong usage.")]
pub(super) struct Probe {
    /// URI of the server, as in iceServers; with -c the addresses of the file.
    #[arg(value_name = "URI", required_unless_present = "config", value_parser = str::parse::<Uri>)]
    uris: Vec<Uri>,
    /// Take addresses and a fresh credential from this configuration file.
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["secret", "secret_file"])]
    config: Option<PathBuf>,
    #[command(flatten)]
    login: LoginArgs,
    /// Realm that the server should have.
    #[arg(long)]
    realm: Option<String>,
    /// PEM file of an authority to trust beside those of the system.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Time limit of each address, as 10 (seconds) or 1m.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    timeout: Duration,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Probe {
    pub(super) fn run(self) -> Result<(), Failure> {
        let (uris, means) = self.prepare()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Run(format!("cannot start: {error}")))?;
        let probed = runtime.block_on(async {
            let dns = SystemDns::new();
            let mut progress = Progress::new();
            let mut probed = Vec::new();
            for uri in &uris {
                let show = |target: &Target| {
                    let name = target.transport.name();
                    progress.show(format_args!("{uri}: {name} {}", target.addr));
                };
                probed.push(probe(uri, &dns, &means, show).await);
            }
            probed
        });
        // A resolver that hangs is left behind.
        runtime.shutdown_background();
        if self.json {
            let uris: Vec<Value> = probed.iter().map(as_json).collect();
            let served = probed.iter().all(Probed::serves);
            say(format_args!(
                "{:#}",
                json!({ "served": served, "uris": uris })
            ))?;
        } else {
            let tables: Vec<String> = probed.iter().map(table).collect();
            say(tables.join("\n\n"))?;
        }
        match probed.iter().filter(|probed| !probed.serves()).count() {
            0 => Ok(()),
            1 if probed.len() == 1 => Err(Failure::Run("a browser is not served".to_owned())),
            bad => Err(Failure::Run(format!(
                "a browser is not served by {bad} of {}",
                probed.len()
            ))),
        }
    }

    /// URIs to probe, and the means.
    fn prepare(&self) -> Result<(Vec<Uri>, Means), Failure> {
        let mut uris = self.uris.clone();
        let mut login = self.login()?;
        let mut realm = self.realm.clone();
        if let Some(path) = &self.config {
            let loaded = config::load(Some(path), &FileConfig::default())?;
            for warning in &loaded.warnings {
                complain(format_args!("warning: {warning}"));
            }
            let found = from_config(&loaded.config)?;
            login = login.or(found.login);
            realm = realm.or_else(|| Some(loaded.config.auth.realm.clone()));
            if uris.is_empty() {
                uris = found.uris;
            }
        }
        if login.is_none() && uris.iter().any(|uri| uri.turn) {
            return Err(Failure::usage(
                "turn: and turns: need credentials; give --user, --secret-file, or -c",
            ));
        }
        let extra = self.ca_file.as_ref().map(|path| {
            std::fs::read(path)
                .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
        });
        let roots = Roots::new(extra.transpose()?.as_deref());
        let means = Means {
            login,
            realm,
            roots: roots.map_err(|why| Failure::usage(format!("--ca-file: {why}")))?,
            limit: self.timeout,
        };
        Ok((uris, means))
    }

    fn login(&self) -> Result<Option<Login>, Failure> {
        let found = self.login.read("probe", FRESH, self.config.is_none())?;
        Ok(found.map(|(user, password)| login(user, password)))
    }
}

/// A password that looks like a key is one.
fn login(user: String, password: Secret) -> Login {
    let proof = match Keys::from_hex(password.reveal()) {
        Some(keys) => Proof::Key(keys),
        None => Proof::Password(password),
    };
    Login { user, proof }
}

fn fresh() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap_or_default() + FRESH
}

struct Found {
    uris: Vec<Uri>,
    login: Option<Login>,
}

/// URIs and login that `turnd credentials` would print for a browser.
fn from_config(config: &Config) -> Result<Found, Failure> {
    let login = if config.server.protocol.stun_only {
        None
    } else {
        Some(ice_servers::login(&config.auth, None, fresh()).map_err(Failure::usage)?)
    };
    let found = login
        .as_ref()
        .map(|l| self::login(l.name.clone(), Secret::new(&*l.password)));
    let servers = ice_servers::ice_servers(config, None, login).map_err(Failure::usage)?;
    let uris: Result<_, String> = servers.urls().map(str::parse).collect();
    Ok(Found {
        uris: uris.map_err(|why| Failure::Run(format!("no addresses: {why}")))?,
        login: found,
    })
}

fn table(probed: &Probed) -> String {
    let mut lines = vec![probed.uri.to_string()];
    lines.extend(probed.findings.iter().map(|finding| format!("  {finding}")));
    for address in &probed.addresses {
        lines.extend(address_lines(address));
    }
    lines.push(if probed.serves() {
        "  a browser is served".to_owned()
    } else {
        "  a browser is NOT served".to_owned()
    });
    lines.join("\n")
}

fn address_lines(address: &Gathered) -> Vec<String> {
    let Target {
        addr,
        transport,
        browser,
    } = address.target;
    let by = if browser {
        ""
    } else {
        " (by SRV or NAPTR records, which browsers do not use)"
    };
    let mut lines = vec![format!("  {} {addr}{by}", transport.name())];
    let candidate = |name: &str, candidate: &Option<Candidate>| {
        let Candidate { addr, after } = candidate.as_ref()?;
        Some(format!(
            "    {name:<11} {addr} after {}",
            milliseconds(*after)
        ))
    };
    lines.extend(candidate("reflexive", &address.reflexive));
    lines.extend(candidate("relayed", &address.relayed));
    if let Some(traffic) = &address.traffic {
        lines.push(format!(
            "    through it  {} of {} packets ({:.0}% lost), there and back in {} (95% in {}), {:.1} of 20 Mbit/s",
            traffic.returned,
            traffic.sent,
            traffic.loss(),
            milliseconds(traffic.median),
            milliseconds(traffic.p95),
            traffic.rate as f64 / 1e6,
        ));
    }
    if let Some(end) = address.certificate_ends {
        lines.push(format!(
            "    certificate until {}",
            turnd_client::probe::date(end)
        ));
    }
    lines.extend(
        address
            .findings
            .iter()
            .map(|finding| format!("    {finding}")),
    );
    lines
}

fn milliseconds(time: Duration) -> String {
    let milliseconds = time.as_secs_f64() * 1000.0;
    if milliseconds < 10.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{milliseconds:.0} ms")
    }
}

fn as_json(probed: &Probed) -> Value {
    let finding = |finding: &Finding| {
        json!({
            "level": finding.level.name(),
            "code": finding.code,
            "what": finding.what,
            "why": finding.why,
            "remedy": finding.remedy,
        })
    };
    let candidate = |candidate: &Option<Candidate>| {
        candidate.map(|candidate| {
            json!({
                "address": candidate.addr.to_string(),
                "milliseconds": candidate.after.as_secs_f64() * 1000.0,
            })
        })
    };
    let address = |address: &Gathered| {
        json!({
            "address": address.target.addr.to_string(),
            "transport": address.target.transport.name().to_lowercase(),
            "browser": address.target.browser,
            "reflexive": candidate(&address.reflexive),
            "relayed": candidate(&address.relayed),
            "certificate_ends": address.certificate_ends,
            "traffic": address.traffic.map(|traffic| json!({
                "sent": traffic.sent,
                "arrived": traffic.arrived,
                "returned": traffic.returned,
                "loss_percent": traffic.loss(),
                "median_milliseconds": traffic.median.as_secs_f64() * 1000.0,
                "p95_milliseconds": traffic.p95.as_secs_f64() * 1000.0,
                "bits_per_second": traffic.rate,
            })),
            "findings": address.findings.iter().map(finding).collect::<Vec<_>>(),
        })
    };
    json!({
        "uri": probed.uri.to_string(),
        "served": probed.serves(),
        "findings": probed.findings.iter().map(finding).collect::<Vec<_>>(),
        "addresses": probed.addresses.iter().map(address).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_gives_addresses_and_a_credential() {
        let config = Config::from_toml(
            "static-auth-secret = 'north'\nexternal-ip = '192.0.2.1'\nlistening-port = 4000",
        )
        .unwrap();
        let found = from_config(&config).unwrap();
        let uris: Vec<_> = found.uris.iter().map(ToString::to_string).collect();
        assert!(uris.contains(&"stun:192.0.2.1:4000".to_owned()), "{uris:?}");
        assert!(
            uris.contains(&"turn:192.0.2.1:4000?transport=udp".to_owned()),
            "{uris:?}"
        );
        let login = found.login.unwrap();
        let expiry: u64 = login.user.parse().unwrap();
        assert!(expiry > fresh().as_secs() - 60);
        let stun = from_config(&Config::from_toml("stun-only = true").unwrap()).unwrap();
        assert!(stun.login.is_none() && stun.uris.iter().all(|uri| !uri.turn));
    }

    #[test]
    fn keys_are_told_from_passwords() {
        let key = "0x00112233445566778899aabbccddeeff";
        assert!(matches!(
            login("a".into(), Secret::new(key)).proof,
            Proof::Key(_)
        ));
        assert!(matches!(
            login("a".into(), Secret::new("0x00")).proof,
            Proof::Password(_)
        ));
    }
}
