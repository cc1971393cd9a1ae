//! Folders and files of other accounts: an adversary who owns the folder swaps names while root restores and rewinds in it, and what an
//! application of another account had is still its own afterwards. Without root there are no other accounts, and nothing to show.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use crate::support::cli::{self, Lab, copy_program, is_root};
use crate::support::process::role_args;
use rusqlite::Connection;

const ADVERSARY: u32 = 4001;
/// How often each command runs beside the adversary.
const ROUNDS: usize = 12;

/// Swaps every scratch file that appears in its folder for a link to a file of root's, and puts it back, and away again.
#[test]
#[ignore = "a role that the other test starts in a process of its own"]
fn role_adversary() {
    let Some(folder) = std::env::var_os("PAGEKEEP_ROLE_FOLDER").map(PathBuf::from) else { return };
    let secret = PathBuf::from(std::env::var_os("PAGEKEEP_ROLE_SECRET").unwrap());
    let mut rounds = 0u64;
    loop {
        let Ok(entries) = fs::read_dir(&folder) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if !name.starts_with(".tmp-") || is_link {
                continue;
            }
            rounds += 1;
            let (path, aside) = (entry.path(), folder.join(format!("aside-{rounds}")));
            if fs::rename(&path, &aside).is_ok() {
                let _ = symlink(&secret, &path);
                // Sometimes it is back in time for whoever looks twice.
                if rounds.is_multiple_of(2) {
                    std::thread::yield_now();
                    let _ = fs::rename(&aside, &path);
                }
            }
        }
    }
}

/// Writes to a database, as its application does.
#[test]
#[ignore = "a role that the other test starts in a process of its own"]
fn role_application() {
    if let Some(path) = std::env::var_os("PAGEKEEP_ROLE_DATABASE") {
        let db = Connection::open(path).unwrap();
        db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
        db.execute("DELETE FROM t WHERE id = (SELECT min(id) FROM t)", []).unwrap();
    }
}

/// This test's own binary, where everybody may run it.
fn roles(lab: &Lab) -> PathBuf {
    let binary = lab.path("roles");
    if !binary.exists() {
        copy_program(&std::env::current_exe().unwrap(), &binary);
        fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(lab.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    }
    binary
}

/// A process that does not outlive the test.
struct Adversary(Child);

impl Adversary {
    fn start(lab: &Lab, folder: &Path, secret: &Path) -> Self {
        let mut command = Command::new(roles(lab));
        command.args(role_args("other_people::role_adversary")).uid(ADVERSARY).gid(ADVERSARY);
        command.env("PAGEKEEP_ROLE_FOLDER", folder).env("PAGEKEEP_ROLE_SECRET", secret);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        Self(command.spawn().unwrap())
    }
}

impl Drop for Adversary {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder of the adversary's with a database of theirs, and a database of root's elsewhere that nobody else may read.
fn scene() -> (Lab, PathBuf, PathBuf) {
    let lab = Lab::new();
    let folder = lab.path("theirs");
    fs::create_dir(&folder).unwrap();
    lab.make("theirs/app.db", 2000);
    lab.ok(&["backup", "theirs/app.db"]);
    lab.sql("theirs/app.db", "DELETE FROM t WHERE id % 2 = 0");
    lab.ok(&["backup", "theirs/app.db"]);
    let secret = lab.path("secret.db");
    let db = Connection::open(&secret).unwrap();
    db.execute_batch("CREATE TABLE secret(x); INSERT INTO secret VALUES('of root')").unwrap();
    drop(db);
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    for path in [folder.clone(), folder.join("app.db")] {
        chown(path, Some(ADVERSARY), Some(ADVERSARY)).unwrap();
    }
    (lab, folder, secret)
}

fn rows(path: &Path) -> i64 {
    let db = Connection::open(path).unwrap();
    db.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

/// What a command says it did, it did to the file that was compared; and nothing of root's gets into what the adversary can read.
#[test]
fn who_owns_the_folder_can_not_have_another_file_restored_or_installed() {
    if !is_root() {
        return;
    }
    let (lab, folder, secret) = scene();
    let before = fs::read(&secret).unwrap();
    let adversary = Adversary::start(&lab, &folder, &secret);
    let (mut held, mut refused) = (0, 0);
    for round in 0..ROUNDS {
        let target = folder.join(format!("restored-{round}.db"));
        let ended = lab.run(&["restore", "app@seq:1", target.to_str().unwrap()]);
        if matches!(ended.code, Some(0 | 3)) {
            held += 1;
            let meta = fs::symlink_metadata(&target).unwrap();
            assert!(meta.is_file(), "a link got the name");
            assert_eq!(rows(&target), 2000);
        } else {
            refused += 1;
            assert!(!target.exists(), "{}", ended.stderr);
        }
        let wanted = if round % 2 == 0 { "seq:1" } else { "seq:2" };
        let ended = lab.run(&["rewind", "theirs/app.db", "--to", wanted]);
        if matches!(ended.code, Some(0 | 3)) {
            held += 1;
            assert_eq!(rows(&folder.join("app.db")), if round % 2 == 0 { 2000 } else { 1000 });
        } else {
            refused += 1;
        }
        let live = Connection::open(folder.join("app.db")).unwrap();
        assert!(live.prepare("SELECT * FROM secret").is_err(), "root's database was installed");
    }
    drop(adversary);
    assert!(fs::read(&secret).unwrap() == before, "root's database was written to");
    println!("{held} did what they said, {refused} refused");
    assert!(refused > 0, "the adversary did nothing");
    // Undisturbed, the folder of another account is as good as any.
    lab.run(&["rewind", "theirs/app.db", "--to", "seq:1"]);
    assert_eq!(rows(&folder.join("app.db")), 2000);
}

#[test]
fn a_replaced_file_keeps_its_owner_group_and_mode() {
    if !is_root() {
        return;
    }
    let (lab, folder, _) = scene();
    let live = folder.join("app.db");
    fs::set_permissions(&live, fs::Permissions::from_mode(0o640)).unwrap();
    lab.ok(&["restore", "app@seq:1", "theirs/app.db", "--force"]);
    let meta = fs::metadata(&live).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o777), (ADVERSARY, ADVERSARY, 0o640));
    // A new file in somebody else's folder is root's, which is said.
    let ended = lab.run(&["restore", "app@seq:1", "theirs/new.db"]);
    assert!(ended.stderr.contains("theirs/new.db") && ended.stderr.contains("chown"), "{ended:?}");
    assert_eq!(fs::metadata(folder.join("new.db")).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_restore_follows_a_link_of_ones_own_and_none_of_others() {
    let lab = Lab::with_history();
    fs::create_dir(lab.path("real")).unwrap();
    fs::copy(lab.path("app.db"), lab.path("real/live.db")).unwrap();
    symlink("real/live.db", lab.path("link.db")).unwrap();
    lab.fails(&["restore", "app@seq:1", "link.db"], 17, &["real/live.db", "exists already"]);
    lab.ok(&["restore", "app@seq:1", "link.db", "--force"]);
    assert!(fs::symlink_metadata(lab.path("link.db")).unwrap().is_symlink(), "the link stays");
    assert_eq!(lab.number("real/live.db", "SELECT count(*) FROM t WHERE x = 'changed'"), 0);
    if !is_root() {
        return;
    }
    std::os::unix::fs::lchown(lab.path("link.db"), Some(ADVERSARY), Some(ADVERSARY)).unwrap();
    lab.fails(&["restore", "app@seq:2", "link.db", "--force"], 17, &["link.db", "user 4001"]);
    assert_eq!(lab.number("real/live.db", "SELECT count(*) FROM t WHERE x = 'changed'"), 0);
}

#[test]
fn a_restore_replaces_no_pipe_and_no_device() {
    let lab = Lab::with_history();
    let made = Command::new("mkfifo").arg(lab.path("pipe")).status().unwrap();
    assert!(made.success());
    lab.misused(
        &["restore", "app", "pipe", "--force"],
        &["pipe", "is a device, a pipe or a socket"],
    );
    lab.misused(&["restore", "app", "/dev/null", "--force"], &["/dev/null"]);
    // A link that leads nowhere is in the way of a WAL, too.
    symlink("nowhere", lab.path("new.db-wal")).unwrap();
    lab.fails(&["restore", "app", "new.db"], 17, &["new.db-wal", "left over"]);
}

#[test]
fn a_restore_replaces_a_file_whose_name_is_as_long_as_sqlite_takes() {
    let lab = Lab::with_history();
    let name = format!("{}.db", "n".repeat(244));
    lab.ok(&["restore", "app@seq:1", &name]);
    lab.ok(&["restore", "app@seq:2", &name, "--force"]);
    assert_eq!(lab.number(&name, "SELECT count(*) FROM t WHERE x = 'changed'"), 1);
    let left = fs::read_dir(lab.path("")).unwrap().flatten();
    let old = left.filter(|entry| entry.file_name().to_string_lossy().contains(".old-"));
    assert_eq!(old.count(), 0);
}

/// A reader of another account leaves no files behind that lock the application out; a member of the group shares those that it makes.
#[test]
fn who_only_reads_locks_no_application_out() {
    if !is_root() {
        return;
    }
    let (lab, folder, _) = scene();
    let (live, bin) = (folder.join("app.db"), lab.path("pagekeep"));
    copy_program(Path::new(cli::BIN), &bin);
    for path in [&folder, &lab.path(""), &bin] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let of = |user: u32, group: u32, args: &[&str]| {
        let mine = lab.path(&format!("of-{user}-{group}"));
        fs::create_dir_all(&mine).unwrap();
        chown(&mine, Some(user), Some(group)).unwrap();
        let mut command = Command::new(&bin);
        command.args(args).current_dir(&mine).env_clear().uid(user).gid(group);
        command.env("HOME", &mine).env("PAGEKEEP_STATE_DIR", "state");
        command.env("PAGEKEEP_REPO", "repo").env("PAGEKEEP_KEY_FILE", "key");
        cli::Ended::of(&mut command)
    };
    // As the application's account writes.
    let writes = |what: &str, groups: &str| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=4001", "--regid=4001", groups]).arg(roles(&lab));
        command.args(role_args("other_people::role_application"));
        command.env("PAGEKEEP_ROLE_DATABASE", &live).current_dir("/");
        let done = command.output().unwrap();
        assert!(done.status.success(), "{what}: {done:?}");
    };
    let path = live.to_str().unwrap();
    assert_eq!(of(4002, 4002, &["init"]).code, Some(0));
    let refused = of(4002, 4002, &["backup", path]);
    refused.failed(5, &["app.db", "its application could not write", "user 4001"]);
    writes("after a reader that was refused", "--clear-groups");
    assert!(!folder.join("app.db-shm").exists());

    // A member of the group, whose own group is another one.
    chown(&live, Some(ADVERSARY), Some(5000)).unwrap();
    fs::set_permissions(&live, fs::Permissions::from_mode(0o664)).unwrap();
    let mine = lab.path("of-4003-4003");
    fs::create_dir_all(&mine).unwrap();
    chown(&mine, Some(4003), Some(4003)).unwrap();
    let member = |args: &[&str]| {
        let mut command = Command::new("setpriv");
        command.args(["--reuid=4003", "--regid=4003", "--groups=5000"]).arg(&bin).args(args);
        command.stdout(std::process::Stdio::null());
        command.current_dir(&mine).env("HOME", &mine).env("PAGEKEEP_STATE_DIR", "state");
        command.env("PAGEKEEP_REPO", "repo").env("PAGEKEEP_KEY_FILE", "key");
        command
    };
    assert!(member(&["init", "--no-recovery-key"]).status().unwrap().success());
    let err = fs::File::create(lab.path("watch.err")).unwrap();
    let mut watch = member(&["watch", path, "--interval", "0"]);
    watch.stdout(std::process::Stdio::null()).stderr(err);
    let mut watch = Adversary(watch.spawn().unwrap());
    let shm = folder.join("app.db-shm");
    let began = std::time::Instant::now();
    while fs::metadata(&shm).map_or(true, |meta| meta.gid() != 5000) {
        let told = || fs::read_to_string(lab.path("watch.err")).unwrap();
        assert!(began.elapsed().as_secs() < 20, "the files stay the watcher's: {}", told());
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    writes("while it is followed", "--groups=5000");
    cli::signal("-TERM", &watch.0.id().to_string());
    assert_eq!(watch.0.wait().unwrap().code(), Some(0));
    writes("after a follower of the group", "--clear-groups");
}

/// SQLite takes some names for more than names.
#[test]
fn a_file_is_the_file_of_that_name_whatever_sqlite_makes_of_it() {
    let lab = Lab::new();
    lab.make("app.db", 3);
    for name in ["file:app.db", ":memory:", "file:x.db?mode=memory&cache=shared"] {
        let path = std::path::absolute(lab.path(name)).unwrap();
        let db = Connection::open(&path).unwrap();
        db.execute_batch("CREATE TABLE mine(x)").unwrap();
        drop(db);
        assert!(path.exists(), "{name}");
        lab.ok(&["backup", name, "--name", "odd"]);
        lab.ok(&["restore", "odd", "out.db", "--force"]);
        assert_eq!(lab.number("out.db", "SELECT count(*) FROM mine"), 0, "{name}");
        fs::rename(&path, lab.path("gone")).unwrap();
        lab.ok(&["restore", "odd", name]);
        lab.ok(&["rewind", name, "--to", "seq:1", "--name", "odd"]);
        fs::remove_file(lab.path("gone")).unwrap();
        fs::remove_dir_all(lab.path("state")).unwrap();
        fs::remove_dir_all(lab.path("repo")).unwrap();
        fs::remove_file(lab.path("key")).unwrap();
        lab.ok(&["init"]);
    }
    assert_eq!(lab.number("app.db", "SELECT count(*) FROM t"), 3);
}

/// The program as another account runs it, with a repository, a key and a state folder of its own unless told otherwise.
fn as_user(lab: &Lab, user: u32, groups: &str) -> Command {
    let (mine, bin) = (lab.path(&format!("of-{user}")), lab.path("pagekeep"));
    if !bin.exists() {
        copy_program(Path::new(cli::BIN), &bin);
        fs::set_permissions(&bin, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(lab.path(""), fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir_all(&mine).unwrap();
    chown(&mine, Some(user), Some(user)).unwrap();
    let mut command = Command::new("setpriv");
    command.arg(format!("--reuid={user}")).arg(format!("--regid={user}")).arg(groups).arg(bin);
    command.current_dir(&mine).env_clear().env("HOME", &mine).env("PATH", "/usr/bin:/bin");
    command.env("PAGEKEEP_STATE_DIR", "state").env("PAGEKEEP_REPO", "repo");
    command.env("PAGEKEEP_KEY_FILE", "key");
    command
}

/// A key that another user planted is known to that user.
#[test]
fn nobody_elses_key_becomes_the_key_of_a_repository() {
    if !is_root() {
        return;
    }
    let lab = Lab::empty();
    let planted = lab.path("planted");
    lab.ok(&["init", "-r", "theirs", "--key-file", "planted"]);
    chown(&planted, Some(ADVERSARY), Some(ADVERSARY)).unwrap();
    let told = ["planted", "belongs to another user (uid 4001)", "not there yet"];
    let init = ["init", "-r", "mine", "--key-file", "planted"];
    lab.fails(&init, 17, &told);
    assert!(!lab.path("mine").join("repository").exists());
    lab.ok(&["init", "-r", "mine", "--key-file", "key"]);
    let with = ["-r", "mine", "--key-file", "key", "key"];
    for new in [["add", "--new-key-file", "planted"], ["passwd", "--new-key-file", "planted"]] {
        lab.fails(&[&with[..], &new].concat(), 17, &told);
    }
    assert_eq!(lab.json(&[&with[..], &["list"]].concat()).len(), 2);
    // A link leads to the same file; and a key that one has had all along opens what it opens.
    symlink(&planted, lab.path("link")).unwrap();
    lab.fails(&["init", "-r", "third", "--key-file", "link"], 17, &["belongs to another user"]);
    lab.ok(&["-r", "theirs", "--key-file", "planted", "status"]);
}

/// Whoever may write where the state folder lies can plant links, pipes and whole folders there.
#[test]
fn nothing_planted_in_a_state_folder_is_followed_waited_for_or_believed() {
    if !is_root() {
        return;
    }
    let lab = Lab::with_history();
    let remembered = || -> PathBuf {
        let of = |dir: &Path| {
            let dirs = fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
            let mut dirs: Vec<_> = dirs.filter(|p| p.is_dir() && !p.ends_with("places")).collect();
            assert_eq!(dirs.len(), 1, "{dirs:?}");
            dirs.remove(0)
        };
        of(&of(&lab.path("state")))
    };
    let backup = ["backup", "app.db"];
    lab.ok(&backup);
    let (folder, victim) = (remembered(), lab.path("victim"));
    for name in ["lock", "state", "digests", "seen", "known", "following", "numbers"] {
        let path = folder.join(name);
        let _ = fs::remove_file(&path);
        symlink(&victim, &path).unwrap();
        // It goes on without what it remembered, or says what is in its way; it ends.
        let ended = lab.run(&backup);
        assert!(matches!(ended.code, Some(0 | 17)), "{name}: {ended:?}");
        assert!(!victim.exists(), "{name} was written through a link");
        let _ = fs::remove_file(&path);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        let ended = lab.run(&backup);
        assert!(matches!(ended.code, Some(0 | 17)), "{name}: {ended:?}");
        fs::remove_file(&path).unwrap();
    }
    lab.sql("app.db", "DELETE FROM t WHERE id = 1");
    lab.ok(&backup);

    // A folder of theirs says what they like.
    let of_repository = folder.parent().unwrap();
    chown(of_repository, Some(ADVERSARY), Some(ADVERSARY)).unwrap();
    for args in [&backup[..], &["status"], &["restore", "app", "out.db"]] {
        lab.fails(args, 17, &["belongs to another user (uid 4001)", "--state-dir"]);
    }
    chown(of_repository, Some(0), Some(0)).unwrap();
    chown(&folder, Some(ADVERSARY), Some(ADVERSARY)).unwrap();
    lab.fails(&backup, 17, &["belongs to another user (uid 4001)"]);
}

/// Two members of a group work in one repository, and who is none of them reads nothing.
#[test]
fn a_group_shares_a_repository_whose_folder_it_may_write_to() {
    if !is_root() {
        return;
    }
    let lab = Lab::empty();
    let repo = lab.path("repo");
    fs::create_dir(&repo).unwrap();
    chown(&repo, Some(4001), Some(5000)).unwrap();
    let run = |user: u32, args: &[&str]| {
        let groups = if user == 4009 { "--clear-groups" } else { "--groups=5000" };
        let mut command = as_user(&lab, user, groups);
        command.env("PAGEKEEP_REPO", &repo).env("PAGEKEEP_KEY_FILE", lab.path("key")).args(args);
        cli::Ended::of(&mut command)
    };
    // Of a folder without the bit that hands the group down, too.
    for mode in [0o770, 0o2770] {
        fs::set_permissions(&repo, fs::Permissions::from_mode(mode)).unwrap();
        fs::write(lab.path("key"), format!("{:064x}\n", mode)).unwrap();
        fs::set_permissions(lab.path("key"), fs::Permissions::from_mode(0o644)).unwrap();
        let init = run(4001, &["init", "--no-recovery-key"]);
        assert!(matches!(init.code, Some(0 | 3)), "{init:?}");
        for user in [4001, 4002] {
            let db = lab.path(&format!("of-{user}/app{user}.db"));
            fs::create_dir_all(db.parent().unwrap()).unwrap();
            let _ = fs::remove_file(&db);
            Connection::open(&db).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
            chown(&db, Some(user), Some(user)).unwrap();
        }
        let warned = |user, args: &[&str]| {
            let ended = run(user, args);
            assert!(matches!(ended.code, Some(0 | 3)), "{user} {args:?}: {ended:?}");
        };
        warned(4001, &["backup", "app4001.db", "--label", "one"]);
        warned(4002, &["backup", "app4002.db"]);
        for (user, other) in [(4001, "app4002"), (4002, "app4001")] {
            warned(user, &["restore", other, &format!("{other}-{mode}.db")]);
            warned(user, &["verify", other]);
            warned(user, &["hold", "add", other, "a reason"]);
            warned(user, &["prune", other, "--keep-last", "1", "--grace", "0"]);
        }
        let stranger = run(4009, &["status"]);
        assert!(!matches!(stranger.code, Some(0 | 3)), "{stranger:?}");
        for path in cli::walk(&repo) {
            let meta = fs::metadata(&path).unwrap();
            let wanted = if meta.is_dir() { mode } else { 0o640 };
            assert_eq!((meta.gid(), meta.mode() & 0o7777), (5000, wanted), "{}", path.display());
        }
        for entry in fs::read_dir(&repo).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }.unwrap();
        }
        for user in [4001, 4002] {
            let _ = fs::remove_dir_all(lab.path(&format!("of-{user}/state")));
        }
    }
}

/// Root works in the repository of another account, which works there afterwards as ever.
#[test]
fn what_root_creates_in_another_accounts_repository_is_that_accounts() {
    if !is_root() {
        return;
    }
    let lab = Lab::empty();
    let user = |args: &[&str]| cli::Ended::of(as_user(&lab, 4001, "--clear-groups").args(args));
    assert_eq!(user(&["init", "--no-recovery-key"]).code, Some(0));
    let db = lab.path("of-4001/app.db");
    Connection::open(&db).unwrap().execute_batch("CREATE TABLE t(x)").unwrap();
    chown(&db, Some(4001), Some(4001)).unwrap();
    assert_eq!(user(&["backup", "app.db"]).code, Some(0));
    let root = |args: &[&str]| {
        let mine = ["-r", "of-4001/repo", "--key-file", "of-4001/key", "--state-dir", "roots"];
        let ended = lab.run(&[&mine[..], args].concat());
        assert!(matches!(ended.code, Some(0 | 3)), "{args:?}: {ended:?}");
    };
    root(&["verify"]);
    root(&["label", "app", "of root"]);
    root(&["hold", "add", "app", "a reason"]);
    root(&["key", "add", "--new-key-file", "second"]);
    root(&["backup", "other.db"].map(|arg| if arg == "other.db" { "of-4001/app.db" } else { arg }));
    for args in [
        &["backup", "app.db", "--takeover"][..],
        &["status"],
        &["verify"],
        &["log", "app"],
        &["prune", "app", "--keep-last", "5"],
        &["key", "list"],
    ] {
        let ended = user(args);
        assert!(matches!(ended.code, Some(0 | 3)), "{args:?}: {ended:?}");
    }
}
