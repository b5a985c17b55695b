//! Packets and bytes that each session carries in a second, from two looks at all of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use turnd_proto::server::SessionBrief;
use turnd_proto::server::output::Traffic;

/// Shortest time between two looks; those who ask more often get the rates of the last one.
const SHORTEST: Duration = Duration::from_millis(900);
/// Time after which a look is too old to be compared with.
const LONGEST: Duration = Duration::from_secs(15);
/// Time constant of the mean.
const MEAN: Duration = Duration::from_secs(2);

/// Packets and payload bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Rate {
    pub(super) to_peers: f64,
    pub(super) to_peers_bytes: f64,
    pub(super) to_client: f64,
    pub(super) to_client_bytes: f64,
}

impl Rate {
    /// The rate at which `now` has become of `before` in so many seconds.
    fn between(before: &Traffic, now: &Traffic, seconds: f64) -> Self {
        let rate = |before: u64, now: u64| now.saturating_sub(before) as f64 / seconds;
        Self {
            to_peers: rate(before.to_peers, now.to_peers),
            to_peers_bytes: rate(before.to_peers_bytes, now.to_peers_bytes),
            to_client: rate(before.to_client, now.to_client),
            to_client_bytes: rate(before.to_client_bytes, now.to_client_bytes),
        }
    }

    /// The mean of this rate and a newer one with this weight.
    fn mean(self, newer: Self, weight: f64) -> Self {
        let mean = |old: f64, new: f64| old + weight * (new - old);
        Self {
            to_peers: mean(self.to_peers, newer.to_peers),
            to_peers_bytes: mean(self.to_peers_bytes, newer.to_peers_bytes),
            to_client: mean(self.to_client, newer.to_client),
            to_client_bytes: mean(self.to_client_bytes, newer.to_client_bytes),
        }
    }

    /// Bytes a second, both ways together.
    pub(super) fn bytes(&self) -> f64 {
        self.to_peers_bytes + self.to_client_bytes
    }
}

/// Traffic of a session at the last look, and its rate if there was one before.
#[derive(Clone, Copy, Debug)]
struct Seen {
    traffic: Traffic,
    rate: Option<Rate>,
}

/// Rates of the sessions that live. Nothing is kept of others, and nothing of any while nobody asks.
#[derive(Debug, Default)]
pub(super) struct Rates {
    seen: HashMap<u64, Seen>,
    /// Time of the last look; `None`: there was none, or nobody has asked since.
    at: Option<Instant>,
}

impl Rates {
    /// Compares all live sessions with the last look, unless that was a moment ago.
    pub(super) fn look(&mut self, now: Instant, sessions: &[SessionBrief]) {
        self.forget_if_old(now);
        let since = self.at.map(|at| now.saturating_duration_since(at));
        if since.is_some_and(|since| since < SHORTEST) {
            return;
        }
        let known = |brief: &SessionBrief| {
            let traffic = brief.traffic;
            let rate = since.map(|since| {
                let before = self.seen.get(&brief.session.serial);
                // One that was not there has begun since.
                let at = before.map_or_else(Traffic::default, |seen| seen.traffic);
                let newer = Rate::between(&at, &traffic, since.as_secs_f64());
                let weight = 1.0 - (-since.as_secs_f64() / MEAN.as_secs_f64()).exp();
                let older = before.and_then(|seen| seen.rate);
                older.map_or(newer, |older| older.mean(newer, weight))
            });
            (brief.session.serial, Seen { traffic, rate })
        };
        self.seen = sessions.iter().map(known).collect();
        self.at = Some(now);
    }

    /// Whether there are rates: two looks, the second a moment ago.
    pub(super) fn are_known(&self) -> bool {
        self.seen.is_empty() || self.seen.values().any(|seen| seen.rate.is_some())
    }

    /// The rate of a session; `None`: it is not known yet.
    pub(super) fn of(&self, serial: u64) -> Option<Rate> {
        self.seen.get(&serial)?.rate
    }

    /// Gives the memory back when nobody has asked for a while.
    pub(super) fn forget_if_old(&mut self, now: Instant) {
        if self
            .at
            .is_some_and(|at| now.saturating_duration_since(at) > LONGEST)
        {
            *self = Self::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use turnd_proto::server::five_tuple::{FiveTuple, Transport};
    use turnd_proto::server::output::Session;

    fn brief(serial: u64, bytes: u64) -> SessionBrief {
        let addr = "192.0.2.1:3478".parse().unwrap();
        SessionBrief {
            session: Session {
                serial,
                tuple: FiveTuple {
                    transport: Transport::Udp,
                    client: addr,
                    server: addr,
                },
                user: None,
                relayed: addr,
            },
            age: Duration::ZERO,
            traffic: Traffic {
                to_client: bytes / 100,
                to_client_bytes: bytes,
                ..Traffic::default()
            },
        }
    }

    fn bytes(rates: &Rates, serial: u64) -> Option<u64> {
        rates.of(serial).map(|rate| rate.bytes().round() as u64)
    }

    #[test]
    fn two_looks_make_a_rate_and_a_moment_later_is_no_look() {
        let start = Instant::now();
        let second = |n: u32| start + n * Duration::from_secs(1);
        let mut rates = Rates::default();
        rates.look(start, &[brief(1, 5000)]);
        assert_eq!(bytes(&rates, 1), None);
        assert!(!rates.are_known());
        rates.look(start + Duration::from_millis(100), &[brief(1, 6000)]);
        assert_eq!(bytes(&rates, 1), None);
        rates.look(second(2), &[brief(1, 7000), brief(2, 400)]);
        assert_eq!(bytes(&rates, 1), Some(1000));
        assert_eq!(rates.of(1).unwrap().to_client, 10.0);
        // It began between the looks.
        assert_eq!(bytes(&rates, 2), Some(200));
        // The rate of one that stops falls within seconds; one that has ended is forgotten at once.
        let mut last = 1000;
        for n in 3..12 {
            rates.look(second(n), &[brief(1, 7000)]);
            let rate = bytes(&rates, 1).unwrap();
            assert!(rate < last, "{rate}");
            last = rate;
        }
        assert!(last < 20, "{last}");
        assert_eq!(bytes(&rates, 2), None);
    }

    #[test]
    fn an_old_look_says_nothing_of_the_last_seconds() {
        let start = Instant::now();
        let mut rates = Rates::default();
        rates.look(start, &[brief(1, 0)]);
        rates.look(start + Duration::from_secs(60), &[brief(1, 1 << 30)]);
        assert_eq!(bytes(&rates, 1), None);
        rates.forget_if_old(start + Duration::from_secs(120));
        assert!(rates.seen.is_empty());
    }
}
