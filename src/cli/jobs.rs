//! `job`, `pause` and `resume`: what a running daemon does, and is to do.

use std::time::Duration;

use serde_json::{Value, json};

use super::args::{JobCommand, JobStartArgs, OfDaemonArgs};
use super::client::{Client, part};
use super::context::Context;
use super::ended::Ended;
use super::output::{bytes, quote, time};
use super::progress::stop_requested;
use super::table::table;
use crate::api::daemon::{
    DaemonJob, DaemonJobs, JobAccepted, JobStopSummary, PauseSummary, PausedBy,
};
use crate::error::{Error, ErrorKind, Result};

/// How often to ask how a job stands that somebody waits for.
const LOOK: Duration = Duration::from_millis(300);

pub(super) fn job(context: &Context, command: &JobCommand) -> Result<Ended> {
    let client = Client::of(context)?;
    match command {
        JobCommand::List { name, repository, last, result } => {
            let of = name
                .as_ref()
                .map(|name| OfDaemonArgs { name: name.clone(), repository: repository.clone() });
            list(context, &client, of.as_ref(), *last, result.as_deref()).map(|()| Ended::Well)
        }
        JobCommand::Start(args) => start(context, &client, args),
        JobCommand::Stop { id } => {
            client.delete(&format!("/jobs/{id}"))?;
            context.out.json_summary(&JobStopSummary { id: *id });
            context.out.summary(format_args!("job {id} ends soon"));
            Ok(Ended::Well)
        }
    }
}

/// A database of the daemon.
struct Known {
    repository: String,
    name: String,
}

impl Known {
    /// The one that is meant.
    fn find(client: &Client, args: &OfDaemonArgs) -> Result<Self> {
        let all: Value = client.get("/databases")?;
        let empty = Vec::new();
        let all = all.get("databases").and_then(Value::as_array).unwrap_or(&empty);
        let text = |of: &Value, member: &str| {
            of.get(member).and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let known = all.iter().map(|of| (text(of, "repository"), text(of, "name")));
        let meant = known.filter(|(repository, name)| {
            // It may be typed as it is printed.
            (*name == args.name || format!("{repository}/{name}") == args.name)
                && args.repository.as_ref().is_none_or(|r| r == repository)
        });
        let mut meant: Vec<(String, String)> = meant.collect();
        match (meant.pop(), meant.is_empty()) {
            (Some((repository, name)), true) => Ok(Self { repository, name }),
            (Some(_), false) => Err(Error::new(ErrorKind::Usage, "is in several repositories")
                .with_object(quote(&args.name))
                .with_hint("--repository says which is meant")),
            (None, _) => Err(Error::new(ErrorKind::NotFound, "is no database of this daemon")
                .with_object(quote(&args.name))
                .with_hint("`pagekeep config check -c FILE` shows the names")),
        }
    }

    fn path(&self) -> String {
        format!("/databases/{}/{}", part(&self.repository), part(&self.name))
    }
}

fn list(
    context: &Context,
    client: &Client,
    of: Option<&OfDaemonArgs>,
    last: u64,
    result: Option<&str>,
) -> Result<()> {
    let mut path = format!("/jobs?limit={last}");
    if let Some(of) = of {
        let Known { repository, name } = Known::find(client, of)?;
        path += &format!("&database={}", part(&format!("{repository}/{name}")));
    }
    if let Some(result) = result {
        path += &format!("&result={}", part(result));
    }
    let DaemonJobs { jobs, .. } = client.get(&path)?;
    if context.out.json {
        jobs.iter().for_each(|job| context.out.object(job));
        return Ok(());
    }
    let row = |job: &DaemonJob| {
        vec![
            job.id.to_string(),
            job.database.clone(),
            job.kind.clone(),
            job.began.map_or_else(String::new, time),
            job.result.clone(),
            came_to(job),
        ]
    };
    let rows: Vec<Vec<String>> = jobs.iter().map(row).collect();
    let header = ["JOB", "DATABASE", "KIND", "BEGAN", "RESULT", "WHAT IT CAME TO"];
    table(&header, &rows, &[0]).into_iter().for_each(|line| context.out.line(line));
    Ok(())
}

/// What a job came to, or how far it is.
fn came_to(job: &DaemonJob) -> String {
    let Some(far) = &job.progress else { return job.message.clone() };
    let phase = far.phase.clone().unwrap_or_else(|| "begins".to_owned());
    let of = far.total_bytes.map_or(String::new(), |total| format!(" of {}", bytes(total)));
    let left = far.eta_seconds.map_or(String::new(), |left| format!(", {left} s left"));
    format!("{phase}: {}{of}{left}", bytes(far.done_bytes))
}

fn start(context: &Context, client: &Client, args: &JobStartArgs) -> Result<Ended> {
    let known = Known::find(client, &args.of)?;
    let path = format!("{}/jobs", known.path());
    let accepted: JobAccepted = client.post(&path, &json!({ "kind": args.kind }))?;
    if !args.wait {
        context.out.json_summary(&accepted);
        context.out.summary(format_args!(
            "job {}: {} of {} begins; `pagekeep job list` tells what it comes to",
            accepted.id,
            args.kind,
            quote(&known.name)
        ));
        return Ok(Ended::Well);
    }
    let job = loop {
        let job: DaemonJob = client.get(&format!("/jobs/{}", accepted.id))?;
        if job.ended.is_some() {
            break job;
        }
        if stop_requested() {
            let what = "goes on, and nobody waits for it any more";
            return Err(Error::new(ErrorKind::Interrupted, what)
                .with_object(format!("job {}", job.id))
                .with_hint(format!("`pagekeep job stop {}` ends it", job.id)));
        }
        std::thread::sleep(LOOK);
    };
    if context.out.json {
        context.out.object(&job);
        context.out.json_summary(&accepted);
    } else {
        context.out.line(format_args!("{}: {} {}", job.kind, job.result, job.message));
    }
    match &*job.result {
        "well" => Ok(Ended::Well),
        "unknown" => {
            context.out.warn(&format!("job {}: {}", job.id, job.message));
            Ok(Ended::Well)
        }
        "found" => Ok(Ended::Damaged),
        "stopped" | "cancelled" | "interrupted" => {
            Err(Error::new(ErrorKind::Interrupted, "was ended before it was done")
                .with_object(format!("job {}", job.id)))
        }
        _ => Err(Error::new(ErrorKind::Failure, format!("{}: {}", job.result, job.message))
            .with_object(format!("job {}", job.id))
            .with_hint("it is tried again by its schedule")),
    }
}

pub(super) fn pause(context: &Context, args: &OfDaemonArgs, is_pause: bool) -> Result<()> {
    let client = Client::of(context)?;
    let known = Known::find(&client, args)?;
    let deed = if is_pause { "pause" } else { "resume" };
    let path = format!("{}/{deed}", known.path());
    let database: Value = client.post(&path, &json!({}))?;
    let paused = database.get("paused").cloned().unwrap_or_default();
    let paused: Option<PausedBy> = serde_json::from_value(paused).unwrap_or_default();
    let Known { repository, name } = known;
    match is_pause {
        true => context.out.summary(format_args!(
            "{} is paused: nothing of it is captured until `pagekeep resume {}`",
            quote(&name),
            quote(&name)
        )),
        false => context.out.summary(format_args!("{} goes on", quote(&name))),
    }
    context.out.json_summary(&PauseSummary { repository, name, paused });
    Ok(())
}
