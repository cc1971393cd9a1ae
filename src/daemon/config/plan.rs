//! What is in force for a database: its own keys, the defaults', and what counts where neither says
//! anything.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::Spanned;

use super::mistake::{Mistake, meant};
use super::ping::Ping;
use super::text::{PlanText, PromiseText, VerifyText};
use crate::capture::follow::FollowOptions;
use crate::codec::batch::Compression;
use crate::daemon::kind::Kind;
use crate::error::Error;
use crate::ops::files::Chosen;
use crate::policy::mark::LASTS;
use crate::policy::retention::{Policy, Zone, zone};
use crate::policy::schedule::Schedule;
use crate::policy::typed::{parse_duration, parse_interval, parse_percent, parse_wal_limit};
use crate::policy::verdict::Promise;

/// How often a snapshot is made where nothing is said.
const SNAPSHOTS: &str = "every 1h";
/// When a policy is applied where nothing is said.
const PRUNE: &str = "@daily";
/// When batches are compared where nothing is said, and how many of them, in millionths.
const DATA: &str = "@daily";
const SAMPLE: u32 = 100_000;
/// When a restore is tried where nothing is said.
const RESTORE: &str = "@weekly";
const HOUR: u64 = 3600;

/// How a database is kept.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Plan {
    /// The name of its repository.
    pub(crate) repository: String,
    /// Whether every transaction is kept, or a snapshot now and then.
    pub(crate) mode: Mode,
    /// Whose clock schedules and days go by.
    pub(crate) zone: Zone,
    /// By how much schedules may be late.
    pub(crate) jitter: Duration,
    /// How long marks last; `None` for none.
    pub(crate) marks: Option<Duration>,
    /// How hard to compress.
    pub(crate) compression: Compression,
    /// How long commits stay, and when what is not to stay is removed; `None` to keep all.
    pub(crate) retention: Option<(Policy, Option<Schedule>)>,
    /// How it is verified.
    pub(crate) verify: VerifyPlan,
    /// When the live database is compared with what was captured; `None` for never.
    pub(crate) drift: Option<Schedule>,
    /// How old what is stored and proven may become.
    pub(crate) promise: Promise,
    /// Which files of its application are kept; `None` for none.
    pub(crate) files: Option<FilesPlan>,
    /// Whether nothing is to be done with it for now.
    pub(crate) paused: bool,
    /// The channels that are told of it.
    pub(crate) notify: Vec<String>,
    /// Who is told from outside that it is well.
    pub(crate) ping: Option<Ping>,
}

impl Plan {
    /// How the database is captured, in words.
    pub(crate) fn described(&self) -> String {
        match &self.mode {
            _ if self.paused => "nothing, since it is paused,".to_owned(),
            Mode::Follow { .. } => "every transaction".to_owned(),
            Mode::Snapshots(schedule) => format!("a snapshot {}", schedule.describe()),
        }
    }

    /// When jobs of a kind are due, if they ever are.
    pub(crate) fn schedule(&self, kind: Kind) -> Option<&Schedule> {
        match kind {
            Kind::Backup => match &self.mode {
                Mode::Snapshots(schedule) => Some(schedule),
                Mode::Follow { .. } => None,
            },
            Kind::Files => self.files.as_ref().and_then(|files| files.schedule.as_ref()),
            Kind::VerifyData => self.verify.data.as_ref(),
            Kind::VerifyRestore => self.verify.restore.as_ref(),
            // A group has a schedule of its own.
            Kind::Drift => self.drift.as_ref(),
            Kind::Group => None,
            Kind::Prune => self.retention.as_ref().and_then(|(_, schedule)| schedule.as_ref()),
        }
    }
}

/// How a database is captured.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Mode {
    /// Every transaction is kept.
    Follow {
        /// How long transactions are collected for one published object.
        interval: Duration,
        /// The size in bytes at which the WAL is handed off.
        wal_limit: u64,
        /// How long it rests before its connections are closed; zero for never.
        sleep_after: Duration,
    },
    /// A snapshot now and then.
    Snapshots(Schedule),
}

/// How a database is verified.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct VerifyPlan {
    /// When batches are opened and compared; `None` for never.
    pub(crate) data: Option<Schedule>,
    /// How many of them each time, in millionths.
    pub(crate) sample_ppm: u32,
    /// When the newest commit is restored and asked; `None` for never.
    pub(crate) restore: Option<Schedule>,
    /// Queries that must answer something true in what was restored.
    pub(crate) assertions: Vec<String>,
    /// How long one verification may take.
    pub(crate) max_time: Duration,
}

/// Which files of an application are kept beside its database.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FilesPlan {
    /// What relative paths begin at.
    pub(crate) folder: PathBuf,
    /// Paths and patterns, with `{stem}` and `{folder}` for parts of the database's path.
    pub(crate) paths: Vec<String>,
    /// Patterns of what is left out.
    pub(crate) exclude: Vec<String>,
    /// When they are kept; `None` for never.
    pub(crate) schedule: Option<Schedule>,
}

impl FilesPlan {
    /// The files that are kept beside a database.
    ///
    /// # Errors
    /// What is no pattern.
    pub(crate) fn chosen(&self, database: &Path) -> Result<Chosen, Error> {
        // What stands in a file's name means itself.
        let part = |part: Option<&OsStr>| {
            let part = part.unwrap_or_default().to_string_lossy();
            match part.contains(['*', '?', '[']) {
                true => glob::Pattern::escape(&part),
                false => part.into_owned(),
            }
        };
        let stem = part(database.file_stem());
        let folder = part(database.parent().and_then(Path::file_name));
        let path =
            |path: &String| path.replace("{folder}", &folder).replace("{stem}", &stem).into();
        let paths: Vec<PathBuf> = self.paths.iter().map(path).collect();
        Chosen::new(&self.folder, &paths, &self.exclude)
    }
}

/// Which keys stand in a database's own table.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Own {
    /// `schedule`.
    pub(super) schedule: bool,
    /// `interval`, `wal-limit` or `sleep-after`.
    pub(super) following: bool,
}

/// Reads values, and remembers what is wrong with them.
pub(super) struct Reader<'a> {
    pub(super) mistakes: &'a mut Vec<Mistake>,
}

impl Reader<'_> {
    pub(super) fn wrong(&mut self, mistake: Mistake) {
        // What stands in the defaults is read for each database, and wrong once.
        let known = |m: &Mistake| m.span == mistake.span && m.message == mistake.message;
        if !self.mistakes.iter().any(known) {
            self.mistakes.push(mistake);
        }
    }

    /// What a text means, if it is there and right.
    pub(super) fn value<T>(
        &mut self,
        text: Option<&Spanned<String>>,
        read: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = text?;
        match read(text.get_ref()) {
            Ok(value) => Some(value),
            Err(why) => {
                self.wrong(Mistake::new(text.span(), format!("{:?} is {why}", text.get_ref())));
                None
            }
        }
    }

    /// As [`Reader::value`], for what tells more of a mistake.
    pub(super) fn parsed<T>(
        &mut self,
        text: Option<&Spanned<String>>,
        read: impl FnOnce(&str) -> Result<T, Error>,
    ) -> Option<T> {
        let text = text?;
        read(text.get_ref()).map_err(|e| self.wrong(Mistake::of(text.span(), &e))).ok()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        text: Option<&Spanned<String>>,
        words: &[(&str, T)],
    ) -> Option<T> {
        let text = text?;
        let found = words.iter().find(|(word, _)| word == text.get_ref());
        if found.is_none() {
            let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let mistake = Mistake::new(
                text.span(),
                format!("{:?} is not one of {}", text.get_ref(), known.join(", ")),
            );
            self.wrong(match meant(text.get_ref(), known.iter().copied()) {
                Some(word) => mistake.with_help(format!("did you mean `{word}`?")),
                None => mistake,
            });
        }
        found.map(|(_, value)| *value)
    }

    /// A schedule; `never` is none, and `usual` counts where nothing is said.
    pub(super) fn schedule(
        &mut self,
        text: Option<&Spanned<String>>,
        usual: &str,
    ) -> Option<Schedule> {
        match text {
            Some(text) if text.get_ref() == "never" => None,
            None => Schedule::parse(usual).ok(),
            text => self.parsed(text, Schedule::parse),
        }
    }

    /// A span of time that is longer than nothing.
    pub(super) fn span(&mut self, text: Option<&Spanned<String>>, usual: Duration) -> Duration {
        self.value(text, parse_duration).unwrap_or(usual)
    }

    /// What is in force, for a database of a repository.
    /// `own` says which keys stand in the database's own table: what the defaults have besides may
    /// be for others.
    pub(super) fn plan(&mut self, text: &PlanText, own: Own, repository: String) -> Plan {
        let time_zone = self.parsed(text.time_zone.as_ref(), |name| zone(Some(name)));
        let compression = self.word(
            text.compression.as_ref(),
            &[
                ("off", Compression::Off),
                ("fast", Compression::Fast),
                ("default", Compression::Default),
                ("max", Compression::Max),
            ],
        );
        Plan {
            repository,
            mode: self.mode(text, own),
            zone: time_zone.unwrap_or(Zone::Local),
            jitter: self.value(text.jitter.as_ref(), parse_interval).unwrap_or_default(),
            marks: match &text.marks {
                Some(marks) if marks.get_ref() == "off" => None,
                marks => Some(self.span(marks.as_ref(), LASTS)),
            },
            compression: compression.unwrap_or_default(),
            retention: self.retention(text),
            verify: self.verify(&text.verify),
            // It reads the whole database: where nothing is said, nobody does.
            drift: self.schedule(text.drift.as_ref(), "never"),
            promise: self.promise(&text.promise),
            // Of a database's own table alone.
            files: None,
            paused: text.paused.unwrap_or_default(),
            notify: Vec::new(),
            ping: None,
        }
    }

    fn promise(&mut self, text: &PromiseText) -> Promise {
        let usual = Promise::default();
        Promise {
            max_age: self.span(text.max_age.as_ref(), usual.max_age),
            max_proof_age: self.span(text.max_proof_age.as_ref(), usual.max_proof_age),
        }
    }

    fn mode(&mut self, text: &PlanText, own: Own) -> Mode {
        let usual = FollowOptions::default();
        let modes = [("follow", true), ("snapshots", false)];
        if self.word(text.mode.as_ref(), &modes).unwrap_or(true) {
            if let Some(schedule) = text.schedule.as_ref().filter(|_| own.schedule) {
                let mistake =
                    Mistake::new(schedule.span(), "a database that is followed has no schedule");
                self.wrong(mistake.with_help("mode = \"snapshots\" captures it by a schedule"));
            }
            return Mode::Follow {
                interval: self
                    .value(text.interval.as_ref(), parse_interval)
                    .unwrap_or(usual.interval),
                wal_limit: self
                    .value(text.wal_limit.as_ref(), parse_wal_limit)
                    .unwrap_or(usual.wal_limit),
                sleep_after: self
                    .value(text.sleep_after.as_ref(), parse_interval)
                    .unwrap_or(Duration::from_secs(60)),
            };
        }
        for (key, value) in [
            ("interval", &text.interval),
            ("wal-limit", &text.wal_limit),
            ("sleep-after", &text.sleep_after),
        ] {
            if let Some(value) = value.as_ref().filter(|_| own.following) {
                let what = format!("`{key}` is about a database that is followed");
                self.wrong(
                    Mistake::new(value.span(), what).with_help("mode = \"follow\" follows it"),
                );
            }
        }
        match self.schedule(text.schedule.as_ref(), SNAPSHOTS) {
            Some(schedule) => Mode::Snapshots(schedule),
            None => {
                if let Some(never) = text.schedule.as_ref().filter(|s| s.get_ref() == "never") {
                    let what = "a database without a schedule is captured by nobody";
                    let mistake = Mistake::new(never.span(), what);
                    self.wrong(mistake.with_help("paused = true leaves it alone"));
                }
                Mode::Follow {
                    interval: usual.interval,
                    wal_limit: usual.wal_limit,
                    sleep_after: Duration::ZERO,
                }
            }
        }
    }

    fn retention(&mut self, text: &PlanText) -> Option<(Policy, Option<Schedule>)> {
        let Some(policy) = &text.policy else {
            if let Some(prune) = &text.prune {
                let what = "without a policy nothing is ever removed";
                let mistake = Mistake::new(prune.span(), what);
                self.wrong(mistake.with_help("policy = { keep-window = \"7d\", keep-daily = 30 }"));
            }
            return None;
        };
        if policy.get_ref().time_zone.is_some() {
            let what = "the time zone stands beside the policy, and counts for schedules, too";
            self.wrong(Mistake::new(policy.span(), what));
        }
        let read = Policy::try_from(policy.get_ref().clone());
        let read = read.map_err(|e| self.wrong(Mistake::of(policy.span(), &e))).ok()?;
        if read == Policy::default() {
            let mistake = Mistake::new(policy.span(), "this policy keeps nothing");
            self.wrong(mistake.with_help("policy = { keep-window = \"7d\", keep-daily = 30 }"));
        }
        Some((read, self.schedule(text.prune.as_ref(), PRUNE)))
    }

    fn verify(&mut self, text: &VerifyText) -> VerifyPlan {
        VerifyPlan {
            data: self.schedule(text.data.as_ref(), DATA),
            sample_ppm: self.value(text.sample.as_ref(), parse_percent).unwrap_or(SAMPLE),
            restore: self.schedule(text.restore.as_ref(), RESTORE),
            assertions: text.assertions.clone().unwrap_or_default(),
            max_time: self.span(text.max_time.as_ref(), Duration::from_secs(HOUR / 2)),
        }
    }
}
