//! A configuration as it is in force, as TOML that says the same.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::databases::{Files, Target};
use super::plan::{Mode, Plan};
use super::read::Config;
use super::secret::SecretSource;
use super::text::ConfigText;
use crate::codec::batch::Compression;
use crate::policy::retention::{Periods, Policy, Zone};
use crate::policy::schedule::Schedule;

impl Config {
    /// The text of a configuration with another state folder in the place of its own; `None` if it
    /// names none.
    pub(crate) fn with_state_dir(text: &str, dir: &Path) -> Option<String> {
        let read: ConfigText = toml::from_str(text).ok()?;
        let place = read.daemon.state_dir?.span();
        let (before, behind) = (text.get(..place.start)?, text.get(place.end..)?);
        Some(format!("{before}{}{behind}", quoted(&dir.display().to_string())))
    }

    /// Every value that is in force, also where the file leaves it out.
    pub(crate) fn shown(&self) -> String {
        let mut text = String::new();
        let mut line = |line: String| {
            // Writing to a text never fails.
            let _ = writeln!(text, "{line}");
        };
        line("[daemon]".to_owned());
        if let Some(dir) = &self.state_dir {
            line(format!("state-dir = {}", quoted(&dir.display().to_string())));
        }
        line(format!("jobs = {}", self.jobs));
        if let Some(threads) = self.threads {
            line(format!("threads = {threads}"));
        }
        if let Some(dir) = &self.scratch {
            line(format!("scratch = {}", quoted(&dir.display().to_string())));
        }
        if let Some(http) = &self.http {
            let hosts: Vec<String> = http.hosts.iter().map(|host| quoted(host)).collect();
            line("\n[http]".to_owned());
            line(format!("listen = {}", quoted(&http.listen.to_string())));
            line(format!("metrics-only = {}", http.metrics_only));
            line(format!("hosts = [{}]", hosts.join(", ")));
        }
        for (name, repository) in &self.repositories {
            line(format!("\n[repositories.{}]", key(name)));
            line(format!("location = {}", quoted(&repository.location)));
            let (key, value) = match &repository.secret {
                SecretSource::KeyFile(path) => ("key-file", path.display().to_string()),
                SecretSource::PasswordFile(path) => ("password-file", path.display().to_string()),
                // Like everything in the file it is no secret; what it prints is.
                SecretSource::PasswordCommand(command) => ("password-command", command.clone()),
                SecretSource::PasswordEnv(name) => ("password-env", name.clone()),
            };
            line(format!("{key} = {}", quoted(&value)));
            if !repository.mirrors.is_empty() {
                let names: Vec<String> = repository.mirrors.iter().map(|m| quoted(m)).collect();
                line(format!("mirrors = [{}]", names.join(", ")));
                line(format!("copy-every = \"{}\"", span(repository.copy_every)));
            }
        }
        for (name, group) in &self.groups {
            line(format!("\n[groups.{}]", key(name)));
            let names: Vec<String> = group.databases.iter().map(|p| quoted(p.as_str())).collect();
            line(format!("databases = [{}]", names.join(", ")));
            line(format!("schedule = {}", quoted(&group.schedule.to_string())));
            line(format!("time-zone = {}", quoted(&zone(&group.zone))));
            line(format!("keep = \"{}\"", group.keep.map_or("forever".to_owned(), span)));
        }
        for (name, channel) in &self.notices.channels {
            channel.lines(name).into_iter().for_each(&mut line);
        }
        self.notices.alerts.lines().into_iter().for_each(&mut line);
        for target in &self.targets {
            target.lines().into_iter().for_each(&mut line);
        }
        text
    }
}

impl Target {
    /// The path, or the pattern.
    pub(crate) fn written(&self) -> String {
        match &self.files {
            Files::One(path) => path.display().to_string(),
            Files::Matching(pattern) => pattern.to_string(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let plan = &self.plan;
        let mut lines = vec![
            "\n[[databases]]".to_owned(),
            format!("path = {}", quoted(&self.written())),
            format!("name = {}", quoted(self.name.as_deref().unwrap_or("{stem}"))),
            format!("repository = {}", quoted(&plan.repository)),
        ];
        match &plan.mode {
            Mode::Follow { interval, wal_limit, sleep_after } => lines.extend([
                "mode = \"follow\"".to_owned(),
                format!("interval = \"{}\"", span(*interval)),
                format!("wal-limit = \"{wal_limit}\""),
                format!("sleep-after = \"{}\"", span(*sleep_after)),
            ]),
            Mode::Snapshots(schedule) => lines.extend([
                "mode = \"snapshots\"".to_owned(),
                format!("schedule = {}", quoted(&schedule.to_string())),
            ]),
        }
        lines.extend([
            format!("time-zone = {}", quoted(&zone(&plan.zone))),
            format!("jitter = \"{}\"", span(plan.jitter)),
            format!("marks = \"{}\"", plan.marks.map_or("off".to_owned(), span)),
            format!("compression = \"{}\"", compression(plan.compression)),
        ]);
        if let Some((policy, prune)) = &plan.retention {
            lines.push(format!("policy = {{ {} }}", rules(policy).join(", ")));
            lines.push(format!("prune = {}", schedule(prune.as_ref())));
        }
        lines.extend(verify(plan));
        lines.push(format!("drift = {}", schedule(plan.drift.as_ref())));
        if let Some(files) = &plan.files {
            let listed = |texts: &[String]| {
                let texts: Vec<String> = texts.iter().map(|text| quoted(text)).collect();
                texts.join(", ")
            };
            lines.extend([
                format!("files = [{}]", listed(&files.paths)),
                format!("exclude = [{}]", listed(&files.exclude)),
                format!("files-schedule = {}", schedule(files.schedule.as_ref())),
            ]);
        }
        let notify: Vec<String> = plan.notify.iter().map(|name| quoted(name)).collect();
        lines.extend([
            format!("promise.max-age = \"{}\"", span(plan.promise.max_age)),
            format!("promise.max-proof-age = \"{}\"", span(plan.promise.max_proof_age)),
            format!("paused = {}", plan.paused),
            format!("notify = [{}]", notify.join(", ")),
        ]);
        lines.extend(plan.ping.as_ref().map(|ping| ping.line()));
        lines
    }
}

fn verify(plan: &Plan) -> Vec<String> {
    let verify = &plan.verify;
    let assertions: Vec<String> = verify.assertions.iter().map(|sql| quoted(sql)).collect();
    vec![
        format!("verify.data = {}", schedule(verify.data.as_ref())),
        format!("verify.sample = \"{}%\"", f64::from(verify.sample_ppm) / 10_000.0),
        format!("verify.restore = {}", schedule(verify.restore.as_ref())),
        format!("verify.assert = [{}]", assertions.join(", ")),
        format!("verify.max-time = \"{}\"", span(verify.max_time)),
    ]
}

pub(super) fn schedule(schedule: Option<&Schedule>) -> String {
    schedule.map_or("\"never\"".to_owned(), |schedule| quoted(&schedule.to_string()))
}

fn compression(compression: Compression) -> &'static str {
    match compression {
        Compression::Off => "off",
        Compression::Fast => "fast",
        Compression::Default => "default",
        Compression::Max => "max",
    }
}

pub(super) fn zone(zone: &Zone) -> String {
    match zone {
        Zone::Local => "local".to_owned(),
        Zone::Utc => "UTC".to_owned(),
        Zone::Named(zone) => zone.name().to_owned(),
        Zone::Fixed(offset) => offset.to_string(),
    }
}

/// The rules of a policy, as they are written.
pub(crate) fn rules(policy: &Policy) -> Vec<String> {
    let long = |span: &chrono::TimeDelta| self::span(span.to_std().unwrap_or_default());
    let mut rules = Vec::new();
    if let Some(window) = &policy.window {
        rules.push(format!("keep-window = \"{}\"", long(window)));
    }
    if policy.last > 0 {
        rules.push(format!("keep-last = {}", policy.last));
    }
    for (rule, periods) in [
        ("hourly", &policy.hourly),
        ("daily", &policy.daily),
        ("weekly", &policy.weekly),
        ("monthly", &policy.monthly),
        ("yearly", &policy.yearly),
    ] {
        match periods {
            Some(Periods::Count(n)) => rules.push(format!("keep-{rule} = {n}")),
            Some(Periods::Span(span)) => rules.push(format!("keep-{rule} = \"{}\"", long(span))),
            None => {}
        }
    }
    if policy.floor > 0 {
        rules.push(format!("keep-floor = {}", policy.floor));
    }
    rules
}

/// A span as it is written, exactly.
pub(crate) fn span(span: Duration) -> String {
    let millis = span.as_millis();
    for (unit, of) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)] {
        if millis >= of && millis.is_multiple_of(of) {
            return format!("{}{unit}", millis / of);
        }
    }
    match millis {
        0 => "0s".to_owned(),
        n => format!("{n}ms"),
    }
}

/// A text as TOML has it.
pub(crate) fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

/// A key of a table: as it is if it is plain.
pub(super) fn key(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if name.chars().all(plain) && !name.is_empty() { name.to_owned() } else { quoted(name) }
}
