//! From a selector to a commit.
//!
//! Invariants: on a history with holes nobody gets another commit than the one that he asked for.
//! Where what is missing may have been it, that is damage, and the hint says what is there. What a
//! commit was chosen in spite of is said with it: clocks that showed a time twice or never, clocks
//! that were wrong, labels that can't be read.

use crate::error::{Error, ErrorKind, Result};
use crate::ops::labels::{not_readable, passed_over};
use crate::policy::clock::local;
use crate::policy::guess::meant;
use crate::policy::order::{Last, backwards, last_at};
use crate::policy::selector::{FORMS, Moment, Reading, Selector, trimmed};
use crate::remedy::{Advice, Remedy, advice};
use crate::repo::chain::{Chain, Commit, Hole};
use crate::repo::history::handle::History;
use crate::types::{Seq, Timestamp};

/// A commit that was chosen, and what is to be said about the choice.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// The commit.
    pub commit: Commit,
    /// What is as usual, and may be a surprise.
    pub notes: Vec<String>,
    /// What is not as it should be, and may have meant another commit.
    pub warnings: Vec<Advice>,
}

/// The commit that a selector means.
///
/// # Errors
/// As [`choose`].
pub fn select(history: &History, chain: &Chain, selector: &Selector) -> Result<Commit> {
    choose(history, chain, selector).map(|chosen| chosen.commit)
}

/// The commit that a selector means, with what is to be said about it.
///
/// # Errors
/// [`ErrorKind::NotFound`] when there is none, with what there is; [`ErrorKind::Usage`] when an id
/// prefix fits several labels, or a time is in the future; [`ErrorKind::Damaged`] when it may be
/// one that can't be read.
pub fn choose(history: &History, chain: &Chain, selector: &Selector) -> Result<Chosen> {
    let find = Find { history, chain };
    let plain = |commit| Chosen { commit, notes: Vec::new(), warnings: Vec::new() };
    match selector {
        Selector::Latest(back) => find.latest(*back).map(plain),
        Selector::Seq(seq) => find.seq(*seq, || find.no_commit(*seq)).map(plain),
        Selector::Moment(moment) => find.moment(moment),
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

    fn known(&self) -> Advice {
        match (self.chain.commits().next(), self.chain.latest()) {
            (Some(first), Some(last)) => advice![
                format!(
                    "its commits go from seq:{} ({}) to seq:{} ({}); ",
                    first.seq,
                    local(first.record.time),
                    last.seq,
                    local(last.record.time),
                ),
                Remedy::ListCommits { history: Some(self.history.name().to_owned()) },
                " shows them",
            ],
            _ => advice![Remedy::Backup, " and ", Remedy::Follow, " store commits"],
        }
    }

    /// What is asked for may be in a hole.
    fn lost(&self, what: &str, hole: &Hole) -> Error {
        let name = self.history.name();
        let below =
            match hole.below.and_then(|end| self.chain.commits().rev().find(|c| c.seq <= end)) {
                Some(c) => {
                    let time = local(c.record.time);
                    format!("the newest before it is {name}@seq:{} of {time}; ", c.seq)
                }
                None => String::new(),
            };
        Error::new(ErrorKind::Damaged, format!("{what}: {}", hole.problem.message))
            .with_object(&*hole.problem.object)
            .with_hint(advice![
                below,
                Remedy::ListCommits { history: Some(name.to_owned()) },
                " shows what is there, ",
                Remedy::examine(name),
                " what can be done",
            ])
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

    /// That no commit has a number, and why, with its neighbours.
    fn no_commit(&self, seq: Seq) -> String {
        let before = self.chain.commits().rev().find(|c| c.seq < seq);
        let after = self.chain.commits().find(|c| c.seq > seq);
        let why = match self.chain.has_expired(seq) {
            true => ": it expired",
            // A number that was left out, or was never used.
            false => "",
        };
        let what = format!("has no commit seq:{seq}{why}");
        match (before, after) {
            (Some(before), Some(after)) => format!(
                "{what}; the one before it is seq:{} of {}, the one after it seq:{} of {}",
                before.seq,
                local(before.record.time),
                after.seq,
                local(after.record.time)
            ),
            _ => what,
        }
    }

    fn latest(&self, back: u64) -> Result<Commit> {
        let chain = self.chain;
        if let Some(hole) = chain.holes().last().filter(|hole| hole.above.is_none()) {
            return Err(self.lost("its newest commits can't be read", hole));
        }
        let back = usize::try_from(back).unwrap_or(usize::MAX);
        let none = || match back {
            0 => self.nothing("has no commits yet".to_owned()),
            _ => self.nothing(format!("has no commit latest~{back}")),
        };
        let found = chain.commits().rev().nth(back).ok_or_else(none)?;
        // How many commits are in a hole that lies above it, nobody can tell.
        match chain.holes().iter().find(|h| h.above.is_some_and(|above| above > found.seq)) {
            Some(hole) => {
                let what = format!("latest~{back} may be one that can't be read");
                Err(self.lost(&what, hole))
            }
            None => Ok(found),
        }
    }

    fn moment(&self, moment: &Moment) -> Result<Chosen> {
        let chain = self.chain;
        let times: Vec<Timestamp> = chain.commits().map(|c| c.record.time).collect();
        let last = last_at(&times, moment.time);
        let found = last.and_then(|last| chain.commits().nth(last.at));
        // Right below a hole: what lies in it may be nearer.
        let end = found.as_ref().map_or(Seq(0), |c| c.segment.end);
        let is_last = found
            .as_ref()
            .is_none_or(|c| c.segment.manifest.states().iter().all(|other| other.seq <= c.seq));
        let hole = chain.holes().iter().find(|hole| hole.below.unwrap_or_default() == end);
        if let Some(hole) = hole.filter(|_| is_last) {
            return Err(self.lost("the commit of that time may be one that can't be read", hole));
        }
        // Commits of then there can be only where a clock was ahead.
        if moment.future && times.iter().all(|time| *time < moment.time) {
            return Err(self.future(moment));
        }
        let time = local(moment.time);
        let Some(commit) = found else {
            return Err(self.nothing(format!("has no commit as old as {time}")));
        };
        let text = &moment.text;
        let note = match moment.reading {
            Reading::Once => None,
            Reading::Twice(other) => Some(format!(
                "{text:?} came twice, as clocks were set back: the later one is meant, {time}; for the earlier one write \"{}\"",
                local(other)
            )),
            Reading::Never => Some(format!(
                "{text:?} never was, as clocks were set forward: the last moment before that is meant, {time}"
            )),
        };
        let dated = last.and_then(|last| last.dated).and_then(|at| chain.commits().nth(at));
        let warning = match dated {
            Some(other) => Some(format!(
                "seq:{} is dated {}, though commits before it are dated later: a clock was wrong; by the commits around it \
                 seq:{} of {} was the last one at {time}",
                other.seq,
                local(other.record.time),
                commit.seq,
                local(commit.record.time),
            )),
            None => self.out_of_order(&times, last),
        };
        let gone = self.gone_behind(&commit);
        Ok(Chosen {
            commit,
            notes: note.into_iter().chain(gone).collect(),
            warnings: warning.into_iter().map(Advice::from).collect(),
        })
    }

    /// That commits behind one are no restore points any more: they may be nearer to a moment.
    fn gone_behind(&self, commit: &Commit) -> Option<String> {
        let after = self.chain.commits().find(|other| other.seq > commit.seq)?;
        let gone = after.seq.0.checked_sub(commit.seq.0)?.checked_sub(1).filter(|n| *n > 0)?;
        let (first, last) = (commit.seq.next(), after.seq.0.saturating_sub(1));
        let which = if gone == 1 {
            format!("seq:{first} is no restore point")
        } else {
            format!("seq:{first} to seq:{last} are no restore points")
        };
        Some(format!("{which} any more: the state of that moment may have been in what expired"))
    }

    /// That the time of a commit, or of the one after it, is earlier than the one before.
    fn out_of_order(&self, times: &[Timestamp], last: Option<Last>) -> Option<String> {
        let at = last?.at;
        let wrong = backwards(times).into_iter().find(|wrong| *wrong == at || *wrong == at + 1)?;
        let mut pair = self.chain.commits().skip(wrong.checked_sub(1)?);
        let (before, wrong) = (pair.next()?, pair.next()?);
        Some(format!(
            "seq:{} of {} is dated earlier than the commit before it, seq:{} of {}: a clock was wrong, and may be so about the commit \
             that was chosen",
            wrong.seq,
            local(wrong.record.time),
            before.seq,
            local(before.record.time)
        ))
    }

    fn future(&self, moment: &Moment) -> Error {
        let newest = match self.chain.latest() {
            Some(last) => format!(", seq:{} of {}", last.seq, local(last.record.time)),
            None => String::new(),
        };
        let yesterday = match trimmed(&moment.text).split_once(char::is_whitespace) {
            Some((day, time)) if day.eq_ignore_ascii_case("today") => {
                format!("\"yesterday {}\" is over; ", time.trim())
            }
            _ => String::new(),
        };
        Error::new(
            ErrorKind::Usage,
            format!("is in the future, {}, and so names no commit", local(moment.time)),
        )
        .with_object(format!("{:?}", moment.text))
        .with_hint(format!("{yesterday}latest names the newest commit{newest}"))
    }

    /// A label that can be read is found, whatever is the matter with others.
    fn label(&self, label: &str) -> Result<Chosen> {
        let label = trimmed(label);
        let (snapshots, unread) = self.history.readable_snapshots()?;
        let mut found: Vec<_> = snapshots.iter().filter(|s| trimmed(&s.label) == label).collect();
        if found.is_empty() && label.len() >= 4 {
            found.extend(snapshots.iter().filter(|s| s.id.to_string().starts_with(label)));
            if found.len() > 1 {
                return Err(Error::new(ErrorKind::Usage, "fits the ids of several labels")
                    .with_object(label)
                    .with_hint("give more digits of the id"));
            }
        }
        let Some(snapshot) = found.into_iter().max_by_key(|s| s.seq) else {
            let unread = not_readable(self.history, label, &unread);
            return Err(unread.unwrap_or_else(|| self.no_label(label)));
        };
        let gone = || format!("has no commit seq:{} any more, which {label:?} names", snapshot.seq);
        let commit = self.seq(snapshot.seq, gone)?;
        if snapshot.names(&commit) {
            let warnings = unread.iter().map(|e| passed_over(self.history, e)).collect();
            return Ok(Chosen { commit, notes: Vec::new(), warnings });
        }
        let given = local(snapshot.time);
        Err(self.nothing(format!(
            "has lost the commit that {label:?} was given to on {given}; another one has its number, seq:{}",
            commit.seq
        )))
    }

    fn no_label(&self, label: &str) -> Error {
        let name = self.history.name();
        let guess = meant(label).map_or(String::new(), |guess| format!("{guess}; "));
        Error::new(ErrorKind::NotFound, format!("has no label {label:?}"))
            .with_object(format!("history {name:?}"))
            .with_hint(advice![
                format!("{guess}{FORMS}; "),
                Remedy::ListCommits { history: Some(name.to_owned()) },
                " shows all commits and labels",
            ])
    }
}
