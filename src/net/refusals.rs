//! The last refusals and failures of a worker, for operators who ask.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use turnd_proto::Now;
use turnd_proto::server::five_tuple::{FiveTuple, Transport};
use turnd_proto::server::output::Event;
use turnd_proto::wire::numbers::Method;

use super::handshake::Reason;

/// Refusals that are kept of each sort.
pub const KEPT: usize = 100;

/// Kind of a refusal or failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A request was refused.
    Request,
    /// A peer was refused.
    Peer,
    /// A TLS or DTLS handshake failed.
    Handshake,
    /// A system call failed.
    System,
}

impl Kind {
    /// The word for the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Peer => "peer",
            Self::Handshake => "handshake",
            Self::System => "system",
        }
    }
}

/// Something that a client did not get, or a failure of the system.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Kind of the refusal.
    pub kind: Kind,
    /// Time, in seconds since the Unix epoch.
    pub at: u64,
    /// Client and transport; `None`: no client was refused, a system call failed.
    pub client: Option<(SocketAddr, Transport)>,
    /// Whether the client's address is proven. If it is not, anybody may have sent the request.
    pub proven: bool,
    /// User name as claimed or proved; not escaped.
    pub user: Option<Arc<str>>,
    /// Method of the request; `None`: it is not known.
    pub method: Option<Method>,
    /// Error code of the answer; `None`: there was no answer.
    pub code: Option<u16>,
    /// Reason, for people.
    pub reason: Cow<'static, str>,
    /// Explanation of the reason.
    pub why: Option<&'static str>,
    /// Peer that was refused.
    pub peer: Option<SocketAddr>,
    /// Configuration key that would admit the peer.
    pub allowed_by: Option<&'static str>,
}

/// The number of refusals for one reason since the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Kind of the refusals.
    pub kind: Kind,
    /// Error code of the answers; `None`: there was none.
    pub code: Option<u16>,
    /// Reason, for people.
    pub reason: &'static str,
    /// Number since the start.
    pub count: u64,
}

/// The last refusals and failures, and their numbers by reason. Memory is bounded: reasons are those of the program.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    /// Refusals of proven clients, and failures; the oldest in front.
    known: VecDeque<Refusal>,
    /// Refusals that anybody may have caused, which push no other out.
    strangers: VecDeque<Refusal>,
    counts: Vec<Count>,
}

impl Refusals {
    /// Notes an event, if it is a refusal.
    pub(super) fn note(&mut self, now: Now, event: &Event) {
        match event {
            Event::Refused {
                tuple,
                user,
                proven,
                method,
                code,
                reason,
            } => {
                let refusal = Refusal {
                    kind: Kind::Request,
                    at: now.unix,
                    client: Some((tuple.client, tuple.transport)),
                    proven: *proven,
                    user: user.clone(),
                    method: Some(*method),
                    code: Some(*code),
                    reason: Cow::Borrowed(reason),
                    why: None,
                    peer: None,
                    allowed_by: None,
                };
                self.add(refusal, reason, *proven);
            }
            Event::PeerDenied {
                tuple,
                user,
                peer,
                denied,
            } => {
                let reason = denied.reason.as_str();
                let refusal = Refusal {
                    kind: Kind::Peer,
                    at: now.unix,
                    client: Some((tuple.client, tuple.transport)),
                    proven: true,
                    user: user.clone(),
                    method: None,
                    code: Some(403),
                    reason: Cow::Borrowed(reason),
                    why: None,
                    peer: Some(peer.0),
                    allowed_by: Some(denied.option),
                };
                self.add(refusal, reason, true);
            }
            // No other is a refusal.
            _ => {}
        }
    }

    /// Notes a handshake that failed. Scanners cause most of those that do not blame the certificate.
    pub(super) fn handshake_failed(&mut self, now: Now, tuple: &FiveTuple, reason: Reason) {
        let refusal = Refusal {
            kind: Kind::Handshake,
            at: now.unix,
            client: Some((tuple.client, tuple.transport)),
            proven: true,
            user: None,
            method: None,
            code: None,
            reason: Cow::Borrowed(reason.as_str()),
            why: Some(reason.explanation()),
            peer: None,
            allowed_by: None,
        };
        self.add(refusal, reason.as_str(), reason.blames_certificate());
    }

    /// Notes a system call that failed on a socket.
    pub(super) fn socket_failed(&mut self, now: Now, addr: SocketAddr, error: &io::Error) {
        let refusal = Refusal {
            kind: Kind::System,
            at: now.unix,
            client: None,
            proven: true,
            user: None,
            method: None,
            code: None,
            reason: Cow::Owned(format!("socket {addr} failed: {error}")),
            why: None,
            peer: None,
            allowed_by: None,
        };
        self.add(refusal, "socket failed", true);
    }

    /// Adds another worker's.
    pub(super) fn merge(&mut self, other: Self) {
        self.known.extend(other.known);
        self.strangers.extend(other.strangers);
        for sort in [&mut self.known, &mut self.strangers] {
            sort.make_contiguous().sort_by_key(|refusal| refusal.at);
            sort.drain(..sort.len().saturating_sub(KEPT));
        }
        for count in other.counts {
            self.count(count);
        }
    }

    /// The last [`KEPT`] refusals, the newest in front; those that anybody may have caused are half of them at the
    /// most where there are others.
    #[must_use]
    pub fn latest(&self) -> Vec<&Refusal> {
        let room = KEPT - self.known.len().min(KEPT / 2);
        let strangers = self.strangers.iter().rev().take(room);
        let mut latest: Vec<_> = strangers.collect();
        let room = KEPT - latest.len();
        latest.extend(self.known.iter().rev().take(room));
        latest.sort_by_key(|refusal| std::cmp::Reverse(refusal.at));
        latest
    }

    /// Numbers by reason since the start, the largest in front.
    #[must_use]
    pub fn counts(&self) -> Vec<Count> {
        let mut counts = self.counts.clone();
        counts.sort_by_key(|count| (std::cmp::Reverse(count.count), count.code, count.reason));
        counts
    }

    /// Adds a refusal, of somebody who is `known` or of a stranger.
    fn add(&mut self, refusal: Refusal, reason: &'static str, known: bool) {
        self.count(Count {
            kind: refusal.kind,
            code: refusal.code,
            reason,
            count: 1,
        });
        let sort = if known {
            &mut self.known
        } else {
            &mut self.strangers
        };
        if sort.len() == KEPT {
            sort.pop_front();
        }
        sort.push_back(refusal);
    }

    fn count(&mut self, more: Count) {
        let key = |count: &Count| (count.kind, count.code, count.reason);
        let same = |count: &&mut Count| key(count) == key(&more);
        match self.counts.iter_mut().find(same) {
            Some(count) => count.count += more.count,
            None => self.counts.push(more),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(refusals: &mut Refusals, at: u64, proven: bool, reason: &'static str) {
        let now = Now {
            unix: at,
            ..crate::net::now()
        };
        let event = Event::Refused {
            tuple: FiveTuple {
                client: "192.0.2.1:7".parse().unwrap(),
                server: "192.0.2.2:3478".parse().unwrap(),
                transport: Transport::Udp,
            },
            user: Some(Arc::from("alice")),
            proven,
            method: Method::ALLOCATE,
            code: 486,
            reason,
        };
        refusals.note(now, &event);
    }

    fn shown(refusals: &Refusals) -> Vec<(u64, bool)> {
        let latest = refusals.latest();
        latest.iter().map(|r| (r.at, r.proven)).collect()
    }

    #[test]
    fn a_hundred_are_kept_and_counts_of_all() {
        let mut refusals = Refusals::default();
        for at in 0..250 {
            refused(&mut refusals, at, true, ["one", "two"][at as usize % 2]);
        }
        let expected: Vec<_> = (150..250).rev().map(|at| (at, true)).collect();
        assert_eq!(shown(&refusals), expected);
        let counts: Vec<_> = refusals.counts().iter().map(|c| c.count).collect();
        assert_eq!(counts, [125, 125]);
    }

    #[test]
    fn a_flood_from_anywhere_leaves_others_their_half() {
        let mut refusals = Refusals::default();
        for at in 0..80 {
            refused(&mut refusals, at, true, "quota");
        }
        for at in 100..100_000 {
            refused(&mut refusals, at, false, "wrong");
        }
        let latest = shown(&refusals);
        assert_eq!(latest.len(), KEPT);
        assert_eq!(latest.iter().filter(|(_, proven)| *proven).count(), 50);
        // Where others are few, the rest is the flood's.
        let mut few = Refusals::default();
        refused(&mut few, 1, true, "quota");
        for at in 0..1000 {
            refused(&mut few, at, false, "wrong");
        }
        assert_eq!(shown(&few).len(), KEPT);
        assert!(shown(&few).contains(&(1, true)));
    }

    #[test]
    fn scanners_leave_handshakes_that_blame_the_certificate_their_half() {
        let mut refusals = Refusals::default();
        let tuple = FiveTuple {
            client: "192.0.2.1:7".parse().unwrap(),
            server: "192.0.2.2:5349".parse().unwrap(),
            transport: Transport::Tls,
        };
        let now = crate::net::now();
        refusals.handshake_failed(now, &tuple, Reason::UnknownCa);
        for _ in 0..1000 {
            refusals.handshake_failed(now, &tuple, Reason::Http);
        }
        let latest = refusals.latest();
        assert_eq!(latest.len(), KEPT);
        let blaming = latest.iter().find(|r| r.reason == "unknown-ca").unwrap();
        assert_eq!(blaming.kind, Kind::Handshake);
        assert!(blaming.why.unwrap().contains("does not trust"));
        assert_eq!(refusals.counts()[0].count, 1000);
    }

    #[test]
    fn workers_together_have_the_newest_of_all_and_the_sums() {
        let (mut one, mut two) = (Refusals::default(), Refusals::default());
        for at in 0..90 {
            refused(&mut one, 2 * at, true, "quota");
            refused(&mut two, 2 * at + 1, true, "quota");
        }
        two.socket_failed(
            crate::net::now(),
            "192.0.2.2:3478".parse().unwrap(),
            &io::Error::other("no buffers"),
        );
        one.merge(two);
        assert_eq!(one.latest().len(), KEPT);
        assert!(one.latest()[0].reason.contains("no buffers"));
        assert_eq!(one.counts()[0].count, 180);
        assert_eq!(one.counts()[1].reason, "socket failed");
    }
}
