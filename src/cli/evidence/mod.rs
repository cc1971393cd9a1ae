//! `evidence`: a signed file of all tests of a history, for auditors; and whether such a file is
//! what was signed.

mod check;
mod document;
mod gather;
mod page;
mod sealed;
mod target;

use std::path::Path;

use self::document::{About, ChainHead, Commits, Head, Ledger, Made, Point, Span};
use self::gather::Sums;
use self::page::Page;
use self::sealed::{Signed, Signing};
use self::target::Target;
use super::args::EvidenceArgs;
use super::context::Context;
use super::moments::moment;
use super::output::counted;
use super::progress::stop_requested;
use super::run::clock;
use crate::api::evidence::EvidenceSummary;
use crate::count::number;
use crate::daemon::config::Config;
use crate::daemon::tested::Tests;
use crate::daemon::{LEDGER, key};
use crate::error::{Error, ErrorKind, Result};
use crate::machine::host;
use crate::policy::selector::Edge;
use crate::policy::verdict::Promise;
use crate::progress::stopped;
use crate::repo::chain::{Chain, Commit};
use crate::repo::history::handle::History;
use crate::sqlite::rows::cell::hex;
use crate::types::Timestamp;

pub(super) fn evidence(context: &Context, args: &EvidenceArgs) -> Result<()> {
    match (&args.check, &args.name) {
        (Some(file), _) => check::check(context, file, args.public_key.as_deref()),
        (None, Some(name)) => make(context, args, name),
        (None, None) => Err(Error::new(ErrorKind::Usage, "it is not said of which history")),
    }
}

fn make(context: &Context, args: &EvidenceArgs, name: &str) -> Result<()> {
    let out = &context.out;
    if out.json && args.output.is_none() {
        return Err(Error::new(ErrorKind::Usage, "standard output can't have both")
            .with_hint("name the file that is to be written: -o FILE"));
    }
    // Tests that did not end well are in the ledger alone, and the configuration says where it is.
    context.config_file()?;
    let (Some(config), Some((of, _))) = (context.config()?, context.configured()?) else {
        return Err(Error::new(
            ErrorKind::Usage,
            "the configuration does not have that repository",
        )
        .with_hint("name one by the name that it has there: -r NAME"));
    };
    let repository = context.repository()?;
    let history = repository.history(name)?;
    let chain = context.chain(&history)?;
    let key_that_signs = repository.signing_key()?;
    let at = clock().now();
    let since = moment(args.since.as_deref(), Edge::Begin)?.unwrap_or(history.about().created);
    // Nobody knows of tests to come.
    let until = moment(args.until.as_deref(), Edge::End)?.unwrap_or(at).min(at);
    if since > until {
        let what = format!("its end, {until}, is before its beginning, {since}");
        return Err(Error::new(ErrorKind::Usage, what).with_object("the time that is asked for"));
    }
    let mut unread = Vec::new();
    let warned = |text: String| {
        out.warn(&format!("{text}; the evidence says so"));
        text
    };
    let file = context.state_dir()?.join(LEDGER);
    let database = key(of, name);
    let ledger = match Tests::open(&file).and_then(|t| Ok((t.known_since(&database)?, t))) {
        Ok(ledger) => Some(ledger),
        Err(e) => {
            unread.push(warned(in_words(&e)));
            None
        }
    };
    let (proofs, damaged) = history.readable_proofs()?;
    unread.extend(damaged.iter().map(in_words).map(&warned));
    let known_since = ledger.as_ref().and_then(|(since, _)| *since);
    if ledger.is_some() && known_since.is_none() {
        unread.push(warned(format!(
            "{}: has nothing of {database}, so only the repository's proofs are known",
            file.display()
        )));
    }
    let head = Head {
        made: Made {
            at,
            host: host(),
            program: concat!("pagekeep ", env!("CARGO_PKG_VERSION")).to_owned(),
            master_key: key_that_signs.master,
        },
        history: about(&history),
        span: Span { since, until },
        commits: commits(&chain, since, until),
        ledger: Ledger { file: file.display().to_string(), known_since },
    };
    let target = Target::new(context, args.output.as_deref())?;
    let mut sums = Sums::new(since.max(history.about().created), wished(config, &history));
    let written = target.write(|to| {
        let signing = Signing::new(to);
        let mut page = match Page::begin(signing, args.format, &head) {
            Ok(page) => page,
            Err(e) => return Ok(Err(e)),
        };
        let mut failed = None;
        let tests = ledger.as_ref().map(|(_, tests)| (tests, database.as_str()));
        let told = gather::tests(tests, (since, until), proofs, &mut |test| {
            if stop_requested() {
                return Err(stopped());
            }
            sums.add(&test);
            page.test(&test).map_err(|e| {
                failed = Some(e);
                Error::new(ErrorKind::Failure, "can't be written")
            })
        });
        if let Some(e) = failed {
            return Ok(Err(e));
        }
        if let Some(e) = told? {
            unread.push(warned(in_words(&e)));
        }
        let foot = sums.end(until, unread);
        match page.end(&foot) {
            Ok(signing) => {
                let signed = signing.sign(args.format, &key_that_signs)?;
                Ok(signed.map(|signed| (signed, foot)))
            }
            Err(e) => Ok(Err(e)),
        }
    })?;
    let (Signed { public, sha256 }, foot) = written;
    let bad = foot.tally.tests - foot.tally.passed;
    if bad > 0 {
        out.remark(&format!("{} did not pass; the evidence names each", counted(bad, "test")));
    }
    let Some(output) = &args.output else { return Ok(()) };
    out.json_summary(&EvidenceSummary {
        file: output.display().to_string(),
        history: history.name().to_owned(),
        id: history.id(),
        since,
        until,
        tally: foot.tally.clone(),
        gaps: number(foot.gaps.len()),
        public_key: hex(&public),
        sha256,
    });
    out.summary(format_args!(
        "wrote {}: {}, {}; signed by {}",
        output.display(),
        counted(foot.tally.tests, "test"),
        counted(number(foot.gaps.len()), "gap"),
        hex(&public)
    ));
    Ok(())
}

fn about(history: &History) -> About {
    let (about, repository) = (history.about(), history.repository());
    About {
        name: history.name().to_owned(),
        id: history.id(),
        source: about.source.clone(),
        host: about.host.clone(),
        created: about.created,
        repository: repository.id(),
        location: repository.store().location(),
    }
}

/// The restore points of a time, and what holds the chain together.
fn commits(chain: &Chain, since: Timestamp, until: Timestamp) -> Commits {
    let mut found = Commits {
        restore_points: 0,
        first: None,
        last: None,
        holes: number(chain.holes().len()),
        chain: chain.stored().last().map(|segment| ChainHead {
            segment: segment.name().to_owned(),
            digest: hex(&segment.reference.digest),
            last_seq: segment.manifest.commits.last().map(|commit| commit.seq),
        }),
    };
    let is_of = |commit: &Commit| since <= commit.record.time && commit.record.time <= until;
    for commit in chain.commits().filter(is_of) {
        let Commit { seq, record, .. } = commit;
        let point = Point { seq, time: record.time, digest: record.digest };
        found.restore_points += 1;
        found.first = found.first.or(Some(point));
        found.last = Some(point);
    }
    found
}

/// For how many seconds a database is to be without a test at most: its promise, if the
/// configuration still has it.
fn wished(config: &Config, history: &History) -> u64 {
    let source = Path::new(&history.about().source);
    let of = config.targets.iter().find(|target| target.means(source));
    let promise = of.map_or_else(Promise::default, |target| target.plan.promise);
    promise.max_proof_age.as_secs()
}

/// An error in one line, for the file and for people.
fn in_words(e: &Error) -> String {
    let causes = crate::api::problem::causes(e);
    causes.iter().fold(e.to_string(), |text, cause| format!("{text}: {cause}"))
}
