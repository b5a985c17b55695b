//! The server's events as lines of the log.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::Level;
use turnd_proto::Now;
use turnd_proto::server::five_tuple::FiveTuple;
use turnd_proto::server::output::{DropReason, EndReason, Event, Session};

use super::handshake::Failure;
use super::refusals::Refusals;

/// Interval at which the log tells how many lines were suppressed.
const TELL_INTERVAL: Duration = Duration::from_secs(5);

/// A kind of lines with a budget of its own, so that whoever causes many of one kind hides no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
enum Kind {
    /// An allocation was made, refreshed or ended.
    Allocation,
    /// A request was refused, or a peer, and the client's address is proven.
    Refusal,
    /// A request was refused that anybody may have sent.
    Unproven,
    /// A system call failed.
    Failure,
    /// A client has refused the certificate.
    Certificate,
    /// A handshake failed for another reason.
    Handshake,
    /// Something happened that is told at debug level.
    Detail,
    /// A packet went nowhere.
    Packet,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Allocation,
        Self::Refusal,
        Self::Unproven,
        Self::Failure,
        Self::Certificate,
        Self::Handshake,
        Self::Detail,
        Self::Packet,
    ];

    /// The name in the log.
    fn name(self) -> &'static str {
        match self {
            Self::Allocation => "allocations",
            Self::Refusal => "refusals",
            Self::Unproven => "unproven refusals",
            Self::Failure => "failures",
            Self::Certificate => "refused certificates",
            Self::Handshake => "failed handshakes",
            Self::Detail => "details",
            Self::Packet => "dropped packets",
        }
    }

    /// Lines at once of one worker, and lines a second of all workers together.
    ///
    /// A line has some 300 bytes: without a pause it is 10 GB a day of allocations, as many as a
    /// server writes that makes 200 in every second, and 5 GB of the others at the default level.
    fn budget(self) -> (u32, u32) {
        match self {
            Self::Allocation | Self::Detail => (1000, 400),
            Self::Refusal | Self::Packet => (200, 100),
            Self::Unproven | Self::Failure | Self::Certificate | Self::Handshake => (100, 20),
        }
    }
}

/// A token bucket of lines.
#[derive(Debug)]
struct Budget {
    burst: f64,
    per_second: f64,
    left: f64,
    /// The time at which `left` was right; `None`: no line was asked for yet.
    at: Option<Instant>,
    suppressed: u64,
}

impl Budget {
    fn new(kind: Kind, workers: usize) -> Self {
        let (burst, per_second) = kind.budget();
        Self {
            burst: burst.into(),
            per_second: f64::from(per_second) / workers as f64,
            left: burst.into(),
            at: None,
            suppressed: 0,
        }
    }

    /// Whether one more line may be written; counts it otherwise.
    fn take(&mut self, now: Instant) -> bool {
        let before = self.at.replace(now).unwrap_or(now);
        let earned = now.saturating_duration_since(before).as_secs_f64() * self.per_second;
        self.left = (self.left + earned).min(self.burst);
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        } else {
            self.suppressed += 1;
        }
        allowed
    }
}

/// A line on an allocation that lives for so long; each level has a macro of its own.
macro_rules! lifetime_line {
    ($level:ident, $session:expr, $lifetime:expr, $text:literal $(, $field:ident)*) => {{
        let Fields {
            session,
            client,
            server,
            transport,
            user,
            relayed,
        } = Fields::of($session);
        let lifetime = $lifetime.as_secs();
        tracing::$level!(session, %client, %server, transport, user, %relayed, $($field,)* lifetime, $text);
    }};
}

/// Writes events, and keeps floods of them short: no client can fill the disk.
#[derive(Debug)]
pub(super) struct EventLog {
    /// Budgets in the order of [`Kind`].
    budgets: [Budget; Kind::ALL.len()],
    /// The time to tell what was suppressed; `None`: nothing was.
    tell_at: Option<Instant>,
    /// The last refusals and failures, written or suppressed.
    refusals: Refusals,
}

impl EventLog {
    /// The log of one of so many workers, which share the budgets.
    pub(super) fn new(workers: usize) -> Self {
        Self {
            budgets: Kind::ALL.map(|kind| Budget::new(kind, workers)),
            tell_at: None,
            refusals: Refusals::default(),
        }
    }

    /// The last refusals and failures, written or suppressed.
    pub(super) fn refusals(&self) -> &Refusals {
        &self.refusals
    }

    pub(super) fn write(&mut self, now: Now, event: &Event) {
        self.refusals.note(now, event);
        let kind = match event {
            // A refresh costs nothing while nobody wants to see it.
            Event::Refreshed { .. } if !Self::wants_details() => return,
            Event::Created { .. } | Event::Refreshed { .. } => Kind::Allocation,
            // Nobody makes a server stop, and these are as many as there are allocations.
            Event::Ended {
                reason: EndReason::Shutdown,
                ..
            } => return Self::show(event),
            Event::Ended { .. } => Kind::Allocation,
            Event::Refused { proven: false, .. } => Kind::Unproven,
            Event::Refused { .. } | Event::PeerDenied { .. } => Kind::Refusal,
            Event::Challenged { .. }
            | Event::Binding { .. }
            | Event::Permitted { .. }
            | Event::ChannelBound { .. } => Kind::Detail,
        };
        if self.allow(now, kind) {
            Self::show(event);
        }
    }

    fn show(event: &Event) {
        match event {
            Event::Created { session, lifetime } => {
                lifetime_line!(info, session, lifetime, "allocation created");
            }
            Event::Refreshed { session, lifetime } => {
                lifetime_line!(debug, session, lifetime, "allocation refreshed");
            }
            Event::Ended {
                session,
                reason,
                duration,
                traffic,
            } => {
                let Fields {
                    session,
                    client,
                    server,
                    transport,
                    user,
                    relayed,
                } = Fields::of(session);
                tracing::info!(
                    session, %client, %server, transport, user, %relayed,
                    reason = reason.name(),
                    seconds = duration.as_secs(),
                    packets_to_peers = traffic.to_peers,
                    bytes_to_peers = traffic.to_peers_bytes,
                    packets_to_client = traffic.to_client,
                    bytes_to_client = traffic.to_client_bytes,
                    "allocation ended"
                );
            }
            Event::Refused {
                tuple,
                user,
                proven,
                method,
                code,
                reason,
            } => {
                let transport = tuple.transport.name();
                let (client, server, user) = (tuple.client, tuple.server, escape(user.as_ref()));
                let address = if *proven { "proven" } else { "unproven" };
                tracing::info!(%client, %server, transport, address, user, %method, code, reason, "request refused");
            }
            Event::PeerDenied {
                tuple,
                user,
                peer,
                denied,
            } => {
                let transport = tuple.transport.name();
                let (client, server, user) = (tuple.client, tuple.server, escape(user.as_ref()));
                tracing::warn!(
                    %client, %server, transport, user, %peer,
                    reason = denied.reason.as_str(),
                    allowed_by = denied.option,
                    "peer refused"
                );
            }
            Event::Challenged {
                tuple,
                user,
                method,
                code,
                reason,
            } => {
                let transport = tuple.transport.name();
                let (client, server, user) = (tuple.client, tuple.server, escape(user.as_ref()));
                tracing::debug!(%client, %server, transport, user, %method, code, reason, "challenged");
            }
            Event::Binding { tuple, code } => {
                let (client, server, transport) =
                    (tuple.client, tuple.server, tuple.transport.name());
                tracing::debug!(%client, %server, transport, code, "binding answered");
            }
            Event::Permitted {
                session,
                peers,
                lifetime,
            } => {
                let peers = joined(peers);
                lifetime_line!(debug, session, lifetime, "permission installed", peers);
            }
            Event::ChannelBound {
                session,
                number,
                peer,
                lifetime,
            } => {
                let (channel, peer) = (format!("{number:#06x}"), peer.to_string());
                lifetime_line!(debug, session, lifetime, "channel bound", channel, peer);
            }
        }
    }

    /// Whether lines at debug level are written.
    pub(super) fn wants_details() -> bool {
        tracing::enabled!(Level::DEBUG)
    }

    /// Whether a line is written for each packet that goes nowhere.
    pub(super) fn wants_packets() -> bool {
        tracing::enabled!(Level::TRACE)
    }

    /// A packet of a client went nowhere.
    pub(super) fn client_packet_dropped(
        &mut self,
        now: Now,
        tuple: &FiveTuple,
        reason: DropReason,
    ) {
        if self.allow(now, Kind::Packet) {
            let (client, server, transport) = (tuple.client, tuple.server, tuple.transport.name());
            let reason = reason.as_str();
            tracing::trace!(%client, %server, transport, reason, "client's packet dropped");
        }
    }

    /// A packet of a peer went nowhere.
    pub(super) fn peer_packet_dropped(&mut self, now: Now, peer: SocketAddr, reason: DropReason) {
        if self.allow(now, Kind::Packet) {
            tracing::trace!(%peer, reason = reason.as_str(), "peer's packet dropped");
        }
    }

    /// A client's connection is closed; `dropped`: messages for it that did not leave.
    pub(super) fn connection_closed(
        &mut self,
        now: Now,
        tuple: &FiveTuple,
        reason: &str,
        dropped: u64,
    ) {
        if Self::wants_details() && self.allow(now, Kind::Detail) {
            let (client, server, transport) = (tuple.client, tuple.server, tuple.transport.name());
            tracing::debug!(%client, %server, transport, reason, dropped, "connection closed");
        }
    }

    /// A handshake has failed; `name`: the one that the client asked for.
    pub(super) fn handshake_failed(
        &mut self,
        now: Now,
        tuple: &FiveTuple,
        name: Option<&str>,
        failure: Failure,
    ) {
        self.refusals.handshake_failed(now, tuple, failure.reason);
        let Failure { reason, alert } = failure;
        let blames_certificate = reason.blames_certificate();
        let kind = if blames_certificate {
            Kind::Certificate
        } else {
            Kind::Handshake
        };
        if !self.allow(now, kind) {
            return;
        }
        let (client, server, transport) = (tuple.client, tuple.server, tuple.transport.name());
        let name = name.map(escape_name);
        let alert = alert.and_then(|alert| alert.as_str());
        let (reason, why) = (reason.as_str(), reason.explanation());
        // Scanners cause most of the others.
        if blames_certificate {
            tracing::warn!(%client, %server, transport, name, reason, alert, why, "TLS handshake failed");
        } else {
            tracing::info!(%client, %server, transport, name, reason, alert, why, "TLS handshake failed");
        }
    }

    /// A system call on a socket failed in a way that is not the client's business.
    pub(super) fn socket_failed(&mut self, now: Now, addr: SocketAddr, error: &io::Error) {
        self.refusals.socket_failed(now, addr, error);
        if self.allow(now, Kind::Failure) {
            tracing::warn!(%addr, %error, "socket failed");
        }
    }

    /// The time at which [`Self::tell_if_due`] has something to do.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.tell_at
    }

    /// Tells how many lines were suppressed, if it is time to.
    pub(super) fn tell_if_due(&mut self, now: Now) {
        if self.tell_at.is_some_and(|at| at <= now.mono) {
            self.tell_suppressed();
        }
    }

    /// Tells how many lines were suppressed since it was told last.
    pub(super) fn tell_suppressed(&mut self) {
        self.tell_at = None;
        for (kind, budget) in Kind::ALL.into_iter().zip(&mut self.budgets) {
            let lines = std::mem::take(&mut budget.suppressed);
            if lines > 0 {
                tracing::warn!(lines, of = kind.name(), "log lines suppressed");
            }
        }
    }

    fn allow(&mut self, now: Now, kind: Kind) -> bool {
        let allowed = self.budgets[kind as usize].take(now.mono);
        if !allowed && self.tell_at.is_none() {
            self.tell_at = Some(now.mono + TELL_INTERVAL);
        }
        allowed
    }
}

/// Fields of every line about an allocation.
struct Fields {
    session: u64,
    client: SocketAddr,
    server: SocketAddr,
    transport: &'static str,
    user: String,
    relayed: SocketAddr,
}

impl Fields {
    fn of(session: &Session) -> Self {
        Self {
            session: session.serial,
            client: session.tuple.client,
            server: session.tuple.server,
            transport: session.tuple.transport.name(),
            user: escape(session.user.as_ref()),
            relayed: session.relayed,
        }
    }
}

/// Some of the addresses, and how many more there are.
fn joined(peers: &[IpAddr]) -> String {
    const SHOWN: usize = 8;
    let mut shown: Vec<_> = peers.iter().take(SHOWN).map(IpAddr::to_string).collect();
    if peers.len() > SHOWN {
        shown.push(format!("and {} more", peers.len() - SHOWN));
    }
    shown.join(", ")
}

/// A user's name as [`escape_name`] shows it; `-` for none.
fn escape(user: Option<&Arc<str>>) -> String {
    user.map_or_else(|| "-".to_owned(), |name| escape_name(name))
}

/// A name that cannot break a line or move a cursor. Quotes and backslashes are left to the log's
/// format, which escapes them as it must.
pub(crate) fn escape_name(name: &str) -> String {
    let mut shown = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(budget: &mut Budget, now: Instant, lines: u32) -> usize {
        (0..lines).filter(|_| budget.take(now)).count()
    }

    #[test]
    fn a_budget_allows_a_burst_and_then_its_share_of_the_rate() {
        let start = Instant::now();
        let mut budget = Budget::new(Kind::Allocation, 4);
        assert_eq!(take(&mut budget, start, 5000), 1000);
        assert_eq!(budget.suppressed, 4000);
        // 400 lines a second, of which one worker in four has 100.
        let mut now = start;
        let mut written = 0;
        for _ in 0..100 {
            now += Duration::from_millis(100);
            written += take(&mut budget, now, 5000);
        }
        assert!((995..=1000).contains(&written), "{written}");
        assert_eq!(
            take(&mut budget, now + Duration::from_secs(3600), 5000),
            1000
        );
    }

    #[test]
    fn kinds_do_not_hide_each_other_and_what_is_suppressed_is_told_in_time() {
        let now = crate::net::now();
        let mut log = EventLog::new(1);
        for _ in 0..1000 {
            log.allow(now, Kind::Unproven);
        }
        assert!(log.allow(now, Kind::Refusal));
        assert_eq!(log.next_due(), Some(now.mono + TELL_INTERVAL));
        assert_eq!(log.budgets[Kind::Unproven as usize].suppressed, 900);
        log.tell_if_due(now);
        assert_eq!(log.budgets[Kind::Unproven as usize].suppressed, 900);
        log.tell_if_due(Now {
            mono: now.mono + TELL_INTERVAL,
            ..now
        });
        assert_eq!(log.budgets[Kind::Unproven as usize].suppressed, 0);
        assert_eq!(log.next_due(), None);
    }
}
