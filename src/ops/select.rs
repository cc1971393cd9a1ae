//! From a selector to a commit.
//!
//! Invariant: on a history with holes nobody gets another commit than the one that he asked for. Where what is missing may have been it,
//! that is damage, and the hint says what is there.

use crate::error::{Error, ErrorKind, Result};
use crate::policy::selector::Selector;
use crate::repo::chain::{Chain, Commit, Hole};
use crate::repo::history::History;
use crate::types::Seq;

/// The commit that a selector means.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is none, with what there is; [`ErrorKind::Usage`] when an id prefix fits several
/// snapshots; [`ErrorKind::Damaged`] when it may be one that can't be read.
pub fn select(history: &History, chain: &Chain, selector: &Selector) -> Result<Commit> {
    let find = Find { history, chain };
    match selector {
        Selector::Latest(back) => {
            if let Some(hole) = chain.holes().last().filter(|hole| hole.above.is_none()) {
                return Err(find.lost("its newest commits can't be read", hole));
            }
            let back = usize::try_from(*back).unwrap_or(usize::MAX);
            let none = || find.nothing(format!("has no commit latest~{back}"));
            let found = chain.commits().rev().nth(back).ok_or_else(none)?;
            // How many commits are in a hole that lies above it, nobody can tell.
            match chain.holes().iter().find(|h| h.above.is_some_and(|above| above > found.seq)) {
                Some(hole) => {
                    let what = format!("latest~{back} may be one that can't be read");
                    Err(find.lost(&what, hole))
                }
                None => Ok(found),
            }
        }
        Selector::Seq(seq) => find.seq(*seq, || format!("has no commit seq:{seq}")),
        Selector::Moment(time) => {
            let found = chain.commits().rev().find(|c| c.record.time <= *time);
            // Right below a hole: what lies in it may be nearer.
            let end = found.as_ref().map_or(Seq(0), |c| c.segment.end);
            let is_last = found
                .as_ref()
                .is_none_or(|c| c.segment.manifest.states().iter().all(|other| other.seq <= c.seq));
            let hole = chain.holes().iter().find(|hole| hole.below.unwrap_or_default() == end);
            if let Some(hole) = hole.filter(|_| is_last) {
                return Err(
                    find.lost("the commit of that time may be one that can't be read", hole)
                );
            }
            found.ok_or_else(|| find.nothing(format!("has no commit as old as {time}")))
        }
        Selector::Label(label) => find.label(label),
    }
}

struct Find<'a> {
    history: &'a History,
    chain: &'a Chain,
}

impl Find<'_> {
    fn nothing(&self, what: String) -> Error {
        Error::new(ErrorKind::NotFound, what)
            .with_object(format!("history {:?}", self.history.name()))
            .with_hint(self.known())
    }

    fn known(&self) -> String {
        match (self.chain.commits().next(), self.chain.latest()) {
            (Some(first), Some(last)) => format!(
                "its commits go from seq:{} ({}) to seq:{} ({}); `pagekeep log {}` shows them",
                first.seq,
                first.record.time,
                last.seq,
                last.record.time,
                self.history.name()
            ),
            _ => "the history has no commits yet".to_owned(),
        }
    }

    /// What is asked for may be in a hole.
    fn lost(&self, what: &str, hole: &Hole) -> Error {
        let name = self.history.name();
        let below =
            match hole.below.and_then(|end| self.chain.commits().rev().find(|c| c.seq <= end)) {
                Some(c) => {
                    format!("the newest before it is {name}@seq:{} of {}; ", c.seq, c.record.time)
                }
                None => String::new(),
            };
        Error::new(ErrorKind::Damaged, format!("{what}: {}", hole.problem.message))
            .with_object(&*hole.problem.object)
            .with_hint(format!(
                "{below}`pagekeep log {name}` shows what is there, `pagekeep repair {name}` what can be done"
            ))
    }

    fn seq(&self, seq: Seq, what: impl FnOnce() -> String) -> Result<Commit> {
        let inside = |hole: &&Hole| {
            hole.below.is_none_or(|below| seq > below) && hole.above.is_none_or(|above| seq < above)
        };
        match (self.chain.commit(seq), self.chain.holes().iter().find(inside)) {
            (Some(commit), _) => Ok(commit),
            (None, Some(hole)) if !self.chain.has_expired(seq) => {
                Err(self.lost(&format!("commit {seq} can't be read"), hole))
            }
            (None, _) => Err(self.nothing(what())),
        }
    }

    fn label(&self, label: &str) -> Result<Commit> {
        let snapshots = self.history.snapshots()?;
        let mut found: Vec<_> = snapshots.iter().filter(|s| s.label == *label).collect();
        if found.is_empty() && label.len() >= 4 {
            found.extend(snapshots.iter().filter(|s| s.id.to_string().starts_with(label)));
            if found.len() > 1 {
                return Err(Error::new(ErrorKind::Usage, "fits several snapshots")
                    .with_object(label)
                    .with_hint("give more digits of the id"));
            }
        }
        let none = || format!("has no snapshot labelled {label:?}");
        let Some(snapshot) = found.into_iter().max_by_key(|s| s.seq) else {
            return Err(self.nothing(none()));
        };
        let gone = || format!("has no commit seq:{} any more, which {label:?} names", snapshot.seq);
        let commit = self.seq(snapshot.seq, gone)?;
        if snapshot.names(&commit) {
            return Ok(commit);
        }
        let given = snapshot.time;
        Err(self.nothing(format!(
            "has lost the commit that {label:?} was given to on {given}; another one has its number, seq:{}",
            commit.seq
        )))
    }
}
