//! A repository that was opened, and does not answer later.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Condvar, Mutex};

use rusqlite::Connection;

use super::*;
use crate::daemon::config::Config;
use crate::daemon::job::Ended;
use crate::daemon::kind::Kind;
use crate::daemon::opened::Place;
use crate::format::slot::KdfParams;
use crate::repo::keys::secret::Secret;
use crate::repo::{Repository, RepositoryOptions};
use crate::store::{Created, Entry as Object, Store, Upload, create_store};
use crate::types::{Clock, Timestamp};

/// Whether a store answers, and how many wait for it.
#[derive(Debug, Default)]
struct Gate {
    state: Mutex<(bool, usize)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        state = self.changed.wait_while(state, |(closed, _)| *closed).unwrap();
        state.1 -= 1;
    }

    fn close(&self, closed: bool) {
        self.state.lock().unwrap().0 = closed;
        self.changed.notify_all();
    }

    fn waiting(&self) -> usize {
        self.state.lock().unwrap().1
    }
}

/// Opens a gate at the end of a test, also of one that failed: who waits is joined then.
struct Opens(Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.close(false);
    }
}

/// A store behind a gate.
#[derive(Debug)]
struct Gated(Arc<dyn Store>, Arc<Gate>);

impl Gated {
    fn inner(&self) -> &dyn Store {
        self.1.pass();
        &*self.0
    }
}

impl Store for Gated {
    fn location(&self) -> String {
        self.0.location()
    }
    fn head(&self, name: &str) -> Result<Option<u64>> {
        self.inner().head(name)
    }
    fn get(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        self.inner().get(name, limit)
    }
    fn get_range(&self, name: &str, offset: u64, len: usize) -> Result<Option<Vec<u8>>> {
        self.inner().get_range(name, offset, len)
    }
    fn create(&self, name: &str, bytes: &[u8]) -> Result<Created> {
        self.inner().create(name, bytes)
    }
    fn upload(&self, name: &str) -> Result<Box<dyn Upload>> {
        self.inner().upload(name)
    }
    fn list(&self, prefix: &str) -> Result<Vec<Object>> {
        self.inner().list(prefix)
    }
    fn list_dirs(&self, prefix: &str) -> Result<Vec<String>> {
        self.inner().list_dirs(prefix)
    }
    fn delete(&self, name: &str) -> Result<()> {
        self.inner().delete(name)
    }
    fn sweep(&self, before: Timestamp) -> Result<u64> {
        self.inner().sweep(before)
    }
}

const CONFIG: &str = "[daemon]\njobs = 1
[repositories.a]\nlocation = \"repo-a\"\nkey-file = \"key\"
[repositories.b]\nlocation = \"repo-b\"\nkey-file = \"key\"
[defaults]\nverify.data = \"never\"\nverify.restore = \"never\"
[[databases]]\npath = \"a/*.db\"\nname = \"a-{stem}\"\nrepository = \"a\"
[[databases]]\npath = \"b/*.db\"\nname = \"b-{stem}\"\nrepository = \"b\"
[[databases]]\npath = \"sa/*.db\"\nname = \"sa-{stem}\"\nrepository = \"a\"\nmode = \"snapshots\"\nschedule = \"every 1h\"
[[databases]]\npath = \"sb/*.db\"\nname = \"sb-{stem}\"\nrepository = \"b\"\nmode = \"snapshots\"\nschedule = \"every 1h\"
";

/// A supervisor that the test drives, with two open repositories, of which `a` has a gate.
struct Lab {
    desk: Supervisor,
    later: Arc<AtomicI64>,
    gate: Arc<Gate>,
    dir: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(dir.path()).unwrap();
        let secret = Secret::create_key_file(&root.join("key")).unwrap();
        let later = Arc::new(AtomicI64::new(0));
        let theirs = later.clone();
        let clock =
            Clock::new(move || Timestamp(Timestamp::now().0 + theirs.load(Ordering::SeqCst)));
        let place = Place { state_dir: root.join("state"), clock: clock.clone() };
        fs::create_dir(&place.state_dir).unwrap();
        let mut options = RepositoryOptions::new(&place.state_dir);
        options.clock = clock;
        let store = |name: &str| create_store(root.join(name).to_str().unwrap()).unwrap();
        for name in ["repo-a", "repo-b"] {
            let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
            Repository::init(store(name), &[(&secret, "key")], kdf, &options).unwrap();
        }
        for folder in ["a", "b", "sa", "sb"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        let file = root.join("pagekeep.toml");
        fs::write(&file, CONFIG).unwrap();
        let config = Config::parse(&file, CONFIG).unwrap();
        let ledger = Ledger::open(&place.ledger(), place.clock.now());
        let gate = Arc::new(Gate::default());
        let mut lab = Self { desk: Supervisor::new(config, place, ledger), later, gate, dir };
        lab.desk.begin();
        lab.until("both are open", |desk| desk.repositories.values().all(Opened::is_open));
        let gated = Gated(store("repo-a"), lab.gate.clone());
        let repository = Repository::open(Arc::new(gated), &secret, &options).unwrap();
        lab.desk.repositories.get_mut("a").unwrap().heard("a", Ok((repository, Vec::new())));
        lab
    }

    fn path(&self, name: &str) -> PathBuf {
        fs::canonicalize(self.dir.path()).unwrap().join(name)
    }

    /// Makes databases, which the supervisor finds.
    fn make(&mut self, names: &[&str]) {
        for name in names {
            let database = Connection::open(self.path(name)).unwrap();
            let text = "PRAGMA journal_mode=WAL; CREATE TABLE t(x); INSERT INTO t VALUES(1)";
            database.execute_batch(text).unwrap();
        }
        self.desk.find();
    }

    /// Has the supervisor work until something is so.
    fn until(&mut self, what: &str, is: impl Fn(&Supervisor) -> bool) {
        let began = Instant::now();
        while !is(&self.desk) {
            assert!(began.elapsed() < Duration::from_secs(60), "{what}: {:#?}", self.stages());
            if let Ok(message) = self.desk.inbox.recv_timeout(Duration::from_millis(20)) {
                self.desk.hear(message);
            }
            self.desk.look();
        }
    }

    fn stages(&self) -> BTreeMap<&str, String> {
        let said = |kept: &crate::daemon::kept::Kept| format!("{:?} {:?}", kept.stage, kept.fault);
        self.desk.kept.values().map(|kept| (&*kept.name, said(kept))).collect()
    }
}

/// Whether a database is captured into a repository.
fn is_captured_into(desk: &Supervisor, path: &Path, repository: &str) -> bool {
    desk.kept.get(path).is_some_and(|kept| {
        let is_captured = match &kept.stage {
            Stage::Awake(follower) => follower.status().seq.is_some(),
            // It was written before the clock was set.
            Stage::Asleep(_) => true,
            _ => false,
        };
        is_captured && kept.plan.repository == repository
    })
}

#[test]
fn an_open_repository_that_hangs_delays_neither_capture_nor_jobs_of_others() {
    let mut lab = Lab::new();
    let _opens = Opens(lab.gate.clone());
    lab.gate.close(true);
    // More than any pool has threads.
    lab.make(&["a/1.db", "a/2.db", "a/3.db", "a/4.db", "a/5.db", "a/6.db", "sa/1.db", "sa/2.db"]);
    let gate = lab.gate.clone();
    lab.until("four are taken up", |_| gate.waiting() >= 4);
    lab.later.store(2 * 3_600_000_000, Ordering::SeqCst);
    lab.until("one job hangs", |desk| desk.kept.values().any(|kept| kept.job.is_some()));
    lab.make(&["b/1.db", "sb/1.db"]);
    let one = lab.path("b/1.db");
    lab.until("b is captured", |desk| is_captured_into(desk, &one, "b"));
    lab.later.store(4 * 3_600_000_000, Ordering::SeqCst);
    let one = lab.path("sb/1.db");
    lab.until("b has its jobs done", |desk| {
        let run = desk.kept.get(&one).and_then(|kept| kept.runs.get(&Kind::Backup));
        run.is_some_and(|run| run.ended == Ended::Well)
    });
    assert!(lab.gate.waiting() >= 5);
}

#[test]
fn a_database_whose_repository_hangs_can_be_kept_in_another_one() {
    let mut lab = Lab::new();
    let _opens = Opens(lab.gate.clone());
    lab.make(&["a/1.db"]);
    let (one, other) = (lab.path("a/1.db"), lab.path("a/2.db"));
    lab.until("it is followed", |desk| is_captured_into(desk, &one, "a"));
    lab.gate.close(true);
    let application = Connection::open(&one).unwrap();
    application.execute_batch("INSERT INTO t VALUES(2)").unwrap();
    lab.until("its commit waits", |desk| match &desk.kept[&one].stage {
        Stage::Awake(follower) => follower.status().pending > 0,
        _ => false,
    });
    // Another one is being taken up.
    lab.make(&["a/2.db"]);
    lab.until("it hangs", |desk| matches!(desk.kept[&other].stage, Stage::Starting));
    let text = CONFIG.replacen("repository = \"a\"", "repository = \"b\"", 1);
    assert_ne!(text, CONFIG);
    fs::write(lab.path("pagekeep.toml"), text).unwrap();
    lab.desk.reload().unwrap();
    lab.until("both are in b", |desk| {
        [&one, &other].iter().all(|path| is_captured_into(desk, path, "b"))
    });
    // Who was left has let go of the file: nothing keeps its WAL from being reset.
    lab.until("the WAL is reset", |_| {
        let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
        application.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() == 0
    });
    // Whoever answers late disturbs nobody.
    lab.gate.close(false);
    application.execute_batch("INSERT INTO t VALUES(3)").unwrap();
    lab.until("it goes on in b", |desk| match &desk.kept[&one].stage {
        Stage::Awake(follower) => {
            let status = follower.status();
            status.pending == 0 && status.published > 0
        }
        _ => false,
    });
}
