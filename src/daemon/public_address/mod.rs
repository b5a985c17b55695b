//! The public addresses behind `external-ip = "auto"` and host names.

mod choice;
mod cloud;
mod http;
mod stun;

use std::fmt::{self, Display};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::choice::Needs;
use crate::config::{Config, Source, StunServer};
use crate::problem::Problem;
use turnd_proto::server::settings::ExternalIp;

/// Time that a start or a reload gives each source: there are two in turn.
pub const AT_START: Duration = Duration::from_millis(1200);

/// Time that a look in the background gives each source.
pub const LATER: Duration = Duration::from_secs(5);

/// Pause after a look that did not find everything; it doubles.
pub(super) const RETRY: Duration = Duration::from_secs(1);

/// Most relay addresses that STUN servers are asked for.
const MOST_LOCALS: usize = 16;

/// Teller of a public address.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Via {
    Interface,
    Cloud(&'static str),
    Stun(String),
    Name(String),
}

impl Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface => f.write_str("the interface"),
            Self::Cloud(name) => write!(f, "the metadata service of {name}"),
            Self::Stun(server) => write!(f, "STUN server {server}"),
            Self::Name(name) => write!(f, "the host name {name}"),
        }
    }
}

/// A public address, the local one that it stands for, and who tells so.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    address: ExternalIp,
    via: Via,
}

impl Found {
    /// Whether both stand for the same local address.
    fn same_place(&self, other: &Self) -> bool {
        self.address.private == other.address.private
            && self.address.public.is_ipv4() == other.address.public.is_ipv4()
    }

    fn local(&self) -> String {
        let private = self.address.private;
        private.map_or_else(|| "every relay address".to_owned(), |ip| ip.to_string())
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, via } = self;
        match (via, address.private) {
            (Via::Interface, _) | (_, None) => write!(f, "{} by {via}", address.public),
            (_, Some(private)) => write!(f, "{} for {private} by {via}", address.public),
        }
    }
}

/// Something that no public address was found for.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Missing {
    /// A relay address or a host name.
    subject: String,
    /// The last public address, which stays.
    kept: Option<IpAddr>,
    problem: Problem,
}

impl Missing {
    /// A line for the operator.
    fn line(&self) -> String {
        let Self {
            subject, problem, ..
        } = self;
        let meanwhile = match self.kept {
            Some(ip) => format!("{ip} stays meanwhile"),
            None => "local addresses are announced meanwhile".to_owned(),
        };
        format!("external-ip: no public address for {subject}: {problem}; {meanwhile}")
    }
}

/// Result of one look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Look {
    found: Vec<Found>,
    missing: Vec<Missing>,
}

impl Look {
    /// Looks once for what `config` wants, on a host with these addresses; `patience` for each of
    /// two sources in turn. What `before` has found stays where nothing is found now.
    pub async fn once(config: &Config, host: &[IpAddr], patience: Duration, before: &Self) -> Self {
        let (mut look, names) = tokio::join!(
            look_around(config, host, cloud::SERVICE, patience),
            look_up(config, patience, before),
        );
        look.found.extend(names.found);
        look.missing.extend(names.missing);
        look.keep(config, host, before);
        look
    }

    /// Whether everything was found.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// `config` with what was found, as if it had been written there.
    #[must_use]
    pub fn applied(&self, mut config: Config) -> Config {
        config.server.relay.external.extend(self.announced());
        config
    }

    /// The elements that `external-ip` would have in place of "auto" and names.
    fn announced(&self) -> impl Iterator<Item = ExternalIp> {
        let found = self.found.iter();
        let found = found.filter(|found| found.via != Via::Interface);
        found.map(|found| found.address)
    }

    /// Whether clients are told the same as after `other`.
    #[must_use]
    pub fn announces_as(&self, other: &Self) -> bool {
        self.announced().eq(other.announced())
    }

    /// Lines about what was found.
    pub fn findings(&self) -> impl Iterator<Item = String> {
        self.found.iter().map(ToString::to_string)
    }

    /// Lines about what was not.
    pub fn warnings(&self) -> impl Iterator<Item = String> {
        self.missing.iter().map(Missing::line)
    }

    /// Logs what is not as it was `before`.
    pub fn log_changes(&self, before: &Self) {
        for found in &self.found {
            let Found { address, via } = found;
            let (local, new) = (found.local(), address.public);
            match before.found.iter().find(|old| old.same_place(found)) {
                Some(old) if old.address.public == new => {}
                Some(old) => {
                    let old = old.address.public;
                    tracing::info!(%old, %new, local, %via, "public address changed");
                }
                None => tracing::info!(address = %new, local, %via, "public address found"),
            }
        }
        for old in &before.found {
            if !self.found.iter().any(|found| found.same_place(old)) {
                let address = old.address.public;
                tracing::info!(%address, local = old.local(), "public address no longer announced");
            }
        }
        for missing in &self.missing {
            let known = |old: &Missing| old.subject == missing.subject && old.kept == missing.kept;
            if !before.missing.iter().any(known) {
                tracing::warn!("{}", missing.line());
            }
        }
    }

    /// Takes over from `before` what nobody tells now.
    fn keep(&mut self, config: &Config, host: &[IpAddr], before: &Self) {
        let needs = choice::needs(config, host);
        for old in &before.found {
            let wanted =
                match (&old.via, old.address.private) {
                    (Via::Interface, _) | (Via::Cloud(_) | Via::Stun(_), None) => false,
                    (Via::Cloud(_) | Via::Stun(_), Some(local)) => needs.private.contains(&local),
                    (Via::Name(name), private) => config.public_address.sought.iter().any(|one| {
                        one.private == private && one.source == Source::Name(name.clone())
                    }),
                };
            let subject = match (&old.via, old.address.private) {
                (Via::Name(name), _) => name.clone(),
                (_, local) => local.map(|ip| ip.to_string()).unwrap_or_default(),
            };
            let missing = self.missing.iter_mut().find(|m| m.subject == subject);
            if let (true, Some(missing)) = (wanted, missing) {
                missing.kept.get_or_insert(old.address.public);
                self.found.push(old.clone());
            }
        }
    }
}

/// Looks for what is `auto`.
async fn look_around(
    config: &Config,
    host: &[IpAddr],
    service: SocketAddr,
    patience: Duration,
) -> Look {
    let Needs { own, private } = choice::needs(config, host);
    let mut look = Look::default();
    for ip in own {
        let address = ExternalIp {
            public: ip,
            private: Some(ip),
        };
        let via = Via::Interface;
        look.found.push(Found { address, via });
    }
    if private.is_empty() {
        return look;
    }
    let cloud = cloud::ask_clouds(service, patience).await;
    let (name, pairs) = cloud.unwrap_or_default();
    let mut rest = Vec::new();
    for local in private {
        match choice::choose(local, &pairs, host) {
            Some(public) => look.found.push(found(public, local, Via::Cloud(name))),
            None => rest.push(local),
        }
    }
    if rest.is_empty() {
        return look;
    }
    let stun = &config.public_address.stun;
    let mut answers = ask_servers(&rest, stun, host, patience).await;
    for local in rest {
        match answers.iter().position(|(asked, ..)| *asked == local) {
            Some(at) => {
                let (_, public, server) = answers.swap_remove(at);
                look.found.push(found(public, local, Via::Stun(server)));
            }
            None => look.missing.push(Missing {
                subject: local.to_string(),
                kept: None,
                problem: nobody_tells(local, stun),
            }),
        }
    }
    look
}

fn found(public: IpAddr, local: IpAddr, via: Via) -> Found {
    let address = ExternalIp {
        public,
        private: Some(local),
    };
    Found { address, via }
}

fn nobody_tells(local: IpAddr, stun: &[StunServer]) -> Problem {
    match stun {
        [] => Problem::new(
            "no metadata service of a cloud tells one",
            "write the address itself, or name a STUN server outside in external-ip-stun",
        ),
        servers => {
            let names: Vec<_> = servers.iter().map(ToString::to_string).collect();
            let family = if local.is_ipv4() { "IPv4" } else { "IPv6" };
            Problem::new(
                format!(
                    "neither a metadata service of a cloud nor {} tells one",
                    names.join(", ")
                ),
                format!(
                    "see that the servers are outside, have {family} and are reached over UDP, or write the address itself"
                ),
            )
        }
    }
}

/// Asks the servers for each of these addresses; of those that answer the first in the list counts.
async fn ask_servers(
    locals: &[IpAddr],
    servers: &[StunServer],
    host: &[IpAddr],
    patience: Duration,
) -> Vec<(IpAddr, IpAddr, String)> {
    let mut asking = JoinSet::new();
    for local in locals.iter().take(MOST_LOCALS) {
        for (rank, server) in servers.iter().enumerate() {
            let (local, server) = (*local, server.clone());
            asking.spawn(timeout(patience, async move {
                let public = ask_server(local, &server).await?;
                Some((rank, local, public, server.to_string()))
            }));
        }
    }
    let mut answers = Vec::new();
    while let Some(answer) = asking.join_next().await {
        if let Ok(Ok(Some(answer))) = answer {
            answers.push(answer);
        }
    }
    answers.sort_unstable();
    let mut chosen: Vec<(IpAddr, IpAddr, String)> = Vec::new();
    for (_, local, public, server) in answers {
        let known = chosen.iter().any(|(other, ..)| *other == local);
        let pair = choice::Pair {
            public,
            local: Some(local),
        };
        if !known && choice::choose(local, &[pair], host).is_some() {
            chosen.push((local, public, server));
        }
    }
    chosen
}

async fn ask_server(local: IpAddr, server: &StunServer) -> Option<IpAddr> {
    let mut known = lookup_host((server.host.as_str(), server.port))
        .await
        .ok()?;
    let address = known.find(|address| address.is_ipv4() == local.is_ipv4())?;
    let answer = stun::mapped(local, address).await;
    if let Err(error) = &answer {
        tracing::debug!(%local, %address, %error, "STUN server cannot be asked");
    }
    answer.ok()
}

/// Looks host names up.
async fn look_up(config: &Config, patience: Duration, before: &Look) -> Look {
    let mut look = Look::default();
    let given = &config.server.relay.external;
    let before: Vec<_> = before.announced().map(|entry| entry.public).collect();
    let names = config.public_address.sought.iter().filter_map(|sought| {
        let Source::Name(name) = &sought.source else {
            return None;
        };
        Some((sought, name))
    });
    let mut asking = JoinSet::new();
    for (n, (_, name)) in names.clone().enumerate() {
        let name = name.clone();
        asking.spawn(async move { (n, timeout(patience, resolve(&name)).await) });
    }
    let mut answers = asking.join_all().await;
    answers.sort_unstable_by_key(|(n, _)| *n);
    for ((sought, name), (_, answer)) in names.zip(answers) {
        let (ips, why) = match answer {
            Ok(Ok(ips)) => (ips, "it has no address that others can send to".to_owned()),
            Ok(Err(error)) => (Vec::new(), error.to_string()),
            Err(_) => (Vec::new(), "no name server answers".to_owned()),
        };
        let addresses = choice::of_name(&ips, sought, given, &before);
        if addresses.is_empty() {
            let remedy = "see that `getent ahosts` finds it on this machine, or write the address";
            look.missing.push(Missing {
                subject: name.clone(),
                kept: None,
                problem: Problem::new(why, remedy),
            });
        }
        look.found
            .extend(addresses.into_iter().map(|address| Found {
                address,
                via: Via::Name(name.clone()),
            }));
    }
    look
}

async fn resolve(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let known = lookup_host((name, 0)).await?;
    let mut ips: Vec<IpAddr> = known.map(|address| address.ip().to_canonical()).collect();
    // A name server gives them in another order each time.
    ips.sort_unstable();
    ips.dedup();
    Ok(ips)
}

#[cfg(test)]
mod tests;
