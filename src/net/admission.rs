//! Clients of one worker that have no allocation: their places among those of all workers, the time
//! limit of each, and the rates of their handshakes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use turnd_proto::Now;
use turnd_proto::deadlines::Deadlines;
use turnd_proto::policy::rate::PrefixLimiter;
use turnd_proto::policy::unallocated::{self, Place, Unallocated};
use turnd_proto::random::HashKeys;
use turnd_proto::server::five_tuple::ClientSocket;

/// Time that a newcomer has for its first whole message, handshakes included.
const FIRST_MESSAGE: Duration = Duration::from_secs(5);
/// Minimum interval between two signs of life that are told to the table of all workers.
const HEARD_INTERVAL: Duration = Duration::from_secs(1);
/// Change of a client's memory, in bytes, below which the table is not told.
const BYTES_STEP: usize = 1024;
/// HelloVerifyRequests to one source network for each handshake that it may begin: a client on a
/// bad path asks again and again.
const HELLOS_PER_HANDSHAKE: u32 = 10;
/// TCP connections of one source network for each handshake that it may begin: many are plain.
const CONNECTIONS_PER_HANDSHAKE: u32 = 10;
/// Time in whose connections a network may open them all at once: those of a site that comes back.
const CONNECTION_BURST: Duration = Duration::from_secs(5);

/// Name of a client, unlike any other in the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClientId {
    /// Index of the worker.
    pub(super) worker: usize,
    /// Socket of that worker.
    pub(super) socket: ClientSocket,
}

/// A client that has to end.
pub(super) type Displaced = unallocated::Displaced<ClientId>;

/// Settings that are the same for all workers.
#[derive(Clone, Debug)]
pub(super) struct AdmissionOptions {
    pub(super) all: Arc<Unallocated<ClientId>>,
    /// `max-allocate-timeout`: time that a client may stay without an allocation.
    pub(super) idle_timeout: Duration,
    /// `handshake-rate`; `None`: no limit.
    pub(super) rates: Option<Arc<HandshakeRates>>,
}

/// Rates of what source networks begin.
#[derive(Debug)]
pub(super) struct HandshakeRates {
    handshakes: PrefixLimiter,
    /// Answers to ClientHellos without a good cookie.
    hellos: PrefixLimiter,
    /// TCP connections, whatever comes of them.
    connections: PrefixLimiter,
}

impl HandshakeRates {
    pub(super) fn new(handshakes_per_second: u32, now: Instant) -> Self {
        let hellos = handshakes_per_second.saturating_mul(HELLOS_PER_HANDSHAKE);
        let connections = handshakes_per_second.saturating_mul(CONNECTIONS_PER_HANDSHAKE);
        let keys = || HashKeys::new(crate::random::bytes());
        Self {
            handshakes: PrefixLimiter::new(handshakes_per_second, keys(), now),
            hellos: PrefixLimiter::new(hellos, keys(), now),
            connections: PrefixLimiter::with_burst(connections, CONNECTION_BURST, keys(), now),
        }
    }
}

/// Clients of one worker, from the moment they are connected.
#[derive(Debug)]
pub(super) struct Admission {
    options: AdmissionOptions,
    worker: usize,
    /// Times at which clients are looked at again.
    deadlines: Deadlines<ClientSocket>,
    /// Clients of any worker that have to end, and have not been told.
    displaced: Vec<Displaced>,
    /// Clients whose allocation has ended since the last turn.
    allocation_ended: Vec<ClientSocket>,
}

/// Time limit of one client.
#[derive(Debug)]
pub(super) struct Watch {
    socket: ClientSocket,
    /// Armed deadline.
    at: Instant,
    /// State of a client without an allocation; `None`: it has one.
    idle: Option<Idle>,
}

/// State of a client without an allocation.
#[derive(Debug)]
struct Idle {
    place: Place<ClientId>,
    /// Time of arrival, or of the end of the last allocation.
    since: Instant,
    /// Time of the last whole message; `None`: there was none.
    heard: Option<Instant>,
    /// Bytes that the table knows of.
    bytes: usize,
}

impl Admission {
    pub(super) fn new(options: AdmissionOptions, worker: usize) -> Self {
        Self {
            options,
            worker,
            deadlines: Deadlines::default(),
            displaced: Vec::new(),
            allocation_ended: Vec::new(),
        }
    }

    /// Takes in a newcomer from `source` that holds so many bytes.
    pub(super) fn admit(
        &mut self,
        now: Now,
        source: IpAddr,
        socket: ClientSocket,
        bytes: usize,
    ) -> Watch {
        let idle = self.place(now, source, socket, bytes);
        let at = self.deadline(&idle);
        self.deadlines.arm(at, socket);
        Watch {
            socket,
            at,
            idle: Some(idle),
        }
    }

    /// Counts a client as one of `source` from now on: its proxy has said so.
    pub(super) fn rename(&mut self, now: Now, watch: &mut Watch, source: IpAddr, bytes: usize) {
        let idle = self.place(now, source, watch.socket, bytes);
        self.arm(watch, self.deadline(&idle));
        watch.idle = Some(idle);
    }

    /// Takes in a client again whose allocation has ended, or is another client's by now.
    pub(super) fn readmit(&mut self, now: Now, watch: &mut Watch, source: IpAddr, bytes: usize) {
        let mut idle = self.place(now, source, watch.socket, bytes);
        idle.hear(now);
        self.arm(watch, self.deadline(&idle));
        watch.idle = Some(idle);
    }

    fn place(&mut self, now: Now, source: IpAddr, socket: ClientSocket, bytes: usize) -> Idle {
        let id = ClientId {
            worker: self.worker,
            socket,
        };
        let displaced = &mut self.displaced;
        Idle {
            place: self.options.all.admit(id, source, bytes, displaced),
            since: now.mono,
            heard: None,
            bytes,
        }
    }

    /// Notes that a client has said something, `whole` messages or not, and whether that has made
    /// an allocation for it.
    pub(super) fn hear(
        &self,
        now: Now,
        watch: &mut Watch,
        whole: bool,
        has_allocation: impl FnOnce() -> bool,
    ) {
        if let Some(idle) = &mut watch.idle {
            if has_allocation() {
                watch.idle = None;
            } else if whole {
                idle.hear(now);
            }
        }
    }

    /// Gives a client its time for a first message from now on.
    pub(super) fn restart(&self, now: Now, watch: &mut Watch) {
        if let Some(idle) = &mut watch.idle {
            idle.since = now.mono;
        }
    }

    /// Notes how many bytes a client holds now.
    pub(super) fn charge(&mut self, watch: &mut Watch, bytes: usize) {
        if let Some(idle) = &mut watch.idle
            && idle.bytes.abs_diff(bytes) >= BYTES_STEP
        {
            idle.bytes = bytes;
            idle.place.set_bytes(bytes, &mut self.displaced);
        }
    }

    /// Looks at a client whose deadline has come; `true`: its time is over. A client at `source`
    /// whose allocation is that of another connection of its proxy is taken in again.
    pub(super) fn is_over(
        &mut self,
        now: Now,
        watch: &mut Watch,
        has_allocation: bool,
        (source, bytes): (IpAddr, usize),
    ) -> bool {
        let next = if has_allocation {
            watch.idle = None;
            now.mono + self.options.idle_timeout
        } else if let Some(idle) = &watch.idle {
            self.deadline(idle)
        } else {
            self.readmit(now, watch, source, bytes);
            return false;
        };
        let over = next <= now.mono;
        if !over {
            self.arm(watch, next);
        }
        over
    }

    /// Has a client be looked at again at `at`, and not before.
    pub(super) fn arm(&mut self, watch: &mut Watch, at: Instant) {
        self.deadlines.disarm(watch.at, watch.socket);
        self.deadlines.arm(at, watch.socket);
        watch.at = at;
    }

    /// Forgets a client that has ended, and gives its place back.
    pub(super) fn forget(&mut self, watch: &Watch) {
        self.deadlines.disarm(watch.at, watch.socket);
    }

    /// The earliest time at which a client is to be looked at.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.deadlines.next()
    }

    /// Takes one client whose deadline has come.
    pub(super) fn pop_due(&mut self, now: Now) -> Option<ClientSocket> {
        self.deadlines.pop_due(now.mono)
    }

    /// Notes that the allocation of a client has ended.
    pub(super) fn allocation_ended(&mut self, socket: ClientSocket) {
        self.allocation_ended.push(socket);
    }

    /// Takes one client whose allocation has ended, for [`Self::readmit`].
    pub(super) fn pop_ended(&mut self) -> Option<ClientSocket> {
        self.allocation_ended.pop()
    }

    /// Whether `source`, whose address is proven, may begin a handshake: each costs a signature.
    pub(super) fn may_begin_handshake(&self, now: Now, source: IpAddr) -> bool {
        let rates = self.options.rates.as_ref();
        rates.is_none_or(|rates| rates.handshakes.allow(now.mono, source))
    }

    /// Whether a ClientHello without a good cookie is answered; its sender may be forged.
    pub(super) fn may_answer_hello(&self, now: Now, source: IpAddr) -> bool {
        let rates = self.options.rates.as_ref();
        rates.is_none_or(|rates| rates.hellos.allow(now.mono, source))
    }

    /// Whether a connection of `source` is served.
    pub(super) fn may_connect(&self, now: Now, source: IpAddr) -> bool {
        let rates = self.options.rates.as_ref();
        rates.is_none_or(|rates| rates.connections.allow(now.mono, source))
    }

    /// Ends one client, so that the next has the descriptor that is lacking.
    pub(super) fn displace_one(&mut self) {
        self.options.all.displace_one(&mut self.displaced);
    }

    /// The next client that has to end; of another worker when its index is not this one's.
    pub(super) fn next_displaced(&mut self) -> Option<Displaced> {
        self.displaced.pop()
    }

    /// Whether the client that has to end is this worker's.
    pub(super) fn is_own(&self, displaced: &Displaced) -> bool {
        displaced.client.worker == self.worker
    }

    fn deadline(&self, idle: &Idle) -> Instant {
        let idle_timeout = self.options.idle_timeout;
        idle.since
            + match idle.heard {
                Some(_) => idle_timeout,
                None => idle_timeout.min(FIRST_MESSAGE),
            }
    }
}

impl Watch {
    /// Whether `displaced` is this client, and not one that had its socket's name before.
    pub(super) fn is(&self, displaced: &Displaced) -> bool {
        let idle = self.idle.as_ref();
        idle.is_some_and(|idle| idle.place.serial() == displaced.serial)
    }
}

impl Idle {
    fn hear(&mut self, now: Now) {
        let due = |at| now.mono.saturating_duration_since(at) >= HEARD_INTERVAL;
        if self.heard.is_none_or(due) {
            self.heard = Some(now.mono);
            self.place.heard();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnd_proto::policy::unallocated::UnallocatedLimits;

    const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

    fn admission(handshake_rate: Option<u32>, clients: u32) -> (Admission, Now) {
        let limits = UnallocatedLimits {
            clients,
            per_source: 100,
            bytes: 1 << 20,
        };
        let now = Now {
            mono: Instant::now(),
            unix: 0,
        };
        let rates = handshake_rate.map(|rate| Arc::new(HandshakeRates::new(rate, now.mono)));
        let options = AdmissionOptions {
            all: Arc::new(Unallocated::new(limits)),
            idle_timeout: IDLE_TIMEOUT,
            rates,
        };
        (Admission::new(options, 1), now)
    }

    fn later(now: Now, seconds: u64) -> Now {
        Now {
            mono: now.mono + Duration::from_secs(seconds),
            ..now
        }
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_network_begins_so_many_handshakes_and_hears_so_many_cookies() {
        let (admission, now) = admission(Some(5), 10);
        let allowed = |admission: &Admission, now, source| {
            let source = ip(source);
            let handshakes = (0..100).filter(|_| admission.may_begin_handshake(now, source));
            let handshakes = handshakes.count();
            let hellos = (0..100).filter(|_| admission.may_answer_hello(now, source));
            (handshakes, hellos.count())
        };
        assert_eq!(allowed(&admission, now, "198.51.100.1"), (5, 50));
        assert_eq!(allowed(&admission, now, "198.51.100.2"), (0, 0));
        assert_eq!(allowed(&admission, now, "203.0.113.1"), (5, 50));
        let now = later(now, 1);
        assert_eq!(allowed(&admission, now, "198.51.100.1"), (5, 50));
        let (unlimited, now) = self::admission(None, 10);
        assert_eq!(allowed(&unlimited, now, "198.51.100.1"), (100, 100));
    }

    fn due(admission: &Admission) -> Instant {
        admission.next_due().unwrap()
    }

    #[test]
    fn a_newcomer_has_less_time_than_who_has_spoken() {
        let (mut admission, now) = admission(None, 10);
        let socket = ClientSocket::Stream(1);
        let source = ip("192.0.2.1");
        let mut watch = admission.admit(now, source, socket, 100);
        assert_eq!(due(&admission), now.mono + FIRST_MESSAGE);
        admission.restart(later(now, 3), &mut watch);
        let over = |admission: &mut Admission, watch: &mut Watch, at, has_allocation| {
            assert_eq!(admission.pop_due(at), Some(socket));
            admission.is_over(at, watch, has_allocation, (source, 100))
        };
        assert!(!over(&mut admission, &mut watch, later(now, 5), false));
        assert_eq!(due(&admission), later(now, 3).mono + FIRST_MESSAGE);
        admission.hear(later(now, 4), &mut watch, true, || false);
        assert!(!over(&mut admission, &mut watch, later(now, 8), false));
        assert_eq!(due(&admission), later(now, 3).mono + IDLE_TIMEOUT);
        // Later messages leave it no more time.
        admission.hear(later(now, 50), &mut watch, true, || false);
        assert!(over(&mut admission, &mut watch, later(now, 63), false));
        admission.forget(&watch);
        assert_eq!(admission.next_due(), None);
    }

    #[test]
    fn a_client_with_an_allocation_has_time_and_is_taken_in_again_when_that_has_ended() {
        let (mut admission, now) = admission(None, 10);
        let all = Arc::clone(&admission.options.all);
        let source = ip("192.0.2.1");
        let mut watch = admission.admit(now, source, ClientSocket::Dtls(1), 100);
        admission.hear(now, &mut watch, false, || true);
        assert_eq!(all.held(), (0, 0));
        let at = later(now, 5);
        assert!(admission.pop_due(at).is_some());
        assert!(!admission.is_over(at, &mut watch, true, (source, 100)));
        assert_eq!(due(&admission), at.mono + IDLE_TIMEOUT);
        // Its proxy has sent the last request by another connection.
        let at = later(at, 60);
        assert!(admission.pop_due(at).is_some());
        assert!(!admission.is_over(at, &mut watch, false, (source, 100)));
        assert_eq!(all.held(), (1, 100));
        let at = later(at, 60);
        assert_eq!(due(&admission), at.mono);
        assert!(admission.pop_due(at).is_some());
        assert!(admission.is_over(at, &mut watch, false, (source, 100)));
        drop(watch);
        assert_eq!(all.held(), (0, 0));
    }

    #[test]
    fn who_has_to_end_is_known_by_its_place_and_not_by_its_sockets_name() {
        let (mut admission, now) = admission(None, 1);
        let socket = ClientSocket::Stream(1);
        let first = admission.admit(now, ip("192.0.2.1"), socket, 100);
        let second = admission.admit(now, ip("192.0.2.2"), socket, 100);
        let displaced = admission.next_displaced().unwrap();
        assert!(first.is(&displaced) && !second.is(&displaced));
        assert!(admission.is_own(&displaced));
        assert_eq!(admission.next_displaced(), None);
    }
}
