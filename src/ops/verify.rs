//! Prove that a history can be restored, or find out what can't.
//!
//! | level | proves |
//! |---|---|
//! | chain | every object is there, has its length, opens where it is small, and the segments form an unbroken chain |
//! | data | besides: every index block and batch opens, every page has its digest, and every commit's pages add up to its digest |
//! | restore | besides the chain: a scratch restore passes `integrity_check` and the user's assertions |
//!
//! What is damaged at level chain is [`super::soundness`]'s judgement.
//!
//! Damage does not end a verification: it goes on and lists all that it finds. Every result is
//! stored as a proof, a failed one too, so that any machine can tell when a commit was last proven.
//!
//! What a restore finds is of five kinds, and only the first two are damage: of the backup; of the
//! database when it was captured. What could not be checked is a warning, and its proof tells a
//! smaller share. Rows that break rules of the application, such as foreign keys, are a warning. An
//! assertion that does not hold is the answer to a question: of the newest commit it is stored, of
//! an older one it is not.

mod looked;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use derive_setters::Setters;
use looked::{Looked, share};

use crate::codec::batch::Decoder;
use crate::codec::pool;
use crate::error::{Error, ErrorKind, Result};
use crate::format::index::IndexBlock;
use crate::format::proof::{Level, Proof};
use crate::format::segment::Location;
use crate::machine::host;
use crate::ops::audit;
use crate::ops::finding::Finding;
use crate::ops::point::RestorePoint;
use crate::ops::restore::write_pages;
use crate::ops::scratch::Scratch;
use crate::ops::soundness::{Look, judge};
use crate::progress::{Monitor, Phase, check_cancelled};
use crate::repo::chain::reader::{BatchReader, BatchRequest};
use crate::repo::chain::{Chain, Commit, Segment, replaced_too_fast};
use crate::repo::history::handle::History;
use crate::repo::merge::loss::{Depth, loss};
use crate::sqlite::check::Checker;
use crate::types::random_bytes;

/// How often to begin anew when merges replace what is verified.
const ATTEMPTS: usize = 10;

/// What to verify.
#[derive(Clone, Debug, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct VerifyOptions {
    /// How deep to look.
    pub level: Level,
    /// The share of batches (level data) or commits (level restore) to look at, in millionths;
    /// `None` for all batches, or for the one commit that was chosen.
    pub sample_ppm: Option<u32>,
    /// When to stop, even if not all was looked at.
    pub max_time: Option<Duration>,
    /// Queries that must answer something true in a restored database.
    pub assertions: Vec<String>,
    /// Where scratch restores go.
    #[setters(into)]
    pub scratch: PathBuf,
    /// Whether the result is stored.
    pub store: bool,
}

impl VerifyOptions {
    /// All of it, at a level; the result is stored.
    pub fn new(level: Level, scratch: impl Into<PathBuf>) -> Self {
        Self {
            level,
            sample_ppm: None,
            max_time: None,
            assertions: Vec::new(),
            scratch: scratch.into(),
            store: true,
        }
    }
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct VerifyReport {
    /// What is damaged, in the backup or in the database when it was captured; empty when nothing
    /// is.
    pub findings: Vec<Finding>,
    /// Assertions that do not hold.
    pub refuted: Vec<Finding>,
    /// Rows that break a rule of the application's own, such as a foreign key: they were captured
    /// like that.
    pub broken_rules: Vec<Finding>,
    /// What this program could not check, and why.
    pub unchecked: Vec<Finding>,
    /// Segments on the chain.
    pub segments: usize,
    /// Commits on the chain.
    pub commits: usize,
    /// Batches that were opened.
    pub batches_opened: u64,
    /// Batches there are.
    pub batches: u64,
    /// Bytes of pages whose digests were compared.
    pub page_bytes: u64,
    /// What is proven of each commit that was looked at, or what failed. It is stored, unless that
    /// was not wished.
    pub proofs: Vec<Proof>,
    /// Commits that were restored.
    pub restored: Vec<crate::types::Seq>,
    /// Whether the time ran out.
    pub timed_out: bool,
    /// Segments that are not on the chain: replaced by a merge, or late writes of a superseded
    /// writer; harmless.
    pub strays: usize,
    /// Those among them that were tried first and can't be read. What they stand for is still
    /// there; but no prune deletes them.
    pub unreadable: Vec<String>,
    /// What is not as it was written, and harms nobody.
    pub remarks: Vec<Finding>,
    /// Whether there is one copy of the history's description, as older versions leave it; harmless
    /// while that is whole.
    pub described_once: bool,
}

impl History {
    /// Verifies it. `point` is what to restore at level restore; the newest if `None`.
    ///
    /// # Errors
    /// What keeps it from going on: store errors, a wrong assertion, a stop. Damage is no error but
    /// a finding.
    pub fn verify(
        &self,
        point: Option<&RestorePoint>,
        options: &VerifyOptions,
        monitor: &dyn Monitor,
    ) -> Result<VerifyReport> {
        let clock = Instant::now();
        let commit = point.map(|point| &point.commit);
        for _ in 0..ATTEMPTS {
            if let Some(report) = verify_once(self, commit, options, monitor, clock)? {
                return Ok(report);
            }
        }
        Err(replaced_too_fast(self, "verified"))
    }
}

/// Verifies the history as its chain is now; `None` if a merge replaced some of that meanwhile, so
/// that what was found missing may not be.
fn verify_once(
    history: &History,
    commit: Option<&Commit>,
    options: &VerifyOptions,
    monitor: &dyn Monitor,
    clock: Instant,
) -> Result<Option<VerifyReport>> {
    let started = history.repository().now();
    let mut report = VerifyReport::default();
    let chain = match history.readable_chain() {
        Ok(chain) => chain,
        Err(e) if is_damage(&e) => {
            report.findings.push(Finding::of(&e));
            return Ok(Some(report));
        }
        Err(e) => return Err(e),
    };
    report.segments = chain.stored().count();
    report.commits = chain.commits().count();
    report.strays = chain.strays();
    report.unreadable = chain.unreadable().to_vec();
    let judged = judge(history, &chain, Look::Close, monitor)?;
    if let Some(problem) = judged.damage.iter().find(|problem| problem.too_new) {
        return Err(problem.error(history));
    }
    report.described_once = judged.copies.kept_once;
    report.findings = judged.damage.into_iter().map(Finding::from).collect();
    report.remarks = judged.remarks.into_iter().map(Finding::from).collect();
    let Some(latest) = chain.latest() else {
        // All that it had may have expired, and what it was read from may have been merged.
        let is_old = !report.findings.is_empty() && is_replaced(history, &chain)?;
        return Ok((!is_old).then_some(report));
    };
    let run = Run { history, chain: &chain, options, monitor, clock };
    let mut proof = Proof {
        seq: latest.seq,
        digest: latest.record.digest,
        started,
        micros: 0,
        level: options.level,
        failure: None,
        coverage_ppm: 1_000_000,
        page_bytes: 0,
        assertions: 0,
        host: host(),
    };
    match options.level {
        Level::Chain => {}
        Level::Data => {
            if let Err(e) = run.data(&mut report) {
                if !is_damage(&e) {
                    return Err(e);
                }
                report.findings.push(Finding::of(&e));
            }
            proof.coverage_ppm = share((report.batches_opened, report.batches));
            proof.page_bytes = report.page_bytes;
        }
        Level::Restore => {
            let whole = run.restores(commit.unwrap_or(&latest), proof, &mut report)?;
            report.findings.sort();
            return Ok(whole.then_some(report));
        }
    }
    report.findings.sort();
    report.findings.dedup();
    if !report.findings.is_empty() && is_replaced(history, &chain)? {
        return Ok(None);
    }
    proof.micros = micros(clock);
    proof.failure = report.findings.first().map(|f| format!("{}: {}", f.object, f.message));
    run.keep(&proof)?;
    report.proofs.push(proof);
    Ok(Some(report))
}

/// Whether a merge replaced segments of the chain since it was read.
fn is_replaced(history: &History, chain: &Chain) -> Result<bool> {
    match history.chain_like(chain) {
        Ok(now) => Ok(!now.extends(chain)),
        Err(e) if is_damage(&e) => Ok(false),
        Err(e) => Err(e),
    }
}

fn is_damage(e: &Error) -> bool {
    e.kind() == ErrorKind::Damaged
}

fn micros(clock: Instant) -> u64 {
    u64::try_from(clock.elapsed().as_micros()).unwrap_or(u64::MAX)
}

struct Run<'a> {
    history: &'a History,
    chain: &'a Chain,
    options: &'a VerifyOptions,
    monitor: &'a dyn Monitor,
    clock: Instant,
}

impl Run<'_> {
    /// Keeps damage as a finding and passes other errors on.
    fn note<T>(result: Result<T>, findings: &mut Vec<Finding>) -> Result<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(e) if is_damage(&e) => {
                findings.push(Finding::of(&e));
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn out_of_time(&self) -> bool {
        self.options.max_time.is_some_and(|max| self.clock.elapsed() >= max)
    }

    /// Stores a proof. Of a chain with holes there is none: it is not that chain which has to be
    /// restored. Where nothing can be stored, what was found counts all the same.
    fn keep(&self, proof: &Proof) -> Result<()> {
        if !self.options.store || !self.chain.holes().is_empty() {
            return Ok(());
        }
        match self.history.add_proof(proof) {
            Err(e) if e.kind() != ErrorKind::Interrupted => {
                let cause = std::error::Error::source(&e).map(|c| format!(": {c}"));
                self.monitor.warn(&format!(
                    "the result can't be kept in the repository: {e}{}",
                    cause.unwrap_or_default()
                ));
                Ok(())
            }
            done => done,
        }
    }

    /// Every index block and batch opens, every page has its digest, every commit's pages add up.
    fn data(&self, report: &mut VerifyReport) -> Result<()> {
        let page_bytes = |s: &Arc<Segment>| {
            s.manifest.versions.saturating_mul(s.manifest.page_size.get().into())
        };
        let total: u64 = self.chain.segments().iter().map(page_bytes).sum();
        let total = self.options.sample_ppm.map_or(total, |ppm| part_of(total, ppm));
        self.monitor.phase(Phase::Verify, Some(total));
        let before = report.findings.clone();
        let findings = Mutex::new(std::mem::take(&mut report.findings));
        let (opened, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        let batches = Batches::new(self, &findings)?;
        let all = self.chain.segments().iter().map(|s| s.manifest.batches).sum();
        pool::for_each(
            self.history.repository().threads(),
            batches,
            || BatchReader::new(self.history),
            |reader: &mut BatchReader, (request, once)| {
                check_cancelled(self.monitor)?;
                match reader.open(&request, &mut |_, _, _| Ok(())) {
                    Ok(n) => {
                        opened.fetch_add(once.into(), Ordering::Relaxed);
                        bytes.fetch_add(n, Ordering::Relaxed);
                        self.monitor.advance(n);
                    }
                    Err(e) if is_damage(&e) => {
                        findings
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .push(Finding::of(&e));
                    }
                    Err(e) => return Err(e),
                }
                Ok(())
            },
        )?;
        report.batches_opened = opened.into_inner();
        report.batches = all;
        report.page_bytes = bytes.into_inner();
        report.findings = findings.into_inner().unwrap_or_else(PoisonError::into_inner);
        if report.findings.len() > before.len() {
            // Damage where no restore point has anything is none: a repair left it there, for a
            // prune.
            let loss = loss(self.history, self.chain, Depth::Data, self.monitor)?;
            let needed: Vec<Finding> = loss.findings.iter().map(Finding::of).collect();
            report.findings.retain(|f| before.contains(f) || needed.contains(f));
        }
        report.timed_out = self.out_of_time();
        // What an unreadable index block does to the sums is no news.
        if report.findings.len() == before.len() {
            report.findings.extend(audit::commit_digests(self.chain, self.monitor)?);
        }
        Ok(())
    }

    /// Restores one commit, or a sample of them, and asks SQLite and the user's assertions about
    /// each. Returns false when a merge replaced segments meanwhile, so that what was found says
    /// nothing.
    fn restores(
        &self,
        chosen: &Commit,
        template: Proof,
        report: &mut VerifyReport,
    ) -> Result<bool> {
        let earlier = std::mem::take(&mut report.findings);
        for commit in self.commits_to_restore(chosen)? {
            if !report.restored.is_empty() && self.out_of_time() {
                report.timed_out = true;
                break;
            }
            let clock = Instant::now();
            let started = self.history.repository().now();
            let mut looked = Looked::default();
            looked.findings.clone_from(&earlier);
            match self.restore_one(&commit, &mut looked) {
                Err(e) if e.kind() == ErrorKind::Interrupted && !self.monitor.cancelled() => {
                    // Time was up in the middle of it: this commit was neither proven nor found
                    // bad.
                    if report.restored.is_empty() {
                        return Err(Error::new(
                            ErrorKind::Failure,
                            "time was up before one commit was checked, so nothing is proven",
                        )
                        .with_object(format!("{}@seq:{}", self.history.name(), commit.seq))
                        .with_hint("give it more time, or a query that ends"));
                    }
                    report.timed_out = true;
                    break;
                }
                done => {
                    Self::note(done, &mut looked.findings)?;
                }
            }
            if !looked.findings.is_empty() && is_replaced(self.history, self.chain)? {
                return Ok(false);
            }
            // Somebody who looks for the moment of a mistake asks what doesn't hold; about the
            // newest commit that is news.
            let is_newest = self.chain.latest().is_some_and(|latest| latest.seq == commit.seq);
            let news = looked.refuted.iter().filter(|_| is_newest);
            let failure = looked.findings.iter().chain(news).next();
            let page_bytes = commit.segment.manifest.page_size.file_len(commit.record.pages);
            let proof = Proof {
                seq: commit.seq,
                digest: commit.record.digest,
                started,
                micros: micros(clock),
                failure: failure.map(|f| format!("{}: {}", f.object, f.message)),
                coverage_ppm: looked.share(),
                page_bytes,
                assertions: looked.held,
                ..template.clone()
            };
            self.keep(&proof)?;
            report.proofs.push(proof);
            report.page_bytes = report.page_bytes.saturating_add(page_bytes);
            report.restored.push(commit.seq);
            report.findings.extend(looked.findings);
            report.refuted.extend(looked.refuted);
            report.broken_rules.extend(looked.broken_rules);
            report.unchecked.extend(looked.unchecked);
        }
        report.findings.sort();
        report.findings.dedup();
        Ok(true)
    }

    /// The chosen commit; or, of a sample, those whose last restore proof is the oldest.
    fn commits_to_restore(&self, chosen: &Commit) -> Result<Vec<Commit>> {
        let Some(ppm) = self.options.sample_ppm else { return Ok(vec![chosen.clone()]) };
        let mut proven = HashMap::new();
        // A proof that can't be read was reported already; without it the commit just counts as
        // unproven.
        for proof in self.history.proofs().unwrap_or_default() {
            if proof.level == Level::Restore && proof.failure.is_none() {
                let newest = proven.entry(proof.seq).or_insert(proof.started);
                *newest = (*newest).max(proof.started);
            }
        }
        let mut commits: Vec<Commit> = self.chain.commits().collect();
        commits.sort_by_key(|c| (proven.get(&c.seq).copied(), c.seq));
        let all = u64::try_from(commits.len()).unwrap_or(u64::MAX);
        let keep = usize::try_from(part_of(all, ppm).max(1)).unwrap_or(usize::MAX);
        commits.truncate(keep);
        Ok(commits)
    }

    fn restore_one(&self, commit: &Commit, looked: &mut Looked) -> Result<()> {
        let scratch = Scratch::inside(&self.options.scratch)?;
        let monitor = self.monitor;
        let object = format!("{}@seq:{}", self.history.name(), commit.seq);
        let of =
            |message: String| Finding { object: object.clone(), message, commit: Some(commit.seq) };
        write_pages(self.history, self.chain, commit, scratch.file(), monitor)?;
        monitor.phase(Phase::Check, None);
        let checker = scratch.opened(|path| Checker::of_scratch(path, scratch.file()))?;
        let stop = || monitor.cancelled() || self.out_of_time();
        let asked =
            checker.until(&stop, |checker| looked.ask(checker, &self.options.assertions, &of));
        check_cancelled(monitor)?;
        asked
    }
}

fn part_of(all: u64, ppm: u32) -> u64 {
    let part = (u128::from(all) * u128::from(ppm)).div_ceil(1_000_000);
    u64::try_from(part).unwrap_or(all)
}

/// All batches of the chain, or a random sample, each with all pages that its index block lists in
/// it.
struct Batches<'a> {
    run: &'a Run<'a>,
    findings: &'a Mutex<Vec<Finding>>,
    decoder: Decoder,
    random: u64,
    /// Whether there is a batch in the sample.
    began: bool,
    /// The next index block: segment and number.
    at: (usize, usize),
    /// Batches of the segment that were counted: several of its blocks may list one.
    counted: HashSet<Location>,
    ready: std::vec::IntoIter<BatchRequest>,
}

impl<'a> Batches<'a> {
    fn new(run: &'a Run<'a>, findings: &'a Mutex<Vec<Finding>>) -> Result<Self> {
        let random = u64::from_le_bytes(random_bytes()?);
        let ready = Vec::new().into_iter();
        let counted = HashSet::new();
        Ok(Self {
            run,
            findings,
            decoder: Decoder::new()?,
            random,
            began: false,
            at: (0, 0),
            counted,
            ready,
        })
    }

    /// Whether a batch is in the sample: the first one, so that there is any, and then a coin of
    /// the sample's weight (SplitMix64).
    fn chosen(&mut self) -> bool {
        let Some(ppm) = self.run.options.sample_ppm else { return true };
        if !std::mem::replace(&mut self.began, true) {
            return true;
        }
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % 1_000_000 < u64::from(ppm)
    }

    fn next_block(&mut self) -> Option<Result<()>> {
        let segment = self.run.chain.segments().get(self.at.0)?.clone();
        let Some(block) = segment.manifest.blocks.get(self.at.1) else {
            self.at = (self.at.0 + 1, 0);
            self.counted.clear();
            return Some(Ok(()));
        };
        let index = segment.block(self.at.1, block, &mut self.decoder);
        self.at.1 += 1;
        match index.and_then(|index| group(&segment, &index)) {
            Ok(batches) => {
                let chosen: Vec<BatchRequest> =
                    batches.into_iter().filter(|_| self.chosen()).collect();
                self.ready = chosen.into_iter();
                Some(Ok(()))
            }
            Err(e) if is_damage(&e) => {
                self.findings.lock().unwrap_or_else(PoisonError::into_inner).push(Finding::of(&e));
                Some(Ok(()))
            }
            Err(e) => Some(Err(e)),
        }
    }
}

impl Iterator for Batches<'_> {
    /// A batch with pages that one block lists, and whether it is the first such.
    type Item = Result<(BatchRequest, bool)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.run.out_of_time() {
                return None;
            }
            if let Some(wanted) = self.ready.next() {
                let once = self.counted.insert(wanted.batch.at);
                return Some(Ok((wanted, once)));
            }
            if let Err(e) = self.next_block()? {
                return Some(Err(e));
            }
        }
    }
}

/// The batches of an index block with their pages.
fn group(segment: &Arc<Segment>, index: &IndexBlock) -> Result<Vec<BatchRequest>> {
    let wanted =
        |batch: &_| BatchRequest { segment: segment.clone(), batch: *batch, pages: Vec::new() };
    let mut batches: Vec<BatchRequest> = index.batches.iter().map(wanted).collect();
    for entry in &index.entries {
        if let Some(batch) = batches.get_mut(usize::from(entry.batch)) {
            batch.pages.push((entry.slot, entry.page, entry.digest));
        }
    }
    if batches.iter().any(|batch| batch.pages.is_empty()) {
        return Err(Error::damaged(segment.name(), "lists a batch without pages"));
    }
    Ok(batches)
}
