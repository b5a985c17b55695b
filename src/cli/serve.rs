//! `turnd serve`.

use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::{Instant, interval, interval_at};
use tracing::{info, warn};

use super::log::LogTarget;
use super::pidfile::PidFile;
use super::{Failure, Settings, credentials, log, open_files, say};
use crate::config::{self, Config};
use crate::net::Service;
use crate::net::secure::{Secure, self_signed};

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
        let settings = &mut self.settings;
        let demo =
            !settings.flags.says_who() && settings.config.is_none() && config::search().is_none();
        if demo {
            settings.flags = std::mem::take(&mut settings.flags).with_random_user()?;
        }
        let loaded = config::load(settings.config.as_deref(), &settings.flags)?;
        let mut config = loaded.config;
        let log = log::install(&config.log)?;
        if let Some(file) = &loaded.file {
            info!(file = %file.display(), "configuration read");
        }
        for warning in &loaded.warnings {
            warn!("{warning}");
        }
        if let Some(advice) = open_files::raise(&config) {
            warn!("{advice}");
        }
        let cannot = |error| Failure::Run(format!("cannot wait for signals: {error}"));
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(cannot)?;
        // From here on a signal is kept until it is waited for.
        let mut signals = Signals::new(&runtime).map_err(cannot)?;
        if demo {
            certify(&mut config);
        }
        let service = start(&config)?;
        let pidfile = config.pidfile.as_deref().map(PidFile::write).transpose();
        let pidfile = match pidfile {
            Ok(pidfile) => pidfile,
            Err(failure) => {
                service.stop();
                return Err(failure);
            }
        };
        for address in service.listening() {
            info!(%address, "listening");
        }
        if demo && let Err(failure) = invite(&config) {
            service.stop();
            return Err(failure);
        }
        let secure = service.certificates();
        runtime.block_on(signals.until_stop(&log, secure.as_deref()));
        let stopped = stop(&runtime, &mut signals, &log, service);
        drop(pidfile);
        stopped
    }
}

fn start(config: &Config) -> Result<Service, Failure> {
    Service::start(config).map_err(|error| Failure::Run(error.to_string()))
}

/// Gives the demonstration a certificate, so that TLS and DTLS can be tried as well.
fn certify(config: &mut Config) {
    match self_signed() {
        Ok(certificate) => {
            config.tls.certificates = vec![certificate];
            config.transports.tls = true;
            config.transports.dtls = true;
        }
        Err(error) => warn!(%error, "no certificate could be made: neither TLS nor DTLS is served"),
    }
}

/// Tells how to try the demonstration.
fn invite(config: &Config) -> Result<(), Failure> {
    let login = credentials::login(&config.auth, None, Duration::ZERO)?;
    let json = credentials::ice_servers(config, None, Some(login))?;
    say(format_args!(
        "No turnd.toml was found: this is a demonstration with random credentials. Paste this into\n\
         `new RTCPeerConnection(…)`, or its values into Trickle ICE\n\
         (https://webrtc.github.io/samples/src/content/peerconnection/trickle-ice/):\n{json}\n\
         TLS and DTLS are served too, with a self-signed certificate that browsers refuse; give cert\n\
         and pkey for `turns:` URLs."
    ))
}

/// How often the certificates' files are looked at.
const LOOK: Duration = Duration::from_secs(5);
const DAY: Duration = Duration::from_secs(86400);

struct Signals {
    hang_up: Signal,
    interrupt: Signal,
    terminate: Signal,
    user2: Signal,
}

impl Signals {
    fn new(runtime: &Runtime) -> std::io::Result<Self> {
        let _inside = runtime.enter();
        Ok(Self {
            hang_up: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Serves HUP and USR2, and looks after the certificates, until TERM or INT comes.
    async fn until_stop(&mut self, log: &LogTarget, secure: Option<&Secure>) {
        let mut look = interval(LOOK);
        let mut day = interval_at(Instant::now() + DAY, DAY);
        loop {
            tokio::select! {
                _ = look.tick(), if secure.is_some() => {
                    secure.inspect(|secure| secure.reload_if_changed());
                }
                _ = day.tick(), if secure.is_some() => {
                    secure.inspect(|secure| secure.check_expiry());
                }
                _ = self.user2.recv() => match secure {
                    Some(secure) => secure.reload(),
                    None => warn!("no certificate to reload: cert and pkey are not given"),
                },
                _ = self.hang_up.recv() => match log.reopen() {
                    Ok(()) => info!("log reopened"),
                    Err(error) => warn!(%error, "log not reopened, the old one stays"),
                },
                _ = self.interrupt.recv() => return info!("interrupted, stopping"),
                _ = self.terminate.recv() => return info!("asked to terminate, stopping"),
            }
        }
    }
}

/// Stops the service; a second signal does not wait for it.
fn stop(
    runtime: &Runtime,
    signals: &mut Signals,
    log: &LogTarget,
    service: Service,
) -> Result<(), Failure> {
    let (done, stopped) = oneshot::channel();
    std::thread::spawn(move || {
        service.stop();
        let _ = done.send(());
    });
    runtime.block_on(async {
        tokio::select! {
            _ = stopped => {
                info!("stopped");
                Ok(())
            }
            () = signals.until_stop(log, None) => Err(Failure::Run("stopped before all was closed".to_owned())),
        }
    })
}
