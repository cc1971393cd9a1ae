//! Where a restore takes a commit from: the first repository, or a mirror of the configuration.
//!
//! Invariants: a commit of another database is never given where this machine, or the first
//! repository, knows the history; where neither does, the name decides, and a warning says so. An
//! older commit than one that a mirror has is never given in silence. Where a commit was chosen in
//! the first repository, a mirror gives that one, by its digest, or none.

use std::path::Path;

use super::heads::{Head, Heads, Meant};
use crate::cli::args::RestoreArgs;
use crate::cli::asking::{LONG, SOON};
use crate::cli::context::{Context, Selected, now};
use crate::cli::progress::Progress;
use crate::cli::remedy::behind;
use crate::error::{Error, ErrorKind, Result};
use crate::ops::restore::{Check, RestoreOptions};
use crate::policy::selector::{Selector, split_target};
use crate::remedy::{Remedy, advice};
use crate::repo::Repository;
use crate::repo::chain::Chain;
use crate::repo::history::handle::History;
use crate::repo::local::place::known_history;
use crate::types::{Digest, HistoryId, Seq};

/// A restore that can be tried from more than one repository.
pub(super) struct Restoring<'a> {
    pub(super) context: &'a Context,
    pub(super) args: &'a RestoreArgs,
    pub(super) check: Check,
    pub(super) force: bool,
}

/// The commit that was chosen in the first repository.
type Wanted = Option<(Seq, Digest)>;

impl Restoring<'_> {
    /// Restores what is asked for. Answers the mirror that it is from, if it is from one.
    pub(super) fn carry_out(&self) -> Result<(Selected, Option<String>)> {
        let (name, when) = split_target(&self.args.source);
        let selector = Selector::parse(when, &now())?;
        let has_mirrors = !self.context.mirrors()?.is_empty();
        // Asked before the repository is: one that is new at its place is remembered then.
        let known = self.known(name);
        let mut meant = Meant { id: known, name: name.to_owned() };
        let first = self.context.repository();
        let history = match first.and_then(|repository| self.checked(&repository, &meant)) {
            Ok(history) => history,
            Err(e) if !has_mirrors => return Err(e),
            Err(e) if e.kind() == ErrorKind::NotFound && known.is_none() => {
                return Err(self.elsewhere_by_name(e, &meant)?);
            }
            Err(e) => return self.elsewhere(e, &meant, &selector, None),
        };
        meant.id = Some(history.id());
        // Before the first repository's commits are looked at: what is stored meanwhile comes to
        // it first.
        let may_be_behind = matches!(selector, Selector::Latest(_) | Selector::Moment(_));
        let heads = match has_mirrors && may_be_behind {
            true => Heads::of(self.context, &meant, SOON)?,
            false => Heads::default(),
        };
        for (mirror, why) in &heads.silent {
            self.context.out.remark(&format!(
                "whether the mirror {mirror} has newer commits is not known: {why}"
            ));
        }
        let chain = match self.context.chain(&history) {
            Err(e) if has_mirrors => return self.elsewhere(e, &meant, &selector, None),
            chain => chain?,
        };
        let newest = chain.latest().map_or(Seq(0), |commit| commit.seq);
        if let Some(head) = heads.found.iter().find(|head| is_ahead(head, &chain, newest))
            && let Some(restored) = self.take_from_ahead(head, newest, &selector)?
        {
            return Ok(restored);
        }
        let selected = match self.chosen(history.clone(), chain, &selector) {
            Ok(selected) => selected,
            Err(e) if !has_mirrors => return Err(e),
            Err(e) if e.kind() == ErrorKind::NotFound => {
                return self.take_from_who_has_more(e, &meant, newest, &selector);
            }
            Err(e) if selector == Selector::Latest(0) && e.kind() == ErrorKind::Damaged => {
                let newer = heads.found.iter().any(|head| head.newest() >= newest);
                if newer || heads.found.is_empty() {
                    return self.elsewhere(e, &meant, &selector, None);
                }
                let out = &self.context.out;
                out.warn(&format!("{e}{}", behind(&e)));
                out.warn(&format!("seq:{newest} is the newest commit that can be read anywhere"));
                let chain = history.readable_chain()?;
                self.chosen(history, chain, &Selector::Seq(newest))?
            }
            Err(e) => return self.elsewhere(e, &meant, &selector, None),
        };
        match self.write(&selected) {
            Ok(()) => Ok((selected, None)),
            Err(e) if !has_mirrors || self.is_of_target(&e) => Err(e),
            Err(e) => {
                let wanted = Some((selected.commit.seq, selected.commit.record.digest));
                self.elsewhere(e, &meant, &selector, wanted)
            }
        }
    }

    /// The history that this machine knows by that name in the first repository of the
    /// configuration.
    fn known(&self, name: &str) -> Option<HistoryId> {
        self.context.config().ok()??;
        let state_dir = self.context.state_dir().ok()?;
        known_history(&state_dir, self.context.location().ok()?, name)
    }

    /// The history of the name, which has to be the one that this machine knows, if it knows one.
    fn checked(&self, repository: &Repository, meant: &Meant) -> Result<History> {
        let history = repository.history(&meant.name)?;
        if meant.id.is_none_or(|known| known == history.id()) {
            return Ok(history);
        }
        let what = format!(
            "its history {:?} is another one than this machine knows here: was the repository replaced, or is another disk mounted?",
            meant.name
        );
        Err(Error::new(ErrorKind::Refused, what)
            .with_object(repository.store().location())
            .with_hint(advice![
                "mount the right one; if this one is meant: ",
                Remedy::AcceptRollback { history: None },
            ]))
    }

    fn chosen(&self, history: History, chain: Chain, selector: &Selector) -> Result<Selected> {
        let commit = self.context.choose(&history, &chain, selector)?;
        Ok(Selected { history, chain, commit, selector: selector.clone() })
    }

    fn write(&self, selected: &Selected) -> Result<()> {
        if self.args.dry_run {
            return Ok(());
        }
        let options = RestoreOptions { force: self.force, check: self.check };
        let progress = Progress::new(&self.context.out);
        selected.point().restore(&self.args.target, &options, &progress)
    }

    /// Whether an error is of the file that is written: no mirror helps against it.
    fn is_of_target(&self, e: &Error) -> bool {
        if !may_be_elsewhere(e.kind()) {
            return true;
        }
        let Some(object) = e.object() else { return false };
        let (object, target) = (Path::new(object), &*self.args.target);
        let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty());
        // Repositories that lie beside the target.
        let first = self.context.location().ok().map(str::to_owned);
        let mirrors = self.context.mirrors().unwrap_or_default();
        let places = mirrors.into_iter().map(|(_, mirror)| mirror.location.clone()).chain(first);
        let is_repository = places.into_iter().any(|place| object.starts_with(place));
        object == Path::new("the restored file")
            || object == target
            || folder.is_some_and(|folder| object.starts_with(folder)) && !is_repository
            || folder.is_none() && object == Path::new(".")
    }

    /// That a whole first repository has no such history; with the mirrors that have one.
    fn elsewhere_by_name(&self, e: Error, meant: &Meant) -> Result<Error> {
        let heads = Heads::of(self.context, meant, SOON)?;
        Ok(match heads.found.first() {
            Some(head) => e.with_hint(format!(
                "the mirror {} has a history of that name: -r {} restores from it",
                head.mirror, head.mirror
            )),
            None => e,
        })
    }

    /// Restores from a mirror that has commits which the first repository has no more: that one was
    /// set back. `None` if both mean the same commit.
    fn take_from_ahead(
        &self,
        head: &Head,
        newest: Seq,
        selector: &Selector,
    ) -> Result<Option<(Selected, Option<String>)>> {
        let (out, mirror) = (&self.context.out, &head.mirror);
        let chosen = self.chosen(head.history.clone(), head.chain.clone(), selector);
        let selected = match chosen {
            Ok(selected) if selected.commit.seq > newest => selected,
            _ => return Ok(None),
        };
        out.warn(&format!(
            "the first repository ends at seq:{newest}, and its mirror {mirror} at seq:{}: the first one was set back; the mirror's commit is taken",
            head.newest()
        ));
        match self.write(&selected) {
            Ok(()) => Ok(Some((selected, Some(mirror.clone())))),
            Err(e) if self.is_of_target(&e) => Err(e),
            Err(e) => {
                out.warn(&format!(
                    "mirror {mirror}: {e}{}; an older commit of the first repository is taken",
                    behind(&e)
                ));
                Ok(None)
            }
        }
    }

    /// A commit that a whole first repository has not: a mirror has it only if it has more.
    fn take_from_who_has_more(
        &self,
        e: Error,
        meant: &Meant,
        newest: Seq,
        selector: &Selector,
    ) -> Result<(Selected, Option<String>)> {
        let heads = Heads::of(self.context, meant, SOON)?;
        match heads.found.iter().any(|head| head.newest() > newest) {
            true => self.elsewhere(e, meant, selector, None),
            false => Err(e),
        }
    }

    /// Restores from the mirror that has most of what the first repository has not as it should be.
    fn elsewhere(
        &self,
        error: Error,
        meant: &Meant,
        selector: &Selector,
        wanted: Wanted,
    ) -> Result<(Selected, Option<String>)> {
        if !may_be_elsewhere(error.kind()) && error.kind() != ErrorKind::Refused {
            return Err(error);
        }
        let out = &self.context.out;
        out.warn(&format!("{error}{}; a mirror may have it", behind(&error)));
        let heads = Heads::of(self.context, meant, LONG)?;
        for (mirror, why) in &heads.silent {
            out.warn(&format!("mirror {mirror}: {why}"));
        }
        for head in heads.found {
            let Head { mirror, history, chain } = head;
            match self.taken(history, chain, selector, wanted) {
                Ok(selected) => {
                    self.tell_of_doubt(&selected, &mirror, meant, wanted);
                    return Ok((selected, Some(mirror)));
                }
                Err(e) if e.kind() == ErrorKind::Interrupted || self.is_of_target(&e) => {
                    return Err(e);
                }
                Err(e) => out.warn(&format!("mirror {mirror}: {e}")),
            }
        }
        Err(error)
    }

    /// Restores from a mirror what is asked for, and nothing but what is wanted.
    fn taken(
        &self,
        history: History,
        chain: Chain,
        selector: &Selector,
        wanted: Wanted,
    ) -> Result<Selected> {
        let of_number = wanted.map(|(seq, _)| Selector::Seq(seq));
        let mut selected = self.chosen(history, chain, of_number.as_ref().unwrap_or(selector))?;
        let commit = &selected.commit;
        if wanted.is_some_and(|(_, digest)| digest != commit.record.digest) {
            let what = format!("its commit seq:{} is another one", commit.seq);
            let object = selected.history.repository().store().location();
            return Err(Error::new(ErrorKind::Damaged, what).with_object(object));
        }
        selected.selector = selector.clone();
        self.write(&selected)?;
        Ok(selected)
    }

    fn tell_of_doubt(&self, selected: &Selected, mirror: &str, meant: &Meant, wanted: Wanted) {
        let out = &self.context.out;
        if wanted.is_none() {
            out.warn(&format!(
                "which commits the first repository should have nobody could see: seq:{} is what the mirror {mirror} has",
                selected.commit.seq
            ));
        }
        if meant.id.is_none() {
            out.warn(&format!(
                "this machine does not know the history: whether that of the mirror {mirror} is of the same database it can't tell"
            ));
        }
    }
}

/// Whether a mirror has commits behind the newest one of the first repository, of the same history.
fn is_ahead(head: &Head, first: &Chain, newest: Seq) -> bool {
    let here = first.latest().map(|commit| commit.record.digest);
    let there = head.chain.commit(newest).map(|commit| commit.record.digest);
    // What lies in a hole may be what the mirror has more.
    let is_whole = first.holes().iter().all(|hole| hole.above.is_some());
    is_whole && head.newest() > newest && there.is_none_or(|there| Some(there) == here)
}

/// Whether a mirror may help against an error of such a kind.
fn may_be_elsewhere(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Damaged
            | ErrorKind::NoRepository
            | ErrorKind::Storage
            | ErrorKind::WrongKey
            | ErrorKind::NotFound
    )
}
