//! The one thread that decides: which databases there are, which of them are followed, which jobs
//! begin. It owns all of it, waits for nobody, and hears of what others did by messages.
//!
//! Invariants: trouble with one database, or one repository, delays no other, also where it comes
//! after it was opened. One database has at most one job at a time, and its follower is started and
//! stopped by one thread at a time. A configuration that is wrong changes nothing.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::RecvTimeoutError;

use super::clerks::hire_all;
use super::config::HttpConfig;
use super::desk::{Done, Message, Rest, Supervisor, Taken};
use super::files::Touch;
use super::job::scratch_of;
use super::kept::{Examined, Judging, Stage, Whose};
use super::ledger::{Entry, Ledger};
use super::opened::Opened;
use super::overview::{DatabaseView, Overview, Phase, Tally};
use super::print::Print;
use super::words::in_words;
use crate::count::{counted, number};
use crate::error::{Error, ErrorKind, Result};
use crate::policy::verdict::Standing;
use crate::remedy::Remedy;
use crate::repo::history::handle::History;

/// How often to look for signals.
const TICK: Duration = Duration::from_millis(100);
/// How often a repository is asked how a history stands, and how soon again if it could not be.
const AGAIN: Duration = Duration::from_secs(10 * 60);
const SOON: Duration = Duration::from_secs(30);
/// How much time there is for each of many: of thousands each is asked more seldom.
const EACH: Duration = Duration::from_millis(1200);

impl Supervisor {
    /// Keeps databases until it is told to end. Answers the ledger, which ends last.
    pub(super) fn run(mut self, wishes: &dyn Wishes) -> (Done, Ledger) {
        self.begin();
        while !wishes.stop() {
            match self.inbox.recv_timeout(TICK) {
                Ok(message) => self.hear(message),
                Err(RecvTimeoutError::Timeout) => {}
                // The supervisor itself holds a sender.
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if wishes.reload() {
                // It was told in the log.
                let _ = self.reload();
            }
            if self.finds.is_due() {
                self.find();
            }
            if self.looks.is_due() {
                self.look();
            }
            self.systemd.moves();
        }
        // What happened since the last look is told, too.
        self.tell();
        self.end()
    }

    /// Takes up all that the configuration names.
    fn begin(&mut self) {
        self.http.serve(self.config.http.clone());
        self.commands.serve(Some(HttpConfig::of_commands(self.place.socket())));
        self.repositories = self
            .config
            .repositories
            .iter()
            .map(|(name, config)| (name.clone(), Opened::new(config.clone())))
            .collect();
        hire_all(&mut self.clerks, &self.config);
        self.find();
        self.find_groups();
        let databases = counted(number(self.kept.len()), "database");
        tracing::info!("keeps {databases}, as {} says", self.config.file.display());
        self.look();
    }

    /// Looks for files that came and went. A new one is looked at soon.
    fn find(&mut self) {
        let (began, before) = (Instant::now(), self.next);
        self.find_databases();
        if self.next != before {
            self.looks.at_once();
        }
        self.finds.took(began);
    }

    /// Looks at everything once.
    pub(super) fn look(&mut self) {
        let began = Instant::now();
        self.open_repositories();
        // Of thousands nearly all sleep, and go on.
        let awake: Vec<PathBuf> = self
            .kept
            .iter_mut()
            .filter_map(|(path, kept)| (!kept.sleeps_on(began)).then(|| path.clone()))
            .collect();
        for path in &awake {
            self.attend(path);
            self.tend_mirrors(path);
        }
        self.begin_jobs();
        self.tend_groups();
        self.tell();
        self.looks.took(began);
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Opened(name, config, opened) => {
                // What answers late may be what an earlier configuration meant by that name.
                let repository = self.repositories.get_mut(&name);
                if let Some(repository) = repository.filter(|known| known.config == config) {
                    repository.heard(&name, opened);
                }
                self.look();
            }
            Message::Began(whose, taken) => self.began(whose, taken),
            Message::Left(whose, before, rest) => self.left(&whose, before, rest),
            Message::Judged(whose, judged) => self.judged(&whose, judged),
            Message::Touched(touches) => {
                if touches.iter().any(Touch::tells_of_loss) {
                    self.finds.at_once();
                    self.looks.at_once();
                }
                let touched = touches.iter().filter_map(|touch| self.files.touched(touch));
                let touched: BTreeSet<PathBuf> = touched.map(|path| database_of(&path)).collect();
                for path in touched {
                    if self.kept.contains_key(&path) {
                        self.attend(&path);
                    } else if self.config.targets.iter().any(|target| target.means(&path)) {
                        self.finds.at_once();
                    }
                }
            }
            Message::Copied(whose, mirror, control, copied) => {
                self.copied(&whose, &mirror, &control, copied);
            }
            Message::Moment(name, id, outcome) => self.moment_made(&name, id, outcome),
            Message::Found(id, found) => self.ledger.enter(Entry::Found { id, found }),
            Message::Done(whose, id, outcome) => self.job_ended(&whose, id, outcome),
            Message::Wished(wish) => self.grant(wish),
        }
    }

    fn began(&mut self, whose: Whose, taken: Result<Taken>) {
        let now = Instant::now();
        let kept = self.kept.get_mut(&whose.path).filter(|kept| kept.number == whose.number);
        let Some(kept) = kept else {
            // The configuration says something else by now.
            return match taken {
                Ok(Taken::Followed(_, follower)) => self.let_go(whose, follower),
                _ => self.departed(&whose.path),
            };
        };
        let mut opened = self.repositories.get_mut(&kept.plan.repository);
        match taken {
            Ok(Taken::Followed(history, follower)) => {
                opened.iter_mut().for_each(|opened| opened.knows(&history));
                kept.history = Some(history);
                kept.works();
                kept.quiet_since = now;
                kept.stage = Stage::Awake(follower);
            }
            Ok(Taken::Rests(history, print)) => {
                opened.iter_mut().for_each(|opened| opened.knows(&history));
                kept.works();
                kept.history = Some(history);
                kept.stage = Stage::Asleep(print);
                self.files.watch_database(&whose.path);
                self.attend(&whose.path);
            }
            // Somebody paused it meanwhile.
            Err(_) if !kept.is_followed() => kept.stage = Stage::Idle,
            Err(e) => {
                kept.fails(&e);
                kept.try_again(now);
            }
        }
    }

    fn left(&mut self, whose: &Whose, before: Print, rest: Result<Rest>) {
        let now = Instant::now();
        let kept = self.kept.get_mut(&whose.path).filter(|kept| kept.number == whose.number);
        let Some(kept) = kept else { return self.departed(&whose.path) };
        match rest {
            // Either the file proves that all is captured, or the WAL, which was looked at when all
            // had been captured for a while, is still the same.
            Ok(rest) if rest.is_proven || before.has_all_of(&rest.print) => {
                tracing::debug!(database = kept.name, "sleeps");
                (kept.print, kept.stage) = (rest.print, Stage::Asleep(rest.print));
                // Whoever wrote before it was watched is noticed by looking once more.
                self.files.watch_database(&whose.path);
                self.attend(&whose.path);
            }
            Ok(_) => kept.stage = Stage::At(now),
            Err(e) => {
                kept.fails(&e);
                kept.try_again(now);
            }
        }
    }

    fn judged(&mut self, whose: &Whose, judged: Result<(History, Standing)>) {
        let many = u32::try_from(self.kept.len()).unwrap_or(u32::MAX);
        let again = AGAIN.max(EACH.saturating_mul(many));
        let kept = self.kept.get_mut(&whose.path).filter(|kept| kept.number == whose.number);
        let Some(kept) = kept else { return };
        kept.went_back = judged.as_ref().is_err_and(tells_of_rollback);
        if kept.examined == Examined::Asked {
            kept.examined = Examined::Damaged;
        }
        let wait = match judged {
            Ok((history, standing)) => {
                kept.history.get_or_insert(history);
                kept.has_commit |= standing.stored.is_some();
                (kept.standing, kept.unasked) = (standing, None);
                again
            }
            Err(e) if e.kind() == ErrorKind::Damaged => {
                kept.standing.damage = Some(in_words(&e));
                kept.standing.looked = true;
                again
            }
            // Nobody began its history yet.
            Err(e) if e.kind() == ErrorKind::NotFound && kept.history.is_none() => {
                kept.standing.looked = true;
                kept.unasked = None;
                SOON.max(EACH.saturating_mul(many))
            }
            Err(e) => {
                kept.unasked = Some(in_words(&e));
                SOON
            }
        };
        let now = Instant::now();
        kept.judging = Judging::At(now.checked_add(wait).unwrap_or(now));
    }

    /// Tells everybody how everything stands.
    pub(super) fn tell(&mut self) {
        let at = self.place.clock.now();
        let databases: Vec<DatabaseView> =
            self.kept.values_mut().map(|kept| kept.view(at)).collect();
        let repositories =
            self.repositories.iter().map(|(name, opened)| opened.view(name)).collect();
        let published = databases.iter().map(|database| database.published).sum::<u64>();
        let tally = Tally { commits: self.done.commits + published, jobs: self.jobs_ended.clone() };
        let groups = self.groups.iter().map(|(name, keeping)| keeping.view(name)).collect();
        let scratch = scratch_of(self.config.scratch.as_deref());
        let folders = [self.place.state_dir.clone(), scratch];
        let overview = Arc::new(Overview {
            groups,
            notices: self.config.notices.clone(),
            at,
            still: self.progress.look(&databases, Instant::now()),
            databases,
            repositories,
            tally,
            waiting: self.turns.values().map(VecDeque::len).sum(),
            folders: self.gauges.look(folders),
        });
        let open = |(name, opened): (&String, &Opened)| (name.clone(), opened.repository());
        self.shelf.put(self.repositories.iter().map(open).collect());
        self.tell_services(&overview);
        self.board.put(overview);
    }

    /// Tells the service manager how it stands.
    fn tell_services(&mut self, overview: &Overview) {
        let awake = overview.count(|database| database.phase == Phase::Followed);
        let asleep = overview.count(|database| database.phase == Phase::Asleep);
        let jobs = overview.count(|database| database.job.is_some());
        let mut status = format!("{awake} followed, {asleep} asleep, {jobs} jobs");
        for (state, n) in overview.states() {
            status += &format!(", {n} {}", state.name());
        }
        let closed = overview.repositories.iter().filter(|r| r.fault.is_some()).count();
        if closed > 0 {
            status += &format!("; {closed} repositories can't be opened");
        }
        if let Some(first) = overview.still.first() {
            status += &format!("; {} stand still, {first} first", overview.still.len());
        }
        self.systemd.progresses(&overview.still);
        // A first capture may take hours: who waits for this daemon waits for its beginning.
        self.systemd.tell(status, true);
    }
}

/// Says when the daemon is to do something else.
pub(crate) trait Wishes {
    /// Whether it is to end.
    fn stop(&self) -> bool;
    /// Whether it is to read its configuration again. Asking takes the wish back.
    fn reload(&self) -> bool;
}

/// Whether an error says that a repository was set back to an earlier state.
fn tells_of_rollback(error: &Error) -> bool {
    let is_it = |remedy: &Remedy| matches!(remedy, Remedy::AcceptRollback { .. });
    error.hint().is_some_and(|hint| hint.remedies().any(is_it))
}

/// The database that a file beside it belongs to, or the file itself.
fn database_of(file: &Path) -> PathBuf {
    let Some(name) = file.file_name().and_then(|name| name.to_str()) else {
        return file.to_owned();
    };
    let stem = ["-wal", "-shm", "-journal"].iter().find_map(|suffix| name.strip_suffix(suffix));
    stem.map_or_else(|| file.to_owned(), |stem| file.with_file_name(stem))
}

#[cfg(test)]
mod tests;
