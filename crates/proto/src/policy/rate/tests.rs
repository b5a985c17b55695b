use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::Ordering;
use std::time::Duration;

use proptest::prelude::*;

use super::table::SLOTS;
use super::*;
use crate::random::{HashKeys, Random};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

const RATE: u64 = 1000;

/// A bucket of one rate, and its clock.
struct Metered {
    bucket: TokenBucket,
    clock: Clock,
    rate: u64,
}

impl Metered {
    fn new(rate: u64, start: Instant) -> Self {
        let clock = Clock::default();
        clock.begin(start);
        Self {
            bucket: TokenBucket::default(),
            clock,
            rate,
        }
    }

    fn take(&self, now: Instant, bytes: u64) -> bool {
        self.bucket.take(self.clock.ticks(now), self.rate, bytes)
    }

    fn owe(&self, now: Instant, bytes: u64) {
        self.bucket.owe(self.clock.ticks(now), self.rate, bytes);
    }

    /// How long whoever asks now has to wait.
    fn wait(&self, now: Instant) -> Duration {
        let turn = self.bucket.turn(self.clock.ticks(now), self.rate);
        turn.map_or(Duration::ZERO, |turn| self.clock.until(now, turn))
    }
}

fn keys() -> HashKeys {
    Random::new([7; 32]).hash_keys()
}

#[test]
fn the_bucket_holds_one_second_and_refills_by_the_nanosecond() {
    let start = Instant::now();
    assert!(
        !Metered::new(RATE, start).take(start + ms(1000), 1001),
        "a full one takes no more"
    );
    let bucket = Metered::new(RATE, start);
    assert!(bucket.take(start, 1000));
    assert!(!bucket.take(start, 1));
    assert!(!bucket.take(start + Duration::from_nanos(999_999), 1));
    assert!(bucket.take(start + ms(1), 1));
    assert!(!bucket.take(start + ms(1), 1));
    // An hour's silence saves up no more than the burst.
    let later = start + Duration::from_secs(3600);
    assert!(!bucket.take(later, 1001));
    assert!(bucket.take(later, 1000));
    assert!(!bucket.take(later, 1));
}

#[test]
fn what_is_owed_is_paid_before_more_is_there() {
    let start = Instant::now();
    let bucket = Metered::new(RATE, start);
    assert!(bucket.wait(start).is_zero());
    bucket.owe(start, 3000);
    assert!(!bucket.take(start + ms(2000), 1));
    let wait = bucket.wait(start);
    assert_eq!(wait, ms(2000) + Duration::from_nanos(1), "exactly then");
    assert!(!bucket.wait(start + ms(2000)).is_zero());
    assert!(bucket.wait(start + wait).is_zero());
    assert!(bucket.take(start + ms(2001), 1));
    for _ in 0..3 {
        bucket.owe(start, u64::MAX);
    }
    assert!(!bucket.wait(start + Duration::from_secs(1 << 28)).is_zero());
}

#[test]
fn what_is_given_back_was_never_taken() {
    let start = Instant::now();
    let bucket = Metered::new(RATE, start);
    assert!(bucket.take(start, 600));
    assert!(bucket.take(start + ms(100), 400));
    bucket.bucket.give_back(RATE, 400);
    assert!(!bucket.take(start + ms(100), 501));
    assert!(bucket.take(start + ms(100), 500));
    // From a full one too.
    let later = start + Duration::from_secs(9);
    assert!(bucket.take(later, 1000));
    bucket.bucket.give_back(RATE, 1000);
    assert!(!bucket.take(later, 1001));
    assert!(bucket.take(later, 1000));
}

#[test]
fn another_rate_holds_at_once() {
    let start = Instant::now();
    let mut bucket = Metered::new(RATE, start);
    assert!(bucket.take(start, 1000));
    bucket.rate = 10 * RATE;
    assert!(!bucket.take(start, 1));
    assert!(bucket.take(start + ms(1), 10));
    assert!(!bucket.take(start + ms(1), 1));
}

/// Connections of one bucket that always have more to send, for ten seconds: how often they are
/// woken, and how much they carry.
fn wake_ups(connections: usize, rate: u64) -> (u64, u64) {
    let start = Instant::now();
    let bucket = Metered::new(rate, start);
    let mut due: std::collections::BTreeSet<_> = (0..connections).map(|n| (start, n)).collect();
    let (mut woken, mut carried) = (0, 0);
    while let Some((now, connection)) = due.pop_first() {
        if now > start + Duration::from_secs(10) {
            break;
        }
        woken += 1;
        loop {
            let wait = bucket.wait(now);
            if !wait.is_zero() {
                due.insert((now + wait, connection));
                break;
            }
            bucket.owe(now, TURN);
            carried += TURN;
        }
    }
    (woken, carried)
}

#[test]
fn whoever_waits_is_woken_once_for_what_it_carries() {
    for (connections, rate) in [
        (1, 10_000),
        (1, 1_000_000),
        (64, 100_000),
        (4000, 1_000_000),
    ] {
        let (woken, carried) = wake_ups(connections, rate);
        // Ten seconds, the burst, and what is owed at the end.
        let expected = 11 * rate;
        assert!(
            carried.abs_diff(expected) <= TURN,
            "{carried} of {expected} bytes"
        );
        let turns = carried / TURN;
        let most = 2 * turns + connections as u64;
        assert!(woken <= most, "{woken} for {turns} turns of {connections}");
    }
}

#[test]
fn a_clock_that_steps_back_gives_nothing_and_takes_nothing() {
    let start = Instant::now() + Duration::from_secs(100);
    let bucket = Metered::new(RATE, start);
    assert!(bucket.take(start, 1000));
    assert!(!bucket.take(start - Duration::from_secs(50), 1));
    assert!(!bucket.take(start, 1), "the way back is not paid twice");
    assert!(bucket.take(start + ms(500), 500));
}

#[test]
fn the_largest_numbers_do_not_overflow() {
    let start = Instant::now();
    let bucket = Metered::new(u64::MAX, start);
    assert!(bucket.take(start, u64::MAX));
    assert!(!bucket.take(start, u64::MAX / 1000));
    let far = start + Duration::from_secs(u32::MAX.into());
    let _ = bucket.take(far, u64::MAX);
    let _ = bucket.wait(far);
    let slow = Metered::new(1, start);
    assert!(!slow.take(start, u64::MAX));
    slow.owe(start, u64::MAX);
    assert!(slow.wait(start) > Duration::from_secs(1 << 28));
}

#[test]
fn workers_share_a_bucket() {
    let start = Instant::now();
    let bucket = Metered::new(1_000_000, start);
    let count = || (0..1000).filter(|_| bucket.take(start, 1000)).count();
    let passed: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    assert_eq!(passed, 1000);
}

proptest! {
    /// Over any run, no more passes than the burst and the rate add up to.
    #[test]
    fn no_more_passes_than_rate_and_burst(
        rate in 1u64..2_000_000,
        packets in prop::collection::vec((0u64..50_000_000, 0u64..1500), 1..200),
    ) {
        let start = Instant::now();
        let bucket = Metered::new(rate, start);
        let mut now = start;
        let mut passed = 0;
        for (gap, bytes) in packets {
            now += Duration::from_nanos(gap);
            if bucket.take(now, bytes) {
                passed += u128::from(bytes);
            }
        }
        // A tick is let go for each packet.
        let ticks = ((now - start).as_nanos() + u128::from(NANOS)) * u128::from(PER_NANO) + 200;
        prop_assert!(passed * u128::from(SECOND) <= u128::from(rate) * ticks);
    }
}

#[test]
fn a_network_shares_its_replies_and_another_has_its_own() {
    let start = Instant::now();
    let limiter = PrefixLimiter::new(4, keys(), start);
    for host in 1..=4 {
        assert!(limiter.allow(start, Ipv4Addr::new(192, 0, 2, host).into()));
    }
    assert!(!limiter.allow(start, ip("192.0.2.200")));
    assert!(!limiter.allow(start, ip("::ffff:192.0.2.1")), "D7");
    assert!(limiter.allow(start, ip("192.0.3.1")));
    for _ in 0..4 {
        assert!(limiter.allow(start, ip("2001:db8:0:100::1")));
    }
    assert!(
        !limiter.allow(start, ip("2001:db8:0:1ff::2")),
        "the same /56"
    );
    assert!(limiter.allow(start, ip("2001:db8:0:200::1")));
    assert!(!limiter.allow(start + ms(249), ip("192.0.2.1")));
    assert!(limiter.allow(start + ms(250), ip("192.0.2.1")));
    assert!(!limiter.allow(start + ms(250), ip("192.0.2.1")));
}

#[test]
fn loopback_is_exempt() {
    let start = Instant::now();
    let limiter = PrefixLimiter::new(1, keys(), start);
    for source in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        assert!(
            (0..100).all(|_| limiter.allow(start, ip(source))),
            "{source}"
        );
    }
}

#[test]
fn rates_at_the_edges_and_a_clock_that_stands_still_or_steps_back() {
    let start = Instant::now() + Duration::from_secs(100);
    let none = PrefixLimiter::new(0, keys(), start);
    assert!(!none.allow(start, ip("192.0.2.1")));
    let all = PrefixLimiter::new(u32::MAX, keys(), start);
    assert!((0..10_000).all(|_| all.allow(start, ip("192.0.2.1"))));
    let one = PrefixLimiter::new(1, keys(), start);
    assert!(one.allow(start, ip("192.0.2.1")));
    assert!(!one.allow(start - Duration::from_secs(50), ip("192.0.2.1")));
    assert!(one.allow(start + Duration::from_secs(1), ip("192.0.2.1")));
    let far = Duration::from_secs(u32::MAX.into()) * 5;
    if let Some(far) = start.checked_add(far) {
        let _ = one.allow(far, ip("192.0.2.1"));
    }
}

#[test]
fn a_flood_from_many_networks_grows_nothing_and_stops_nobody_for_long() {
    let start = Instant::now();
    let limiter = PrefixLimiter::new(10, keys(), start);
    let mut answered = 0;
    for n in 0..200_000u32 {
        let flood = Ipv6Addr::from(u128::from(n) << 72 | 0x2a00 << 112);
        answered += usize::from(limiter.allow(start, flood.into()));
    }
    assert_eq!(limiter.0.slots.len(), SLOTS);
    assert!(answered <= SLOTS * 10, "{answered} replies");
    let usage = limiter.usage(start);
    assert_eq!((usage.slots, usage.busy), (SLOTS, SLOTS));
    // Each slot has one holder that did not share.
    assert_eq!(usage.shared, 200_000 - SLOTS as u64);
    assert_eq!(limiter.usage(start + Duration::from_secs(2)).busy, 0);
    assert!(limiter.allow(start + Duration::from_secs(1), ip("192.0.2.1")));
}

#[test]
fn an_idle_slot_is_handed_on_and_a_busy_one_is_not() {
    let start = Instant::now();
    let limiter = PrefixLimiter::new(1, keys(), start);
    // With every slot busy for its owner, a newcomer shares, and is refused.
    let slots = &limiter.0.slots;
    for slot in slots {
        slot.owner.store(1, Ordering::Relaxed);
        slot.busy_until.store(NANOS, Ordering::Relaxed);
    }
    let given_away = || {
        let owners = slots.iter().map(|slot| slot.owner.load(Ordering::Relaxed));
        owners.filter(|owner| *owner != 1).count()
    };
    assert!(!limiter.allow(start, ip("192.0.2.1")));
    assert_eq!(given_away(), 0);
    assert!(limiter.allow(start + Duration::from_secs(1), ip("192.0.2.1")));
    assert_eq!(given_away(), 1);
}

#[test]
fn a_long_reply_counts_for_as_many_as_it_is_longer() {
    let start = Instant::now();
    let limiter = PrefixLimiter::new(10, keys(), start);
    let source = ip("192.0.2.1");
    let answered = |now: Instant, len| {
        let allowed = (0..100).take_while(|_| limiter.allow(now, source));
        allowed
            .inspect(|_| limiter.charge_length(now, source, len, 100))
            .count()
    };
    assert_eq!(answered(start, 100), 10);
    assert_eq!(
        answered(start + ms(1000), 40),
        10,
        "a short one counts whole"
    );
    assert_eq!(answered(start + ms(2000), 250), 4, "1,000 bytes");
    // One that is longer than all that a second holds is sent, and paid for afterwards.
    assert_eq!(answered(start + ms(4000), 3000), 1);
    assert!(!limiter.allow(start + ms(6000), source));
    assert!(limiter.allow(start + ms(6100), source));
}

#[test]
fn holders_have_their_bursts_and_then_their_rate() {
    let start = Instant::now();
    let table = RateTable::new(10, Duration::from_secs(10), keys(), start);
    let passed = |now, holder: &str| (0..1000).filter(|_| table.allow(now, holder)).count();
    assert_eq!(passed(start, "alice"), 100);
    assert_eq!(passed(start, "bob"), 100);
    assert_eq!(passed(start + ms(1000), "alice"), 10);
    assert_eq!(passed(start + ms(11_000), "alice"), 100);
}

#[test]
fn workers_share_a_rate() {
    let start = Instant::now();
    let table = RateTable::new(1000, Duration::from_secs(1), keys(), start);
    assert!(table.allow(start, "alice"));
    let count = || (0..1000).filter(|_| table.allow(start, "alice")).count();
    let passed: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
        workers.into_iter().map(|w| w.join().unwrap()).sum()
    });
    assert_eq!(passed, 999);
}
