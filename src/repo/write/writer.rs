//! The right to append to a history: a claimed [term](super::term), and what this machine
//! remembers.
//!
//! A writer claims a term, and only then looks for the newest segment to build on. It publishes by
//! creating `log/<term>-<first seq>`. Before it tells anyone that a commit is durable it looks
//! again: the next term must be absent, and then its own present. So whatever was acknowledged was
//! there before the next writer looked, and is on the next writer's chain. What a sleeper or a
//! cloned machine publishes late was acknowledged to nobody, and is off the chain as soon as the
//! next writer publishes.
//!
//! One thing is left: a writer that claimed a term and published nothing in it protects nothing. If
//! terms were claimed between the head's and its own, one of their holders may have looked before
//! the head was published, and may publish a rival of the head late. So such a writer may not call
//! the head safe before it has published behind it: it publishes a commit without pages, an
//! *anchor*. Where no term lies between but those of prunes, only the head's own writer could
//! publish late, and it would only go on from the head.
//!
//! A prune takes the turn too, and deletes what was merged. A writer that finds its term gone
//! claims the next, and goes on if the chain still ends in its own newest segment, whose parts are
//! all there.
//!
//! Invariants: no lease, no clock. One process per machine and history, by a local lock. A writer
//! that was superseded by another writer stops with [`ErrorKind::Superseded`].

use super::noticed::Noticed;
use super::standing;
use super::term::{Claim, in_force, quiet_after, quiet_since};
use crate::error::{Error, ErrorKind, Result};
use crate::format::names::LogName;
use crate::format::segment::CommitRecord;
use crate::remedy::{Advice, Remedy, advice};
use crate::repo::chain::links::{Links, later_than, superseded, taken_over, too_short};
use crate::repo::chain::{Chain, Segment};
use crate::repo::history::handle::History;
use crate::repo::local::rollback;
use crate::repo::local::state::{Head, State, StateDir};
use crate::repo::merge::compaction;
use crate::repo::write::segment_data::missing_part;
use crate::sqlite::source::Position;
use crate::store::Created;
use crate::types::{Seq, Term, WriterToken};

/// A claimed term, and what this machine remembers.
#[derive(Debug)]
pub struct Writer {
    history: History,
    role: String,
    pub(crate) dir: StateDir,
    pub(crate) state: State,
    /// What this process tried to publish behind the head, and where in the source that ends: any
    /// of it may be there, or come to be there yet.
    tries: Vec<(Head, Option<Position>)>,
    /// Whether the term was claimed before this process began.
    goes_on: bool,
    /// Tokens of turns that this process asked for, and did nothing in so far.
    mine: Vec<WriterToken>,
    /// What it is built on.
    pub(crate) links: Links,
    /// What commits did to the database as a whole.
    pub(crate) noticed: Noticed,
}

impl Writer {
    /// Goes on in the term that this machine holds, or claims the next one.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when another process of this machine writes to the history; store
    /// errors; [`ErrorKind::Damaged`] when the chain is broken, or lacks what was acknowledged to
    /// this machine.
    pub fn open(history: &History, role: &str) -> Result<Self> {
        Self::open_on(history, role, None)
    }

    /// As [`Writer::open`], in a turn of its own, on what a chain is shown to be whose newest
    /// segments can't be read.
    pub(crate) fn open_below(
        history: &History,
        role: &str,
        load: &dyn Fn() -> Result<Chain>,
    ) -> Result<Self> {
        Self::open_on(history, role, Some(load))
    }

    fn open_on(
        history: &History,
        role: &str,
        load: Option<&dyn Fn() -> Result<Chain>>,
    ) -> Result<Self> {
        let dir = StateDir::lock(history)?;
        // Those that an older version began have one.
        history.keep_twice()?;
        let saved = dir.read()?;
        if let Some(state) = &saved
            && load.is_none()
            && still_holds(history, state)?
        {
            sync_log(history)?;
            let dir = written(dir, state)?;
            return Ok(Self { goes_on: true, ..Self::with(history, role, dir, state.clone()) });
        }
        let token = WriterToken::random()?;
        // Before anything is claimed: a claim whose answer is lost is known for ours.
        let mut before = saved.clone().unwrap_or_else(|| State::new(Term(0), token, None));
        before.claiming.push(token);
        let dir = written(dir, &before)?;
        let (Claim { term, token }, chain) = take_turn(history, role, token, load)?;
        sync_log(history)?;
        if load.is_none()
            && let Some(head) = saved.as_ref().and_then(|saved| saved.acknowledged.as_ref())
        {
            rollback::check_acknowledged(history, head, &chain)?;
        }
        let head = Head::of(&chain);
        // The newest commit never expires but by a repair.
        let lost = head.as_ref().is_some_and(|head| chain.expired().contains(head.seq));
        let mut state = State::new(term, token, head);
        state.head_lost = lost;
        // Numbers of commits that were lost, or expired before the history was set back, name
        // nothing else.
        state.at_least = history.highest_number(&chain)?.next();
        // The same head: nobody wrote in between. In the terms that are remembered nothing was
        // published, and whoever still holds one of them, a twin of this machine, goes on from this
        // head, too. Of another head a twin may know nothing.
        let same = saved.as_ref().filter(|saved| saved.head == state.head);
        let remembered = same.iter().flat_map(|saved| saved.claiming.iter().chain([&saved.token]));
        let mine: Vec<WriterToken> = remembered.copied().chain([token]).collect();
        let from = same.map_or(Term(0), |saved| saved.quiet);
        state.quiet = quiet(history, &state, from, &mine)?;
        if let Some(saved) = saved {
            // So the place in the source still means something.
            if saved.head == state.head {
                state.position = saved.position;
            } else if let Some((next, position)) = saved.next
                && state.head.as_ref() == Some(&next)
            {
                // Or it is the one that the last run here published as it died.
                state.position = position;
            }
            state.acknowledged = saved.acknowledged;
            state.source = saved.source;
            state.last_run = saved.last_run;
            state.since_upkeep = saved.since_upkeep;
            state.sign = saved.sign;
            state.looked = saved.looked;
        }
        let dir = written(dir, &state)?;
        let links = Links::of(&chain, history.repository().now());
        Ok(Self { links, ..Self::with(history, role, dir, state) })
    }

    fn with(history: &History, role: &str, dir: StateDir, state: State) -> Self {
        let (history, role) = (history.clone(), role.to_owned());
        let (tries, mine) = (Vec::new(), Vec::new());
        let links = Links::new(history.repository().now());
        let noticed = Noticed::begin(state.head.as_ref(), state.looked.as_ref());
        Self { history, role, dir, state, tries, goes_on: false, mine, links, noticed }
    }

    /// The history.
    pub fn history(&self) -> &History {
        &self.history
    }

    pub(crate) fn head(&self) -> Option<&Head> {
        self.state.head.as_ref()
    }

    /// The seq of the next commit.
    pub(crate) fn next_seq(&self) -> Seq {
        self.head().map_or(Seq(1), |head| head.seq.next()).max(self.state.at_least)
    }

    /// Whether the next segment has to be a base, since the head's pages can't be built on.
    pub(crate) fn needs_base(&self) -> bool {
        self.state.head_lost
    }

    /// Whether the next commit's number leaves out some behind the head.
    pub(crate) fn leaves_gap(&self) -> bool {
        self.head().is_some_and(|head| self.next_seq() > head.seq.next())
    }

    /// What to tell people when nothing that this writer remembers outlives it.
    pub(crate) fn forgets(&self) -> Option<Advice> {
        self.dir.is_stand_in().then(|| {
            advice![
                format!(
                    "{}: takes nothing that is written, so this machine remembers nothing of this run: \
                     the next one reads the whole database, and losses are noticed less. Make room \
                     there, or name another folder with ",
                    self.history.repository().state_dir().display()
                ),
                Remedy::OtherStateFolder,
            ]
        })
    }

    /// Whether the term was claimed before this process began.
    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on
    }

    pub(crate) fn role(&self) -> &str {
        &self.role
    }

    pub(crate) fn term(&self) -> Term {
        self.state.term
    }

    pub(crate) fn token(&self) -> WriterToken {
        self.state.token
    }

    /// Publishes a segment object and acknowledges it.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] when somebody else took over, or a clone of this machine publishes
    /// in its term. After any other error the segment may be published or not; the next run finds
    /// out.
    pub(crate) fn publish(&mut self, head: &Head, bytes: &[u8]) -> Result<()> {
        let at = LogName { term: head.term, first: head.first };
        let name = self.history.names().segment(at);
        // A twin of this machine may be at work in the other turns that were remembered, and know
        // nothing of this segment.
        self.state.claiming.clone_from(&self.mine);
        let store = self.history.repository().store();
        // Nothing is put into what lies in the repository's place now.
        self.history.check_there()?;
        let created = store.create(&name, bytes);
        if !matches!(created, Ok(Created::New)) {
            // It was there before, or the answer was lost. The same bytes are our own earlier try.
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            match (store.get(&name, len), created) {
                (Ok(Some(found)), _) if found == bytes => {}
                (Ok(Some(_)), _) => return Err(self.taken(at)),
                (_, Err(e)) => return Err(e),
                (Err(e), _) if e.kind() == ErrorKind::Damaged => return Err(self.taken(at)),
                (Err(e), _) => return Err(e),
                // A prune put it away, since others went on behind it. The next try finds out who.
                (Ok(None), Ok(_)) => {
                    return Err(Error::new(
                        ErrorKind::Busy,
                        "was there and was put away meanwhile",
                    )
                    .with_object(name)
                    .with_hint("run it again"));
                }
            }
        }
        self.check_parent(head)?;
        self.links.check(&self.history, self.state.term)?;
        self.links.add(&name, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.confirm_head(Some(head))
    }

    /// Makes sure that the segment that a new one was built on is there still. A repository that
    /// was set back to an earlier state lacks it. Then the new segment leads to nothing, nobody may
    /// be told that it is safe, and it goes again.
    fn check_parent(&self, head: &Head) -> Result<()> {
        let Some(parent) = self.head() else { return Ok(()) };
        let store = self.history.repository().store();
        let at = LogName { term: parent.term, first: parent.first };
        let name = self.history.names().segment(at);
        if let Some(len) = store.head(&name)? {
            return match self.links.len_of(&name) {
                Some(expected) if len < expected => {
                    Err(too_short(&self.history, &name, (len, expected)))
                }
                _ => Ok(()),
            };
        }
        match self.history.chain() {
            // A prune merged it, now that something stands behind it. If another writer displaced
            // the new segment, the claims tell.
            Ok(_) => return Ok(()),
            Err(e) if e.kind() == ErrorKind::Damaged => {}
            Err(e) => return Err(e),
        }
        // Nothing is deleted in what lies in the repository's place now.
        self.history.check_there()?;
        let published = LogName { term: head.term, first: head.first };
        store.delete(&self.history.names().segment(published))?;
        Err(Error::damaged(
            name,
            "is gone, and the new commits are built on it: nothing was stored",
        )
        .with_hint(
            "was the repository set back to an earlier state, or emptied? put it back as it was",
        ))
    }

    /// Why somebody else's bytes have the name of what was to be published.
    fn taken(&self, at: LogName) -> Error {
        let name = self.history.names().segment(at);
        match self.earlier_try(at) {
            Ok(Some(_)) => Error::new(ErrorKind::Busy, "an earlier try was stored after all")
                .with_object(name)
                .with_hint("run it again"),
            Ok(None) => superseded("a clone of this writer published in its term", &name),
            Err(e) => e,
        }
    }

    /// What this process tried to publish under a name, if it is there.
    fn earlier_try(&self, at: LogName) -> Result<Option<(Segment, Head, Option<Position>)>> {
        let Some(found) = Segment::read_log(&self.history, at)? else { return Ok(None) };
        let tried = self.tries.iter().find(|(head, _)| found.reference == head.reference());
        Ok(tried.map(|(head, position)| (found, head.clone(), *position)))
    }

    /// Finds out what became of a publication that ended in an error: if it is there, it counts,
    /// and its commits are answered.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] when somebody else took over; store errors.
    pub(crate) fn resolve(&mut self, source: &str) -> Result<Option<Vec<CommitRecord>>> {
        let Some((last, _)) = self.tries.last() else { return Ok(None) };
        let at = LogName { term: last.term, first: last.first };
        let Some((segment, head, position)) = self.earlier_try(at)? else { return Ok(None) };
        self.check_parent(&head)?;
        self.links.check(&self.history, self.state.term)?;
        self.links.add(segment.name(), segment.object_len());
        self.confirm_head(Some(&head))?;
        self.remember(Some(head), position, source)?;
        Ok(Some(segment.manifest.commits))
    }

    /// Whether the head is safe only once something was published behind it.
    pub(crate) fn needs_anchor(&self) -> bool {
        self.head().is_some_and(|head| self.term() > head.term.max(self.state.quiet).next())
    }

    /// Makes sure that nobody took over: everything published so far is on the chain for good.
    pub(crate) fn confirm(&mut self) -> Result<()> {
        self.links.check(&self.history, self.state.term)?;
        let head = self.state.head.clone();
        self.confirm_head(head.as_ref())
    }

    /// As [`Writer::confirm`], when `head` is the newest that was published.
    fn confirm_head(&mut self, head: Option<&Head>) -> Result<()> {
        let (term, token) = (self.term(), self.token());
        if in_force(&self.history, Claim { term, token })? {
            return Ok(());
        }
        // A disk that is not mounted, a folder that was moved: nobody took over.
        self.history.check_there()?;
        self.renew(head)
    }

    /// Claims the next term, and makes sure that the chain ends in `head` still.
    ///
    /// # Errors
    /// [`ErrorKind::Superseded`] when it does not.
    pub(crate) fn renew(&mut self, head: Option<&Head>) -> Result<()> {
        let name = self.history.names().writer(self.term().next());
        // Looked at first: claiming a term supersedes whoever is at work in earnest.
        if !quiet_since(&self.history, self.term(), &self.state.claiming)? {
            return Err(taken_over(&self.history, &name));
        }
        // If we die before the new term is remembered, the next run knows the claim for ours.
        let token = WriterToken::random()?;
        self.state.claiming.push(token);
        self.mine.push(token);
        self.dir.write(&self.state)?;
        let (Claim { term, token }, chain) = take_turn(&self.history, &self.role, token, None)?;
        sync_log(&self.history)?;
        let newest = Head::of(&chain);
        if newest.as_ref() != head {
            return Err(taken_over(&self.history, &name));
        }
        if head.is_some_and(|head| chain.expired().contains(head.seq)) {
            return Err(superseded("a repair found the newest commit damaged", &name));
        }
        if let Some(segment) = chain.newest() {
            self.check_parts(segment)?;
        }
        // From where on somebody may have claimed a turn: what was safe in the old term needs no
        // second look.
        let needs_anchor = self.needs_anchor();
        let safe = if needs_anchor { Term(0) } else { self.term() };
        if let Some(head) = &newest {
            let from = safe.max(head.term);
            let quiet = quiet_after(&self.history, from, term, &self.state.claiming)?;
            // Published behind a rival that may still come: safe only once something stands behind
            // it. Nobody was told that a head is safe which needs an anchor anyway.
            if term > quiet.next() && !needs_anchor {
                return Err(superseded("another writer claimed this history", &name));
            }
            self.state.quiet = quiet;
        }
        // Numbers that a repair took for lost meanwhile name nothing else.
        let expired = chain.expired().last().map_or(Seq(0), Seq::next);
        self.state.at_least = self.state.at_least.max(expired);
        (self.state.term, self.state.token) = (term, token);
        self.state.claiming.clear();
        self.mine.clear();
        self.dir.write(&self.state)
    }

    /// Whether enough was published for another [upkeep].
    pub(crate) fn upkeep_is_due(&self) -> bool {
        self.state.since_upkeep >= compaction::EVERY
    }

    /// What an upkeep needs: a term that is higher than everything published so far, if `renewed`,
    /// so that it can delete.
    ///
    /// # Errors
    /// As [`Writer::renew`].
    pub(crate) fn begin_upkeep(&mut self, renewed: bool) -> Result<Claim> {
        // Before the turn is claimed, which saves the state: a one-shot backup saves no more after
        // it.
        self.state.since_upkeep = 0;
        if renewed {
            let head = self.state.head.clone();
            self.renew(head.as_ref())?;
        }
        // A writer that goes on for years seals under the keys of its time.
        self.history.repository().look_for_keys()?;
        Ok(Claim { term: self.state.term, token: self.state.token })
    }

    /// Whoever prunes deletes parts that no segment names. If it did so before ours was published,
    /// nobody was told that ours is safe, and it must go.
    fn check_parts(&self, segment: &Segment) -> Result<()> {
        let parts = &segment.manifest.parts;
        let Some(part) = missing_part(&self.history, segment.reference.id, parts)? else {
            return Ok(());
        };
        self.history.repository().store().delete(segment.name())?;
        Err(superseded("was cleaned away before its segment was published", &part))
    }

    /// Remembers what is about to be published and where it ends in the source, in case this run
    /// dies in between.
    pub(crate) fn intend(&mut self, head: &Head, position: Option<Position>) -> Result<()> {
        self.tries.push((head.clone(), position));
        self.state.next = Some((head.clone(), position));
        self.dir.write(&self.state)
    }

    /// Remembers the new head and where it was captured.
    pub(crate) fn remember(
        &mut self,
        head: Option<Head>,
        position: Option<Position>,
        source: &str,
    ) -> Result<()> {
        if let Some(new) = head {
            self.tries.clear();
            self.noticed.follow(self.state.head.as_ref(), &new);
            self.state.head = Some(new);
            self.state.head_lost = false;
            self.state.gap = false;
            self.state.at_least = Seq(0);
            self.state.since_upkeep = self.state.since_upkeep.saturating_add(1);
        }
        self.state.looked = self.noticed.looked().or(self.state.looked.take());
        self.state.acknowledged = self.state.head.clone();
        self.state.position = position;
        self.state.next = None;
        source.clone_into(&mut self.state.source);
        self.state.last_run = Some(self.history.repository().now().0);
        self.dir.write(&self.state)
    }

    /// Remembers up to where commits were looked at for marks.
    pub(crate) fn remember_looked(&mut self) -> Result<()> {
        self.state.looked = self.noticed.looked().or(self.state.looked.take());
        self.dir.write(&self.state)
    }
}

/// The folder that a state was written to: one for this run only, if the right one takes nothing.
fn written(dir: StateDir, state: &State) -> Result<StateDir> {
    match dir.write(state) {
        Ok(()) => Ok(dir),
        Err(e) => {
            let dir = dir.or_stand_in(e)?;
            dir.write(state)?;
            Ok(dir)
        }
    }
}

/// Claims a term, and finds the chain to build on: one that nobody deletes from, since the head is
/// published, and that was the newest still after that. `load` shows it where its newest segments
/// can't be read.
///
/// # Errors
/// [`ErrorKind::Busy`] when others publish all the time; store errors; [`ErrorKind::Damaged`].
fn take_turn(
    history: &History,
    role: &str,
    token: WriterToken,
    load: Option<&dyn Fn() -> Result<Chain>>,
) -> Result<(Claim, Chain)> {
    let mut claim = Claim::take_as(history, role, token)?;
    for _ in 0..20 {
        // Only a chain that was read around damage does not tell what is the newest name.
        let (before, chain) = match load {
            None => (None, history.chain()?),
            Some(load) => (newest_log(history, &[])?, load()?),
        };
        // A claim that was made from an old listing may come when all claims of its time are
        // deleted already.
        if chain.newest().is_some_and(|s| !s.is_merged() && s.manifest.term >= claim.term) {
            claim = Claim::take_as(history, role, token)?;
            continue;
        }
        let head = Head::of(&chain);
        standing::record(history, claim, head.as_ref())?;
        let is_still = match load {
            None => {
                let newest = chain.newest().filter(|s| !s.is_merged()).map(|s| s.log_name());
                newest_log(history, chain.junk())? == newest
            }
            Some(_) => newest_log(history, &[])? == before,
        };
        if is_still {
            return Ok((claim, chain));
        }
    }
    Err(Error::new(ErrorKind::Busy, "is written to by others all the time")
        .with_object(format!("history {:?}", history.name()))
        .with_hint("run it again"))
}

/// The name of the newest segment of the log, but for those that are known to be junk.
fn newest_log(history: &History, junk: &[String]) -> Result<Option<LogName>> {
    let names = history.names();
    let listed = history.repository().store().list(&names.log())?;
    let counts = listed.iter().filter(|entry| !junk.contains(&entry.name));
    Ok(counts.filter_map(|entry| names.parse_segment(&entry.name)).max())
}

/// What is told of the chain's end has to be so after a loss of power, too: whoever published it
/// may have died right then.
fn sync_log(history: &History) -> Result<()> {
    history.repository().store().sync(&history.names().log())
}

/// See [`term::quiet_after`](super::term::quiet_after), from the head on, or from where it is
/// known.
fn quiet(history: &History, state: &State, from: Term, mine: &[WriterToken]) -> Result<Term> {
    match &state.head {
        Some(head) => quiet_after(history, head.term.max(from), state.term, mine),
        None => Ok(Term(0)),
    }
}

/// Whether the remembered term is the newest, and its newest segment the remembered head.
fn still_holds(history: &History, state: &State) -> Result<bool> {
    let claim = Claim { term: state.term, token: state.token };
    if !in_force(history, claim)? {
        return Ok(false);
    }
    let there = |at| Ok(history.repository().store().head(&history.names().segment(at))?.is_some());
    // A repository that was set back to an earlier state lacks the head.
    if let Some(head) = &state.head
        && !there(LogName { term: head.term, first: head.first })?
    {
        return Ok(false);
    }
    // A run that died between publishing and remembering left a segment behind the head, perhaps of
    // an earlier term. So did the machine that this one is a clone of.
    let head = state.head.as_ref().map(|head| LogName { term: head.term, first: head.first });
    let names = history.names();
    let listed = history.repository().store().list(&names.log())?;
    if later_than(history, &listed, state.term)?.is_some() {
        return Ok(false);
    }
    let real = listed.iter().filter_map(|entry| names.parse_segment(&entry.name));
    Ok(real.filter(|at| at.term <= state.term).max() == head)
}

/// Whether a process of this machine is writing to the history.
///
/// # Errors
/// When the local state can't be looked at.
pub(crate) fn is_written_here(history: &History) -> Result<bool> {
    match StateDir::lock(history) {
        Ok(_) => Ok(false),
        Err(e) if e.kind() == ErrorKind::Busy => Ok(true),
        Err(e) => Err(e),
    }
}
