//! Delays and losses.

use hdrhistogram::Histogram;

/// Longest delay that is told apart from longer ones, in nanoseconds: 18 minutes.
const LONGEST: u64 = 1 << 40;

/// Significant digits of a delay.
const DIGITS: u8 = 2;

/// A histogram of delays in nanoseconds; adding one allocates nothing.
#[derive(Clone, Debug)]
pub(super) struct Delays(Histogram<u64>);

impl Delays {
    pub(super) fn new() -> Self {
        let histogram = Histogram::new_with_max(LONGEST, DIGITS);
        Self(histogram.expect("the bounds are constants that the crate accepts"))
    }

    pub(super) fn add(&mut self, nanos: u64) {
        self.0.saturating_record(nanos);
    }

    /// The delay that a share of all packets does not exceed, or 0 without any.
    pub(super) fn percentile(&self, share: f64) -> u64 {
        self.0.value_at_quantile(share)
    }

    pub(super) fn max(&self) -> u64 {
        self.0.max()
    }
}

/// Packets of one direction of one allocation, as the receiver sees them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrivals {
    /// Sequence number expected next.
    pub(super) next: u64,
    pub(super) reordered: u64,
}

impl Arrivals {
    /// Takes note of a packet.
    pub(super) fn add(&mut self, sequence: u64) {
        if sequence >= self.next {
            self.next = sequence + 1;
        } else {
            self.reordered += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delay_is_known_to_one_percent() {
        for nanos in (1..5000).chain((5000..50_000_000).step_by(9973)) {
            let mut delays = Delays::new();
            delays.add(nanos);
            let told = delays.percentile(0.5);
            assert!(told.abs_diff(nanos) <= nanos / 100, "{told} for {nanos}");
        }
    }

    #[test]
    fn the_longest_delay_stands_for_longer_ones() {
        let mut delays = Delays::new();
        delays.add(u64::MAX);
        assert!(delays.max() >= LONGEST);
    }

    #[test]
    fn percentiles() {
        let mut delays = Delays::new();
        assert_eq!(delays.percentile(0.5), 0);
        (1..=60).for_each(|nanos| delays.add(nanos));
        assert_eq!(delays.percentile(0.5), 30);
        assert_eq!(delays.percentile(1.0), 60);
        assert_eq!((delays.0.len(), delays.max()), (60, 60));
    }

    #[test]
    fn what_comes_late_is_reordered() {
        let mut arrivals = Arrivals::default();
        [0, 1, 4, 2, 5].into_iter().for_each(|n| arrivals.add(n));
        assert_eq!((arrivals.next, arrivals.reordered), (6, 1));
    }
}
