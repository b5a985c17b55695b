//! Random values for what others must not guess: ports, tokens, transaction ids (A12).

/// Random bytes from the operating system.
#[must_use]
#[cfg(not(fuzzing))]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel's random source does not fail once it is up");
    bytes
}

/// Bytes that look random and come in the same order after each [`start_over`].
#[must_use]
#[cfg(fuzzing)]
pub fn bytes<const N: usize>() -> [u8; N] {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    COUNT.replace(COUNT.get() + 1).hash(&mut hasher);
    let mixed = hasher.finish().to_ne_bytes();
    std::array::from_fn(|at| mixed[at % mixed.len()])
}

/// Has the random values of this thread begin again, so that a fuzz target does the same with the
/// same input.
#[cfg(fuzzing)]
pub fn start_over() {
    COUNT.set(0);
}

#[cfg(fuzzing)]
thread_local!(static COUNT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) });

/// A random number below `bound`, which is not zero.
#[must_use]
pub fn below(bound: u32) -> u32 {
    let wide = u64::from_ne_bytes(bytes());
    ((u128::from(wide) * u128::from(bound)) >> 64) as u32
}
