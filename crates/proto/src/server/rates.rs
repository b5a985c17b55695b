//! Rates of the whole process: replies before authentication, and Allocates of a user.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::settings::Limits;
use crate::policy::rate::{PrefixLimiter, RateTable, TableUsage};
use crate::random::Random;

/// Replies per second to a port that a client of one source network names (N3).
const REDIRECT_RATE: u32 = 50;

/// Bytes of a 401, five times a bare Allocate: a longer one counts for more than one.
const ORDINARY_REPLY: usize = 100;

/// Bytes of a Binding response with an IPv6 address, 2.2 times a bare request.
const ORDINARY_BINDING: usize = 44;

/// Requests per second with long user names that are checked for one source network: preparing and
/// hashing such a name costs up to five times a refused bare Allocate.
const LONG_NAME_RATE: u32 = 1000;

/// Time in whose Allocates a user may make them all at once: those of a site that comes back.
const ALLOCATE_BURST: Duration = Duration::from_secs(10);

/// Rates that all workers count against.
#[derive(Debug)]
pub struct Rates {
    unproven: Rate<PrefixLimiter>,
    challenged: Rate<PrefixLimiter>,
    binding: Rate<PrefixLimiter>,
    redirects: Rate<PrefixLimiter>,
    unproven_names: Rate<PrefixLimiter>,
    proven_names: Rate<PrefixLimiter>,
    allocates: Rate<RateTable>,
    lookups: Rate<PrefixLimiter>,
}

/// Proof of its address that the sender of a request has given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Nothing: it may be forged.
    None,
    /// A nonce that was sent there, or a handshake.
    Nonce,
}

impl Rates {
    /// The configured rates, `lookups` among them; `previous` ones that are the same go on as they
    /// are.
    #[must_use]
    pub fn new(limits: &Limits, lookups: Option<u32>, previous: Option<&Self>) -> Self {
        let replies = limits.unauthenticated_rate;
        Self {
            unproven: Rate::new(replies, previous.map(|p| &p.unproven)),
            challenged: Rate::new(replies, previous.map(|p| &p.challenged)),
            binding: Rate::new(limits.binding_rate, previous.map(|p| &p.binding)),
            redirects: Rate::new(Some(REDIRECT_RATE), previous.map(|p| &p.redirects)),
            unproven_names: Rate::new(Some(LONG_NAME_RATE), previous.map(|p| &p.unproven_names)),
            proven_names: Rate::new(Some(LONG_NAME_RATE), previous.map(|p| &p.proven_names)),
            allocates: Rate::new(limits.user_allocate_rate, previous.map(|p| &p.allocates)),
            lookups: Rate::new(lookups, previous.map(|p| &p.lookups)),
        }
    }

    /// Makes the tables that are not there yet; until then nothing is limited.
    pub fn begin(&self, now: Instant, random: &mut Random) {
        for rate in [
            &self.unproven,
            &self.challenged,
            &self.binding,
            &self.redirects,
            &self.unproven_names,
            &self.proven_names,
            &self.lookups,
        ] {
            rate.begin(|per_second| PrefixLimiter::new(per_second, random.hash_keys(), now));
        }
        self.allocates.begin(|per_second| {
            RateTable::new(per_second, ALLOCATE_BURST, random.hash_keys(), now)
        });
    }

    /// Whether an error may be sent to `source`, which has not authenticated.
    #[must_use]
    pub fn allow_error(&self, now: Instant, source: IpAddr, proof: Proof) -> bool {
        self.errors(proof).allow(now, source)
    }

    /// Tells of an error of `len` bytes that was allowed.
    pub fn sent_error(&self, now: Instant, source: IpAddr, proof: Proof, len: usize) {
        let errors = self.errors(proof);
        errors.sent(now, source, len, ORDINARY_REPLY);
    }

    /// State of the tables of errors to clients that have not authenticated.
    #[must_use]
    pub fn error_tables(&self, now: Instant) -> TableUsage {
        let tables = [&self.unproven, &self.challenged];
        tables
            .into_iter()
            .filter_map(|rate| rate.table.get())
            .map(|limiter| limiter.usage(now))
            .fold(TableUsage::default(), TableUsage::with)
    }

    fn errors(&self, proof: Proof) -> &Rate<PrefixLimiter> {
        match proof {
            Proof::None => &self.unproven,
            Proof::Nonce => &self.challenged,
        }
    }

    /// Whether a Binding request of `source` may be answered.
    #[must_use]
    pub fn allow_binding(&self, now: Instant, source: IpAddr) -> bool {
        self.binding.allow(now, source)
    }

    /// Tells of a Binding response of `len` bytes that was allowed.
    pub fn sent_binding(&self, now: Instant, source: IpAddr, len: usize) {
        self.binding.sent(now, source, len, ORDINARY_BINDING);
    }

    /// Whether a Binding response may go to another port of `source`.
    #[must_use]
    pub fn allow_redirect(&self, now: Instant, source: IpAddr) -> bool {
        self.redirects.allow(now, source)
    }

    /// Whether a long user name that came from `source` is checked.
    #[must_use]
    pub fn allow_long_name(&self, now: Instant, source: IpAddr, proof: Proof) -> bool {
        let names = match proof {
            Proof::None => &self.unproven_names,
            Proof::Nonce => &self.proven_names,
        };
        names.allow(now, source)
    }

    /// Whether a user that a request of `source` names is looked up.
    #[must_use]
    pub fn allow_lookup(&self, now: Instant, source: IpAddr) -> bool {
        self.lookups.allow(now, source)
    }

    /// Whether `holder` may make another allocation now.
    #[must_use]
    pub fn allow_allocate(&self, now: Instant, holder: &str) -> bool {
        let table = self.allocates.table.get();
        table.is_none_or(|table| table.allow(now, holder))
    }
}

/// One rate, and the table of who has used how much of it.
#[derive(Debug)]
struct Rate<T> {
    per_second: Option<u32>,
    table: Arc<OnceLock<T>>,
}

impl<T> Rate<T> {
    fn new(per_second: Option<u32>, previous: Option<&Self>) -> Self {
        let same = previous.filter(|previous| previous.per_second == per_second);
        Self {
            per_second,
            table: same.map(|same| Arc::clone(&same.table)).unwrap_or_default(),
        }
    }

    /// Has `make` make the table if there is a limit and no table.
    fn begin(&self, make: impl FnOnce(u32) -> T) {
        if let Some(per_second) = self.per_second {
            let _ = self.table.get_or_init(|| make(per_second));
        }
    }
}

impl Rate<PrefixLimiter> {
    fn allow(&self, now: Instant, source: IpAddr) -> bool {
        self.table
            .get()
            .is_none_or(|limiter| limiter.allow(now, source))
    }

    fn sent(&self, now: Instant, source: IpAddr, len: usize, ordinary: usize) {
        if let Some(limiter) = self.table.get() {
            limiter.charge_length(now, source, len, ordinary);
        }
    }
}
