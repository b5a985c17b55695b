//! `turnd serve`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, interval, interval_at};
use tracing::{error, info, warn};

use super::pidfile::PidFile;
use super::{Failure, Settings, open_files, preflight, say};
use crate::admin::Admin;
use crate::config::summary::Summary;
use crate::config::{self, Config, Loaded, ProcUser};
use crate::daemon::audit::{Actor, audit};
use crate::daemon::log::LogControl;
use crate::daemon::public_address::{AT_START, Look};
use crate::daemon::{ConfigInput, Daemon, ended, notify, privileges};
use crate::ice_servers::{Access, Format, Offer, login, places};
use crate::net::certs::self_signed;
use crate::net::host;
use crate::net::{Bound, Service, WorkerEnded};

/// Run the server; without a configuration file, a demonstration with random credentials.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  turnd serve
  turnd serve -c turnd.toml
  turnd serve --user alice:secret --external-ip 192.0.2.1")]
pub(super) struct Serve {
    #[command(flatten)]
    pub(super) settings: Settings,
}

impl Serve {
    pub(super) fn run(mut self) -> Result<(), Failure> {
        // Before there is a secret or a thread.
        let hardened = privileges::harden();
        let settings = &mut self.settings;
        let demo =
            !settings.flags.says_who() && settings.config.is_none() && config::search().is_none();
        if demo {
            settings.flags = std::mem::take(&mut settings.flags).with_random_user()?;
        }
        let Settings {
            config: path,
            flags,
        } = self.settings;
        let loaded = config::load(path.as_deref(), &flags)?;
        let mut config = loaded.config.clone();
        let leaving = Leaving::root(&config)?;
        // Before the log, which may be one of them: a restart cures none, so that the code is 2.
        let mut obstacles = preflight::files(&config);
        obstacles.extend(preflight::forbidden(&config));
        if !obstacles.is_empty() {
            let lines = obstacles.iter().map(ToString::to_string);
            return Err(Failure::Usage(lines.collect()));
        }
        let log = LogControl::install(&config.log).map_err(Failure::run)?;
        let target = log.target().clone();
        // On every way out the log is written before the caller tells the error.
        let _written = target.queue().flush_at_end();
        ended::tell_panics(target.clone());
        if let Err(error) = hardened {
            warn!(%error, "the secrets in memory are not protected from core dumps and other processes");
        }
        let input = ConfigInput {
            path: path.or_else(|| loaded.file.clone()),
            flags,
        };
        if demo {
            certify(&mut config);
        }
        serve_logged(log, input, loaded, config, leaving, demo).map_err(|failure| match failure {
            Failure::Run(message) => {
                if target.is_elsewhere() {
                    error!("{message}");
                }
                Failure::Logged(message)
            }
            other => other,
        })
    }
}

/// Serves until it is told to stop. `demo`: as a demonstration, with the flags of `input` for its configuration.
fn serve_logged(
    log: LogControl,
    input: ConfigInput,
    loaded: Loaded,
    config: Config,
    leaving: Option<Leaving>,
    demo: bool,
) -> Result<(), Failure> {
    let lines = log.target().queue().clone();
    if let Some(file) = &loaded.file {
        info!(file = %file.display(), "configuration read");
    }
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    if let Some(advice) = open_files::raise(&config) {
        warn!("{advice}");
    }
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot_wait(&error))?;
    // Signals are kept from now on until they are waited for.
    let signals = Signals::new(&runtime).map_err(|error| cannot_wait(&error))?;
    let bound = Bound::new(&config).map_err(Failure::run)?;
    // Before the first client comes, who must not reach it through a relay.
    let admin = runtime
        .block_on(Admin::bind(&config.operation.admin))
        .map_err(Failure::run)?;
    let _pidfile = config.pidfile.as_deref().map(PidFile::write).transpose()?;
    if let Some(leaving) = leaving {
        leaving.now(&admin, &log, &loaded)?;
    }
    let target = log.target().clone();
    let ended: WorkerEnded =
        Arc::new(move |worker, reason| ended::worker_ended(&target, worker, reason));
    let found = runtime.block_on(look_for_public_address(&config));
    let config = found.applied(config);
    // No packet of a client has been read until here.
    let service =
        Service::start(&config, bound, &admin.addresses(), ended).map_err(Failure::run)?;
    found.log_changes(&Look::default());
    for address in service.listening() {
        info!(%address, "listening");
    }
    summarize(&config, &admin);
    if demo {
        invite(&config, admin.addresses().first())?;
    }
    // A reload replaces the daemon's copy; this one holds secrets.
    drop(config);
    let daemon = Daemon::new(service.control().clone(), log, input, loaded, found);
    runtime.block_on(serve(admin, Arc::new(daemon), signals));
    notify::notify("STOPPING=1");
    // A line for each call that ends now: more at once than the queue holds, perhaps.
    lines.prepare_exit();
    // Closing sockets takes no time; the runtime that could wait for it has nothing left to do.
    service.stop();
    // A name server that does not answer is not waited for.
    runtime.shutdown_background();
    info!("stopped");
    Ok(())
}

/// Looks for public addresses, for as long as a start may wait.
async fn look_for_public_address(config: &Config) -> Look {
    // Where the host's addresses cannot be listed, the service warns of it.
    let host = host::addresses().unwrap_or_default();
    Look::once(config, &host, AT_START, &Look::default()).await
}

/// The user that a process of root will become.
struct Leaving(ProcUser);

impl Leaving {
    /// `None`: the process keeps its user. Makes the log file for the new user, who opens it anew on HUP.
    fn root(config: &Config) -> Result<Option<Self>, Failure> {
        let Some(user) = config.user.clone() else {
            return Ok(None);
        };
        if !privileges::has_to_become(&user).map_err(Failure::usage)? {
            return Ok(None);
        }
        if let Some(path) = &config.log.file {
            // A failure shows when the log is opened.
            let _ = privileges::make_file(path, &user);
        }
        Ok(Some(Self(user)))
    }

    /// Becomes the user, and warns of what that user may not do.
    fn now(self, admin: &Admin, log: &LogControl, loaded: &Loaded) -> Result<(), Failure> {
        let Self(user) = self;
        for path in admin.unix_sockets() {
            if let Err(error) = privileges::hand_over_socket(path, &user) {
                let path = path.display();
                warn!(%path, %error, "the admin socket stays root's, and root's alone");
            }
        }
        // The pid file stays root's: whoever may write to it says which process gets the signals of root.
        privileges::become_user(&user).map_err(|error| {
            Failure::Run(format!(
                "proc-user: this process cannot become user {}: {error}; \
                 see that it may change users (CAP_SETUID, CAP_SETGID), or leave proc-user out",
                user.name
            ))
        })?;
        info!(
            user = user.name,
            uid = user.uid,
            gid = user.gid,
            "root left"
        );
        if let (Some(path), Err(error)) = (&loaded.config.log.file, log.reopen()) {
            warn!(
                "log-file: HUP will not open {} anew, as user {} may not: {error}; chown it, and have what rotates it make it for that user",
                path.display(),
                user.name
            );
        }
        let files = loaded
            .file
            .as_deref()
            .into_iter()
            .chain(loaded.resolved.files());
        for (path, error) in privileges::unreadable(files) {
            warn!(
                "{}: a reload will fail, as user {} may not read it: {error}; have its group ({}) read it: chgrp, chmod g+r",
                path.display(),
                user.name,
                user.gid
            );
        }
        Ok(())
    }
}

fn cannot_wait(error: &std::io::Error) -> Failure {
    Failure::Run(format!("cannot wait for signals: {error}"))
}

/// Runs until a signal ends it.
async fn serve(admin: Admin, daemon: Arc<Daemon>, mut signals: Signals) {
    admin.serve(&daemon);
    notify::notify("READY=1");
    tokio::spawn(watchdog(Arc::clone(&daemon)));
    tokio::spawn(look_after_certificates(Arc::clone(&daemon)));
    let host_follower = Arc::clone(&daemon);
    tokio::spawn(async move { host_follower.follow_host().await });
    let asker = Arc::clone(&daemon);
    tokio::spawn(async move { asker.follow_public_address().await });
    let closer = Arc::clone(&daemon);
    tokio::spawn(async move { closer.close_unused_listeners().await });
    if daemon.config().operation.reload_on_change {
        let daemon = Arc::clone(&daemon);
        tokio::spawn(async move { daemon.reload_on_change().await });
    }
    signals.until_stop(&daemon).await;
}

/// Tells the service manager that every worker answers, as often as it wants to hear it.
async fn watchdog(daemon: Arc<Daemon>) {
    let Some(interval) = notify::watchdog_interval() else {
        return;
    };
    loop {
        match daemon.control().status().await {
            Ok(_) => notify::notify("WATCHDOG=1"),
            Err(error) => error!(%error, "the service manager's watchdog is not told"),
        }
        tokio::time::sleep(interval).await;
    }
}

/// Notices when certificates are replaced, and when they are about to expire.
async fn look_after_certificates(daemon: Arc<Daemon>) {
    let Some(certificates) = daemon.control().certificates() else {
        return;
    };
    let mut look = interval(LOOK);
    let mut day = interval_at(Instant::now() + DAY, DAY);
    loop {
        tokio::select! {
            _ = look.tick() => if certificates.reload_if_changed() {
                audit!(Actor::File, "reload-certificates");
            },
            _ = day.tick() => certificates.check_expiry(),
        }
    }
}

/// Gives the demonstration a certificate, so that TLS can be tried as well.
fn certify(config: &mut Config) {
    match self_signed() {
        Ok(certificate) => {
            config.tls.certificates = vec![certificate];
            config.transports.tls = true;
        }
        Err(error) => warn!(%error, "no certificate could be made: TLS is not served"),
    }
}

/// Logs in one line what is served, to whom, and where it is administered.
fn summarize(config: &Config, admin: &Admin) {
    let Summary {
        listens,
        relays,
        announces,
        allows,
        certificates,
    } = Summary::new(config);
    let announces = Some(announces).filter(|ips| !ips.is_empty());
    let tcp = admin.addresses();
    let page = tcp.first().map(|address| format!("http://{address}/"));
    let sockets = admin.unix_sockets().map(|path| path.display().to_string());
    let places: Vec<_> = tcp.iter().map(ToString::to_string).chain(sockets).collect();
    let admin = Some(places.join(", ")).filter(|places| !places.is_empty());
    let auth = &config.auth;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        realm = config.auth.realm.as_str(),
        may_allocate = allows.as_str(),
        static_users = auth.users.len(),
        rest_secrets = auth.secrets.len(),
        listens_on = listens.as_str(),
        relays_from = relays.as_str(),
        announces,
        certificates = certificates.as_str(),
        admin,
        page,
        "serving"
    );
}

/// Prints how to try the demonstration; `page` is the address of the admin listener, if there is one.
fn invite(config: &Config, page: Option<&SocketAddr>) -> Result<(), Failure> {
    let login = login(&config.auth, None, Duration::ZERO).map_err(Failure::usage)?;
    let named = !config.listen.ips.is_empty() || !config.server.relay.external.is_empty();
    let own = preflight::own_address().filter(|_| !named);
    let host = own.map(|ip| ip.to_string());
    let offer = Offer {
        places: places(config, host.as_deref().as_slice()).map_err(Failure::usage)?,
        access: Access::Login(login),
        // A static user's, as long as the demonstration runs.
        ttl: Duration::MAX,
        now: Duration::ZERO,
    };
    let json = offer.show(Format::IceServers).map_err(Failure::usage)?;
    if let Some(page) = page {
        say(format_args!(
            "Open http://{page}/#ice in a browser on this machine and press \"Run the test\".\n"
        ))?;
    }
    say(format_args!(
        "No turnd.toml was found: this is a demonstration with random credentials. TLS is served\n\
         with a self-signed certificate that browsers refuse; `turns:` URLs need cert and pkey.\n\
         Paste this into `new RTCPeerConnection(…)`, or its values into Trickle ICE\n\
         (https://webrtc.github.io/samples/src/content/peerconnection/trickle-ice/):\n{json}"
    ))
}

/// Interval between two looks at the certificates' files.
const LOOK: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(86400);

const INTERRUPT: Actor = Actor::Signal("INT");
const TERMINATE: Actor = Actor::Signal("TERM");

struct Signals {
    hang_up: Signal,
    interrupt: Signal,
    terminate: Signal,
    drain: Signal,
    certificates: Signal,
}

impl Signals {
    fn new(runtime: &Runtime) -> std::io::Result<Self> {
        let _inside = runtime.enter();
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            drain: signal(SignalKind::user_defined1())?,
            certificates: signal(SignalKind::user_defined2())?,
        })
    }

    /// Serves HUP until the server is to stop: at once, or drained.
    async fn until_stop(&mut self, daemon: &Daemon) {
        loop {
            tokio::select! {
                _ = self.hang_up.recv() => hang_up(daemon).await,
                _ = self.certificates.recv() => daemon.reload_certificates(Actor::Signal("USR2")),
                _ = self.interrupt.recv() => break self.stop(daemon, INTERRUPT).await,
                _ = self.terminate.recv() => break self.stop(daemon, TERMINATE).await,
                _ = self.drain.recv() => return self.drain(daemon, Actor::Signal("USR1")).await,
            }
        }
    }

    /// Ends at once, or waits for calls to end if `drain-timeout` says so.
    async fn stop(&mut self, daemon: &Daemon, by: Actor) {
        audit!(by, "stop");
        // Asked now: a reload may have changed it.
        if daemon.config().operation.drain_timeout.is_some() {
            self.drain(daemon, by).await;
        }
    }

    /// Waits for calls to end; TERM or INT, now, mean at once.
    async fn drain(&mut self, daemon: &Daemon, by: Actor) {
        if let Err(error) = daemon.drain(by, true).await {
            warn!(%error, "a worker does not drain yet");
        }
        let drained = daemon.drained();
        tokio::pin!(drained);
        loop {
            tokio::select! {
                () = &mut drained => return,
                _ = self.hang_up.recv() => hang_up(daemon).await,
                _ = self.certificates.recv() => daemon.reload_certificates(Actor::Signal("USR2")),
                _ = self.drain.recv() => {}
                _ = self.interrupt.recv() => return audit!(INTERRUPT, "stop", waits = false),
                _ = self.terminate.recv() => return audit!(TERMINATE, "stop", waits = false),
            }
        }
    }
}

/// Reopens the log, which may have been moved away, and reloads the configuration.
async fn hang_up(daemon: &Daemon) {
    let by = Actor::Signal("HUP");
    daemon.reopen_log(by);
    notify::notify("RELOADING=1");
    // The outcome is in the log.
    let _ = daemon.reload(by).await;
    notify::notify("READY=1");
}
