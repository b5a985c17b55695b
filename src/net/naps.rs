//! Fewer wake-ups when packets come thick and fast.

use std::time::{Duration, Instant};

/// How long a busy worker lets packets gather. It is the delay that a packet may get at most;
/// a wake-up costs the processor about as much as relaying two or three packets.
const NAP: Duration = Duration::from_micros(30);
/// Wake-ups closer together than this are worth a try.
const CLOSE: Duration = Duration::from_micros(60);
/// So many close wake-ups in a row before the first nap, and again after one that saved nothing.
const PATIENCE: u32 = 16;

/// Decides when a worker sleeps for a moment instead of waiting to be woken for each packet.
///
/// A sparse flow never sees a nap: it takes a row of wake-ups hard upon each other to begin, and a
/// nap that does not gather at least two packets is the last one for a while.
#[derive(Debug, Default)]
pub(super) struct Naps {
    close: u32,
    last: Option<Instant>,
    napped: bool,
}

impl Naps {
    /// Takes note of a round at `now` that has served `packets` and left nothing behind; how long
    /// to sleep before the next one.
    pub(super) fn after(&mut self, now: Instant, packets: usize) -> Option<Duration> {
        let since = self
            .last
            .map_or(Duration::MAX, |last| now.saturating_duration_since(last));
        self.last = Some(now);
        let worth_it = if self.napped {
            packets >= 2
        } else {
            since < CLOSE && packets > 0
        };
        self.close = if worth_it { self.close + 1 } else { 0 };
        self.napped = self.close > PATIENCE;
        // Counting on is of no use.
        self.close = self.close.min(PATIENCE + 1);
        self.napped.then_some(NAP)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dense_flow_is_made_to_wait() {
        let t0 = Instant::now();
        let mut naps = Naps::default();
        let mut round = |micros, packets| naps.after(t0 + Duration::from_micros(micros), packets);
        for i in 0..1000 {
            assert_eq!(round(i * 100, 1), None, "sparse");
        }
        let dense = 200_000;
        let begun = (0..100).find(|i| round(dense + i * 25, 1).is_some());
        assert_eq!(begun, Some(u64::from(PATIENCE) + 1));
        assert!(round(dense + 5000, 2).is_some(), "it gathers packets");
        assert_eq!(round(dense + 5050, 1), None, "it does not");
        assert_eq!(
            round(dense + 5075, 1),
            None,
            "nor is it tried again at once"
        );
    }
}
