//! What the server's events look like in the log.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Now;
use crate::server::output::{Event, Session};

/// Lines about refusals and failures that one worker writes in a second; the rest is counted,
/// so that no client can fill the disk.
const LINES_PER_SECOND: u32 = 100;

/// A line on an allocation that lives for so long; each level has a macro of its own.
macro_rules! lifetime_line {
    ($level:ident, $session:expr, $lifetime:expr, $text:literal) => {{
        let Fields {
            session,
            client,
            server,
            transport,
            user,
            relayed,
        } = Fields::of($session);
        let lifetime = $lifetime.as_secs();
        tracing::$level!(session, %client, %server, transport, user, %relayed, lifetime, $text);
    }};
}

/// Writes events, and keeps floods of them short.
#[derive(Debug, Default)]
pub(super) struct EventLog {
    second: Option<Instant>,
    lines: u32,
    suppressed: u64,
}

impl EventLog {
    pub(super) fn write(&mut self, now: Now, event: &Event) {
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
                if self.allow(now) {
                    let transport = tuple.transport.name();
                    let (client, server, user) =
                        (tuple.client, tuple.server, escape(user.as_ref()));
                    let address = if *proven { "proven" } else { "unproven" };
                    tracing::info!(%client, %server, transport, address, user, %method, code, reason, "request refused");
                }
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
        }
    }

    /// A system call on a socket failed in a way that is not the client's business.
    pub(super) fn socket_failed(&mut self, now: Now, addr: SocketAddr, error: &io::Error) {
        if self.allow(now) {
            tracing::warn!(%addr, %error, "socket failed");
        }
    }

    fn allow(&mut self, now: Now) -> bool {
        if self
            .second
            .is_none_or(|start| now.mono.saturating_duration_since(start) >= Duration::from_secs(1))
        {
            if self.suppressed > 0 {
                tracing::warn!(lines = self.suppressed, "log lines suppressed");
            }
            *self = Self {
                second: Some(now.mono),
                lines: 0,
                suppressed: 0,
            };
        }
        self.lines += 1;
        let allowed = self.lines <= LINES_PER_SECOND;
        self.suppressed += u64::from(!allowed);
        allowed
    }
}

/// What every line about an allocation has.
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

/// A user name that cannot break a line or move a cursor; `-` for none. Quotes and backslashes are
/// left to the log's format, which escapes them as it must.
fn escape(user: Option<&Arc<str>>) -> String {
    let Some(name) = user else {
        return "-".to_owned();
    };
    let mut shown = String::with_capacity(name.len());
    for c in name.chars() {
        match c {
            '"' | '\'' | '\\' => shown.push(c),
            _ => shown.extend(c.escape_debug()),
        }
    }
    shown
}
