//! What is told, read by a reader of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::daemon::overview::{GroupView, JobView, LastRun, Tally};
use crate::daemon::room::Measured;
use crate::daemon::samples::{followed, open};

/// Samples by their line up to the value.
fn samples(page: &str) -> BTreeMap<String, String> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let mut samples = BTreeMap::new();
    for (sample, value) in lines.filter_map(|line| line.rsplit_once(' ')) {
        assert_eq!(samples.insert(sample.to_owned(), value.to_owned()), None, "twice: {sample}");
    }
    samples
}

/// The names of metrics that a page has, with or without samples.
fn names_in(page: &str) -> BTreeSet<String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())).collect()
}

fn sample() -> Overview {
    let mut app = followed("app");
    app.standing.stored = Some(Timestamp(1_500_000));
    app.standing.restored = Some(Timestamp(2_000_000));
    if let Some(following) = &mut app.following {
        (following.pending, following.lag) = (3, Duration::from_millis(2500));
    }
    let (at, message) = (Timestamp(9_000_000), "the disk is full".to_owned());
    app.runs.insert(Kind::Prune, LastRun { at, ended: Ended::Failed, message, failures: 4 });
    app.job = Some(JobView { id: 1, kind: Kind::Backup, began: Timestamp(0), far: None });
    let mut asleep = followed("zebra \"x\"");
    (asleep.following, asleep.phase) = (None, Phase::Asleep);
    asleep.verdict.state = State::AtRisk;
    let moment = LastRun {
        at: Timestamp(8_000_000),
        ended: Ended::Failed,
        message: "b sleeps".to_owned(),
        failures: 2,
    };
    let both = GroupView {
        name: "both".to_owned(),
        made: Some(Timestamp(3_000_000)),
        run: Some(moment),
        is_running: true,
        happened: Vec::new(),
    };
    let mut gone = open("offsite");
    (gone.is_open, gone.room) = (false, Measured::Unknown);
    Overview {
        at: Timestamp(10_000_001),
        groups: vec![both],
        databases: vec![app, asleep],
        repositories: vec![open("main"), gone],
        tally: Tally { commits: 12, jobs: BTreeMap::from([((Kind::Prune, Ended::Failed), 4)]) },
        ..Overview::default()
    }
}

#[test]
fn each_thing_is_told_once_with_its_value() {
    let page = page(&sample(), &Besides::default());
    let samples = samples(&page);
    for (sample, value) in [
        ("pagekeep_overview_timestamp_seconds", "10.000001"),
        ("pagekeep_databases{state=\"at-risk\"}", "1"),
        ("pagekeep_databases{state=\"look\"}", "0"),
        ("pagekeep_databases_in_phase{phase=\"asleep\"}", "1"),
        ("pagekeep_commits_total", "12"),
        ("pagekeep_jobs_running{kind=\"backup\"}", "1"),
        // The last success and the last try are two things.
        ("pagekeep_group_last_timestamp_seconds{group=\"both\"}", "3.000000"),
        ("pagekeep_group_last_try_timestamp_seconds{group=\"both\"}", "8.000000"),
        ("pagekeep_group_failures{group=\"both\"}", "2"),
        ("pagekeep_jobs_running{kind=\"group\"}", "1"),
        ("pagekeep_jobs_total{kind=\"prune\",result=\"failed\"}", "4"),
        ("pagekeep_jobs_total{kind=\"prune\",result=\"well\"}", "0"),
        ("pagekeep_repository_up{repository=\"main\"}", "1"),
        ("pagekeep_repository_up{repository=\"offsite\"}", "0"),
        ("pagekeep_disk_free_bytes{repository=\"main\"}", "5"),
        ("pagekeep_store_errors_total{repository=\"main\",class=\"no-space\"}", "0"),
        ("pagekeep_database_verdict{database=\"app\",repository=\"main\",state=\"proven\"}", "1"),
        (
            "pagekeep_database_last_stored_timestamp_seconds{database=\"app\",repository=\"main\"}",
            "1.500000",
        ),
        ("pagekeep_database_lag_seconds{database=\"app\",repository=\"main\"}", "2.5"),
        ("pagekeep_database_pending_transactions{database=\"app\",repository=\"main\"}", "3"),
        (
            "pagekeep_database_proof_timestamp_seconds{database=\"app\",repository=\"main\",level=\"restore\"}",
            "2.000000",
        ),
        ("pagekeep_job_failures{database=\"app\",repository=\"main\",kind=\"prune\"}", "4"),
        (
            "pagekeep_job_last_result{database=\"app\",repository=\"main\",kind=\"prune\",result=\"failed\"}",
            "1",
        ),
        ("pagekeep_database_fault{database=\"zebra \\\"x\\\"\",repository=\"main\"}", "0"),
    ] {
        assert_eq!(samples.get(sample).map(String::as_str), Some(value), "{sample}\n{page}");
    }
    // What nobody knows is not told: a sleeping database has no lag, a lost disk no room.
    for absent in [
        "pagekeep_database_lag_seconds{database=\"zebra",
        "pagekeep_disk_free_bytes{repository=\"offsite",
    ] {
        assert!(!samples.keys().any(|sample| sample.starts_with(absent)), "{absent}");
    }
}

#[test]
fn metrics_are_named_as_prometheus_has_it_and_stand_together() {
    let page = page(&sample(), &Besides::default());
    let (mut now, mut kind, mut seen) = (String::new(), String::new(), BTreeSet::new());
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, help) = help.split_once(' ').unwrap();
            assert!(help.ends_with('.'), "{line}");
            assert!(seen.insert(name.to_owned()), "twice: {name}");
            now = name.to_owned();
        } else if let Some(of) = line.strip_prefix("# TYPE ") {
            let (name, told) = of.split_once(' ').unwrap();
            assert_eq!(name, now);
            kind = told.to_owned();
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        } else {
            let name = line.split(['{', ' ']).next().unwrap();
            assert_eq!(name, now, "{line}");
            let value: f64 = line.rsplit_once(' ').unwrap().1.parse().unwrap();
            assert!(kind != "counter" || value >= 0.0, "{line}");
        }
    }
}

#[test]
fn of_very_many_databases_those_in_trouble_are_told() {
    let mut overview = sample();
    overview.databases = (0..MOST + 50).map(|n| followed(&format!("d{n:05}"))).collect();
    overview.databases[MOST + 49].verdict.state = State::Look;
    overview.databases[MOST + 48].verdict.state = State::AtRisk;
    let page = page(&overview, &Besides::default());
    let samples = samples(&page);
    assert_eq!(samples["pagekeep_databases_left_out"], "50");
    assert_eq!(samples["pagekeep_databases{state=\"proven\"}"], (MOST + 48).to_string());
    let verdicts: Vec<_> =
        samples.keys().filter(|key| key.starts_with("pagekeep_database_verdict{")).collect();
    assert_eq!(verdicts.len(), MOST);
    assert!(verdicts.iter().any(|key| key.contains("state=\"look\"")));
    assert!(verdicts.iter().any(|key| key.contains("state=\"at-risk\"")));
}

#[test]
fn the_document_names_every_kind_of_job() {
    let document = include_str!("../../../docs/metrics.md");
    let kinds = document.lines().find(|line| line.starts_with("Kinds are")).unwrap();
    for kind in Kind::ALL {
        assert!(kinds.contains(&format!("`{}`", kind.name())), "{kinds}");
    }
}

/// Documents, alert rules and dashboards name what is told, and nothing else.
#[test]
fn whatever_is_named_elsewhere_is_told() {
    let page = page(&sample(), &Besides::default());
    let told = names_in(&page);
    let documented = include_str!("../../../docs/metrics.md");
    for (file, text) in [
        ("docs/metrics.md", documented),
        (
            "packaging/prometheus/pagekeep.rules.yml",
            include_str!("../../../packaging/prometheus/pagekeep.rules.yml"),
        ),
        (
            "packaging/grafana/pagekeep.json",
            include_str!("../../../packaging/grafana/pagekeep.json"),
        ),
    ] {
        let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
        let named: BTreeSet<&str> = text
            .split(|c| !is_name(c))
            .filter(|word| word.starts_with("pagekeep_") || word.starts_with("process_"))
            .collect();
        assert!(named.len() > 5, "{file} names {named:?}");
        for name in named {
            assert!(told.contains(name), "{file} names {name}");
        }
    }
    for name in told {
        assert!(documented.contains(&format!("`{name}")), "docs/metrics.md has no {name}");
    }
}
