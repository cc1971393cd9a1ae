//! What each rule of a retention policy costs: the room that its points take and that nothing else
//! needs.
//!
//! For each rule the policy is planned without it, and what the two plans need is compared. So a
//! rule whose points other rules keep as well costs nothing, and what several rules need is no
//! single one's: leaving out both would free more than their costs together. Labels and holds count
//! as a rule of their own. The newest commit stays under any policy and is nobody's cost.
//!
//! Bytes are an estimate: all page versions of a segment take the same part of it. A prune frees
//! them once enough of a segment is not needed, see [`crate::ops::prune`].

use std::collections::{BTreeMap, HashSet};

use crate::count::{number, part};
use crate::error::Result;
use crate::ops::prune::{DELETED, pins, points};
use crate::policy::retention::{Plan, Policy, Reason, Zone};
use crate::repo::chain::{Chain, Segment};
use crate::repo::history::handle::History;
use crate::types::{Seq, Timestamp};

/// What a policy costs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PolicyCost {
    /// Commits that it keeps.
    pub kept: u64,
    /// Commits that it would let expire.
    pub dropped: u64,
    /// Bytes of segments that the kept commits need.
    pub stays: u64,
    /// The other bytes of segments: what pruning by this policy could free.
    pub goes: u64,
    /// What `stays` is not the cost of a single rule: the newest commit's, and what several rules
    /// need.
    pub shared: u64,
    /// The rules that the policy has, from short to long.
    pub rules: Vec<RuleCost>,
}

/// What a rule costs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RuleCost {
    /// The rule as [`Reason::name`] has it; `pinned` for labels and holds.
    pub rule: &'static str,
    /// Commits that it keeps, with others or alone.
    pub points: u64,
    /// Commits that would expire without it.
    pub only: u64,
    /// Bytes that would be free without it.
    pub bytes: u64,
}

/// A rule, and the plan without it.
struct Rule {
    name: &'static str,
    points: u64,
    without: Plan,
}

/// The plan of a policy, and what it would be without each of its rules.
pub(super) struct Rules {
    plan: Plan,
    rules: Vec<Rule>,
}

/// Takes one rule out of a policy.
type TakeOut = fn(&mut Policy);

/// The rules of a policy; whether there are pins is another matter.
const RULES: [(Reason, TakeOut); 8] = [
    (Reason::Window, |p| p.window = None),
    (Reason::Last, |p| p.last = 0),
    (Reason::Hourly, |p| p.hourly = None),
    (Reason::Daily, |p| p.daily = None),
    (Reason::Weekly, |p| p.weekly = None),
    (Reason::Monthly, |p| p.monthly = None),
    (Reason::Yearly, |p| p.yearly = None),
    (Reason::Floor, |p| p.floor = 0),
];

impl Rules {
    pub(super) fn new(
        history: &History,
        chain: &Chain,
        policy: &Policy,
        zone: &Zone,
        now: Timestamp,
    ) -> Result<Self> {
        let pins = pins(history, DELETED, now, &history.marks_over(now)?)?;
        let points = points(chain);
        let plan = zone.plan(policy, &points, &pins, now)?;
        let mut rules = Vec::new();
        for (reason, take_out) in RULES {
            let mut rest = policy.clone();
            take_out(&mut rest);
            if rest == *policy {
                continue;
            }
            if rest.is_empty() {
                // A policy needs a rule, and the newest commit stays in any case.
                rest.last = 1;
            }
            let without = zone.plan(&rest, &points, &pins, now)?;
            let keeps = |r: &Reason| *r == reason || edge_of(r) == Some(&reason);
            rules.push(Rule { name: reason.name(), points: count(&plan, keeps), without });
        }
        if !pins.is_empty() {
            let without = zone.plan(policy, &points, &BTreeMap::new(), now)?;
            let pinned = Reason::Pinned(String::new());
            let keeps = |r: &Reason| matches!(r, Reason::Pinned(_));
            rules.push(Rule { name: pinned.name(), points: count(&plan, keeps), without });
        }
        Ok(Self { plan, rules })
    }

    /// The chain as it would be under the policy, and then without each rule.
    pub(super) fn choices(&self, chain: &Chain) -> Vec<Chain> {
        let plans = [&self.plan].into_iter().chain(self.rules.iter().map(|r| &r.without));
        plans.map(|plan| chain.without(plan.dropped.iter().map(|p| p.seq))).collect()
    }

    /// The costs, by how many versions of each segment are needed in each of [`Rules::choices`].
    pub(super) fn priced(self, chain: &Chain, needed: &[Vec<u64>]) -> PolicyCost {
        let bytes = |needed: Option<&Vec<u64>>| -> u64 {
            let counts = needed.into_iter().flatten();
            let segments = chain.segments().iter().zip(counts);
            let need = |s: &Segment, n: u64| match s.manifest.versions {
                // Its commits alone are what it is for.
                0 => s.stored_len(),
                versions => part(s.stored_len(), n, versions),
            };
            segments.map(|(s, n)| need(s, *n)).sum()
        };
        let all: u64 = chain.segments().iter().map(|s| s.stored_len()).sum();
        let stays = bytes(needed.first());
        let kept: HashSet<Seq> = self.plan.kept.iter().map(|k| k.seq).collect();
        let mut rules = Vec::new();
        for (at, rule) in self.rules.into_iter().enumerate() {
            let gone = rule.without.dropped.iter().filter(|p| kept.contains(&p.seq));
            rules.push(RuleCost {
                rule: rule.name,
                points: rule.points,
                only: number(gone.count()),
                // In place of what goes the floor may keep others.
                bytes: stays.saturating_sub(bytes(needed.get(at + 1))),
            });
        }
        let costs: u64 = rules.iter().map(|r| r.bytes).sum();
        PolicyCost {
            kept: number(self.plan.kept.len()),
            dropped: number(self.plan.dropped.len()),
            stays,
            goes: all.saturating_sub(stays),
            shared: stays.saturating_sub(costs),
            rules,
        }
    }
}

/// The rule that a reason belongs to, where it has another name.
fn edge_of(reason: &Reason) -> Option<&'static Reason> {
    (*reason == Reason::WindowEdge).then_some(&Reason::Window)
}

fn count(plan: &Plan, keeps: impl Fn(&Reason) -> bool) -> u64 {
    number(plan.kept.iter().filter(|k| k.reasons.iter().any(&keeps)).count())
}
