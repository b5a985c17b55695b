//! Clients of one worker that have no allocation: their places among those of all workers, the time
//! that they have, and their handshakes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::way::Way;
use turnd_proto::Now;
use turnd_proto::policy::rate::PrefixLimiter;
use turnd_proto::policy::unallocated::{ClientId, Displaced, Place, Unallocated};
use turnd_proto::random::HashKeys;
use turnd_proto::server::five_tuple::SocketId;

/// Time that a newcomer has for its first whole message, handshakes included.
const FIRST_MESSAGE: Duration = Duration::from_secs(5);
/// Minimum interval between two signs of life that are told to the table of all workers.
const HEARD_INTERVAL: Duration = Duration::from_secs(1);
/// Change of a client's memory, in bytes, below which the table is not told.
const BYTES_STEP: usize = 1024;
/// HelloVerifyRequests to one source network for each handshake that it may begin: a client on a
/// bad path asks again and again.
const HELLOS_PER_HANDSHAKE: u32 = 10;

/// Settings that are the same for all workers.
#[derive(Clone, Debug)]
pub(super) struct AdmissionOptions {
    pub(super) all: Arc<Unallocated>,
    /// `max-allocate-timeout`: how long a client may stay without an allocation.
    pub(super) patience: Duration,
    /// `handshake-rate`; `None`: no limit.
    pub(super) rates: Option<Arc<HandshakeRates>>,
}

/// Rates of what source networks begin.
#[derive(Debug)]
pub(super) struct HandshakeRates {
    handshakes: PrefixLimiter,
    /// Answers to ClientHellos without a good cookie.
    hellos: PrefixLimiter,
}

impl HandshakeRates {
    pub(super) fn new(handshakes_per_second: u32, now: Instant) -> Self {
        let hellos = handshakes_per_second.saturating_mul(HELLOS_PER_HANDSHAKE);
        let keys = || HashKeys::new(crate::random::bytes());
        Self {
            handshakes: PrefixLimiter::new(handshakes_per_second, keys(), now),
            hellos: PrefixLimiter::new(hellos, keys(), now),
        }
    }
}

/// Takes in clients of one worker.
#[derive(Debug)]
pub(super) struct Admission {
    options: AdmissionOptions,
    worker: usize,
    /// Clients of any worker that have to end, and have not been told.
    displaced: Vec<Displaced>,
}

/// A client's state as long as it has no allocation.
#[derive(Debug)]
pub(super) struct Idle {
    place: Place,
    /// When it came, or its last allocation ended.
    since: Instant,
    /// When it said something whole; `None`: it never has.
    heard: Option<Instant>,
    /// Bytes that the table knows of.
    bytes: usize,
}

impl Admission {
    pub(super) fn new(options: AdmissionOptions, worker: usize) -> Self {
        Self {
            options,
            worker,
            displaced: Vec::new(),
        }
    }

    /// Takes in a newcomer, or a client whose allocation has ended, that holds so many bytes.
    pub(super) fn admit(&mut self, now: Now, source: IpAddr, way: Way, bytes: usize) -> Idle {
        let SocketId(socket) = way.id();
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

    /// Notes what a client holds now.
    pub(super) fn charge(&mut self, idle: &mut Idle, bytes: usize) {
        if idle.bytes.abs_diff(bytes) >= BYTES_STEP {
            idle.bytes = bytes;
            idle.place.set_bytes(bytes, &mut self.displaced);
        }
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

    /// When an idle client's time is over.
    pub(super) fn deadline(&self, idle: &Idle) -> Instant {
        let patience = self.options.patience;
        idle.since
            + match idle.heard {
                Some(_) => patience,
                None => patience.min(FIRST_MESSAGE),
            }
    }

    /// How long a client may stay without an allocation.
    pub(super) fn patience(&self) -> Duration {
        self.options.patience
    }
}

impl Idle {
    /// Notes that the client has said something whole.
    pub(super) fn hear(&mut self, now: Now) {
        let due = |at| now.mono.saturating_duration_since(at) >= HEARD_INTERVAL;
        if self.heard.is_none_or(due) {
            self.heard = Some(now.mono);
            self.place.heard();
        }
    }

    /// Gives the client its time for a first message from now on.
    pub(super) fn restart(&mut self, now: Now) {
        self.since = now.mono;
    }

    /// Whether `displaced` is this client, and not one that had its socket's name before.
    pub(super) fn is(&self, displaced: &Displaced) -> bool {
        self.place.serial() == displaced.serial
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnd_proto::policy::unallocated::UnallocatedLimits;

    const PATIENCE: Duration = Duration::from_secs(60);

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
            patience: PATIENCE,
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

    #[test]
    fn a_newcomer_has_less_time_than_who_has_spoken() {
        let (mut admission, now) = admission(None, 10);
        let mut idle = admission.admit(now, ip("192.0.2.1"), Way::Stream(1), 100);
        assert_eq!(admission.deadline(&idle), now.mono + FIRST_MESSAGE);
        idle.restart(later(now, 3));
        assert_eq!(
            admission.deadline(&idle),
            later(now, 3).mono + FIRST_MESSAGE
        );
        idle.hear(later(now, 4));
        assert_eq!(admission.deadline(&idle), later(now, 3).mono + PATIENCE);
        // What it says later leaves it no more time.
        idle.hear(later(now, 50));
        assert_eq!(admission.deadline(&idle), later(now, 3).mono + PATIENCE);
    }

    #[test]
    fn who_has_to_end_is_known_by_its_place_and_not_by_its_sockets_name() {
        let (mut admission, now) = admission(None, 1);
        let first = admission.admit(now, ip("192.0.2.1"), Way::Stream(1), 100);
        let second = admission.admit(now, ip("192.0.2.2"), Way::Stream(1), 100);
        let displaced = admission.next_displaced().unwrap();
        assert!(first.is(&displaced) && !second.is(&displaced));
        assert!(admission.is_own(&displaced));
        assert_eq!(admission.next_displaced(), None);
    }
}
