//! Delays and losses.

/// Steps within each power of two: a value is known to 1.6 %.
const STEPS: u64 = 64;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// 2^40 ns are 18 minutes.
const BUCKETS: usize = (41 - STEP_BITS as usize) * STEPS as usize;

/// A histogram of delays in nanoseconds; adding one allocates nothing.
#[derive(Clone, Debug)]
pub(super) struct Delays {
    buckets: Box<[u64]>,
    count: u64,
    max: u64,
}

impl Delays {
    pub(super) fn new() -> Self {
        Self {
            buckets: vec![0; BUCKETS].into_boxed_slice(),
            count: 0,
            max: 0,
        }
    }

    pub(super) fn add(&mut self, nanos: u64) {
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// The delay that a share of all packets does not exceed, or 0 without any.
    pub(super) fn percentile(&self, share: f64) -> u64 {
        let wanted = (self.count as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return lowest(index);
            }
        }
        self.max
    }

    pub(super) fn max(&self) -> u64 {
        self.max
    }
}

fn bucket(nanos: u64) -> usize {
    let power = nanos.max(1).ilog2();
    let index = if power < STEP_BITS {
        nanos
    } else {
        let shift = power - STEP_BITS;
        u64::from(shift + 1) * STEPS + ((nanos >> shift) - STEPS)
    };
    (index as usize).min(BUCKETS - 1)
}

/// The least value of a bucket.
fn lowest(index: usize) -> u64 {
    let index = index as u64;
    match (index / STEPS).checked_sub(1) {
        None => index,
        Some(shift) => (STEPS + index % STEPS) << shift,
    }
}

/// One way of one allocation, as the receiver sees it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Arrivals {
    /// The number that would be next.
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
    fn buckets_are_in_order_and_narrow() {
        let mut last = 0;
        for nanos in (0..5000).chain((5000..50_000_000).step_by(9973)) {
            let index = bucket(nanos);
            assert!(index >= last);
            last = index;
            assert!(lowest(index) <= nanos, "{nanos}");
            assert!(nanos - lowest(index) <= nanos / 64, "{nanos}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles() {
        let mut delays = Delays::new();
        assert_eq!(delays.percentile(0.5), 0);
        (1..=60).for_each(|nanos| delays.add(nanos));
        assert_eq!(delays.percentile(0.5), 30);
        assert_eq!(delays.percentile(1.0), 60);
        assert_eq!((delays.count, delays.max()), (60, 60));
    }

    #[test]
    fn what_comes_late_is_reordered() {
        let mut arrivals = Arrivals::default();
        [0, 1, 4, 2, 5].into_iter().for_each(|n| arrivals.add(n));
        assert_eq!((arrivals.next, arrivals.reordered), (6, 1));
    }
}
