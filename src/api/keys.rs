//! Keys: a new repository's, the slots of one, and how they change.

use serde::Serialize;
use utoipa::ToSchema;

use crate::format::slot::SecretKind;
use crate::ops::prune::RewriteReport;
use crate::repo::Repository;
use crate::repo::history::handle::History;
use crate::repo::keys::key_slots::SlotInfo;
use crate::repo::keys::rotate::Rotated;
use crate::types::{KeyId, RepositoryId, SlotId, Timestamp};

/// A repository that was created.
#[derive(Serialize, ToSchema)]
pub(crate) struct InitSummary {
    /// Where it is.
    repository: String,
    /// Its identity.
    id: RepositoryId,
    /// The recovery key, which is shown only now; null if none was made.
    recovery_key: Option<String>,
}

impl InitSummary {
    /// A new repository, and its recovery key.
    pub(crate) fn of(repository: &Repository, recovery_key: Option<&str>) -> Self {
        Self {
            repository: repository.store().location(),
            id: repository.id(),
            recovery_key: recovery_key.map(str::to_owned),
        }
    }
}

/// A recovery key, before it is used: it is shown only now.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoveryKey {
    /// The key, as it is typed.
    pub(crate) recovery_key: String,
}

/// A public key by which evidence is checked. It is no secret.
#[derive(Serialize, ToSchema)]
pub(crate) struct PublicKey {
    /// The Ed25519 key, 64 hex digits.
    pub(crate) public_key: String,
    /// The master key that it follows from.
    pub(crate) master_key: KeyId,
    /// When that was made.
    pub(crate) created: Timestamp,
    /// Whether it signs now; the others signed before.
    pub(crate) signs: bool,
}

/// A key slot: something that opens the repository.
#[derive(Serialize, ToSchema)]
pub(crate) struct Key {
    /// The identity of the slot.
    id: SlotId,
    /// What opens it; null if the slot can't be read.
    kind: Option<SecretKind>,
    /// Its label; null if the slot can't be read.
    label: Option<String>,
    /// When it was made; null if the slot can't be read.
    created: Option<Timestamp>,
    /// Whether it opened the repository for this command.
    current: bool,
    /// Why the slot can't be read, in words; null if it can.
    error: Option<String>,
}

impl From<&SlotInfo> for Key {
    fn from(slot: &SlotInfo) -> Self {
        let front = slot.front.as_ref().ok();
        Self {
            id: slot.id,
            kind: front.map(|front| front.secret),
            label: front.map(|front| front.label.clone()),
            created: front.map(|front| front.created),
            current: slot.current,
            error: slot.front.as_ref().err().cloned(),
        }
    }
}

/// A key that was added.
#[derive(Serialize, ToSchema)]
pub(crate) struct AddSummary {
    /// The new slot; null if the key opens the repository already.
    pub(crate) added: Option<SlotId>,
    /// The slot that the key opens already; null if there is none.
    pub(crate) already: Option<SlotId>,
}

/// A key that was removed.
#[derive(Serialize, ToSchema)]
pub(crate) struct RemoveSummary {
    /// The slot.
    pub(crate) removed: SlotId,
}

/// A key that took the place of another one.
#[derive(Serialize, ToSchema)]
pub(crate) struct PasswdSummary {
    /// The new slot.
    pub(crate) added: SlotId,
    /// The slot in whose place it is.
    pub(crate) removed: SlotId,
}

/// A recovery key that was added.
#[derive(Serialize, ToSchema)]
pub(crate) struct RecoverySummary {
    /// The new slot.
    pub(crate) added: SlotId,
    /// The slots of recovery keys that were removed.
    pub(crate) removed: Vec<SlotId>,
    /// The slots of other recovery keys that are still there.
    pub(crate) kept: Vec<SlotId>,
    /// The recovery key, which is shown only now.
    pub(crate) recovery_key: Option<String>,
}

/// A rotation of the master key.
#[derive(Serialize, ToSchema)]
pub(crate) struct RotateSummary {
    /// The new master key.
    key: KeyId,
    /// The slots that there are now.
    added: Vec<SlotId>,
    /// The slots in whose place they are.
    replaced: Vec<SlotId>,
    /// The slots that were removed, since no key was given for them.
    removed: Vec<SlotId>,
    /// The new recovery key, which is shown only now; null if none was made.
    recovery_key: Option<String>,
}

impl RotateSummary {
    /// What a rotation did, and its recovery key.
    pub(crate) fn of(rotated: &Rotated, recovery_key: Option<&str>) -> Self {
        Self {
            key: rotated.key,
            added: rotated.added.clone(),
            replaced: rotated.replaced.clone(),
            removed: rotated.removed.clone(),
            recovery_key: recovery_key.map(str::to_owned),
        }
    }
}

/// What sealing a history anew came to: one line for each history.
#[derive(Serialize, ToSchema)]
pub(crate) struct RewriteSummary {
    /// The name of the history.
    history: String,
    /// How many segments are sealed under the newest key now.
    segments: u64,
    /// The bytes that they take.
    bytes: u64,
    /// Whether the newest segment is still under an older key, until another one stands behind it.
    newest_left: bool,
}

impl RewriteSummary {
    /// What was sealed anew of a history.
    pub(crate) fn of(history: &History, report: &RewriteReport) -> Self {
        Self {
            history: history.name().to_owned(),
            segments: report.segments,
            bytes: report.bytes,
            newest_left: report.newest_left,
        }
    }
}
