//! Counters of one worker as plain numbers; others get a copy when they ask.

use super::five_tuple::{Family, Transport};
use super::output::{DropReason, EndReason};
use crate::auth::Unauthorized;
use crate::wire::numbers::Method;

/// The methods that are answered, in the order of [`Counters::responses`].
pub const METHODS: [(Method, &str); 7] = [
    (Method::BINDING, "binding"),
    (Method::ALLOCATE, "allocate"),
    (Method::REFRESH, "refresh"),
    (Method::CREATE_PERMISSION, "create-permission"),
    (Method::CHANNEL_BIND, "channel-bind"),
    (Method::CONNECT, "connect"),
    (Method::CONNECTION_BIND, "connection-bind"),
];

/// The outcomes of a request, in the order of [`Counters::responses`]; 0 is success.
pub const CODES: [u16; 16] = [
    0, 300, 400, 401, 403, 420, 437, 438, 440, 441, 442, 443, 446, 447, 486, 508,
];

/// Packets and bytes on one side of the server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    /// Packets received.
    pub received: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Packets sent.
    pub sent: u64,
    /// Bytes sent.
    pub sent_bytes: u64,
}

impl Flow {
    pub(super) fn receive(&mut self, bytes: usize) {
        self.received += 1;
        self.received_bytes += bytes as u64;
    }

    pub(super) fn send(&mut self, bytes: usize) {
        self.sent += 1;
        self.sent_bytes += bytes as u64;
    }
}

/// A limit that a request may meet. The discriminant indexes [`Counters::quota_refusals`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Limit {
    /// `user-quota`.
    UserQuota,
    /// `total-quota`.
    TotalQuota,
    /// `user-allocate-rate`.
    AllocateRate,
    /// `total-permissions`, or a user's share.
    Permissions,
    /// `total-channels`, or a user's share.
    Channels,
}

impl Limit {
    /// Every limit and its word for metric labels, in the order of their numbers.
    pub const ALL: [(Self, &str); 5] = [
        (Self::UserQuota, "user"),
        (Self::TotalQuota, "total"),
        (Self::AllocateRate, "allocate-rate"),
        (Self::Permissions, "permissions"),
        (Self::Channels, "channels"),
    ];
}

/// Counts since the start, and two gauges.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    /// Binding requests.
    pub binding_requests: u64,
    /// Requests that wanted a 401.
    pub unauthorized_requests: u64,
    /// 401s not sent because of `unauthenticated-rate`.
    pub unauthorized_dropped: u64,
    /// Requests with wrong credentials, by [`Unauthorized`].
    pub auth_failures: [u64; Unauthorized::COUNT],
    /// Responses by method and outcome, see [`METHODS`] and [`CODES`].
    pub responses: [[u64; CODES.len()]; METHODS.len()],
    /// Requests refused because of a [`Limit`].
    pub quota_refusals: [u64; Limit::ALL.len()],
    /// Allocations made.
    pub created: u64,
    /// Refreshes that were granted.
    pub refreshed: u64,
    /// Allocations ended, by [`EndReason`].
    pub ended: [u64; EndReason::ALL.len()],
    /// Live allocations by transport and family of the relay.
    pub active: [[u64; 2]; Transport::COUNT],
    /// Between clients and server.
    pub clients: Flow,
    /// Between server and peers.
    pub peers: Flow,
    /// Packets that went nowhere, by [`DropReason`].
    pub drops: [u64; DropReason::COUNT],
}

impl Counters {
    pub(super) fn response(&mut self, method: Method, code: u16) {
        let method = METHODS.iter().position(|(m, _)| *m == method);
        let code = CODES.iter().position(|c| *c == code);
        if let (Some(method), Some(code)) = (method, code) {
            self.responses[method][code] += 1;
        }
    }

    pub(super) fn refuse(&mut self, limit: Limit) {
        self.quota_refusals[limit as usize] += 1;
    }

    pub(super) fn active(&mut self, transport: Transport, family: Family) -> &mut u64 {
        &mut self.active[transport as usize][usize::from(family == Family::V6)]
    }

    /// Responses to `method` with `code`; 0 for what is not counted.
    #[must_use]
    pub fn responses_to(&self, method: Method, code: u16) -> u64 {
        let method = METHODS.iter().position(|(m, _)| *m == method);
        let code = CODES.iter().position(|c| *c == code);
        method
            .zip(code)
            .map_or(0, |(method, code)| self.responses[method][code])
    }

    /// Allocations ended, for whatever reason.
    #[must_use]
    pub fn ended_in_all(&self) -> u64 {
        self.ended.iter().sum()
    }

    /// Adds another worker's numbers.
    pub fn add(&mut self, other: &Self) {
        let sum = |into: &mut u64, from: u64| *into += from;
        sum(&mut self.binding_requests, other.binding_requests);
        sum(&mut self.unauthorized_requests, other.unauthorized_requests);
        sum(&mut self.unauthorized_dropped, other.unauthorized_dropped);
        sum(&mut self.created, other.created);
        sum(&mut self.refreshed, other.refreshed);
        let pairs = |into: &mut [u64], from: &[u64]| {
            into.iter_mut()
                .zip(from)
                .for_each(|(into, from)| *into += from);
        };
        pairs(&mut self.auth_failures, &other.auth_failures);
        pairs(
            self.responses.as_flattened_mut(),
            other.responses.as_flattened(),
        );
        pairs(&mut self.quota_refusals, &other.quota_refusals);
        pairs(self.active.as_flattened_mut(), other.active.as_flattened());
        pairs(&mut self.ended, &other.ended);
        pairs(&mut self.drops, &other.drops);
        for (into, from) in [
            (&mut self.clients, other.clients),
            (&mut self.peers, other.peers),
        ] {
            sum(&mut into.received, from.received);
            sum(&mut into.received_bytes, from.received_bytes);
            sum(&mut into.sent, from.sent);
            sum(&mut into.sent_bytes, from.sent_bytes);
        }
    }
}
