//! Whether a history may be begun, or gone on with: what a mirror has more of is brought back
//! first.
//!
//! A first repository that was lost and made anew has no histories. One that was set back, or that
//! a copy from a mirror did not fill to the end, has fewer commits than the mirror. Commits that
//! were stored in it then would fork the history: the mirror takes none of them, and stands still
//! for ever.
//!
//! So a mirror is asked how far it is, unless this machine captured into the history before: then
//! this machine knows how far the first repository has to be.
//!
//! Invariant: a mirror that does not answer delays a history for a few seconds, and only one that
//! this machine never captured into. Then it is captured into all the same, which is told: a copy
//! that stands still loses nothing, and a database that nobody captures may.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::pool::Hand;
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Monitor;
use crate::remedy::{Remedy, advice};
use crate::repo::Repository;
use crate::repo::chain::Chain;
use crate::repo::history::handle::History;
use crate::repo::local::state::is_captured_here;
use crate::types::{Digest, HistoryId, Seq};

/// How long a mirror may take to say how far it is.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 10_000 });

/// What the mirrors of a repository have of a history's name.
#[derive(Clone, Debug, Default)]
pub(super) struct Mirrored {
    /// The repository's name.
    pub(super) first: String,
    /// The mirrors that have a history of the name.
    pub(super) rivals: Vec<Rival>,
    /// The mirrors that could not be opened.
    pub(super) closed: Vec<String>,
}

/// A mirror that has a history of the name.
#[derive(Clone, Debug)]
pub(super) struct Rival {
    pub(super) mirror: String,
    /// The other repositories that it is a mirror of: the history may be of one of them.
    pub(super) others: Vec<String>,
    /// The history, unless there are several of the name.
    pub(super) history: Option<History>,
    /// Who asks it.
    pub(super) clerk: Option<Hand>,
    /// Whether it is known to give no answers now.
    pub(super) is_silent: Arc<AtomicBool>,
}

/// A history of the first repository: its identity, and its newest commit.
type Mine = (HistoryId, Option<(Seq, Digest)>);

impl Mirrored {
    /// Makes sure that no mirror has commits of a history that the repository lacks. `known` is the
    /// history, if it was found before.
    ///
    /// # Errors
    /// [`ErrorKind::Refused`] when a mirror has more; [`ErrorKind::Interrupted`].
    pub(super) fn check(
        &self,
        repository: &Repository,
        name: &str,
        known: Option<&History>,
        monitor: &dyn Monitor,
    ) -> Result<()> {
        if self.rivals.is_empty() && self.closed.is_empty() {
            return Ok(());
        }
        let found = known.map_or_else(|| repository.history(name), |known| Ok(known.clone()));
        let mine = match found {
            Ok(history) if is_captured_here(&history) => return Ok(()),
            // An error of the history is met again by the capture itself, which tells it.
            Ok(history) => match history.chain() {
                Ok(chain) => Some((history.id(), newest_of(&chain))),
                Err(_) => return Ok(()),
            },
            Err(e) if e.kind() == ErrorKind::NotFound => None,
            Err(_) => return Ok(()),
        };
        let mut unknown = Vec::new();
        for rival in &self.rivals {
            match rival.ahead_of(mine, monitor) {
                Ok(None) => {}
                Ok(Some(newest)) => return Err(self.refused(name, rival, mine, newest)),
                Err(e) if e.kind() == ErrorKind::Interrupted => return Err(e),
                Err(e) => unknown.push(format!("the mirror {} ({e})", rival.mirror)),
            }
        }
        unknown.extend(self.closed.iter().map(|mirror| format!("the mirror {mirror}")));
        if !unknown.is_empty() {
            monitor.warn(&format!(
                "{name:?} is captured, and nobody could ask {} whether it has commits which the repository {} lacks; if it has, it will take no copies of this history",
                unknown.join(" and "),
                self.first,
            ));
        }
        Ok(())
    }

    fn refused(&self, name: &str, rival: &Rival, mine: Option<Mine>, newest: Seq) -> Error {
        let (first, mirror) = (&self.first, &rival.mirror);
        let what = match mine {
            None => {
                let others = match rival.others.as_slice() {
                    [] => String::new(),
                    others => format!(" Or is it of {}?", others.join(", ")),
                };
                format!(
                    "the mirror {mirror} has a history {name:?}, and the repository {first} has none: was {first} lost, or made anew?{others}"
                )
            }
            Some((_, head)) => format!(
                "the mirror {mirror} has the history {name:?} up to seq:{newest}, and the repository {first} {}: was {first} set back, or is it still being filled from {mirror}?",
                head.map_or("has no commit of it".to_owned(), |(seq, _)| format!(
                    "up to seq:{seq}"
                )),
            ),
        };
        let back = Remedy::CopyBack { from: mirror.clone(), to: first.clone() };
        let end = match mine {
            None => "; or, if this is another database, give it another name in the configuration",
            Some(_) => {
                "; or, if these commits are to be left out, take the mirror out of the configuration"
            }
        };
        Error::new(ErrorKind::Refused, what).with_hint(advice![
            "nothing is stored, which that mirror would never take; bring the histories back: ",
            back,
            ", and it goes on by itself once all is there",
            end,
        ])
    }
}

impl Rival {
    /// The newest commit of the mirror, if it has some behind the first repository's newest one.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] when it does not answer; [`ErrorKind::Interrupted`]; what keeps it from
    /// being read.
    fn ahead_of(&self, mine: Option<Mine>, monitor: &dyn Monitor) -> Result<Option<Seq>> {
        let (Some(history), Some(clerk)) = (&self.history, &self.clerk) else {
            // Of several histories of one name each may be the one.
            return Ok(mine.is_none().then_some(Seq(0)));
        };
        let head = match mine {
            // A history without commits counts, too: one of the name is there.
            None => return Ok(Some(Seq(0))),
            // Another history of the name, which is no copy: the mirror tells so when it is copied.
            Some((id, _)) if id != history.id() => return Ok(None),
            Some((_, head)) => head,
        };
        if self.is_silent.load(Ordering::Relaxed) {
            return Err(Error::new(ErrorKind::Busy, "gives no answers"));
        }
        let (history, is_silent) = (history.clone(), self.is_silent.clone());
        let answers = self.is_silent.clone();
        let silent = || is_silent.store(true, Ordering::Relaxed);
        clerk.ask(PATIENCE, monitor, silent, move || {
            let chain = history.chain();
            answers.store(false, Ordering::Relaxed);
            Ok(ahead(&chain?, head))
        })
    }
}

fn newest_of(chain: &Chain) -> Option<(Seq, Digest)> {
    chain.states().next_back().map(|commit| (commit.seq, commit.record.digest))
}

/// The newest commit of a mirror's chain, if the chain goes on where another one ends. Where both
/// have commits that the other lacks, nothing can be brought back any more.
fn ahead(chain: &Chain, head: Option<(Seq, Digest)>) -> Option<Seq> {
    let (newest, _) = newest_of(chain)?;
    let Some((seq, digest)) = head else { return Some(newest) };
    let there = chain.states().find(|commit| commit.seq == seq);
    let is_same = there.is_none_or(|commit| commit.record.digest == digest);
    (is_same && newest > seq).then_some(newest)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Mutex;

    use rusqlite::Connection;

    use super::*;
    use crate::daemon::pool::Pool;
    use crate::format::slot::KdfParams;
    use crate::ops::backup::BackupOptions;
    use crate::ops::copy::CopyOptions;
    use crate::progress::Silent;
    use crate::repo::RepositoryOptions;
    use crate::repo::keys::secret::Secret;

    fn repository(dir: &Path, name: &str) -> Repository {
        let store = crate::store::create_store(dir.join(name).to_str().unwrap()).unwrap();
        let secret = Secret::new_recovery().unwrap();
        let options = RepositoryOptions::new(dir.join("state"));
        Repository::init(store, &[(&secret, "key")], KdfParams::default(), &options).unwrap()
    }

    fn backup(dir: &Path, repository: &Repository) -> History {
        let database = dir.join("app.db");
        let app = Connection::open(&database).unwrap();
        app.execute_batch("CREATE TABLE IF NOT EXISTS t(x); INSERT INTO t VALUES(1)").unwrap();
        drop(app);
        let options = BackupOptions::default().name("app");
        repository.backup(&database, &options, &Silent).unwrap().history
    }

    fn with(mirror: Option<&History>, clerk: &Pool) -> Mirrored {
        Mirrored {
            first: "main".to_owned(),
            rivals: vec![Rival {
                mirror: "far".to_owned(),
                others: vec!["archive".to_owned()],
                history: mirror.cloned(),
                clerk: Some(clerk.hand()),
                is_silent: Arc::default(),
            }],
            closed: Vec::new(),
        }
    }

    /// What a capture is told.
    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Monitor for Heard {
        fn warn(&self, message: &str) {
            self.0.lock().unwrap().push(message.to_owned());
        }
    }

    #[test]
    fn a_history_goes_on_only_once_it_has_all_that_a_mirror_has() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let [old, far, main] = ["old", "far", "main"].map(|name| repository(dir, name));
        let copy = |from: &History, to| from.copy_to(to, &CopyOptions::default(), &Silent).unwrap();
        let before = backup(dir, &old);
        let clerk = Pool::start("test", 1).unwrap();
        let check = |mirrored: &Mirrored| {
            let heard = Heard::default();
            let checked = mirrored.check(&main, "app", None, &heard);
            (checked.map_err(|e| (e.kind(), e.to_string())), heard.0.into_inner().unwrap())
        };
        copy(&before, &far);
        let theirs = far.history("app").unwrap();
        let mirrored = with(Some(&theirs), &clerk);
        let (refused, _) = check(&mirrored);
        let (kind, why) = refused.unwrap_err();
        assert!(kind == ErrorKind::Refused && why.contains("main has none"), "{why}");
        assert!(why.contains("Or is it of archive?"), "{why}");
        // Of several of one name any may be the one.
        assert!(check(&with(None, &clerk)).0.is_err());
        // A copy that died when it had begun.
        let mine = main.adopt_history(&theirs).unwrap();
        let (kind, why) = check(&mirrored).0.unwrap_err();
        assert!(kind == ErrorKind::Refused && why.contains("no commit of it"), "{why}");
        copy(&theirs, &main);
        assert_eq!(check(&mirrored), (Ok(()), Vec::new()));
        // A mirror that has more.
        backup(dir, &old);
        copy(&before, &far);
        let (kind, why) = check(&mirrored).0.unwrap_err();
        assert!(kind == ErrorKind::Refused && why.contains("up to seq:2"), "{why}");
        assert!(why.contains("main up to seq:1"), "{why}");
        // One that does not answer is waited for once, and then not.
        let (go, wait) = crossbeam_channel::bounded::<()>(0);
        let hung = Pool::start("test", 1).unwrap();
        hung.give(move || {
            let _ = wait.recv();
        });
        let silent = with(Some(&theirs), &hung);
        for said in ["gave no answer", "gives no answers"] {
            let (passed, heard) = check(&silent);
            assert!(passed.is_ok() && heard[0].contains(said), "{heard:?}");
        }
        drop(go);
        let answers = || !silent.rivals[0].is_silent.load(Ordering::Relaxed);
        while !answers() {
            std::thread::yield_now();
        }
        assert!(check(&silent).0.is_err());
        // What was captured from here nobody is asked about.
        copy(&theirs, &main);
        assert_eq!(check(&mirrored), (Ok(()), Vec::new()));
        let options = BackupOptions::default().name("app").adopt(true);
        main.backup(&dir.join("app.db"), &options, &Silent).unwrap();
        assert!(is_captured_here(&mine));
        let (closed, heard) = check(&Mirrored { closed: vec!["z".to_owned()], ..silent });
        assert_eq!((closed, heard), (Ok(()), Vec::new()));
    }

    #[test]
    fn histories_of_which_each_has_more_are_ahead_of_none() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let [far, main] = ["far", "main"].map(|name| repository(dir, name));
        let mine = backup(dir, &main);
        mine.copy_to(&far, &CopyOptions::default(), &Silent).unwrap();
        let head = newest_of(&mine.chain().unwrap());
        let theirs = far.history("app").unwrap();
        assert_eq!(ahead(&theirs.chain().unwrap(), head), None);
        let (seq, digest) = head.unwrap();
        assert_eq!(
            ahead(&theirs.chain().unwrap(), Some((seq, Digest(digest.0.map(|byte| !byte))))),
            None
        );
        backup(dir, &main);
        assert_eq!(ahead(&mine.chain().unwrap(), head), Some(seq.next()));
        let other = Some((seq, Digest(digest.0.map(|byte| !byte))));
        assert_eq!(ahead(&mine.chain().unwrap(), other), None);
        assert_eq!(ahead(&mine.chain().unwrap(), None), Some(seq.next()));
    }
}
