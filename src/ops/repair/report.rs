//! What a repair is asked for, what it finds, and what it does about that.

use std::collections::BTreeSet;

use derive_setters::Setters;

use crate::remedy::Advice;
use crate::repo::chain::Problem;
use crate::types::Seq;

/// How to repair.
#[derive(Clone, Debug, Setters)]
#[setters(strip_option)]
#[non_exhaustive]
pub struct RepairOptions {
    /// Do it, and not only say what would be done.
    pub apply: bool,
    /// Open every batch; without it, only what holds the history together is looked at.
    pub data: bool,
    /// Go on with a live database that lay elsewhere before.
    pub adopt: bool,
}

impl Default for RepairOptions {
    fn default() -> Self {
        Self { apply: false, data: true, adopt: false }
    }
}

/// Something that is wrong, and what is done about it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Fault {
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub message: String,
    /// What is done.
    pub action: Action,
    /// What helps where a repair does not.
    pub hint: Option<Advice>,
}

impl Fault {
    pub(super) fn of(problem: &Problem, action: Action) -> Self {
        let action = if problem.too_new { Action::Leave } else { action };
        Self {
            object: problem.object.clone(),
            message: problem.message.clone(),
            action,
            hint: None,
        }
    }
}

/// What is done about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The object goes to the quarantine.
    Quarantine,
    /// The other copy of it is put in its place; what was there goes to the quarantine.
    PutBack,
    /// The commits that need it expire.
    Expire,
    /// The commits that need it expire, and a segment without pages takes its place, so that what
    /// lies around it stays.
    Bridge,
    /// What it is read for is written anew.
    Replace,
    /// Nothing: this version does not understand it, or nobody needs it.
    Leave,
}

impl Action {
    /// A stable lower-case name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Quarantine => "quarantine",
            Self::PutBack => "put-back",
            Self::Expire => "expire",
            Self::Bridge => "bridge",
            Self::Replace => "replace",
            Self::Leave => "leave",
        }
    }
}

/// What a repair found and did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RepairReport {
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What is not as it was written, and harms nobody.
    pub remarks: Vec<Fault>,
    /// Commits that can be restored.
    pub restorable: BTreeSet<Seq>,
    /// Commits that can be restored now, and not after the repair: of two segments that stand for
    /// the same commits, both of them damaged, it keeps the one of which more is left.
    pub given_up: BTreeSet<Seq>,
    /// First and last numbers of commits that the history had, as far as can be told, and that
    /// can't be restored any more.
    pub lost: Vec<(Seq, Seq)>,
    /// Labels and holds of commits that are lost: the commit, and which label or hold.
    pub unmarked: BTreeSet<(Seq, String)>,
    /// Whether this machine has seen newer commits than there are. Then nothing is done before
    /// somebody says that this is as it should be.
    pub set_back: bool,
    /// The commit that the live database became.
    pub healed: Option<Seq>,
    /// Whether there was one copy of the description, as older versions leave it. `apply` adds the
    /// other.
    pub described_once: bool,
}

impl RepairReport {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty() && self.lost.is_empty()
    }
}
