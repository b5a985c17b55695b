//! What the server's events look like in the log.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::Now;
use crate::server::output::{Event, Session};

/// Lines about refusals and failures that one worker writes in a second; the rest is counted,
/// so that no client can fill the disk.
const LINES_PER_SECOND: u32 = 100;

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
                let Fields {
                    session,
                    client,
                    server,
                    transport,
                    user,
                    relayed,
                } = Fields::of(session);
                let lifetime = lifetime.as_secs();
                tracing::info!(session, %client, %server, transport, user, %relayed, lifetime, "allocation created");
            }
            Event::Refreshed { session, lifetime } => {
                let Fields {
                    session,
                    client,
                    server,
                    transport,
                    user,
                    relayed,
                } = Fields::of(session);
                let lifetime = lifetime.as_secs();
                tracing::debug!(session, %client, %server, transport, user, %relayed, lifetime, "allocation refreshed");
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
                method,
                code,
                reason,
            } => {
                if self.allow(now) {
                    let transport = tuple.transport.name();
                    let (client, server, user) = (
                        tuple.client,
                        tuple.server,
                        user.as_deref().unwrap_or(NOBODY),
                    );
                    tracing::info!(%client, %server, transport, user, %method, code, reason, "request refused");
                }
            }
            Event::PeerDenied {
                tuple,
                user,
                peer,
                denied,
            } => {
                let transport = tuple.transport.name();
                let (client, server, user) = (
                    tuple.client,
                    tuple.server,
                    user.as_deref().unwrap_or(NOBODY),
                );
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

/// Stands for the user where there is none.
const NOBODY: &str = "-";

/// What every line about an allocation has. The log escapes texts, so that no user name breaks a
/// line.
struct Fields<'a> {
    session: u64,
    client: SocketAddr,
    server: SocketAddr,
    transport: &'static str,
    user: &'a str,
    relayed: SocketAddr,
}

impl<'a> Fields<'a> {
    fn of(session: &'a Session) -> Self {
        Self {
            session: session.serial,
            client: session.tuple.client,
            server: session.tuple.server,
            transport: session.tuple.transport.name(),
            user: session.user.as_deref().unwrap_or(NOBODY),
            relayed: session.relayed,
        }
    }
}
