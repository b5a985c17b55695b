//! `turnd bench`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::builder::PossibleValuesParser;

use super::login::LoginArgs;
use super::progress::Progress;
use super::{Failure, complain, say};
use turnd_client::bench::{self, LEAST_SIZE, Load, NAMES, Options, Pace, Stage, Target};
use turnd_client::turn::{Login, Proof};

/// Lifetime of the REST credentials of a run, which is shorter.
const CREDENTIALS: Duration = Duration::from_secs(3600);
/// Permissions last for five minutes (RFC 8656 §9), and nothing refreshes them.
const LONGEST: u64 = 240;

/// Examples of the short help.
const EXAMPLES: &str = "Examples:\n  turnd bench turn:192.0.2.1:3478 --user alice
  turnd bench turn:127.0.0.1 --secret-file secret --load gso-max --pid $(pidof turnd) --json
  turnd bench turn:127.0.0.1 --user alice --password-file password --load allocate --allocations 10000
  turnd bench turns:turn.example.org --secret-file secret --load video --allocations 4";

/// Loads of the long help.
const LOADS: &str = "Loads:
  allocate   allocations, as many at once as --allocations says
  binding    Binding requests, 40,000 a second
  binding-max  the same, as fast as answers come back
  voice      160 bytes on each of 200 allocations, both ways, 40,000 packets/s in all
  c2p, p2c   1,000 bytes from clients to peers or the other way, 100,000 packets/s
  video      bursts of ten 1,000-byte packets on one allocation, both ways, 150,000 packets/s
  gso        the same, each burst sent in one piece for the kernel to cut
  voice-max  voice, as fast as packets come back
  gso-max    gso, as fast as packets come back
  echo       160 bytes to peers that send them back; the delay is that of both ways

The report says what ended the run: its time, Ctrl-C, or the server, which may have ended allocations before.";

/// Put load on a server and measure what comes back.
///
/// Clients and peers are sockets of this process: the server has to reach this host, and to allow
/// its address as a peer (on one host: allow-loopback-peers). Its limits hold for the load too: more
/// than 1,000 allocations at once need user-quota = 0 and user-allocate-rate = 0. It keeps one processor busy for
/// --duration seconds and then stops by itself.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{LOADS}"))]
pub(super) struct Bench {
    /// URI of the server, as turn:HOST, turn:HOST?transport=tcp or turns:HOST; allocations take turns with
    /// several. The certificate is not checked.
    #[arg(required = true, value_name = "URI")]
    servers: Vec<Target>,
    #[command(flatten)]
    login: LoginArgs,
    /// Load to put on the server; --help describes each.
    #[arg(long, default_value = "voice", value_parser = PossibleValuesParser::new(NAMES))]
    load: String,
    /// Seconds to measure.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=LONGEST))]
    duration: u64,
    /// Packets per second of all allocations together, in place of the load's own.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    rate: Option<u32>,
    /// Number of allocations, or of clients, in place of the load's own.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    allocations: Option<u32>,
    /// Payload bytes of a packet, in place of the load's own.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u16).range(LEAST_SIZE as i64..=1400))]
    size: Option<u16>,
    /// Packets that leave together, in place of the load's own.
    #[arg(long, value_name = "PACKETS", value_parser = clap::value_parser!(u16).range(1..=40))]
    burst: Option<u16>,
    /// Send and Data indications in place of channel data.
    #[arg(long)]
    indications: bool,
    /// Process id of the server on this host, to measure its processor time and memory.
    #[arg(long)]
    pid: Option<u32>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Bench {
    pub(super) fn run(self) -> Result<(), Failure> {
        let servers = self.servers.iter().map(Target::resolve);
        let servers = servers
            .collect::<Result<Vec<_>, _>>()
            .map_err(Failure::run)?;
        let options = Options {
            servers,
            login: self.login()?,
            load: self.load()?,
            duration: Duration::from_secs(self.duration),
            pid: self.pid,
        };
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            complain(format_args!(
                "warning: the limit on open files stays: {error}"
            ));
        }
        let stop = interrupted()?;
        let mut progress = Progress::new();
        let mut show = |stage| progress.show(stage_text(stage, options.duration));
        let report = bench::run(&options, &stop, &mut show).map_err(Failure::run)?;
        progress.clear();
        if self.json {
            let json = serde_json::to_string_pretty(&report);
            say(json.map_err(Failure::run)?)
        } else {
            say(report)
        }
    }

    fn load(&self) -> Result<Load, Failure> {
        let load = Load::named(&self.load);
        let mut load = load.ok_or_else(|| Failure::usage("--load: no such load"))?;
        if let Some(rate) = self.rate {
            load.pace = Pace::Rate(rate.into());
        }
        if let Some(allocations) = self.allocations {
            load.allocations = allocations as usize;
        }
        load.size = self.size.map_or(load.size, usize::from);
        load.burst = self.burst.map_or(load.burst, usize::from);
        load.indications = self.indications;
        Ok(load)
    }

    fn login(&self) -> Result<Option<Login>, Failure> {
        let found = self.login.read("bench", CREDENTIALS, true)?;
        Ok(found.map(|(user, password)| Login {
            user,
            proof: Proof::Password(password),
        }))
    }
}

/// Words for a part of a run.
fn stage_text(stage: Stage, duration: Duration) -> String {
    match stage {
        Stage::Allocating { done, wanted } => format!("{done} of {wanted} allocations"),
        Stage::WarmingUp => "warming up".to_owned(),
        Stage::Measuring {
            elapsed,
            sent,
            received,
        } => format!(
            "{:.0} of {:.0} s, {sent} packets sent, {received} came through",
            elapsed.as_secs_f64(),
            duration.as_secs_f64()
        ),
    }
}

/// Set once the user has pressed Ctrl-C: the run ends, and what it has measured is printed.
fn interrupted() -> Result<Arc<AtomicBool>, Failure> {
    let cannot = |error| Failure::Run(format!("cannot wait for signals: {error}"));
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()
        .map_err(cannot)?;
    let inside = runtime.enter();
    let mut signal = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .map_err(cannot)?;
    drop(inside);
    std::thread::spawn(move || {
        runtime.block_on(signal.recv());
        set.store(true, Ordering::Relaxed);
    });
    Ok(flag)
}
