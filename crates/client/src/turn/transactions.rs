//! Requests that wait for their responses, and are repeated meanwhile (RFC 8489 §6.2).

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use stun::agent::TransactionId;
use stun::message::{Message, Method};

/// Past transactions that are remembered, so that a late response is not taken for a forged one.
const REMEMBERED: usize = 64;

/// The times at which a request is repeated, and at which it has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Wait before the request is sent for the second time; it doubles each time.
    pub rto: Duration,
    /// Number of times that the request is sent.
    pub sends: u32,
    /// Time from the first sending until the request has failed.
    pub timeout: Duration,
}

impl Timing {
    /// RFC 8489 §6.2.1 over datagrams: seven times in 39.5 s.
    pub const DATAGRAMS: Self = Self {
        rto: Duration::from_millis(500),
        sends: 7,
        timeout: Duration::from_millis(39_500),
    };
    /// RFC 8489 §6.2.2 over a stream, which loses nothing.
    pub const STREAM: Self = Self {
        sends: 1,
        ..Self::DATAGRAMS
    };
}

/// The relation of a message to the requests that were sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// A request waits for this message.
    Now,
    /// The transaction is over.
    Late,
    /// No request had this transaction id.
    Never,
}

/// A request that waits for its response.
#[derive(Clone, Debug)]
struct Pending {
    id: TransactionId,
    method: Method,
    bytes: Vec<u8>,
    timing: Timing,
    sent: u32,
    /// Time of the next sending; `None`: there is none left.
    resend: Option<Instant>,
    deadline: Instant,
}

/// Requests that wait for their responses.
///
/// [`Self::poll_transmit`] gives what is due after [`Self::start`] and [`Self::handle_timeout`].
#[derive(Debug, Default)]
pub struct Transactions {
    pending: Vec<Pending>,
    over: HashSet<TransactionId>,
    /// The same in the order in which they ended.
    order: VecDeque<TransactionId>,
    /// Number of times that any request was sent again.
    retransmitted: u32,
}

impl Transactions {
    /// Begins a transaction with an encoded request.
    pub fn start(&mut self, now: Instant, request: Message, timing: Timing) {
        self.pending.push(Pending {
            id: request.transaction_id,
            method: request.typ.method,
            bytes: request.raw,
            timing,
            sent: 0,
            resend: Some(now),
            deadline: now + timing.timeout,
        });
    }

    /// The next request that is due to be sent, for the first time or again.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<(TransactionId, &[u8])> {
        let due = |pending: &&mut Pending| {
            now < pending.deadline && pending.resend.is_some_and(|at| at <= now)
        };
        let pending = self.pending.iter_mut().find(due)?;
        self.retransmitted += u32::from(pending.sent > 0);
        let wait = pending.timing.rto * 2u32.saturating_pow(pending.sent.min(16));
        pending.sent += 1;
        pending.resend = (pending.sent < pending.timing.sends).then_some(now + wait);
        Some((pending.id, &pending.bytes))
    }

    /// Time of the next call to [`Self::poll_transmit`] and [`Self::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let next = |pending: &Pending| {
            let resend = pending.resend.unwrap_or(pending.deadline);
            resend.min(pending.deadline)
        };
        self.pending.iter().map(next).min()
    }

    /// A transaction whose time is up: its id and method. Call it until it gives nothing.
    pub fn handle_timeout(&mut self, now: Instant) -> Option<(TransactionId, Method)> {
        let late = self.pending.iter().find(|pending| pending.deadline <= now);
        let (id, method) = late.map(|pending| (pending.id, pending.method))?;
        self.end(id);
        Some((id, method))
    }

    /// Whether a message with this transaction id is expected.
    pub fn expects(&self, id: TransactionId) -> Expected {
        if self.pending.iter().any(|pending| pending.id == id) {
            Expected::Now
        } else if self.over.contains(&id) {
            Expected::Late
        } else {
            Expected::Never
        }
    }

    /// The method of a transaction that waits.
    pub fn method(&self, id: TransactionId) -> Option<Method> {
        let pending = self.pending.iter().find(|pending| pending.id == id)?;
        Some(pending.method)
    }

    /// Ends a transaction: its response has come, or nobody waits for it any more.
    pub fn end(&mut self, id: TransactionId) {
        self.pending.retain(|pending| pending.id != id);
        if self.over.insert(id) {
            self.order.push_back(id);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.over.remove(&oldest);
        }
    }

    /// Ends all transactions.
    pub fn end_all(&mut self) {
        while let Some(id) = self.pending.first().map(|pending| pending.id) {
            self.end(id);
        }
    }

    /// Number of requests that were sent again.
    pub fn retransmitted(&self) -> u32 {
        self.retransmitted
    }
}
