//! How the rest of the daemon reaches the workers: by message, so that they share nothing with it.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::certs::Certificates;
use super::counters::NetCounters;
use super::listen::{self, Open};
use super::mailbox::{Answer, Command, Mailbox};
use super::refusals::Refusals;
use super::{StartError, host};
use crate::config::{Config, Secret};
use turnd_proto::Now;
use turnd_proto::auth::Authenticator;
use turnd_proto::auth::nonce::NonceKey;
use turnd_proto::policy::rate::TableUsage;
use turnd_proto::server::Server;
use turnd_proto::server::counters::Counters;
use turnd_proto::server::shared::Shared;
use turnd_proto::server::{Filter, Reloaded, SessionBrief, SessionInfo};

/// Time that a worker has for an answer. It answers between two packets, so one that needs longer is stuck.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Asks and tells the workers of a running service.
#[derive(Clone)]
pub struct Control {
    workers: Arc<[Mailbox]>,
    settings: Arc<Mutex<Settings>>,
    certificates: Option<Arc<Certificates>>,
}

/// Settings that the workers have in common, and all that a reload needs to make their successors.
pub(super) struct Settings {
    pub(super) shared: Arc<Shared>,
    /// The listening addresses, in the order of the configuration.
    bound: Vec<SocketAddr>,
    /// Addresses of the listening sockets.
    open: Open,
    /// Services that no client reaches through a relay, as they are bound.
    never: Vec<SocketAddr>,
    /// The addresses of this host.
    host: Vec<IpAddr>,
    nonce_secret: Option<Secret>,
    nonces: NonceKey,
}

impl Settings {
    /// Settings for a server that listens on `bound` with the `open` sockets, on a host with these
    /// addresses, beside services that are `never` peers; what is in use of `previous` stays so.
    pub(super) fn new(
        config: &Config,
        (bound, open): (Vec<SocketAddr>, Open),
        host: Vec<IpAddr>,
        never: &[SocketAddr],
        previous: Option<&Self>,
    ) -> Result<Self, StartError> {
        let nonce_secret = config.auth.nonce_secret.clone();
        let nonces = match previous {
            Some(previous) if previous.nonce_secret == nonce_secret => previous.nonces.clone(),
            _ => nonce_key(nonce_secret.as_ref())?,
        };
        let auth =
            Authenticator::new(&config.auth, nonces.clone()).map_err(StartError::Credentials)?;
        let reachable = reachable(config, &host);
        let shared = match previous {
            Some(previous) => previous
                .shared
                .renew(&config.server, auth, reachable, &host),
            None => Shared::new(&config.server, auth, reachable, &host),
        };
        let shared = shared
            .with_other_addresses(&config.listen, &bound)
            .with_never(never);
        Ok(Self {
            shared: Arc::new(shared),
            never: never.to_vec(),
            bound,
            open,
            host,
            nonce_secret,
            nonces,
        })
    }

    /// The settings that follow these.
    fn renew(
        &self,
        config: &Config,
        sockets: (Vec<SocketAddr>, Open),
        host: Vec<IpAddr>,
    ) -> Result<Self, StartError> {
        Self::new(config, sockets, host, &self.never, Some(self))
    }
}

fn tell_host_changes(before: &[IpAddr], now: &[IpAddr]) {
    for address in host::beyond(now, before) {
        tracing::info!(%address, "the host has a new address");
    }
    for address in host::beyond(before, now) {
        tracing::info!(%address, "the host no longer has an address");
    }
}

fn nonce_key(secret: Option<&Secret>) -> Result<NonceKey, StartError> {
    secret.map_or_else(
        || {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes).map_err(StartError::Random)?;
            Ok(NonceKey::new(&bytes))
        },
        |secret| Ok(NonceKey::from_secret(secret)),
    )
}

/// The addresses at which clients reach the server.
fn reachable<'a>(config: &'a Config, host: &'a [IpAddr]) -> &'a [IpAddr] {
    let named = &config.listen.ips;
    if named.iter().any(|ip| !ip.is_unspecified()) {
        named
    } else {
        host
    }
}

/// Sums of the workers' counters, and the state of all that they share.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// The sum over the workers' servers.
    pub counters: Counters,
    /// The sum over the workers beside their servers.
    pub net: NetCounters,
    /// Relay ports in use or reserved.
    pub ports_taken: u32,
    /// Relay ports in all: those of each relay address.
    pub ports_total: u32,
    /// Relay addresses.
    pub relay_addresses: u32,
    /// Tables of `unauthenticated-rate`.
    pub error_tables: TableUsage,
}

impl Status {
    /// Live allocations.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.counters.active.as_flattened().iter().sum()
    }

    /// Requests with wrong credentials.
    #[must_use]
    pub fn auth_failures(&self) -> u64 {
        // The first reason is that there were no credentials yet, which is how all clients begin.
        self.counters.auth_failures[1..].iter().sum()
    }

    /// Requests refused because of a quota.
    #[must_use]
    pub fn quota_refusals(&self) -> u64 {
        self.counters.quota_refusals.iter().sum()
    }

    /// Packets that went nowhere, by words for metric labels.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.net.drops_with(&self.counters.drops)
    }

    /// Packets that went nowhere.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.drops().map(|(_, count)| count).sum()
    }
}

/// The error of a worker that has ended or is stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoAnswer {
    worker: usize,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} does not answer", self.worker)
    }
}

impl std::error::Error for NoAnswer {}

/// One page of the live allocations.
#[derive(Clone, Debug, Default)]
pub struct SessionPage {
    /// The allocations, the lowest serials first.
    pub sessions: Vec<SessionInfo>,
    /// Number of those that match, on other pages too.
    pub total: usize,
}

impl Control {
    pub(super) fn new(
        workers: Arc<[Mailbox]>,
        settings: Settings,
        certificates: Option<Arc<Certificates>>,
    ) -> Self {
        Self {
            workers,
            settings: Arc::new(Mutex::new(settings)),
            certificates,
        }
    }

    /// The certificates; `None`: neither TLS nor DTLS is served.
    #[must_use]
    pub fn certificates(&self) -> Option<&Certificates> {
        self.certificates.as_deref()
    }

    /// Has every worker run `ask` between two packets; the answers come in the workers' order.
    ///
    /// # Errors
    /// When a worker is gone, or does not answer in time. It still does what was asked when it can.
    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(Now, &mut Server, NetCounters) -> T + Clone + Send + 'static,
    ) -> Result<Vec<T>, NoAnswer> {
        self.order(|answer: Answer<T>| {
            let ask = ask.clone();
            Command::Ask(Box::new(move |now, server, net| {
                let _ = answer.send(ask(now, server, net));
            }))
        })
        .await
    }

    /// Sends every worker a command; the answers come in the workers' order.
    ///
    /// # Errors
    /// When a worker is gone, or does not answer in time. It still does what was asked when it can.
    async fn order<T>(&self, command: impl Fn(Answer<T>) -> Command) -> Result<Vec<T>, NoAnswer> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let answers: Vec<_> = self
            .workers
            .iter()
            .map(|worker| {
                let (answer, answered) = oneshot::channel();
                // A worker that is gone drops the command, and `answered` tells.
                worker.send(command(answer));
                answered
            })
            .collect();
        let mut all = Vec::with_capacity(answers.len());
        for (worker, answer) in answers.into_iter().enumerate() {
            match timeout_at(deadline, answer).await {
                Ok(Ok(answer)) => all.push(answer),
                Ok(Err(_)) | Err(_) => return Err(NoAnswer { worker }),
            }
        }
        Ok(all)
    }

    /// Counters and shared state of this moment.
    ///
    /// # Errors
    /// When a worker does not answer: the service is not whole.
    pub async fn status(&self) -> Result<Status, NoAnswer> {
        let shared = self.shared();
        let ports = shared.relays.ports();
        let mut status = Status {
            ports_taken: ports.taken(),
            ports_total: ports.total(),
            relay_addresses: ports.addresses(),
            error_tables: shared.rates.error_tables(Instant::now().into_std()),
            ..Status::default()
        };
        let answers = self.ask(|_, server, net| (*server.counters(), net));
        for (counters, net) in answers.await? {
            status.counters.add(&counters);
            status.net.add(&net);
        }
        Ok(status)
    }

    /// The allocations that `filter` means, with serials above `after`, `limit` at the most.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub async fn sessions(
        &self,
        filter: Filter,
        after: u64,
        limit: usize,
    ) -> Result<SessionPage, NoAnswer> {
        let mut page = SessionPage::default();
        let ask = move |now, server: &mut Server, _| server.sessions(now, &filter, after, limit);
        for (sessions, total) in self.ask(ask).await? {
            page.sessions.extend(sessions);
            page.total += total;
        }
        page.sessions
            .sort_unstable_by_key(|info| info.session.serial);
        page.sessions.truncate(limit);
        Ok(page)
    }

    /// Every allocation in brief, in no order.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub async fn session_briefs(&self) -> Result<Vec<SessionBrief>, NoAnswer> {
        let ask = |now, server: &mut Server, _| server.session_briefs(now);
        Ok(self.ask(ask).await?.into_iter().flatten().collect())
    }

    /// The allocations with these serials that still live, in no order.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub async fn sessions_by_serial(
        &self,
        mut serials: Vec<u64>,
    ) -> Result<Vec<SessionInfo>, NoAnswer> {
        serials.sort_unstable();
        let ask = move |now, server: &mut Server, _| server.sessions_by_serial(now, &serials);
        Ok(self.ask(ask).await?.into_iter().flatten().collect())
    }

    /// The last refusals and failures.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub async fn refusals(&self) -> Result<Refusals, NoAnswer> {
        let mut all = Refusals::default();
        for refusals in self.order(Command::Refusals).await? {
            all.merge(refusals);
        }
        Ok(all)
    }

    /// The addresses that clients can reach, as they are bound.
    #[must_use]
    pub fn listening(&self) -> Vec<SocketAddr> {
        self.settings().bound.clone()
    }

    /// Ends the allocations that `filter` means and tells how many those were.
    ///
    /// # Errors
    /// When a worker does not answer; it ends its own when it can.
    pub async fn kill(&self, filter: Filter) -> Result<usize, NoAnswer> {
        let ask = move |now, server: &mut Server, _| server.handle_kill(now, &filter);
        Ok(self.ask(ask).await?.iter().sum())
    }

    /// Refuses new allocations from now on, or no longer.
    ///
    /// # Errors
    /// When a worker does not answer; it does so when it can.
    pub async fn drain(&self, draining: bool) -> Result<(), NoAnswer> {
        let told = self.ask(move |_, server, _| server.handle_drain(draining));
        told.await.map(drop)
    }

    /// Goes on with another configuration; the number of workers stays.
    ///
    /// # Errors
    /// Why that is impossible; nothing has changed then.
    pub async fn reload(&self, config: &Config) -> Result<(), StartError> {
        let (shared, old, now) = {
            let mut settings = self.settings();
            let workers = self.workers.len();
            let change = listen::change(config, &settings.bound, &settings.open, workers)?;
            // The demonstration's certificate is in no configuration, and stays.
            let certificates = self
                .certificates
                .as_ref()
                .filter(|_| !config.tls.files.is_empty());
            let material = certificates.map(|certificates| certificates.prepare(&config.tls));
            let material = material.transpose().map_err(StartError::Certificates)?;
            listen::check_relays(config)?;
            // Where they cannot be listed now, as without file descriptors, the old ones are better
            // than none.
            let host = host::addresses().unwrap_or_else(|_| settings.host.clone());
            let wanted: Arc<[_]> = change.addresses.as_slice().into();
            let renewed = settings.renew(config, (change.addresses, change.open), host)?;
            let old = std::mem::replace(&mut *settings, renewed);
            // From here on nothing fails.
            if let (Some(certificates), Some(material)) = (certificates, material) {
                certificates.adopt(&config.tls, material);
            }
            for (worker, added) in self.workers.iter().zip(change.by_worker) {
                // A worker that is gone listens on nothing.
                worker.send(Command::Listen(added, Arc::clone(&wanted)));
            }
            for address in change.added {
                tracing::info!(%address, "listening");
            }
            for address in change.removed {
                tracing::info!(%address, "no longer listening for new clients");
            }
            let shared = Arc::clone(&settings.shared);
            (shared, old, settings.host.clone())
        };
        let realm = shared.auth.realm().to_owned();
        let sessions = self.adopt(shared).await.of_other_realm;
        // Told when it holds: whoever reads it may count on it.
        if old.shared.auth.realm() != realm {
            let old = old.shared.auth.realm();
            tracing::info!(
                old,
                new = realm,
                sessions,
                "live sessions keep the realm that they have until they end"
            );
        }
        tell_host_changes(&old.host, &now);
        Ok(())
    }

    /// Closes the listening sockets that take no new clients once no worker has a client of theirs:
    /// if one closed its own before, the kernel would deal the clients of the others out anew.
    ///
    /// # Errors
    /// When a worker does not answer.
    pub async fn close_unused_listeners(&self) -> Result<(), NoAnswer> {
        let retired: Arc<[_]> = {
            let settings = self.settings();
            settings.open.retired(&settings.bound).into()
        };
        if retired.is_empty() {
            return Ok(());
        }
        let used = self.order(|answer| Command::Used(Arc::clone(&retired), answer));
        let used = used.await?.concat();
        let unused: Arc<[_]> = host::beyond(&retired, &used).into();
        if unused.is_empty() {
            return Ok(());
        }
        self.settings()
            .open
            .udp
            .retain(|socket| !unused.contains(socket));
        let closed = self.order(|answer| Command::Close(Arc::clone(&unused), answer));
        closed.await.map(drop)
    }

    /// Goes on with the addresses that the host has now; `config` is the one in force. Peers at new
    /// ones are refused from now on, and taken from the allocations that have them. Tells whether
    /// there are others than before.
    ///
    /// # Errors
    /// Why the addresses are not known; those that were stay in force then.
    pub async fn follow_host(&self, config: &Config) -> Result<bool, StartError> {
        let (shared, before, now) = {
            let mut settings = self.settings();
            let host = host::addresses().map_err(StartError::HostAddresses)?;
            // In their order, which says what relays stand for a public address.
            if host == settings.host {
                return Ok(false);
            }
            let sockets = (settings.bound.clone(), settings.open.clone());
            let renewed = settings.renew(config, sockets, host)?;
            let old = std::mem::replace(&mut *settings, renewed);
            let shared = Arc::clone(&settings.shared);
            (shared, old.host, settings.host.clone())
        };
        self.adopt(shared).await;
        // Told when it holds: whoever reads it may count on it.
        tell_host_changes(&before, &now);
        Ok(true)
    }

    /// Goes on with the public addresses of `config`, which is otherwise the one in force.
    /// Allocations keep those that they were told.
    ///
    /// # Errors
    /// Why that is impossible; nothing has changed then.
    pub async fn announce(&self, config: &Config) -> Result<(), StartError> {
        let shared = {
            let mut settings = self.settings();
            let sockets = (settings.bound.clone(), settings.open.clone());
            let renewed = settings.renew(config, sockets, settings.host.clone())?;
            *settings = renewed;
            Arc::clone(&settings.shared)
        };
        self.adopt(shared).await;
        Ok(())
    }

    /// Has every worker go on with other settings, and sums up the effect.
    async fn adopt(&self, shared: Arc<Shared>) -> Reloaded {
        let told = self.ask(move |now, server, _| server.handle_reload(now, shared));
        let reloaded = told.await.unwrap_or_else(|error| {
            tracing::error!(%error, "it follows the reload when it can");
            Vec::new()
        });
        let sum = |count: fn(&Reloaded) -> usize| reloaded.iter().map(count).sum();
        let sum = Reloaded {
            without_peers: sum(|one| one.without_peers),
            of_other_realm: sum(|one| one.of_other_realm),
        };
        if sum.without_peers > 0 {
            let sessions = sum.without_peers;
            tracing::info!(sessions, "live sessions lost peers that are refused now");
        }
        sum
    }

    pub(super) fn stop(&self) {
        for worker in &*self.workers {
            // A worker that is gone needs no telling.
            worker.send(Command::Stop);
        }
    }

    fn shared(&self) -> Arc<Shared> {
        Arc::clone(&self.settings().shared)
    }

    fn settings(&self) -> MutexGuard<'_, Settings> {
        // Replaced whole or not at all, so a panic elsewhere leaves nothing half done.
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
