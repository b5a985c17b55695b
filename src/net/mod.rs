//! Sockets, threads and the clock: everything that the protocol code does not know.

mod admission;
pub mod certs;
mod context;
pub mod control;
pub mod counters;
mod dtls;
mod egress;
#[cfg(debug_assertions)]
mod fault;
mod handshake;
pub mod host;
pub mod listen;
pub(crate) mod log;
mod mailbox;
mod newcomers;
mod poll;
mod proxy;
pub mod refusals;
mod start_error;
mod tcp;
mod tcp_relay;
mod tcp_sockets;
#[cfg(test)]
mod test_bed;
mod tls;
mod udp_clients;
mod udp_sockets;
mod worker;

use std::any::Any;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use self::admission::{AdmissionOptions, HandshakeRates};
use self::certs::Certificates;
use self::control::{Control, Settings};
use self::listen::Listeners;
use self::mailbox::{Inbox, Listening, mailbox};
use self::proxy::TrustedProxies;
pub use self::start_error::StartError;
use self::tcp::TcpOptions;
use self::udp_clients::UdpOptions;
use self::worker::{Worker, WorkerOptions};
use crate::config::Config;
use turnd_proto::Now;
use turnd_proto::policy::unallocated::Unallocated;
use turnd_proto::server::shared::Shared;

/// A callback for the end of a worker that nobody had asked for: which worker, and why.
///
/// The call comes on that worker's thread. Clients of other workers are still served, new ones that
/// fall to the ended one are not: better that it ends the process than that it returns.
pub type WorkerEnded = Arc<dyn Fn(usize, &str) + Send + Sync>;

/// The running service: its worker threads and their sockets.
pub struct Service {
    listening: Vec<SocketAddr>,
    control: Control,
    threads: Vec<JoinHandle<()>>,
}

/// Listening sockets that nobody serves yet.
pub struct Bound(Listeners);

impl Bound {
    /// Binds every listening socket. Nothing after this needs a right that only root has.
    ///
    /// # Errors
    /// The address that could not be bound, with a remedy.
    pub fn new(config: &Config) -> Result<Self, StartError> {
        listen::bind(config).map(Self)
    }
}

impl Service {
    /// Starts the workers on the sockets that were bound for `config`, beside services that no
    /// client may reach through a relay: the addresses that those are bound to are `never` peers.
    /// `ended` is told when a worker ends unasked.
    ///
    /// # Errors
    /// The part that could not be started, with a remedy.
    pub fn start(
        config: &Config,
        Bound(listeners): Bound,
        never: &[SocketAddr],
        ended: WorkerEnded,
    ) -> Result<Self, StartError> {
        listen::check_relays(config)?;
        let sockets = (listeners.addresses.clone(), listeners.open);
        let host = host::addresses_or_none();
        let settings = Settings::new(config, sockets, host, never, None)?;
        let certificates = Certificates::new(config).map_err(StartError::Certificates)?;
        let transports = &config.transports;
        let admission = AdmissionOptions {
            all: Arc::new(Unallocated::new(transports.unallocated)),
            idle_timeout: transports.idle_timeout,
            rates: transports
                .handshake_rate
                .map(|rate| Arc::new(HandshakeRates::new(rate, Instant::now()))),
        };
        let proxies = Arc::new(TrustedProxies::new(transports.proxies.clone()));
        let not_started = |index| move |error| StartError::Worker(index, error);
        let made =
            (0..listeners.by_worker.len()).map(|index| mailbox().map_err(not_started(index)));
        let (mailboxes, inboxes): (Vec<_>, Vec<_>) =
            made.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let mailboxes: Arc<[_]> = mailboxes.into();
        let mut threads = Vec::new();
        let workers = listeners.by_worker.into_iter().zip(inboxes);
        for (index, (listening, inbox)) in workers.enumerate() {
            let options = WorkerOptions {
                tcp: TcpOptions {
                    plain: transports.tcp,
                    certificates: certificates.clone().filter(|_| transports.tls),
                    proxies: Arc::clone(&proxies),
                },
                udp: UdpOptions {
                    plain: transports.udp,
                    certificates: certificates.clone().filter(|_| transports.dtls),
                    proxies: Arc::clone(&proxies),
                },
                admission: admission.clone(),
                index,
                mailboxes: Arc::clone(&mailboxes),
            };
            let shared = Arc::clone(&settings.shared);
            let ended = Arc::clone(&ended);
            let thread = start_worker(shared, inbox, listening, options, ended)
                .map_err(not_started(index))?;
            threads.push(thread);
        }
        Ok(Self {
            listening: listeners.addresses,
            control: Control::new(mailboxes, settings, certificates),
            threads,
        })
    }

    /// The addresses that clients can reach.
    #[must_use]
    pub fn listening(&self) -> &[SocketAddr] {
        &self.listening
    }

    /// The way to ask and tell the workers.
    #[must_use]
    pub fn control(&self) -> &Control {
        &self.control
    }

    /// Ends every allocation, closes every socket and waits for the workers.
    pub fn stop(self) {
        self.control.stop();
        for thread in self.threads {
            // How it ended was told when it did.
            let _ = thread.join();
        }
    }
}

/// Starts a worker thread and waits until it serves. It ends when it is told to stop; `ended` is
/// told when it ends before.
fn start_worker(
    shared: Arc<Shared>,
    inbox: Inbox,
    listening: Listening,
    options: WorkerOptions,
    ended: WorkerEnded,
) -> std::io::Result<JoinHandle<()>> {
    let index = options.index;
    let (ready, started) = std::sync::mpsc::channel();
    let run = move || match Worker::new(shared, inbox, listening, options) {
        Ok(worker) => {
            // The receiver waits for exactly this message.
            let _ = ready.send(Ok(()));
            let reason = match catch_unwind(AssertUnwindSafe(|| worker.run())) {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(panic) => format!("it panicked: {}", panic_message(&*panic)),
            };
            ended(index, &reason);
        }
        Err(error) => drop(ready.send(Err(error))),
    };
    let thread = std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(run)?;
    started.recv().map_err(std::io::Error::other)??;
    Ok(thread)
}

fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let string = || panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(string).unwrap_or("no message")
}

/// Reads both clocks.
fn now() -> Now {
    Now {
        mono: Instant::now(),
        // A clock before 1970 is not set; credentials that expire then count as expired.
        unix: SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(u64::MAX, |since| since.as_secs()),
    }
}
