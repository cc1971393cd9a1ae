//! Finding out what is damaged, what remains, and what has to be done. Nothing is changed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::marks;
use super::report::{Action, Fault, RepairOptions, RepairReport};
use crate::error::{Error, ErrorKind, Result};
use crate::format::names::QUARANTINE;
use crate::ops::audit;
use crate::ops::soundness::{Look, Soundness, judge};
use crate::progress::{Monitor, Phase, check_cancelled};
use crate::repo::chain::page_map::adds_up;
use crate::repo::chain::{Chain, Hole, Problem, Segment, until_still};
use crate::repo::history::described::Copies;
use crate::repo::history::handle::History;
use crate::repo::local::{rollback, rollback_guard, state};
use crate::repo::merge::loss::{Depth, Loss, loss};
use crate::types::{SegmentId, Seq};

/// What is to be done about a history.
#[derive(Debug)]
pub struct RepairPlan {
    pub(super) history: History,
    /// What was found.
    pub(super) report: RepairReport,
    /// The chain with its holes, as if the merged segments that give way were not there.
    pub(super) chain: Chain,
    /// What has pages that can't be had.
    pub(super) loss: Loss,
    /// Numbers that name nothing any more.
    pub(super) lost: Vec<(Seq, Seq)>,
    /// What goes to the quarantine.
    pub(super) away: Vec<String>,
    /// Merged segments that give way to what they replaced.
    pub(super) replaced: Vec<Arc<Segment>>,
    /// Objects that are not as they were written, and of which all that is read is there.
    pub(super) to_replace: HashSet<String>,
    /// Whether the newest segment has to be replaced, so that something has to stand behind it
    /// first.
    pub(super) behind_newest: bool,
    /// How the copies of the description are.
    pub(super) copies: Copies,
}

impl RepairPlan {
    /// What was found, before anything is done about it.
    pub fn report(&self) -> &RepairReport {
        &self.report
    }
}

impl History {
    /// Finds out what is wrong with a history, and what can be done about it.
    ///
    /// # Errors
    /// Store errors; [`ErrorKind::TooNew`] when a newer version wrote to the history: that one has
    /// to repair it; [`ErrorKind::Busy`] when a process of this machine writes to the history.
    pub fn plan_repair(
        &self,
        options: &RepairOptions,
        monitor: &dyn Monitor,
    ) -> Result<RepairPlan> {
        // Whoever repairs holds the history like one who writes to it.
        let _lock = state::StateDir::lock(self)?;
        // What is to be moved needs its place.
        self.repository().store().list_dirs(QUARANTINE)?;
        let look = Survey { history: self, options, monitor };
        let load = || Chain::load_readable(self, &HashSet::new());
        let planned = until_still(self, load, |chain| {
            let plan = look.plan(chain.clone())?;
            let is_clean = plan.report.is_sound() && plan.away.is_empty();
            Ok((plan, is_clean))
        });
        planned.map(|(_, plan)| plan)
    }
}

/// Nothing is done to a history that a newer version wrote to.
fn refuse_newer<'p>(mut problems: impl Iterator<Item = &'p Problem>) -> Result<()> {
    problems.find(|problem| problem.too_new).map_or(Ok(()), |problem| {
        let message = "a newer version of pagekeep wrote to it, and has to repair it";
        Err(Error::new(ErrorKind::TooNew, message).with_object(&*problem.object))
    })
}

/// A chain, what is lost on it, the merged segments that it does without, and what can be restored
/// on it or with them.
type Choice = (Chain, Loss, Vec<Arc<Segment>>, BTreeSet<Seq>);

struct Survey<'a> {
    history: &'a History,
    options: &'a RepairOptions,
    monitor: &'a dyn Monitor,
}

impl Survey<'_> {
    fn plan(&self, chain: Chain) -> Result<RepairPlan> {
        let (look, history, monitor) = (self, self.history, self.monitor);
        let seen = rollback_guard::read(history);
        refuse_newer(chain.holes().iter().map(|hole| &hole.problem).chain(chain.bad_expiries()))?;
        let loss = look.loss(&chain)?;
        let (chain, loss, replaced, either) = look.fall_back(chain, loss)?;
        let judged = judge(history, &chain, Look::Close, monitor)?;
        refuse_newer(judged.damage.iter())?;
        look.refuse_strange(&judged)?;
        let mut report = RepairReport::default();
        let mut away = Vec::new();
        for segment in &replaced {
            let object = segment.name().to_owned();
            let message = "is damaged, and what it replaced is there still".to_owned();
            report.faults.push(Fault {
                object: object.clone(),
                message,
                action: Action::Quarantine,
                hint: None,
            });
            away.push(object);
        }
        look.holes(&chain, &mut report, &mut away);
        let listed: HashSet<&str> = report.faults.iter().map(|f| &*f.object).collect();
        let mut more = Vec::new();
        for problem in judged.damage.iter().filter(|p| !listed.contains(&*p.object)) {
            if let Some(action) = look.of_copy(&problem.object, &judged.copies) {
                more.push(Fault::of(problem, action));
                continue;
            }
            let can_go = look.is_record(&problem.object) || judged.spare.contains(&problem.object);
            let action = match judged.to_replace.contains(&problem.object) {
                true => Action::Replace,
                false if judged.stays.contains(&problem.object) => Action::Leave,
                false if can_go => Action::Quarantine,
                false => Action::Expire,
            };
            if action == Action::Quarantine {
                away.push(problem.object.clone());
            }
            let mut fault = Fault::of(problem, action);
            fault.message.extend(marks::unprotected(history, &problem.object));
            more.push(fault);
        }
        report.faults.extend(more);
        let known: HashSet<String> = away.iter().cloned().collect();
        for problem in judged.remarks.iter().filter(|p| !known.contains(&p.object)) {
            let newest = chain.newest().is_some_and(|s| look.is_of(s, &problem.object));
            let action = match (judged.to_replace.contains(&problem.object), newest) {
                // Nothing moves what may be a newer version's, or somebody's.
                (false, _) if judged.stays.contains(&problem.object) => Action::Leave,
                (true, false) => Action::Replace,
                // Nothing takes the place of the newest segment; another one has to stand behind it
                // first.
                (true, true) => Action::Leave,
                (false, _) => Action::Quarantine,
            };
            if action == Action::Quarantine && !problem.too_new {
                away.push(problem.object.clone());
            }
            report.remarks.push(Fault::of(problem, action));
        }
        report
            .faults
            .extend(loss.findings.iter().map(|e| Fault::of(&Problem::of(e), Action::Expire)));
        if chain.holes().iter().all(|hole| hole.above.is_some()) {
            match rollback::check(history, &chain, seen.as_ref()) {
                Ok(()) => {}
                Err(e) if e.kind() == ErrorKind::Damaged => {
                    let mut gone = Fault::of(&Problem::of(&e), Action::Leave);
                    // No repair brings that back; the hint says who does.
                    gone.hint = e.hint().cloned();
                    report.faults.push(gone);
                    // Of one that is empty a repair records what is lost.
                    report.set_back = !chain.segments().is_empty();
                }
                Err(e) => return Err(e),
            }
        }
        report.described_once = judged.copies.kept_once;
        let lost = if report.set_back { Vec::new() } else { look.lost(&chain, &loss)? };
        report.lost.clone_from(&lost);
        report.unmarked = marks::of_lost(history, &lost)?;
        let points = chain.commits().map(|c| c.seq);
        report.restorable = points.filter(|seq| !loss.points.contains(seq)).collect();
        report.given_up = &either - &report.restorable;
        if report.set_back {
            let all = report.faults.iter_mut().chain(&mut report.remarks);
            all.for_each(|fault| fault.action = Action::Leave);
        }
        report.faults.sort();
        report
            .faults
            .dedup_by(|one, other| (&one.object, &one.message) == (&other.object, &other.message));
        away.sort();
        away.dedup();
        let Soundness { to_replace, copies, damage, .. } = judged;
        let newest = chain.newest().map(Arc::clone);
        let behind_newest = newest.is_some_and(|newest| {
            let is_front = |p: &Problem| to_replace.contains(&p.object);
            damage.iter().any(|p| is_front(p) && look.is_of(&newest, &p.object))
        });
        Ok(RepairPlan {
            history: self.history.clone(),
            report,
            chain,
            loss,
            lost,
            away,
            replaced,
            to_replace,
            behind_newest,
            copies,
        })
    }

    /// Nothing is given up because of what is no file, and can be moved by whoever put it there.
    fn refuse_strange(&self, judged: &Soundness) -> Result<()> {
        let is_one = |name: &str| {
            let is_small =
                self.is_record(name) || self.history.names().abouts().contains(&name.to_owned());
            judged.stays.contains(name) && !is_small
        };
        let strange = judged.damage.iter().map(|p| &*p.object).find(|name| is_one(name));
        strange.map_or(Ok(()), |name| self.history.repository().store().head(name).map(|_| ()))
    }

    fn is_record(&self, name: &str) -> bool {
        let names = self.history.names();
        let kinds = [names.snapshots(), names.holds(), names.proofs(), names.writers()];
        let more = [names.signs(), names.expiries(), names.heads(), names.announcements()];
        kinds.iter().chain(&more).any(|prefix| name.starts_with(&**prefix))
    }

    /// What is done about a copy of the description that is damaged; `None` if an object is none.
    fn of_copy(&self, name: &str, copies: &Copies) -> Option<Action> {
        let fault = copies.faults.iter().find(|e| e.object() == Some(name))?;
        let store = self.history.repository().store();
        Some(match fault.kind() {
            // Something else has its name, and is in the way.
            ErrorKind::Damaged if store.head(name).is_err() => Action::Leave,
            ErrorKind::Damaged => Action::PutBack,
            _ => Action::Leave,
        })
    }

    fn is_of(&self, segment: &Segment, name: &str) -> bool {
        let part = self.history.names().parse_part(name);
        segment.name() == name || part.is_some_and(|(id, _)| id == segment.reference.id)
    }

    /// What the holes of a chain are, and which objects lie in them.
    fn holes(&self, chain: &Chain, report: &mut RepairReport, away: &mut Vec<String>) {
        let names = self.history.names();
        let is_there: HashSet<&str> = chain.stored().map(|s| s.name()).collect();
        let is_segment =
            |name: &str| names.parse_segment(name).is_some() || names.parse_merged(name).is_some();
        for Hole { above, problem, besides, .. } in chain.holes() {
            let action = if above.is_some() { Action::Bridge } else { Action::Quarantine };
            report.faults.push(Fault::of(problem, action));
            report.faults.extend(besides.iter().map(|p| Fault::of(p, Action::Quarantine)));
            // The problem may be that something is missing of which a sound segment tells.
            let objects = std::iter::once(problem).chain(besides).map(|p| &p.object);
            away.extend(objects.filter(|o| is_segment(o) && !is_there.contains(&***o)).cloned());
        }
    }

    /// Which restore points are lost with what can't be had.
    fn loss(&self, chain: &Chain) -> Result<Loss> {
        if chain.segments().is_empty() {
            return Ok(Loss::default());
        }
        let (history, monitor) = (self.history, self.monitor);
        let mut loss = if self.options.data {
            let page_bytes = |s: &Arc<Segment>| {
                s.manifest.versions.saturating_mul(s.manifest.page_size.get().into())
            };
            let total = chain.segments().iter().map(page_bytes).sum();
            monitor.phase(Phase::Verify, Some(total));
            loss(history, chain, Depth::Data, monitor)?
        } else {
            let lens = self.lens()?;
            loss(history, chain, Depth::Lengths(&lens), monitor)?
        };
        self.above_holes(chain, &mut loss)?;
        Ok(loss)
    }

    fn lens(&self) -> Result<HashMap<String, u64>> {
        let (store, names) = (self.history.repository().store(), self.history.names());
        let mut lens = HashMap::new();
        for prefix in [names.log(), names.merged(), names.data()] {
            lens.extend(store.list(&prefix)?.into_iter().map(|e| (e.name, e.len)));
        }
        Ok(lens)
    }

    /// Commits that have not all of their pages: what was above a hole, or otherwise has too
    /// little.
    fn above_holes(&self, chain: &Chain, loss: &mut Loss) -> Result<()> {
        if loss.unreadable.is_empty() {
            // Every version is there; are they all?
            for finding in audit::commit_digests(chain, self.monitor)? {
                let Some(seq) = finding.commit else { continue };
                let known = chain.hole_below(seq).is_some() || !loss.findings.is_empty();
                if loss.points.insert(seq) && !known {
                    loss.findings.push(Error::damaged(finding.object, finding.message));
                }
            }
            return Ok(());
        }
        for commit in chain.commits() {
            check_cancelled(self.monitor)?;
            if loss.points.contains(&commit.seq) || chain.hole_below(commit.seq).is_none() {
                continue;
            }
            match adds_up(&commit, chain.lineage(commit.seq)) {
                Ok(true) => {}
                Ok(false) => drop(loss.points.insert(commit.seq)),
                Err(e) if e.kind() == ErrorKind::Damaged => drop(loss.points.insert(commit.seq)),
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Does without merged segments that are damaged where more can be restored from what they
    /// replaced, the newest first. Returns those, and what can be restored in one way or the other.
    fn fall_back(&self, chain: Chain, loss: Loss) -> Result<Choice> {
        let is_bad = |id: &SegmentId| loss.spoilt.contains(id) || loss.unreadable.contains(id);
        let damaged: Vec<Arc<Segment>> =
            chain.stored().filter(|s| s.is_merged() && is_bad(&s.reference.id)).cloned().collect();
        let restorable = |chain: &Chain, loss: &Loss| -> BTreeSet<Seq> {
            chain.commits().map(|c| c.seq).filter(|seq| !loss.points.contains(seq)).collect()
        };
        let mut either = restorable(&chain, &loss);
        let (mut best, mut least) = (chain, loss);
        let (mut without, mut replaced) = (HashSet::new(), Vec::new());
        for segment in damaged.into_iter().rev() {
            let mut more = without.clone();
            more.insert(segment.reference.id);
            let other = Chain::load_readable(self.history, &more)?;
            let loss = self.loss(&other)?;
            let there = restorable(&other, &loss);
            either.extend(&there);
            if there.len() > restorable(&best, &least).len() {
                (best, least, without) = (other, loss, more);
                replaced.push(segment);
            }
        }
        Ok((best, least, replaced, either))
    }

    /// The numbers of commits that can't be restored any more and did not expire yet, in ranges:
    /// those of the holes as far as the names around them tell, and whatever the newest segments
    /// may have had.
    fn lost(&self, chain: &Chain, loss: &Loss) -> Result<Vec<(Seq, Seq)>> {
        let mut ranges: Vec<(Seq, Seq)> = Vec::new();
        for Hole { below, above, .. } in chain.holes() {
            let first = below.unwrap_or_default().next();
            let last = match above {
                Some(above) => Seq(above.0.saturating_sub(1)),
                None => self.history.highest_number(chain)?,
            };
            if first <= last {
                ranges.push((first, last));
            }
        }
        ranges.extend(loss.points.iter().map(|seq| (*seq, *seq)));
        Ok(chain.expired().rest_of(ranges))
    }
}
