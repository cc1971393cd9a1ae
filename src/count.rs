//! Counts and shares, as 64-bit numbers that never overflow.

/// So much of `whole` as `n` is of `of`.
pub(crate) fn part(whole: u64, n: u64, of: u64) -> u64 {
    let share = u128::from(whole) * u128::from(n) / u128::from(of.max(1));
    u64::try_from(share).unwrap_or(whole).min(whole)
}

/// A length as a number of 64 bits.
pub(crate) fn number(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
