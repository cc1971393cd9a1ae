//! `stats`: what a history costs and why, as tables with small bars, or as lines of JSON.

use super::args::{ByArg, StatsArgs};
use super::context::Context;
use super::output::{bytes, count, counted, quote, time};
use super::progress::Progress;
use super::retention::policy_text;
use super::table::table;
use super::terminal::{Line, bold};
use crate::api::stats::{self as answers, AgeShare, Elsewhere, StatsSummary};
use crate::error::Result;
use crate::ops::stats::{Age, By, Change, Period, PolicyCost, Stats, StatsOptions, Tables};
use crate::policy::retention::Policy;
use crate::repo::history::handle::History;

/// How wide a bar is at most.
const BAR: u64 = 20;

pub(crate) fn stats(context: &Context, args: &StatsArgs) -> Result<()> {
    let text = policy_text(&args.policy)?;
    let zone = text.zone()?;
    let policy = Policy::try_from(text)?;
    // A file was meant to be a policy, even if it says nothing.
    let wanted = args.policy.policy.is_some() || policy != Policy::default();
    let scratch = || args.scratch.clone().unwrap_or_else(std::env::temp_dir);
    let options = StatsOptions {
        by: args.by.map(by_of),
        zone,
        policy: wanted.then_some(policy),
        tables: (!args.no_tables).then(scratch),
    };
    let repository = context.repository()?;
    let histories = context.histories(&repository, args.name.as_deref())?;
    if histories.is_empty() {
        context.out.summary("no histories yet; `pagekeep backup DB` begins one");
    }
    let mut total = StatsSummary::default();
    for (at, history) in histories.iter().enumerate() {
        let stats = {
            let progress = Progress::new(&context.out);
            history.stats(&options, &progress)?
        };
        total.add(&stats);
        if context.out.json {
            print_json(context, history, &stats, args.top);
        } else {
            if at > 0 {
                context.out.line("");
            }
            print(context, history, &stats, args.top);
        }
    }
    context.out.json_summary(&total);
    Ok(())
}

fn by_of(by: ByArg) -> By {
    match by {
        ByArg::Day => By::Day,
        ByArg::Week => By::Week,
        ByArg::Month => By::Month,
    }
}

fn print_json(context: &Context, history: &History, stats: &Stats, top: usize) {
    let out = &context.out;
    for period in &stats.periods {
        out.object(&answers::Period::of(history, stats.by, period));
    }
    for (age, stored_bytes) in Age::ALL.into_iter().zip(stats.ages) {
        out.object(&AgeShare { history: history.name().to_owned(), age, stored_bytes });
    }
    if let Some(policy) = &stats.policy {
        for rule in &policy.rules {
            out.object(&answers::RuleCost::of(history, rule));
        }
        out.object(&answers::PolicyCost::of(history, policy));
    }
    if let Some(tables) = &stats.tables {
        for table in tables.tables.iter().take(top) {
            out.object(&answers::TableChanges::of(history, table));
        }
        out.object(&Elsewhere::of(history, tables, top));
    }
    out.object(&answers::Stats::of(history, stats));
}

fn print(context: &Context, history: &History, stats: &Stats, top: usize) {
    let line = |text: String| context.out.line(text);
    let source = &history.about().source;
    context.out.line(bold(history.name()).then(format_args!("  {source}")));
    let Some((first, last)) = stats.times else {
        line("  has no commits yet".to_owned());
        return;
    };
    line(match stats.commits {
        1 => format!("  1 commit, of {}", time(first)),
        n => format!("  {}, {} to {}", counted(n, "commit"), time(first), time(last)),
    });
    let section = |title: &str, lines: Vec<String>| {
        line(String::new());
        context.out.line(Line::from("  ").then(bold(title)));
        lines.into_iter().for_each(|text| line(format!("    {text}")));
    };
    section(&format!("Growth by {}", stats.by.name()), growth(stats.by, &stats.periods));
    section("Stored bytes, by the age of the newest commit that needs them", ages(&stats.ages));
    section("Changes", changes(&stats.change, stats.commits));
    section("Storage", storage(stats));
    match &stats.policy {
        Some(policy) => section("What each rule of the policy costs", rules(policy)),
        None => {
            line(String::new());
            line(format!(
                "  What each rule of a policy would cost: `pagekeep stats {} --keep-daily 7 --keep-monthly 12`",
                quote(history.name())
            ));
        }
    }
    if let Some(tables) = &stats.tables {
        let title = "Tables and indexes with the most changes, by today's layout";
        section(title, hottest(tables, stats.change.changes, top));
    }
}

fn growth(by: By, periods: &[Period]) -> Vec<String> {
    let most = periods.iter().map(|p| p.stored).max().unwrap_or(0);
    let mut rows = Vec::new();
    let mut next = None;
    for period in periods {
        if next.is_some() && next != period.start {
            // A time without commits.
            rows.push(vec!["...".to_owned()]);
        }
        next = period.start.and_then(|day| following(by, day));
        rows.push(vec![
            period.start.map_or("undated".to_owned(), |day| name_of(by, day)),
            count(period.commits),
            count(period.versions),
            bytes(period.stored),
            bytes(period.cumulative),
            bar(period.stored, most),
        ]);
    }
    let header = match by {
        By::Day => "DAY",
        By::Week => "WEEK FROM",
        By::Month => "MONTH",
    };
    table(&[header, "COMMITS", "VERSIONS", "STORED", "IN ALL", ""], &rows, &[1, 2, 3, 4])
}

fn name_of(by: By, day: chrono::NaiveDate) -> String {
    let format = if by == By::Month { "%Y-%m" } else { "%Y-%m-%d" };
    day.format(format).to_string()
}

/// The first day of the next period.
fn following(by: By, day: chrono::NaiveDate) -> Option<chrono::NaiveDate> {
    match by {
        By::Day => day.checked_add_days(chrono::Days::new(1)),
        By::Week => day.checked_add_days(chrono::Days::new(7)),
        By::Month => day.checked_add_months(chrono::Months::new(1)),
    }
}

/// A bar of blocks, eighths of them at its end. Whatever there is shows.
fn bar(n: u64, most: u64) -> String {
    const EIGHTHS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = u128::from(n.min(most)) * u128::from(BAR * 8) / u128::from(most.max(1));
    let eighths = usize::try_from(eighths).unwrap_or(0).max(usize::from(n > 0));
    let end = EIGHTHS.get(eighths % 8).unwrap_or(&"");
    format!("{}{end}", "█".repeat(eighths / 8))
}

fn ages(ages: &[u64; 6]) -> Vec<String> {
    let most = ages.iter().copied().max().unwrap_or(0);
    let rows: Vec<Vec<String>> = Age::ALL
        .iter()
        .zip(ages)
        // The usual history has none of that, and need not be told.
        .filter(|(age, n)| **age != Age::Unneeded || **n > 0)
        .map(|(age, n)| {
            let text = match age {
                Age::Day => "under 1 day",
                Age::Week => "under 7 days",
                Age::Month => "under 30 days",
                Age::Year => "under 365 days",
                Age::Older => "older",
                Age::Unneeded => "no commit needs them",
            };
            vec![text.to_owned(), bytes(*n), bar(*n, most)]
        })
        .collect();
    table(&["AGE", "STORED", ""], &rows, &[1])
}

/// A part in percent, for people.
fn percent(n: f64, of: u64) -> String {
    #[allow(clippy::cast_precision_loss)]
    let of = of.max(1) as f64;
    let percent = n * 100.0 / of;
    if percent < 10.0 { format!("{percent:.1}%") } else { format!("{percent:.0}%") }
}

fn share(n: u64, of: u64) -> String {
    #[allow(clippy::cast_precision_loss)]
    let n = n as f64;
    percent(n, of)
}

/// A stretch of time for people.
fn duration(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    match seconds {
        ..1 => "under a second".to_owned(),
        1..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

fn changes(change: &Change, commits: u64) -> Vec<String> {
    let pages = u64::from(change.pages);
    if change.changes == 0 {
        let why = if commits == 1 { "it is the only one" } else { "nothing changed" };
        return vec![format!("none since the first commit: {why}")];
    }
    let mut first =
        format!("{} of pages in {}", counted(change.changes, "change"), duration(change.span));
    if let Some(rate) = change.per_day() {
        first.push_str(&format!(
            ", {rate:.0} per day: {} of the database's {}",
            percent(rate, pages),
            counted(pages, "page")
        ));
    }
    let distinct = counted(change.distinct, "different page");
    vec![first, format!("{distinct}, {} of the database", share(change.distinct, pages))]
}

fn storage(stats: &Stats) -> Vec<String> {
    let s = &stats.storage;
    let ratio = s.ratio().map_or(String::new(), |r| format!(", {r:.1} times smaller"));
    let mut lines = vec![format!(
        "{} of {} stored as {}{ratio}",
        bytes(s.plain),
        counted(stats.versions, "page version"),
        bytes(s.batches),
    )];
    let kinds = [
        (s.batches, "page versions"),
        (s.index, "index"),
        (s.manifests, "manifests"),
        (s.labels, "labels and holds"),
        (s.proofs, "proofs"),
        (s.writers, "writers"),
        (s.other, "other records"),
        (s.replaced, "replaced or left over"),
    ];
    let mut rows: Vec<Vec<String>> = kinds
        .iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, name)| vec![(*name).to_owned(), bytes(*n), share(*n, s.total())])
        .collect();
    rows.push(vec!["all".to_owned(), bytes(s.total()), String::new()]);
    lines.extend(table(&["FOR", "STORED", "SHARE"], &rows, &[1, 2]));
    lines
}

fn rules(policy: &PolicyCost) -> Vec<String> {
    let most = policy.rules.iter().map(|r| r.bytes).chain([policy.shared]).max().unwrap_or(0);
    let mut rows: Vec<Vec<String>> = policy
        .rules
        .iter()
        .map(|rule| {
            let name = if rule.rule == "pinned" { "labels, holds" } else { rule.rule };
            let (points, only) = (count(rule.points), count(rule.only));
            vec![name.to_owned(), points, only, bytes(rule.bytes), bar(rule.bytes, most)]
        })
        .collect();
    let shared = "several rules, or the newest".to_owned();
    let none = String::new();
    rows.push(vec![shared, none.clone(), none, bytes(policy.shared), bar(policy.shared, most)]);
    let mut lines =
        table(&["NEEDED BY", "COMMITS", "IT ALONE", "COSTS ABOUT", ""], &rows, &[1, 2, 3]);
    lines.push(format!(
        "keeps {} and about {}; a prune would drop {} and could free about {}",
        counted(policy.kept, "commit"),
        bytes(policy.stays),
        counted(policy.dropped, "commit"),
        bytes(policy.goes)
    ));
    lines
}

fn hottest(tables: &Tables, changes: u64, top: usize) -> Vec<String> {
    if changes == 0 {
        return vec!["nothing changed since the first commit".to_owned()];
    }
    let changed: Vec<_> = tables.tables.iter().filter(|t| t.changes > 0).collect();
    let rest: u64 = changed.iter().skip(top).map(|t| t.changes).sum();
    let others = [
        (rest, "others"),
        (tables.free, "free pages, or SQLite's own"),
        (tables.gone, "pages that are gone"),
        (tables.other_page_size, "before the page size changed"),
    ];
    let counts = changed.iter().map(|t| t.changes).chain(others.iter().map(|(n, _)| *n));
    let most = counts.max().unwrap_or(0);
    let mut rows: Vec<Vec<String>> = changed
        .iter()
        .take(top)
        .map(|t| {
            let index = t.index_of.as_ref().map(|table| format!(" (index of {table})"));
            vec![
                format!("{}{}", t.name, index.unwrap_or_default()),
                format!("{} of {}", count(t.changed), count(t.pages)),
                count(t.changes),
                share(t.changes, changes),
                bar(t.changes, most),
            ]
        })
        .collect();
    for (n, name) in others.iter().filter(|(n, _)| *n > 0) {
        let (n, share) = (*n, share(*n, changes));
        rows.push(vec![(*name).to_owned(), String::new(), count(n), share, bar(n, most)]);
    }
    table(&["TABLE", "PAGES CHANGED", "CHANGES", "SHARE", ""], &rows, &[1, 2, 3])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_show_what_there_is() {
        let bars: Vec<String> = [0, 1, 10, 25, 1000].iter().map(|n| bar(*n, 1000)).collect();
        assert_eq!(bars, ["", "▏", "▏", "▌", "████████████████████"]);
        assert_eq!((bar(0, 0), bar(u64::MAX, u64::MAX).chars().count()), (String::new(), 20));
    }

    #[test]
    fn shares_and_times_read_well() {
        assert_eq!(
            (share(1, 40), share(1, 4), share(0, 0)),
            ("2.5%".into(), "25%".into(), "0.0%".into())
        );
        assert_eq!(duration(90_000_000), "1 min");
        assert_eq!(duration(47 * 3_600_000_000), "47 h");
        assert_eq!(duration(3 * 86_400_000_000), "3 days");
    }

    #[test]
    fn a_gap_between_periods_is_shown() {
        let day = |text: &str| Some(text.parse().unwrap());
        let period = |start| Period { start, commits: 1, versions: 2, stored: 3, cumulative: 4 };
        let periods = [day("2026-01-01"), day("2026-02-01"), day("2026-04-01")].map(period);
        let lines = growth(By::Month, &periods);
        let first: Vec<&str> = lines.iter().filter_map(|l| l.split_whitespace().next()).collect();
        assert_eq!(first[1..], ["2026-01", "2026-02", "...", "2026-04"]);
    }
}
