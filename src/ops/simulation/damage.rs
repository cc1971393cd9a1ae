//! Damage beside actors: once in a run one object is lost, or a bit of it flips, and everybody goes
//! on.
//!
//! Much that is promised otherwise holds no more: a chain that lacks something does not read for
//! those who write, and what is built on lost pages can't be restored, whoever was told of it.
//! These promises are left:
//!
//! | promise | looked at |
//! |---|---|
//! | an acknowledged commit that is whole on what readers found, as it is after the damage, stays, with its digest | after each change |
//! | the number of an acknowledged commit names nothing else, nor does a label name another commit | after each change |
//! | a repair in the end leaves a history that reads, goes on, and has every such commit; a second one finds nothing | in the end |
//! | nobody panics | always |
//!
//! The newest two segments and the newest claim are damaged, but never lost. Nothing in a
//! repository tells that the newest segment is gone; and who held the turn before goes on until a
//! segment of the lost claim's turn is there. Nobody lets commits expire, so that whatever goes was
//! lost.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::cast::{App, Role, Theatre};
use super::play::{BEGINNINGS, Script};
use crate::capture::commit::{CaptureOptions, capture};
use crate::chance::Random;
use crate::error::Result;
use crate::ops::repair::RepairOptions;
use crate::ops::trial::all_data;
use crate::progress::Silent;
use crate::repo::history::handle::History;
use crate::repo::write::writer::Writer;
use crate::simulated;
use crate::sqlite::pin::Pin;
use crate::store::{MemoryStore, Store};
use crate::types::Seq;

impl Script {
    /// A cast that has to do with damage.
    pub(super) fn damaged(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut n = |below: usize| random.below(below);
        let mut cast = vec![Role::Damage { of: "" }, Role::Repair];
        cast.push(match n(2) {
            0 => Role::Backup { machine: n(3), times: 1 + n(3) },
            _ => Role::Follow { machine: n(3), commits: 2 + n(4), renew: n(2) == 0 },
        });
        for _ in 0..n(3) {
            cast.push(match n(8) {
                0 => Role::Backup { machine: n(3), times: 1 + n(2) },
                1 | 2 => Role::Repair,
                3 | 4 => Role::Prune { last: 1000, grace: [0, 3600][n(2)], times: 1 + n(2) },
                5 => Role::Label { times: 1 + n(3) },
                6 => Role::Restore { times: 1 + n(2) },
                _ => Role::Verify,
            });
        }
        let (fan, inline) = (2 + n(3), [100_000, 600][n(2)]);
        Self { seed, beginning: 1 + n(BEGINNINGS - 1), cast, fan, inline }
    }
}

/// What was done to an object.
pub(super) struct Strike {
    name: String,
    /// What it consists of now, if it is there.
    left: Option<Vec<u8>>,
    pub(super) told: String,
}

impl Strike {
    /// Chooses an object of a history, and what becomes of it; none if there is none.
    pub(super) fn choose(
        store: &MemoryStore,
        of: &str,
        random: &mut Random,
    ) -> Result<Option<Self>> {
        let all = store.list("histories/")?;
        // A writer takes its segment back if the one before is gone: then that was the newest.
        let newest = all.iter().rev().filter(|entry| entry.name.contains("/log/")).take(2);
        let claim = all.iter().rfind(|entry| entry.name.contains("/writers/"));
        let newest: Vec<&String> = newest.chain(claim).map(|entry| &entry.name).collect();
        let eligible: Vec<_> = all.iter().filter(|entry| entry.name.contains(of)).collect();
        let Some(struck) = eligible.get(random.below(eligible.len().max(1))) else {
            return Ok(None);
        };
        let name = struck.name.clone();
        let mut bytes = store.get(&name, u64::MAX)?.unwrap_or_default();
        if random.below(2) == 0 && !newest.contains(&&name) || bytes.is_empty() {
            return Ok(Some(Self { told: format!("{name} is lost"), name, left: None }));
        }
        // Behind the bytes that say which version wrote it: whatever a newer one wrote stays as it
        // is.
        let front = 16.min(bytes.len() - 1);
        let at = front + random.below(bytes.len() - front);
        bytes[at] ^= 1 << random.below(8);
        let told = format!("byte {at} of {name} is another one");
        Ok(Some(Self { name, left: Some(bytes), told }))
    }

    pub(super) fn apply(&self, store: &MemoryStore) -> Result<()> {
        match &self.left {
            Some(bytes) => store.damage(&self.name, bytes),
            None => store.delete(&self.name)?,
        }
        Ok(())
    }

    /// The commits that stay whole on the chain that readers find, whatever lies beside it now:
    /// somebody may be deleting that.
    pub(super) fn whole(&self, theatre: &Theatre, me: usize) -> Result<BTreeSet<Seq>> {
        let _free = simulated::enter(None);
        let store = theatre.store.branch(theatre.clock());
        let options = theatre.machine(&format!("survey of {me}"));
        let history = theatre.opened.elsewhere(Arc::new(store.clone()), options).history("app")?;
        for stray in history.readable_chain()?.off_chain() {
            store.delete(&stray.name)?;
        }
        self.apply(&store)?;
        let options = RepairOptions { apply: false, data: true, adopt: false };
        Ok(history.plan_repair(&options, &Silent)?.report().restorable.clone())
    }
}

/// Everybody has gone home: a repair leaves a history that reads and goes on. Panics otherwise.
pub(super) fn in_the_end(history: &History, dir: &Path, whole: &BTreeSet<Seq>) {
    let options = |apply| RepairOptions { apply, data: true, adopt: false };
    let mend = |apply| {
        let report = history.repair(None, &options(apply), &Silent);
        report.unwrap_or_else(|e| panic!("the last repair: {e:?}"))
    };
    let found = mend(true);
    let again = mend(false);
    assert_eq!(again.faults, vec![], "after the last repair, which found {found:?}");
    let chain = history.chain().unwrap_or_else(|e| panic!("after the last repair: {e:?}"));
    let there: BTreeSet<Seq> = chain.commits().map(|commit| commit.seq).collect();
    assert!(there.is_superset(whole), "{there:?} lacks some of {whole:?}: {found:?}");
    let mut app = App::new(&mut Random::new(77));
    let mut writer = Writer::open(history, "backup").unwrap_or_else(|e| panic!("{e:?}"));
    let options = CaptureOptions::default();
    let pin = Pin::on_connection(&mut app.0).unwrap();
    capture(&mut writer, pin, "app.db", &options, &Silent).unwrap_or_else(|e| panic!("{e:?}"));
    drop(writer);
    let report = history.verify(None, &all_data(dir), &Silent).unwrap();
    assert_eq!(report.findings, vec![], "the last verification");
}
