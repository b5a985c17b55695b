//! `turnd probe`.

mod json;
mod junit;
mod nagios;
mod table;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::credentials::duration;
use super::login::LoginArgs;
use super::progress::Progress;
use super::{Failure, complain, say};
use crate::config::file::FileConfig;
use crate::config::{self, Config, Secret};
use crate::ice_servers;
use turnd_client::probe::{Means, Probed, Roots, SystemDns, Target, Uri, probe};
use turnd_client::turn::{Login, Proof};
use turnd_proto::auth::Keys;

/// Validity of a fresh credential.
const FRESH: Duration = Duration::from_secs(3600);

/// Examples of the short help.
const EXAMPLES: &str = "Examples:
  turnd probe turn:turn.example.org --user alice
  turnd probe stun:turn.example.org 'turns:turn.example.org:443?transport=tcp' --secret-file secret
  turnd probe -c /etc/turnd/turnd.toml
  turnd probe -c /etc/turnd/turnd.toml --output nagios

Exit code 0: a browser is served by every URI. 1: it is not. 2: wrong usage.";

/// Rest of the long help.
const MORE: &str = "What is tried, of each address that a browser would use: the certificate, a Binding request or an allocation, a packet from \
this host to the relayed address and one back, 50 packets and a burst between two allocations, and permissions and channels to \
private, loopback and link-local peers, which a server on the internet should refuse; no data is sent to these.

With --output nagios the first line of the report holds the state and performance data, and exit codes are the plugins': 0 OK, \
1 a warning, 2 a browser is not served, 3 it could not run. With --output junit every address is a test case; \
its exit codes are the usual ones.";

/// Form of the report.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// A table for people.
    Text,
    /// JSON.
    Json,
    /// A plugin of Nagios, Icinga, Sensu or Checkmk.
    Nagios,
    /// JUnit's XML, for CI.
    Junit,
}

/// Find out whether a STUN or TURN server would serve a browser, and what is wrong if not.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{MORE}"))]
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
    /// PEM file of an authority, or of the server's own certificate, to trust beside those of the system.
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// Time limit of each address, as 10 (seconds) or 1m.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    timeout: Duration,
    /// Do not ask whether the server relays to private and loopback addresses; nothing is ever sent there.
    #[arg(long)]
    no_peer_check: bool,
    /// Form of the report.
    #[arg(long, value_enum, default_value = "text", value_name = "FORM")]
    output: Output,
    /// The same as --output json.
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl Probe {
    pub(super) fn run(self) -> Result<(), Failure> {
        let outcome = self.prepare().and_then(|(uris, means)| all(&uris, &means));
        let output = if self.json { Output::Json } else { self.output };
        if output == Output::Nagios {
            let (text, code) = nagios::report(outcome);
            say(text)?;
            return if code == 0 {
                Ok(())
            } else {
                Err(Failure::Told(code))
            };
        }
        let probed = outcome?;
        say(match output {
            Output::Json => json::report(&probed),
            Output::Junit => junit::report(&probed),
            Output::Text | Output::Nagios => {
                let tables: Vec<String> = probed.iter().map(table::table).collect();
                tables.join("\n\n")
            }
        })?;
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
            peer_check: !self.no_peer_check,
        };
        Ok((uris, means))
    }

    fn login(&self) -> Result<Option<Login>, Failure> {
        let found = self.login.read("probe", FRESH, self.config.is_none())?;
        Ok(found.map(|(user, password)| login(user, password)))
    }
}

/// Probes one URI after the other.
fn all(uris: &[Uri], means: &Means) -> Result<Vec<Probed>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Run(format!("cannot start: {error}")))?;
    let probed = runtime.block_on(async {
        let dns = SystemDns::new();
        let mut progress = Progress::new();
        let mut probed = Vec::new();
        for uri in uris {
            let show = |target: &Target| {
                let name = target.transport.name();
                progress.show(format_args!("{uri}: {name} {}", target.addr));
            };
            probed.push(probe(uri, &dns, means, show).await);
        }
        probed
    });
    // A resolver that hangs is left behind.
    runtime.shutdown_background();
    Ok(probed)
}

/// Line and exit code for a command line that is wrong, where monitoring reads them.
pub(super) fn wrong_usage(args: &[OsString]) -> Option<(&'static str, u8)> {
    let is_probe = args.get(1).is_some_and(|arg| arg == "probe");
    let asks = |arg: &OsString| arg == "nagios" || arg == "--output=nagios";
    (is_probe && args.iter().any(asks)).then_some(nagios::WRONG_USAGE)
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
    let found = login.map(|l| self::login(l.name, Secret::new(l.password)));
    let places = ice_servers::places(config, &[]).map_err(Failure::usage)?;
    let uris: Result<_, String> = places
        .iter()
        .map(|place| place.to_string().parse())
        .collect();
    Ok(Found {
        uris: uris.map_err(|why| Failure::Run(format!("no addresses: {why}")))?,
        login: found,
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
