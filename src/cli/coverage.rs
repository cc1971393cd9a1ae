//! `coverage`: the stretches of a history as a table, what could be lost now, and how well the rest
//! is proven.

use super::args::CoverageArgs;
use super::context::{Context, shown};
use super::ended::Ended;
use super::output::{ago, count, counted, second, time, whole_second};
use super::table::{table, times};
use super::terminal::bold;
use crate::api;
use crate::api::coverage::CoverageSummary;
use crate::api::status::LEVELS;
use crate::error::Result;
use crate::format::proof::Level;
use crate::ops::coverage::{Coverage, CoveragePoint, Proven, Stretch, StretchKind};
use crate::repo::history::handle::History;
use crate::types::Timestamp;

pub(crate) fn coverage(context: &Context, args: &CoverageArgs) -> Result<Ended> {
    let repository = context.repository()?;
    let history = repository.history(&args.name)?;
    let (_, judged) = context.judged(&history)?;
    let coverage = history.coverage()?;
    let (out, now) = (&context.out, Timestamp::now());
    if out.json {
        for stretch in &coverage.stretches {
            out.object(&api::coverage::Stretch::of(&history, stretch));
        }
        out.json_summary(&CoverageSummary::of(&history, &coverage, now));
    } else {
        print(context, &history, &coverage, now);
    }
    let is_lost = coverage.stretches.iter().any(|stretch| stretch.kind == StretchKind::Lost);
    match shown(&history, &judged)? {
        Ended::Well if is_lost => Ok(Ended::Damaged),
        ended => Ok(ended),
    }
}

fn print(context: &Context, history: &History, coverage: &Coverage, now: Timestamp) {
    let out = &context.out;
    let points = counted(coverage.restore_points, "restore point");
    let source = &history.about().source;
    out.line(bold(history.name()).then(format_args!("  {source}  {points}")));
    let ends = coverage.stretches.iter().flat_map(|s| s.from.iter().chain(&s.to));
    let times = times(ends.map(|mark| whole_second(mark.time)));
    let mark = |mark: &Option<CoveragePoint>, none: &str| match mark {
        Some(mark) => format!("seq:{} {}", mark.seq, times.cell(whole_second(mark.time))),
        None => none.to_owned(),
    };
    let rows: Vec<Vec<String>> = coverage
        .stretches
        .iter()
        .map(|s| {
            vec![
                kept(s.kind).to_owned(),
                mark(&s.from, "the beginning"),
                mark(&s.to, "the end"),
                count(s.restore_points),
                s.missing.map_or("?".to_owned(), count),
                reason(s),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let (from, to) = (times.heading("FROM"), times.heading("TO"));
        // Where all is well there is nothing to explain.
        let columns = if rows.iter().any(|row| row.last().is_some_and(|why| !why.is_empty())) {
            &["KEPT", &*from, &*to, "POINTS", "MISSING", "WHY"][..]
        } else {
            &["KEPT", &*from, &*to, "POINTS", "MISSING"]
        };
        for line in table(columns, &rows, &[3, 4]) {
            out.line(format_args!("  {line}"));
        }
    }
    let row = |key: &str, value: String| out.line(format_args!("  {key:<13} {value}"));
    match &coverage.newest {
        Some(newest) => {
            let (when, age) = (time(newest.time), ago(newest.time, now));
            row("newest", format!("seq:{}, {when} ({age})", newest.seq));
        }
        None => row("newest", "no restore point".to_owned()),
    }
    row(
        "may be lost",
        match coverage.stored {
            Some(stored) => {
                format!("what was committed since {} ({})", second(stored), ago(stored, now))
            }
            None => "everything: nothing was ever known to be stored".to_owned(),
        },
    );
    for level in LEVELS {
        let proven = coverage.proofs.iter().find(|proven| proven.proof.level == level);
        row(&format!("{} proof", level.name()), proof(proven, now));
    }
}

/// What a stretch keeps.
const fn kept(kind: StretchKind) -> &'static str {
    match kind {
        StretchKind::EveryTransaction => "every transaction",
        StretchKind::Scheduled => "backups",
        StretchKind::Thinned => "some of them",
        StretchKind::Gap => "gap",
        StretchKind::Lost => "LOST",
    }
}

/// Why it keeps no more.
fn reason(stretch: &Stretch) -> String {
    match (stretch.kind, &stretch.loss) {
        (_, Some(loss)) => format!("{}: {}", loss.object, loss.message),
        (StretchKind::Thinned, _) => "a policy or a repair let the others go".to_owned(),
        (StretchKind::Gap, _) => "capture had lost its place, and read all anew".to_owned(),
        _ => String::new(),
    }
}

/// How old a proof is, and how far it goes.
fn proof(proven: Option<&Proven>, now: Timestamp) -> String {
    let Some(Proven { proof, newer, .. }) = proven else { return "never".to_owned() };
    let upto = match proof.level {
        Level::Restore => "of",
        Level::Chain | Level::Data => "up to",
    };
    let part = match (proof.level, proof.coverage_ppm) {
        (_, 1_000_000..) | (Level::Chain, _) => String::new(),
        (Level::Data, ppm) => format!(", {:.1}% of the batches", f64::from(ppm) / 1e4),
        (Level::Restore, ppm) => {
            format!(", {:.1}% of the checks could be made", f64::from(ppm) / 1e4)
        }
    };
    let newer = match newer {
        0 => String::new(),
        1 => "; 1 restore point is newer".to_owned(),
        n => format!("; {} are newer", counted(*n, "restore point")),
    };
    format!("{}, {upto} seq:{}{part}{newer}", ago(proof.started, now), proof.seq)
}
