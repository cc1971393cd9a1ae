//! What a repair finds, does, and takes for right.

use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Error;
use crate::ops::repair::{Action, Fault, RepairReport};
use crate::remedy::Advice;
use crate::repo;
use crate::repo::absent::Absent;
use crate::repo::history::handle::History;
use crate::repo::recover::Recovery;
use crate::types::{HistoryId, RepositoryId, Seq, SlotId, Timestamp};

/// An object that is damaged, and what is done about it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Damage {
    /// The name of the history.
    history: String,
    /// The object.
    object: String,
    /// What is wrong with it, in words.
    message: String,
    /// What is done, or would be.
    action: Action,
    /// What helps where a repair does not, in words; null if nothing has to be done.
    hint: Option<String>,
}

impl Damage {
    /// A fault in a history, with its hint in the words of a front.
    pub(crate) fn of(history: &History, fault: &Fault, said: impl Fn(&Advice) -> String) -> Self {
        Self {
            history: history.name().to_owned(),
            object: fault.object.clone(),
            message: fault.message.clone(),
            action: fault.action,
            hint: fault.hint.as_ref().map(said),
        }
    }
}

/// An object that is not as it was written and harms nothing, and what is done about it.
#[derive(Serialize, ToSchema)]
pub(crate) struct Remark {
    /// The name of the history.
    history: String,
    /// The object.
    object: String,
    /// What is wrong with it, in words.
    message: String,
    /// What is done, or would be.
    action: Action,
    /// What helps where a repair does not, in words; null if nothing has to be done.
    hint: Option<String>,
}

impl Remark {
    /// A remark on a history, with its hint in the words of a front.
    pub(crate) fn of(history: &History, remark: &Fault, said: impl Fn(&Advice) -> String) -> Self {
        let Damage { history, object, message, action, hint } = Damage::of(history, remark, said);
        Self { history, object, message, action, hint }
    }
}

/// What the repair of a history came to, or would: one line for each history.
#[derive(Serialize, ToSchema)]
pub(crate) struct RepairSummary {
    /// The name of the history.
    history: String,
    /// Whether it was done, and not only said.
    applied: bool,
    /// How many objects are damaged.
    damage: usize,
    /// The commits that can be restored: the first and the last of each stretch.
    restorable: Vec<[Seq; 2]>,
    /// The commits that can be restored now and not after the repair: the first and the last of
    /// each stretch.
    given_up: Vec<[Seq; 2]>,
    /// The commits that can't be restored any more, as far as can be told: the first and the last
    /// of each stretch.
    lost: Vec<[Seq; 2]>,
    /// The labels and holds of lost commits: the commit, and which label or hold.
    lost_labels_and_holds: Vec<(Seq, String)>,
    /// Whether this machine has seen newer commits than there are. Then nothing is done.
    went_backwards: bool,
    /// The commit that the live database became; null if it was not asked for, or was none.
    healed: Option<Seq>,
}

impl RepairSummary {
    /// What came of a repair.
    pub(crate) fn of(history: &History, report: &RepairReport, applied: bool) -> Self {
        Self {
            history: history.name().to_owned(),
            applied,
            damage: report.faults.len(),
            restorable: ranges(&report.restorable),
            given_up: ranges(&report.given_up),
            lost: report.lost.iter().map(|(first, last)| [*first, *last]).collect(),
            lost_labels_and_holds: report.unmarked.iter().cloned().collect(),
            went_backwards: report.set_back,
            healed: report.healed,
        }
    }
}

/// First and last of each stretch.
pub(crate) fn ranges(seqs: &BTreeSet<Seq>) -> Vec<[Seq; 2]> {
    let mut ranges: Vec<[Seq; 2]> = Vec::new();
    for seq in seqs {
        match ranges.last_mut() {
            Some([_, last]) if last.next() == *seq => *last = *seq,
            _ => ranges.push([*seq, *seq]),
        }
    }
    ranges
}

/// The object `repository`, which is missing or damaged and is written anew from the key slots.
#[derive(Serialize, ToSchema)]
pub(crate) struct Repository {
    /// Where the repository is.
    repository: String,
    /// Its identity, as the key slots have it.
    id: RepositoryId,
    /// When it was created.
    created: Timestamp,
    /// The object.
    object: Option<String>,
    /// What is wrong with it, in words.
    message: String,
    /// The key slots that open with the key that was given.
    slots: Vec<SlotId>,
    /// Whether it was written anew, and not only said.
    applied: bool,
}

impl Repository {
    /// What is wrong with the object of the repository at a location, and what it is made of.
    pub(crate) fn of(location: &str, fault: &Error, recovery: &Recovery, applied: bool) -> Self {
        Self {
            repository: location.to_owned(),
            id: recovery.object.id,
            created: recovery.object.created,
            object: fault.object().map(str::to_owned),
            message: fault.message().to_owned(),
            slots: recovery.slots.clone(),
            applied,
        }
    }
}

/// Something that this machine remembers otherwise, and that is taken for right now.
#[derive(Serialize, ToSchema)]
pub(crate) struct AcceptSummary {
    /// Where the repository is; null if it is about a history.
    repository: Option<String>,
    /// The name of the history; null if it is about the repository, or about a history without a
    /// name.
    history: Option<String>,
    /// The identity of the repository or of the history.
    id: String,
    /// True.
    accepted: bool,
}

impl AcceptSummary {
    /// The repository that is at its location.
    pub(crate) fn repository(repository: &repo::Repository) -> Self {
        Self {
            repository: Some(repository.store().location()),
            history: None,
            id: repository.id().to_string(),
            accepted: true,
        }
    }

    /// A history that is gone.
    pub(crate) fn gone(gone: &Absent) -> Self {
        Self::history(gone.name.as_deref(), gone.id)
    }

    /// A history as it is.
    pub(crate) fn history(name: Option<&str>, id: HistoryId) -> Self {
        Self {
            repository: None,
            history: name.map(str::to_owned),
            id: id.to_string(),
            accepted: true,
        }
    }
}
