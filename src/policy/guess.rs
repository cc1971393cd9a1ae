//! What somebody may have meant who typed something that names no commit.
//!
//! It is only said, and never done: a guess that chooses a commit would be a commit that nobody
//! asked for.

use chrono::NaiveDate;

use super::clock::parse_time;
use super::selector::parse_span;

/// What a text that names nothing may have meant, and how that is written.
pub fn meant(text: &str) -> Option<String> {
    let text = text.trim().to_lowercase();
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((&text, ""));
    if let Some(n) = number(&text) {
        return Some(format!("for commit {n} write seq:{n}"));
    }
    if let Some(back) = newest(&text) {
        return Some(format!("for the commit {back} before the newest write latest~{back}"));
    }
    if matches!(&*text, "newest" | "last" | "head" | "current") {
        return Some("for the newest commit write latest".to_owned());
    }
    if parse_span(&text).is_some() {
        return Some(format!("for so long ago write \"{text} ago\""));
    }
    let day =
        |time: &str| format!("for a time of day write \"today {time}\" or \"yesterday {time}\"");
    match &*text {
        "noon" | "midday" => return Some(day("12:00")),
        "midnight" => return Some(day("00:00")),
        _ if parse_time(&text).is_some() => return Some(day(&text)),
        _ => {}
    }
    if is_a_clock(&text) {
        return Some("hours go from 00 to 23, and minutes to 59".to_owned());
    }
    if is_a_weekday(first) || (matches!(first, "last" | "on") && is_a_weekday(rest)) {
        return Some("for a day of the week write its date".to_owned());
    }
    if matches!(first, "today" | "yesterday") {
        return Some(format!("behind {first} write a time, as in \"{first} 18:20\""));
    }
    let dates = dates(first);
    let dates: Vec<String> = dates
        .iter()
        .map(|date| match rest {
            "" => date.to_string(),
            rest => format!("\"{date} {rest}\""),
        })
        .collect();
    (!dates.is_empty()).then(|| format!("for a date write {}", dates.join(" or ")))
}

/// `17`, `#17`, `seq 17`, `commit 17`.
fn number(text: &str) -> Option<u64> {
    let text = ["seq", "commit", "no", "#"]
        .into_iter()
        .fold(text, |text, word| text.strip_prefix(word).unwrap_or(text));
    let digits = text.trim_start_matches([' ', '-', '#', ':', '.']);
    digits.parse().ok().filter(|n| *n > 0)
}

/// `latest-1`, `latest^2`, `head~3`.
fn newest(text: &str) -> Option<u64> {
    let rest = ["latest", "newest", "head", "last"].iter().find_map(|w| text.strip_prefix(w))?;
    let digits = rest.trim_start_matches([' ', '-', '~', '^', ':', '@']);
    (digits != rest).then(|| digits.parse().ok()).flatten().filter(|n| *n > 0)
}

/// Digits, a colon and digits, such as `25:99`.
fn is_a_clock(text: &str) -> bool {
    let parts: Vec<&str> = text.split(':').collect();
    matches!(parts.len(), 2 | 3)
        && parts.iter().all(|p| matches!(p.len(), 1 | 2) && p.bytes().all(|b| b.is_ascii_digit()))
}

fn is_a_weekday(text: &str) -> bool {
    const DAYS: [&str; 7] =
        ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    text.len() >= 3 && DAYS.iter().any(|day| day.starts_with(text))
}

/// Which dates `25.11.2026`, `11/25/2026` or `2026/11/25` may be.
fn dates(text: &str) -> Vec<NaiveDate> {
    let parts: Vec<&str> = text.split(['.', '/', '-']).collect();
    let [a, b, c] = parts.as_slice() else { return Vec::new() };
    let date = |year: &str, month: &str, day: &str| {
        let year = if year.len() == 4 { year.parse().ok()? } else { return None };
        NaiveDate::from_ymd_opt(year, month.parse().ok()?, day.parse().ok()?)
    };
    // Where numbers are parted by a full stop the day comes first; else nobody can know.
    let american = date(c, a, b).filter(|_| !text.contains('.'));
    let mut found: Vec<NaiveDate> =
        [date(a, b, c), date(c, b, a), american].into_iter().flatten().collect();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_at_night_is_understood_and_not_obeyed() {
        for (typed, told) in [
            ("18:20", "\"today 18:20\" or \"yesterday 18:20\""),
            ("18:20:30", "\"yesterday 18:20:30\""),
            ("2h", "\"2h ago\""),
            ("10 min", "\"10 min ago\""),
            ("17", "seq:17"),
            ("#3", "seq:3"),
            ("seq 4", "seq:4"),
            ("commit 4", "seq:4"),
            ("monday", "its date"),
            ("last fri", "its date"),
            ("noon", "\"today 12:00\""),
            ("Midnight", "\"yesterday 00:00\""),
            ("latest-1", "latest~1"),
            ("HEAD~2", "latest~2"),
            ("newest", "write latest"),
            ("25:99", "hours go from 00 to 23"),
            ("25.11.2026", "for a date write 2026-11-25"),
            ("25.11.2026 18:20", "\"2026-11-25 18:20\""),
            ("11/25/2026", "for a date write 2026-11-25"),
            ("05/06/2026", "2026-06-05 or 2026-05-06"),
            ("2026/11/25", "for a date write 2026-11-25"),
            ("yesterday evening", "\"yesterday 18:20\""),
        ] {
            let told_now = meant(typed).unwrap_or_default();
            assert!(told_now.contains(told), "{typed}: {told_now}");
        }
        for nothing in ["", "before migration", "nightly", "-", "0", "no such label", "mon-amour"] {
            assert_eq!(meant(nothing), None, "{nothing}");
        }
    }
}
