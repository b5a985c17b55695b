//! Random values for what others must not guess: ports, tokens, transaction ids (A12).

/// Random bytes from the operating system.
#[must_use]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel's random source does not fail once it is up");
    bytes
}

/// A random number below `bound`, which is not zero.
#[must_use]
pub fn below(bound: u32) -> u32 {
    let wide = u64::from_ne_bytes(bytes());
    ((u128::from(wide) * u128::from(bound)) >> 64) as u32
}
