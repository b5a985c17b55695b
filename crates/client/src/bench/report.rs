//! The report of a run, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Options;
use super::load::{Kind, Pace};
use super::process::{Usage, Used};
use super::setup::Client;
use super::traffic::{Totals, Traffic};
use crate::probe::Transport;

/// Share of the pace that has to be kept.
const PACE_KEPT: f64 = 0.98;
/// Share of idle time below which the generator may be the limit of the figures.
const SPARE: f64 = 0.03;

/// The outcome of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    load: &'static str,
    /// Transport of the first server.
    transport: &'static str,
    /// Payload bytes of a packet.
    size: usize,
    packets_per_burst: usize,
    indications: bool,
    /// Number of allocations asked for.
    allocations: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    setup: Option<SetUp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packets: Option<Packets>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_us: Option<DelayUs>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<ServerReport>,
    /// Reason why the run ended: "duration", "interrupt" or "server".
    ended: &'static str,
    /// Allocations, or connections without any, that the server had ended before the load generator did.
    ended_by_server: usize,
    /// Limit of the load generator itself that was met.
    #[serde(skip_serializing_if = "Option::is_none")]
    limited_by_generator: Option<String>,
    #[serde(skip)]
    rate: Option<f64>,
    #[serde(skip)]
    kind: Kind,
}

#[derive(Debug, Serialize)]
struct SetUp {
    allocations: usize,
    seconds: f64,
    per_second: f64,
}

#[derive(Debug, Serialize)]
struct Packets {
    seconds: f64,
    sent: u64,
    sent_per_second: f64,
    delivered: u64,
    delivered_per_second: f64,
    lost: u64,
    loss: f64,
    reordered: u64,
    generator_idle: f64,
}

#[derive(Debug, Serialize)]
struct DelayUs {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

/// Readings of the server's process.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct ServerReport {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_us_per_allocation: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kib_per_allocation: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_ns_per_packet: Option<f64>,
    /// Processors kept busy.
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_share: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rss_kib: Option<u64>,
}

impl Report {
    pub(super) fn new(options: &Options) -> Self {
        let load = &options.load;
        let transport = options.servers.first().map(|server| server.transport);
        Self {
            load: load.name,
            transport: transport.map_or("", Transport::name),
            size: load.size,
            packets_per_burst: load.burst,
            indications: load.indications,
            allocations: load.allocations,
            setup: None,
            packets: None,
            delay_us: None,
            server: None,
            ended: "duration",
            ended_by_server: 0,
            limited_by_generator: None,
            rate: match load.pace {
                Pace::Rate(rate) => Some(rate),
                Pace::Window(_) => None,
            },
            kind: load.kind,
        }
    }

    /// Reports the allocations, with the server's use before and after where it is known.
    pub(super) fn set_up(
        &mut self,
        clients: &[Client],
        elapsed: Duration,
        usage: Option<(Usage, Usage)>,
    ) {
        let done = clients.iter().filter(|client| client.is_ready()).count();
        let seconds = elapsed.as_secs_f64();
        self.setup = Some(SetUp {
            allocations: done,
            seconds,
            per_second: done as f64 / seconds,
        });
        let Some((before, after)) = usage.filter(|_| done > 0) else {
            return;
        };
        let cpu = after.since(&before).cpu as f64 / done as f64 / 1e3;
        let grown = after.rss.saturating_sub(before.rss);
        self.server = Some(ServerReport {
            cpu_us_per_allocation: Some(cpu),
            kib_per_allocation: Some(grown as f64 / done as f64),
            rss_kib: Some(after.rss),
            ..ServerReport::default()
        });
    }

    /// Reports the end: whether somebody interrupted the run, and the number of allocations that the server ended.
    pub(super) fn ended(&mut self, interrupted: bool, by_server: usize) {
        self.ended_by_server = by_server;
        let setup = self.setup.as_ref();
        let made = setup.map_or(self.allocations, |setup| setup.allocations);
        if interrupted {
            self.ended = "interrupt";
        } else if by_server > 0 && by_server >= made {
            self.ended = "server";
        }
    }

    /// Reports the packets, and the server's use meanwhile.
    pub(super) fn traffic(&mut self, traffic: &Traffic<'_>, used: Option<Used>) {
        let totals = traffic.totals();
        let seconds = totals.elapsed.as_secs_f64();
        let lost = totals.sent.saturating_sub(totals.received);
        let idle = totals.idle.as_secs_f64() / seconds;
        self.packets = Some(Packets {
            seconds,
            sent: totals.sent,
            sent_per_second: totals.sent as f64 / seconds,
            delivered: totals.delivered,
            delivered_per_second: totals.delivered as f64 / seconds,
            lost,
            loss: lost as f64 / totals.sent.max(1) as f64,
            reordered: totals.reordered,
            generator_idle: idle,
        });
        let micros = |nanos: u64| nanos as f64 / 1e3;
        let delays = traffic.delays();
        self.delay_us = Some(DelayUs {
            p50: micros(delays.percentile(0.5)),
            p99: micros(delays.percentile(0.99)),
            p999: micros(delays.percentile(0.999)),
            max: micros(delays.max()),
        });
        if let Some(used) = used {
            let per_packet = used.cpu as f64 / totals.delivered.max(1) as f64;
            self.server = Some(ServerReport {
                cpu_ns_per_packet: Some(per_packet),
                cpu_share: Some(used.share),
                rss_kib: Some(used.rss),
                ..self.server.unwrap_or_default()
            });
        }
        self.limited_by_generator = limit(self.rate, totals, idle);
    }
}

/// The limit of the generator that was met, if any.
fn limit(rate: Option<f64>, totals: &Totals, idle: f64) -> Option<String> {
    let kept = rate.map(|rate| totals.sent as f64 / (rate * totals.elapsed.as_secs_f64()));
    if totals.unsent > totals.sent / 1000 {
        return Some(format!(
            "this host's kernel did not take {} of its packets",
            totals.unsent
        ));
    }
    match kept {
        Some(kept) if kept < PACE_KEPT => Some(format!(
            "it kept only {:.0} % of the pace: give it a processor of its own, or a lower --rate",
            kept * 100.0
        )),
        None if idle < SPARE => Some(
            "it was busy all the time: the server may be able to do more than it asked for"
                .to_owned(),
        ),
        _ => None,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.kind {
            Kind::Binding => "request",
            Kind::Allocate | Kind::Relay => "packet",
        };
        write!(f, "{} over {}: ", self.load, self.transport)?;
        match self.kind {
            Kind::Allocate => write!(f, "{} allocations", self.allocations)?,
            Kind::Binding => write!(f, "{} clients", self.allocations)?,
            Kind::Relay => write!(
                f,
                "{} allocations, {} bytes, {}",
                self.allocations,
                self.size,
                if self.indications {
                    "Send and Data indications"
                } else {
                    "channel data"
                }
            )?,
        }
        if let Some(setup) = &self.setup {
            write!(
                f,
                "\n  allocated   {} in {:.2} s: {:.0}/s",
                setup.allocations, setup.seconds, setup.per_second
            )?;
        }
        if let Some(packets) = &self.packets {
            write!(
                f,
                "\n  sent        {} in {:.2} s: {:.0}/s\n  delivered   {:.0}/s, lost {} ({:.3} %), \
                 reordered {}",
                packets.sent,
                packets.seconds,
                packets.sent_per_second,
                packets.delivered_per_second,
                packets.lost,
                packets.loss * 100.0,
                packets.reordered
            )?;
        }
        if let Some(delay) = &self.delay_us {
            write!(
                f,
                "\n  delay       p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, most {:.0} µs",
                delay.p50, delay.p99, delay.p999, delay.max
            )?;
        }
        if let Some(server) = &self.server {
            if let (Some(cpu), Some(kib)) =
                (server.cpu_us_per_allocation, server.kib_per_allocation)
            {
                write!(
                    f,
                    "\n  server      {cpu:.1} µs and {kib:.2} KiB for an allocation"
                )?;
            }
            if let (Some(nanos), Some(share)) = (server.cpu_ns_per_packet, server.cpu_share) {
                write!(
                    f,
                    "\n  server      {nanos:.0} ns for a {unit}, {:.0} % of a processor",
                    share * 100.0
                )?;
            }
            if let Some(rss) = server.rss_kib {
                write!(f, "\n  server      {rss} KiB resident")?;
            }
        }
        if self.ended == "interrupt" {
            write!(f, "\n  ended       interrupted, before its time was over")?;
        }
        if self.ended_by_server > 0 {
            write!(
                f,
                "\n  ended       by the server: {} of {} {} were gone before the end (killed, drained, or a restart); \
                 what they sent since is among the lost",
                self.ended_by_server,
                self.allocations,
                match self.kind {
                    Kind::Binding => "connections",
                    Kind::Allocate | Kind::Relay => "allocations",
                }
            )?;
        }
        if let Some(limit) = &self.limited_by_generator {
            write!(f, "\n  generator   {limit}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totals(sent: u64, unsent: u64) -> Totals {
        Totals {
            elapsed: Duration::from_secs(1),
            sent,
            unsent,
            ..Totals::default()
        }
    }

    #[test]
    fn the_generator_says_when_it_is_the_limit() {
        assert_eq!(limit(Some(1000.0), &totals(999, 0), 0.0), None);
        assert!(limit(Some(1000.0), &totals(900, 0), 0.0).is_some());
        assert!(limit(Some(1000.0), &totals(1000, 10), 0.5).is_some());
        assert!(limit(None, &totals(1, 0), 0.01).is_some());
        assert_eq!(limit(None, &totals(1, 0), 0.2), None);
    }
}
