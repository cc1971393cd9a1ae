//! Values as people type them, in flags and in a configuration: percentages, spans, sizes.

use std::time::Duration;

use crate::policy::selector::parse_span;

/// A percentage in millionths.
pub(crate) fn parse_percent(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    let percent: f64 = number.parse().map_err(|_| "not a percentage, such as 10%".to_owned())?;
    if !(percent > 0.0 && percent <= 100.0) {
        return Err("a percentage is above 0 and at most 100".to_owned());
    }
    // In range, so the cast is exact enough.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let ppm = (percent * 10_000.0).ceil() as u32;
    Ok(ppm)
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    parse_span(text)
        .and_then(|span| span.to_std().ok())
        .filter(|d| !d.is_zero())
        .ok_or_else(|| "not a time, such as 90s or 10m".to_owned())
}

/// A length of time that may be zero.
pub(crate) fn parse_interval(text: &str) -> Result<Duration, String> {
    if matches!(text, "0" | "0s" | "0ms") {
        return Ok(Duration::ZERO);
    }
    match text.strip_suffix("ms").map(|n| n.trim().parse()) {
        Some(Ok(millis)) => Ok(Duration::from_millis(millis)),
        Some(Err(_)) => Err("not a time, such as 200ms or 5s".to_owned()),
        None => parse_duration(text),
    }
}

/// A number of bytes, with KiB, MiB or GiB behind it if need be.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || "not a size, such as 64MiB".to_owned();
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let factor: u64 = match text.get(digits.len()..).unwrap_or_default().trim() {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" => 1 << 20,
        "GiB" | "G" => 1 << 30,
        _ => return Err(wrong()),
    };
    digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor)).ok_or_else(wrong)
}

/// The WAL's limit: below a MiB it would be handed off all the time.
pub(crate) fn parse_wal_limit(text: &str) -> Result<u64, String> {
    parse_size(text).and_then(|n| match n {
        0x10_0000.. => Ok(n),
        _ => Err("the limit is at least 1MiB".to_owned()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_intervals_are_read_and_nonsense_is_not() {
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1 GiB"), Ok(1 << 30));
        assert_eq!(parse_size("512"), Ok(512));
        for bad in ["", "MiB", "1.5MiB", "-1", "1TB", "99999999999999999999", "1 2"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert!(parse_wal_limit("100K").is_err());
        assert_eq!(parse_interval("0"), Ok(Duration::ZERO));
        assert_eq!(parse_interval("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(parse_interval("200ms"), Ok(Duration::from_millis(200)));
        for bad in ["soon", "ms", "-5ms", "1.5ms", "99999999999999999999ms"] {
            assert!(parse_interval(bad).is_err(), "{bad}");
        }
    }
}
