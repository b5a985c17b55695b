//! `/metrics` in Prometheus' text format. Names are coturn's where it has one.

use std::fmt::{Display, Write as _};
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};

use super::error::ApiError;
use super::process::Process;
use crate::daemon::Daemon;
use crate::net::control::Status;
use crate::net::counters::NetCounters;
use turnd_proto::auth::Unauthorized;
use turnd_proto::policy::rate::TableUsage;
use turnd_proto::server::counters::{CODES, Counters, Flow, Limit, METHODS};
use turnd_proto::server::five_tuple::Transport;
use turnd_proto::server::output::EndReason;
use turnd_proto::wire::numbers::Method;

pub(super) async fn handler(State(daemon): State<Arc<Daemon>>) -> Result<Response, ApiError> {
    // Without one worker's numbers the sums would seem to go back.
    let status = daemon.control().status().await?;
    // A process with many open files takes a moment to count them.
    let process = tokio::task::spawn_blocking(Process::read).await;
    let process = process.unwrap_or_default();
    let text = render(&status, &process, &daemon);
    Ok((
        [("content-type", "text/plain; version=0.0.4; charset=utf-8")],
        text,
    )
        .into_response())
}

/// A page of metrics under construction.
#[derive(Default)]
struct Page(String);

impl Page {
    /// Begins a metric: its help and type.
    fn metric(&mut self, name: &str, typ: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {typ}");
    }

    /// Adds a sample; `labels` are escaped already.
    fn sample(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }

    /// A counter under coturn's name. Those lack `_total`, without which no metric should be typed
    /// as a counter; queries do not mind.
    fn coturn_counter(&mut self, name: &str, help: &str, value: u64) {
        self.metric(name, "untyped", help);
        self.sample(name, "", value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.metric(name, "counter", help);
        self.sample(name, "", value);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.metric(name, "gauge", help);
        self.sample(name, "", value);
    }
}

/// A label's value (exposition format: backslash, quote and newline are escaped).
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

fn render(status: &Status, process: &Process, daemon: &Daemon) -> String {
    let realm = daemon.config().auth.realm;
    let mut page = Page::default();
    let counters = &status.counters;
    binding(&mut page, counters);
    unauthorized(&mut page, counters);
    error_tables(&mut page, status.error_tables);
    traffic(&mut page, counters, &realm);
    let processed = counters.clients.received + counters.peers.received;
    page.coturn_counter(
        "turn_packet_processed",
        "Packets received from clients and peers.",
        processed,
    );
    page.coturn_counter(
        "turn_packet_dropped",
        "Packets that went nowhere.",
        status.dropped(),
    );
    batches(&mut page, &status.net);
    allocations(&mut page, counters);
    responses(&mut page, counters);
    drops(&mut page, status);
    handshakes(&mut page, &status.net);
    page.counter(
        "turnd_dtls_hello_verify_requests_total",
        "Answers to DTLS clients that have yet to prove their address.",
        status.net.hello_verify_requests,
    );
    page.gauge(
        "turnd_relay_ports_used",
        "Relay ports in use or reserved.",
        status.ports_taken,
    );
    page.gauge(
        "turnd_relay_ports_max",
        "Relay ports in all.",
        status.ports_total,
    );
    let (reloads, failed) = daemon.reloads();
    page.metric(
        "turnd_reloads_total",
        "counter",
        "Reloads of the configuration by outcome.",
    );
    page.sample("turnd_reloads_total", "{outcome=\"ok\"}", reloads);
    page.sample("turnd_reloads_total", "{outcome=\"failed\"}", failed);
    let last = daemon.last_reload();
    page.gauge(
        "turnd_config_last_reload_success",
        "0 after a reload that failed: the configuration before is in force.",
        u8::from(!last.failed),
    );
    page.gauge(
        "turnd_config_last_reload_success_timestamp_seconds",
        "When the configuration was taken over last, since the Unix epoch.",
        last.success.as_secs(),
    );
    page.gauge(
        "turnd_config_pending_keys",
        "Keys of the configuration whose values wait for a restart.",
        daemon.pending().len(),
    );
    page.gauge(
        "turnd_draining",
        "1 while new allocations are refused.",
        u8::from(daemon.is_draining()),
    );
    page.gauge(
        "turnd_uptime_seconds",
        "Seconds since the start.",
        daemon.uptime().as_secs(),
    );
    page.counter(
        "turnd_log_lines_dropped_total",
        "Log lines lost because the log stalled or its disk was full.",
        daemon.log().target().queue().dropped(),
    );
    certificates(&mut page, daemon);
    process_metrics(&mut page, process, daemon);
    page.metric(
        "turnd_build_info",
        "gauge",
        "Always 1; the label tells the version.",
    );
    page.sample(
        "turnd_build_info",
        concat!("{version=\"", env!("CARGO_PKG_VERSION"), "\"}"),
        1,
    );
    page.0
}

fn certificates(page: &mut Page, daemon: &Daemon) {
    let Some(certificates) = daemon.control().certificates() else {
        return;
    };
    let name = "turnd_certificate_expiry_timestamp_seconds";
    page.metric(
        name,
        "gauge",
        "When a TLS certificate expires, since the Unix epoch.",
    );
    // The configuration bounds their number.
    for (names, expiry) in certificates.expiries() {
        page.sample(name, &format!("{{names=\"{}\"}}", escape(&names)), expiry);
    }
    page.gauge(
        "turnd_certificates_last_reload_success",
        "0 while the certificates' files cannot be used: the certificates of before are.",
        u8::from(certificates.unusable().is_none()),
    );
}

/// Metrics of the process under the names of Prometheus' own clients.
fn process_metrics(page: &mut Page, process: &Process, daemon: &Daemon) {
    let name = "process_cpu_seconds_total";
    page.metric(name, "counter", "CPU time of the process, user and system.");
    page.sample(name, "", process.cpu_time.as_secs_f64());
    for (name, help, value) in [
        (
            "process_resident_memory_bytes",
            "Memory in RAM.",
            process.resident_bytes,
        ),
        (
            "process_virtual_memory_bytes",
            "Address space.",
            process.virtual_bytes,
        ),
        (
            "process_open_fds",
            "Open file descriptors.",
            process.open_files,
        ),
        (
            "process_max_fds",
            "File descriptors that may be open.",
            process.max_files,
        ),
    ] {
        // Without /proc, as in a chroot, there is no number rather than a wrong one.
        if let Some(value) = value {
            page.gauge(name, help, value);
        }
    }
    page.gauge(
        "process_start_time_seconds",
        "When the process started, since the Unix epoch.",
        daemon.started().as_secs_f64(),
    );
}

fn binding(page: &mut Page, counters: &Counters) {
    let errors: u64 = CODES[1..]
        .iter()
        .map(|code| counters.responses_to(Method::BINDING, *code))
        .sum();
    let answered = counters.responses_to(Method::BINDING, 0);
    page.coturn_counter(
        "stun_binding_request",
        "Binding requests.",
        counters.binding_requests,
    );
    page.coturn_counter(
        "stun_binding_response",
        "Binding success responses.",
        answered,
    );
    page.coturn_counter("stun_binding_error", "Binding error responses.", errors);
}

fn unauthorized(page: &mut Page, counters: &Counters) {
    let sent = counters.unauthorized_requests - counters.unauthorized_dropped;
    page.coturn_counter(
        "turn_unauthenticated_401_requests",
        "Requests that a 401 was due to.",
        counters.unauthorized_requests,
    );
    page.coturn_counter("turn_unauthenticated_401_responses", "401 responses.", sent);
    page.coturn_counter(
        "turn_unauthenticated_401_dropped_responses",
        "401 responses not sent because of unauthenticated-rate.",
        counters.unauthorized_dropped,
    );
    let name = "turnd_auth_failures_total";
    page.metric(
        name,
        "counter",
        "Requests with wrong credentials by reason.",
    );
    for reason in Unauthorized::ALL
        .into_iter()
        .filter(|r| *r != Unauthorized::NoIntegrity)
    {
        let labels = format!("{{reason=\"{reason}\"}}");
        page.sample(name, &labels, counters.auth_failures[reason as usize]);
    }
    let name = "turnd_quota_refusals_total";
    page.metric(name, "counter", "Requests refused because of a quota.");
    for ((_, quota), count) in Limit::ALL.into_iter().zip(counters.quota_refusals) {
        page.sample(name, &format!("{{quota=\"{quota}\"}}"), count);
    }
}

fn error_tables(page: &mut Page, tables: TableUsage) {
    page.coturn_counter(
        "turn_ratelimit_hash_collisions",
        "Error replies that were counted in a bucket of unauthenticated-rate with another network's.",
        tables.shared,
    );
    page.gauge(
        "turn_ratelimit_occupied_buckets",
        "Buckets of unauthenticated-rate in use.",
        tables.busy,
    );
    page.gauge(
        "turn_ratelimit_total_buckets",
        "Buckets of unauthenticated-rate in all.",
        tables.slots,
    );
}

fn batches(page: &mut Page, net: &NetCounters) {
    for (name, help, value) in [
        (
            "turn_udp_recvmmsg_calls",
            "Calls of recvmmsg that brought a datagram.",
            net.receive_calls,
        ),
        (
            "turn_udp_recvmmsg_packets",
            "Datagrams received.",
            net.received_datagrams,
        ),
        (
            "turn_udp_sendmmsg_flushes",
            "Batches of datagrams sent.",
            net.sent.flushes,
        ),
        (
            "turn_udp_sendmmsg_datagrams",
            "Datagrams sent.",
            net.sent.sent,
        ),
        (
            "turn_udp_sendmmsg_gso_datagrams",
            "Datagrams sent together with others in one message of UDP_SEGMENT.",
            net.sent.segmented,
        ),
    ] {
        page.coturn_counter(name, help, value);
    }
}

fn traffic(page: &mut Page, counters: &Counters, realm: &str) {
    let realm = format!("{{realm=\"{}\"}}", escape(realm));
    for (prefix, labels, when) in [
        ("turn_traffic", realm.as_str(), "of the realm"),
        ("turn_total_traffic", "", "in all"),
    ] {
        for (side, who, flow) in [
            ("", "clients", counters.clients),
            ("_peer", "peers", counters.peers),
        ] {
            let Flow {
                received,
                received_bytes,
                sent,
                sent_bytes,
            } = flow;
            for (suffix, what, value) in [
                ("rcvp", "Packets received from", received),
                ("rcvb", "Bytes received from", received_bytes),
                ("sentp", "Packets sent to", sent),
                ("sentb", "Bytes sent to", sent_bytes),
            ] {
                let name = format!("{prefix}{side}_{suffix}");
                page.metric(&name, "untyped", &format!("{what} {who}, {when}."));
                page.sample(&name, labels, value);
            }
        }
    }
}

fn allocations(page: &mut Page, counters: &Counters) {
    let name = "turn_total_allocations";
    page.metric(name, "gauge", "Live allocations by the client's transport.");
    for transport in Transport::ALL {
        let live: u64 = counters.active[transport as usize].iter().sum();
        page.sample(
            name,
            &format!("{{type=\"{}\"}}", transport.name().to_uppercase()),
            live,
        );
    }
    let name = "turnd_allocations_active";
    page.metric(
        name,
        "gauge",
        "Live allocations by transport and family of the relay.",
    );
    for transport in Transport::ALL {
        for (family, live) in ["ipv4", "ipv6"]
            .into_iter()
            .zip(counters.active[transport as usize])
        {
            let labels = format!("{{transport=\"{}\",family=\"{family}\"}}", transport.name());
            page.sample(name, &labels, live);
        }
    }
    page.counter(
        "turnd_allocations_created_total",
        "Allocations made.",
        counters.created,
    );
    page.counter(
        "turnd_allocations_refreshed_total",
        "Refreshes granted.",
        counters.refreshed,
    );
    let name = "turnd_allocations_ended_total";
    page.metric(name, "counter", "Allocations ended by reason.");
    for (reason, ended) in EndReason::ALL.into_iter().zip(counters.ended) {
        page.sample(name, &format!("{{reason=\"{}\"}}", reason.name()), ended);
    }
}

fn responses(page: &mut Page, counters: &Counters) {
    let name = "turnd_responses_total";
    page.metric(
        name,
        "counter",
        "Responses by method and code; code 0 is success.",
    );
    for ((_, method), by_code) in METHODS.iter().zip(counters.responses) {
        for (code, count) in CODES.iter().zip(by_code).filter(|(_, count)| *count > 0) {
            page.sample(
                name,
                &format!("{{method=\"{method}\",code=\"{code}\"}}"),
                count,
            );
        }
    }
}

fn drops(page: &mut Page, status: &Status) {
    let name = "turnd_packets_dropped_total";
    page.metric(name, "counter", "Packets that went nowhere by reason.");
    for (reason, count) in status.drops() {
        page.sample(name, &format!("{{reason=\"{reason}\"}}"), count);
    }
}

fn handshakes(page: &mut Page, net: &NetCounters) {
    page.counter(
        "turnd_tls_handshakes_total",
        "TLS and DTLS handshakes that were completed.",
        net.handshakes,
    );
    let name = "turnd_tls_handshake_failures_total";
    page.metric(
        name,
        "counter",
        "TLS and DTLS handshakes that failed by reason.",
    );
    for (reason, count) in net.handshake_failures() {
        page.sample(name, &format!("{{reason=\"{reason}\"}}"), count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_values_cannot_break_out() {
        assert_eq!(escape("a\"} 1\nx{y=\"\\"), "a\\\"} 1\\nx{y=\\\"\\\\");
    }
}
