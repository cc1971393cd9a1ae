//! The line that progress is drawn in: never wider than the terminal, with rates that were reached.

use std::time::Duration;

use super::output::{bytes, stderr_width};

/// The narrowest and the widest bar.
const BAR: (usize, usize) = (8, 30);

/// The line for a phase, for a terminal of so many columns.
pub(crate) fn line(phase: &str, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    drawn(stderr_width(), phase, done, total, elapsed)
}

fn drawn(width: usize, phase: &str, done: u64, total: Option<u64>, elapsed: Duration) -> String {
    let speed = format!("{}/s", bytes(rate(done, elapsed)));
    let Some(total) = total else { return format!("{phase:>8} {}, {speed}", bytes(done)) };
    let left = eta(done, total, rate(done, elapsed));
    let amount = format!("{} of {}", bytes(done), bytes(total));
    let texts =
        [format!("{amount}, {speed}, {left} left"), format!("{amount}, {left} left"), amount];
    // In the last column some terminals begin a new line. Two brackets, two spaces.
    let room = |text: &String| width.saturating_sub(1 + phase.len().max(8) + 4 + text.len());
    match texts.iter().find(|text| room(text) >= BAR.0) {
        Some(text) => format!("{phase:>8} [{}] {text}", bar(room(text).min(BAR.1), done, total)),
        None => format!("{phase} {}%", percent(done, total)),
    }
}

fn percent(done: u64, total: u64) -> u128 {
    u128::from(done.min(total)) * 100 / u128::from(total.max(1))
}

fn bar(width: usize, done: u64, total: u64) -> String {
    let filled = usize::try_from(percent(done, total)).unwrap_or(0) * width / 100;
    let head = if filled < width { ">" } else { "" };
    format!("{:<width$}", format!("{}{head}", "=".repeat(filled)))
}

/// Bytes a second, on average.
pub(crate) fn rate(done: u64, elapsed: Duration) -> u64 {
    let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    done.saturating_mul(1000) / millis
}

/// How long the rest takes at this rate.
pub(crate) fn eta(done: u64, total: u64, rate: u64) -> String {
    match total.saturating_sub(done).checked_div(rate) {
        Some(seconds) if seconds >= 3600 => {
            format!("{} h {} min", seconds / 3600, seconds % 3600 / 60)
        }
        Some(seconds) if seconds >= 60 => format!("{} min {} s", seconds / 60, seconds % 60),
        Some(seconds) => format!("{seconds} s"),
        None => "unknown time".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_and_times_are_what_was_done_by_the_time_it_took() {
        assert_eq!(rate(500, Duration::from_millis(250)), 2000);
        assert_eq!(eta(0, 1000, 10), "1 min 40 s");
        assert_eq!(eta(0, 1000, 0), "unknown time");
        assert_eq!(eta(0, 7260, 1), "2 h 1 min");
        let mib = 1 << 20;
        assert_eq!(
            drawn(80, "capture", 125 * mib, Some(883 * mib), Duration::from_secs(2)),
            " capture [===>                  ] 125.0 MiB of 883.0 MiB, 62.5 MiB/s, 12 s left"
        );
        assert_eq!(
            drawn(60, "capture", 125 * mib, Some(883 * mib), Duration::from_secs(2)),
            " capture [=>            ] 125.0 MiB of 883.0 MiB, 12 s left"
        );
        assert_eq!(
            drawn(80, "merge", 3 * mib, None, Duration::from_secs(2)),
            "   merge 3.0 MiB, 1.5 MiB/s"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        let mib = 1 << 20;
        for width in [10, 20, 40, 60, 80, 120, 300] {
            for done in [0, 1, 125 * mib, 1023 * mib, 883_000 * mib] {
                for total in [1, 125 * mib, 883_000 * mib] {
                    for millis in [1, 1000, 1_000_000] {
                        let elapsed = Duration::from_millis(millis);
                        let line = drawn(width, "compare", done, Some(total), elapsed);
                        assert!(line.len() < width.max(13), "{width}: {line:?}");
                    }
                }
            }
        }
    }
}
