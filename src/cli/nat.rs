//! `turnd nat`.

use std::cell::Cell;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::time::timeout;

use super::credentials::duration;
use super::progress::Progress;
use super::{Failure, say};
use turnd_client::nat::{Learned, Lifetime, Options, Report, Stage, Unknown, driver, tcp};

/// STUN's port.
const PORT: u16 = 3478;

/// Find out what NAT this machine is behind, and what it means for WebRTC.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  turnd nat stun.example.org
  turnd nat 192.0.2.1:3478 --lifetime 5m
  turnd nat stun1.example.org stun2.example.org --json

Everything is learned from a server with two addresses (rfc5780). Two plain STUN servers show
the mapping alone.")]
pub(super) struct Nat {
    /// STUN server, as HOST, HOST:PORT, stun:HOST or turn:HOST; a second one stands in for the other address that the first
    /// does not have.
    #[arg(required_unless_present = "server", value_name = "SERVER", value_parser = server)]
    servers: Vec<(String, u16)>,
    /// The same as SERVER.
    #[arg(long, value_name = "SERVER", value_parser = server)]
    server: Vec<(String, u16)>,
    /// Time limit of everything but the lifetime, as 20 (seconds) or 1m.
    #[arg(long, default_value = "20s", value_name = "TIME", value_parser = duration)]
    timeout: Duration,
    /// Also find out how long a mapping lives without traffic, up to this time; takes several times as long.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    lifetime: Option<Duration>,
    /// Ask over IPv4 alone.
    #[arg(short = '4', long, conflicts_with = "ipv6")]
    ipv4: bool,
    /// Ask over IPv6 alone.
    #[arg(short = '6', long)]
    ipv6: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Nat {
    pub(super) fn run(mut self) -> Result<(), Failure> {
        self.servers.append(&mut self.server);
        if self.servers.len() > 2 {
            return Err(Failure::usage("give one server, or two"));
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::Run(format!("cannot start: {error}")))?;
        let outcome = runtime.block_on(self.reports());
        // A resolver that hangs is left behind.
        runtime.shutdown_background();
        let reports = outcome?;
        if self.json {
            let families: Vec<Value> = reports.iter().map(as_json).collect();
            say(format_args!("{:#}", json!({ "families": families })))?;
        } else {
            let tables: Vec<String> = reports.iter().map(table).collect();
            say(tables.join("\n\n"))?;
        }
        match reports.iter().any(|report| report.mapped.is_ok()) {
            true => Ok(()),
            false => Err(Failure::Run(
                "no server gave an answer that can be used".to_owned(),
            )),
        }
    }

    async fn reports(&self) -> Result<Vec<Report>, Failure> {
        let begun = tokio::time::Instant::now();
        let mut servers = Vec::new();
        for (host, port) in &self.servers {
            servers.push(resolve(host, *port, self.timeout).await?);
        }
        let mut reports = Vec::new();
        for v6 in [false, true] {
            if (v6 && self.ipv4) || (!v6 && self.ipv6) {
                continue;
            }
            let of_family = |addresses: &Vec<SocketAddr>| -> Vec<SocketAddr> {
                let family = addresses.iter().filter(|a| a.is_ipv6() == v6);
                family.copied().collect()
            };
            let first = of_family(&servers[0]);
            let Some(server) = first.first().copied() else {
                continue;
            };
            // A name with several addresses is several plain servers.
            let second = match servers.get(1) {
                Some(second) => of_family(second).first().copied(),
                None => first.iter().copied().find(|a| a.ip() != server.ip()),
            };
            let limit = self.timeout.saturating_sub(begun.elapsed());
            reports.push(self.report(server, second, limit).await);
        }
        if reports.is_empty() {
            let family = if self.ipv6 { "IPv6" } else { "IPv4" };
            let host = &self.servers[0].0;
            return Err(Failure::Run(format!("{host} has no {family} address")));
        }
        Ok(reports)
    }

    async fn report(
        &self,
        server: SocketAddr,
        second: Option<SocketAddr>,
        limit: Duration,
    ) -> Report {
        // Six silences fit into the limit.
        let answer_timeout = (limit / 8).min(Duration::from_secs(2));
        let options = Options {
            second,
            answer_timeout,
            limit,
            lifetime: self.lifetime,
            precision: self.lifetime.map_or(Duration::ZERO, |longest| {
                (longest / 60).max(Duration::from_secs(1))
            }),
        };
        let running = Cell::new((Stage::Mapping, Instant::now()));
        let tests = async {
            tokio::join!(
                driver::discover(&driver::Tokio, server, options, |stage| {
                    running.set((stage, Instant::now()));
                }),
                timeout(limit, tcp::mapping(server, second, answer_timeout)),
            )
        };
        let (mut report, tcp_mapping) = tokio::select! {
            done = tests => done,
            never = show(server, &running) => match never {},
        };
        report.tcp_mapping = tcp_mapping.unwrap_or(Err(Unknown::OutOfTime));
        report
    }
}

/// Reads `HOST`, `HOST:PORT` or `[IPV6]:PORT`, alone or in a URI.
fn server(text: &str) -> Result<(String, u16), String> {
    const FORM: &str = "write a host name or an IP address, with :PORT behind it if it is not 3478";
    let scheme = text.split_once(':').map(|(scheme, _)| scheme);
    let text = match scheme {
        Some("stun" | "turn") => &text[5..],
        Some("stuns" | "turns") => {
            return Err("NATs are found out over UDP and plain TCP; write stun:HOST".to_owned());
        }
        _ => text,
    };
    // The transport of a TURN server does not matter here.
    let text = text
        .split_once("?transport=")
        .map_or(text, |(text, _)| text);
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    if let Ok(ip) = bare.unwrap_or(text).parse::<IpAddr>() {
        return Ok((ip.to_string(), PORT));
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok((address.ip().to_string(), address.port()));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().map_err(|_| FORM.to_owned())?),
        None => (text, PORT),
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty() || port == 0 || !host.chars().all(fits) {
        return Err(FORM.to_owned());
    }
    Ok((host.to_owned(), port))
}

async fn resolve(host: &str, port: u16, limit: Duration) -> Result<Vec<SocketAddr>, Failure> {
    let failed = |why: String| Failure::Run(format!("{host} cannot be resolved: {why}"));
    let addresses = match timeout(limit, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.collect::<Vec<_>>(),
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(_) => return Err(failed(format!("no answer in {} seconds", limit.as_secs()))),
    };
    if addresses.is_empty() {
        return Err(failed("it has no address".to_owned()));
    }
    Ok(addresses)
}

/// Shows the test that is running, and the time that it has left, for as long as it is polled.
async fn show(server: SocketAddr, running: &Cell<(Stage, Instant)>) -> Infallible {
    let mut progress = Progress::new();
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tick.tick().await;
        let (stage, since) = running.get();
        let text = match stage {
            Stage::Mapping => "mapping".to_owned(),
            Stage::Filtering => "filtering".to_owned(),
            Stage::Hairpinning => "hairpinning".to_owned(),
            Stage::Lifetime(time) => {
                let left = time.saturating_sub(since.elapsed());
                format!(
                    "lifetime: is it {} s? {:.0} s left",
                    seconds(time),
                    left.as_secs_f64().ceil()
                )
            }
            Stage::Finished => "connections".to_owned(),
        };
        progress.show(format_args!("{server}: {text}"));
    }
}

fn table(report: &Report) -> String {
    let yes_no = |flag: bool| if flag { "yes" } else { "no" }.to_owned();
    let rows = [
        (
            "local address",
            report
                .local
                .map(|a| a.to_string())
                .unwrap_or_else(|| "-".to_owned()),
        ),
        (
            "public address",
            text(&report.mapped, SocketAddr::to_string),
        ),
        (
            "mapping, UDP",
            text(&report.mapping, |m| m.name().to_owned()),
        ),
        (
            "mapping, TCP",
            text(&report.tcp_mapping, |m| m.name().to_owned()),
        ),
        (
            "filtering",
            text(&report.filtering, |f| f.name().to_owned()),
        ),
        ("hairpinning", text(&report.hairpinning, |h| yes_no(*h))),
        ("lifetime", lifetime_text(&report.lifetime)),
        (
            "port preservation",
            text(&report.port_preservation, |p| yes_no(*p)),
        ),
        ("ALG rewrites", text(&report.alg, |a| yes_no(*a))),
        (
            "RFC 3489 name",
            report.classic().map_or("unknown", |c| c.name()).to_owned(),
        ),
    ];
    let family = if report.server.is_ipv4() {
        "IPv4"
    } else {
        "IPv6"
    };
    let mut table = format!("{family}, by {}\n", report.server);
    // Without any answer the reason is the same for all.
    let known =
        |name: &str| report.mapped.is_ok() || name == "public address" || name.ends_with("name");
    for (name, value) in rows.iter().filter(|(name, _)| known(name)) {
        table.push_str(&format!("  {name:<18} {value}\n"));
    }
    table + report.meaning()
}

fn text<T>(learned: &Learned<T>, show: impl Fn(&T) -> String) -> String {
    match learned {
        Ok(value) => show(value),
        Err(why @ Unknown::NotTranslated) => why.to_string(),
        Err(why) => format!("unknown: {why}"),
    }
}

fn lifetime_text(lifetime: &Learned<Lifetime>) -> String {
    match lifetime {
        Err(Unknown::NotAsked) => "not measured; --lifetime 5m does".to_owned(),
        lifetime => text(lifetime, |found| match found.gone {
            Some(gone) => format!(
                "{} to {} s without traffic",
                seconds(found.alive),
                seconds(gone)
            ),
            None => format!("{} s or more without traffic", seconds(found.alive)),
        }),
    }
}

/// Seconds with one decimal where that matters.
fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.1}")
    } else {
        format!("{seconds:.0}")
    }
}

/// Known values by name, the rest by the reason why it is unknown.
fn as_json(report: &Report) -> Value {
    let mut unknown = serde_json::Map::new();
    let mut fields = serde_json::Map::new();
    let lifetime = report.lifetime.map(|found| {
        json!({
            "alive": found.alive.as_secs_f64(),
            "gone": found.gone.map(|gone| gone.as_secs_f64()),
        })
    });
    for (name, learned) in [
        ("mapped", report.mapped.map(|m| json!(m.to_string()))),
        ("mapping", report.mapping.map(|m| json!(m.name()))),
        ("tcp_mapping", report.tcp_mapping.map(|m| json!(m.name()))),
        ("filtering", report.filtering.map(|f| json!(f.name()))),
        ("hairpinning", report.hairpinning.map(Value::Bool)),
        ("lifetime", lifetime),
        (
            "port_preservation",
            report.port_preservation.map(Value::Bool),
        ),
        ("alg", report.alg.map(Value::Bool)),
    ] {
        match learned {
            Ok(value) => fields.insert(name.to_owned(), value),
            Err(why) => {
                unknown.insert(name.to_owned(), json!(why.to_string()));
                fields.insert(name.to_owned(), Value::Null)
            }
        };
    }
    let family = if report.server.is_ipv4() {
        "ipv4"
    } else {
        "ipv6"
    };
    json!({
        "family": family,
        "server": report.server.to_string(),
        "local": report.local.map(|local| local.to_string()),
        "translated": report.translated(),
        "behaviour": fields,
        "unknown": unknown,
        "rfc3489": report.classic().map(|c| c.name()),
        "meaning": report.meaning(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers() {
        let of = |text| server(text).ok();
        let expected = |host: &str, port| Some((host.to_owned(), port));
        assert_eq!(of("192.0.2.1"), expected("192.0.2.1", 3478));
        assert_eq!(of("192.0.2.1:99"), expected("192.0.2.1", 99));
        assert_eq!(of("2001:db8::1"), expected("2001:db8::1", 3478));
        assert_eq!(of("[2001:db8::1]"), expected("2001:db8::1", 3478));
        assert_eq!(of("[2001:db8::1]:99"), expected("2001:db8::1", 99));
        assert_eq!(of("stun.example.org"), expected("stun.example.org", 3478));
        assert_eq!(of("stun.example.org:99"), expected("stun.example.org", 99));
        assert_eq!(of("stun:x.org:1"), expected("x.org", 1));
        assert_eq!(of("turn:x.org?transport=tcp"), expected("x.org", 3478));
        assert_eq!(of("turn:[2001:db8::1]:99"), expected("2001:db8::1", 99));
        for wrong in [
            "",
            ":3478",
            "stun:",
            "stuns:x.org",
            "turns:x.org:443",
            "http:x.org:80",
            "x:0",
            "x:y",
            "x:99999",
            "a b",
            "x/y",
        ] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_table_says_what_is_known_and_why_the_rest_is_not() {
        let server = SocketAddr::from(([192, 0, 2, 1], 3478));
        let report = Report {
            local: Some(SocketAddr::from(([10, 0, 0, 2], 5000))),
            mapped: Ok(SocketAddr::from(([192, 0, 2, 9], 6000))),
            hairpinning: Ok(false),
            lifetime: Ok(Lifetime {
                alive: Duration::from_secs(30),
                gone: Some(Duration::from_millis(31_500)),
            }),
            ..Report::unknown(server, Unknown::NoOtherAddress)
        };
        let table = table(&report);
        assert!(table.starts_with("IPv4, by 192.0.2.1:3478\n  local address      10.0.0.2:5000\n"));
        assert!(table.contains("  hairpinning        no\n"), "{table}");
        assert!(table.contains("30 to 32 s without traffic"), "{table}");
        assert!(table.contains("filtering          unknown: the server has no second address"));
        let json = as_json(&report);
        assert_eq!(json["behaviour"]["hairpinning"], false);
        assert_eq!(json["behaviour"]["filtering"], Value::Null);
        assert!(json["unknown"]["filtering"].is_string());
    }
}
