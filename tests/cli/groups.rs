//! Several databases at one moment: groups of the daemon, and `restore-all`.

use std::fs;

use rusqlite::Connection;

use crate::daemon::{Daemon, HeldClock, write};
use crate::support::cli::Lab;

fn labels(lab: &Lab, name: &str) -> Vec<String> {
    let lines = lab.json(&["snapshots", name]);
    let of = |line: &serde_json::Value| line["labels"].as_array().unwrap().clone();
    let all = lines.iter().flat_map(of);
    all.map(|label| label.as_str().unwrap().to_owned()).filter(|l| l.starts_with("both ")).collect()
}

#[test]
fn a_group_is_labelled_at_one_moment_also_while_it_sleeps_and_comes_back_together() {
    let lab = Lab::new();
    let (main, other) = (Connection::open(lab.path("a.db")).unwrap(), lab.path("b.db"));
    let made = "PRAGMA journal_mode=WAL; CREATE TABLE account(money)";
    Connection::open(&other).unwrap().execute_batch(made).unwrap();
    main.execute_batch(made).unwrap();
    main.execute("ATTACH ?1 AS other", [other.to_str().unwrap()]).unwrap();
    let pay = "BEGIN IMMEDIATE; INSERT INTO main.account VALUES(-1); INSERT INTO other.account VALUES(1); COMMIT";
    lab.make("apart.db", 5);
    write(
        &lab,
        "[defaults]\nsleep-after = \"1s\"\nverify.data = \"never\"\nverify.restore = \"never\"\nmarks = \"off\"
         [groups.both]\ndatabases = [\"a\", \"b\"]\nschedule = \"0 * * * *\"\ntime-zone = \"UTC\"
         [groups.nobody]\ndatabases = [\"late-comer\"]\nschedule = \"0 * * * *\"\ntime-zone = \"UTC\"
         [[databases]]\npath = \"a.db\"\n[[databases]]\npath = \"b.db\"\n[[databases]]\npath = \"apart.db\"\n[[databases]]\npath = \"late-*.db\"",
    );
    let clock = HeldClock(lab.path("clock"));
    clock.set("2026-11-01T10:30:00Z");
    let mut daemon = Daemon::start_at(&lab, Some(&clock));
    for name in ["a", "b", "apart"] {
        daemon.keeps(name, 1);
    }
    main.execute_batch(pay).unwrap();
    clock.set("2026-11-01T11:00:30Z");
    daemon.until("a moment", || labels(&lab, "a").len() == 1 && labels(&lab, "b").len() == 1);
    main.execute_batch(pay).unwrap();
    // One that sleeps is woken for it.
    drop(main);
    daemon.says("b", "sleeps");
    daemon.says("a", "sleeps");
    clock.set("2026-11-01T12:00:30Z");
    daemon.until("the next", || labels(&lab, "a").len() == 2 && labels(&lab, "b").len() == 2);
    daemon.until("it is told who is missing", || {
        fs::read_to_string(lab.path("run.log"))
            .unwrap()
            .contains("no database \\\"late-comer\\\" is kept")
    });
    daemon.stop();

    assert_eq!(
        labels(&lab, "a"),
        ["both 2026-11-01T11:00:30Z of 2", "both 2026-11-01T12:00:30Z of 2"]
    );
    assert_eq!(labels(&lab, "a"), labels(&lab, "b"));
    for (at, payments) in
        [("both 2026-11-01T11:00:30Z of 2", 1), ("both 2026-11-01T12:00:30Z of 2", 2)]
    {
        let folder = format!("back {payments}");
        let ended = lab.run(&["restore-all", &folder, "--at", at]);
        assert_eq!(ended.code, Some(0), "{ended:?}");
        assert!(ended.stdout.contains("restored 2 databases"), "{ended:?}");
        let sum = |name: &str| {
            lab.number(&format!("{folder}/{name}"), "SELECT ifnull(sum(money), 0) FROM account")
        };
        assert_eq!((sum("a.db"), sum("b.db")), (-payments, payments));
        assert!(!lab.path(&format!("{folder}/apart.db")).exists());
    }
    // A part of a moment, as a machine that died in between leaves it, is none.
    let half = "both 2026-11-01T11:00:30Z of 2";
    lab.ok(&["label", "b", half, "--remove"]);
    let wanted = ["is a moment of 2 databases", "name the databases"];
    lab.run(&["restore-all", "half", "--at", half]).failed(17, &wanted);
    lab.run(&["restore-all", "half", "*", "--at", half]).failed(17, &wanted);
    // Whoever names some of a whole moment by a pattern gets these.
    let whole = "both 2026-11-01T12:00:30Z of 2";
    let some = lab.run(&["restore-all", "some", "a*", "--at", whole]);
    assert!(some.code == Some(0) && some.stdout.contains("restored 1 database"), "{some:?}");
    lab.run(&["restore-all", "half", "a", "b", "--at", half]).failed(16, &["\"b\""]);
    assert!(!lab.path("half").exists());
    lab.ok(&["restore-all", "half", "a", "--at", half]);
}

#[test]
fn all_databases_come_back_or_none() {
    let lab = Lab::new();
    for name in ["one", "two", "other"] {
        lab.make(&format!("{name}.db"), 5);
        lab.ok(&["backup", &format!("{name}.db")]);
    }
    lab.ok(&["restore-all", "all"]);
    let mut names: Vec<_> =
        fs::read_dir(lab.path("all")).unwrap().map(|e| e.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["one.db", "other.db", "two.db"]);
    lab.fails(&["restore-all", "all"], 17, &["all: is there already", "name a folder"]);
    lab.fails(&["restore-all", "some", "none-*"], 16, &["has no history \"none-*\""]);
    lab.fails(
        &["restore-all", "some", "--at", "2001-01-01"],
        16,
        &["2001-01-01", "no history has"],
    );
    let dry = lab.json(&["restore-all", "some", "o*", "-n"]);
    assert_eq!(dry.last().unwrap()["databases"], 2);
    assert!(!lab.path("some").exists());
    // A name that is longer than that of a file can be, with what SQLite puts beside it.
    let long = "é".repeat(127);
    lab.ok(&["backup", "one.db", "--name", &long, "--adopt"]);
    let ended = lab.run(&["restore-all", "with long"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert!(ended.stderr.contains("too long a name for a file"), "{ended:?}");
    let names = fs::read_dir(lab.path("with long")).unwrap();
    let names: Vec<_> = names.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    let name = names.iter().find(|name| name.starts_with("éé")).unwrap();
    assert!(names.len() == 4 && name.len() <= 247, "{names:?}");
    assert_eq!(lab.number(&format!("with long/{name}"), "SELECT count(*) FROM t"), 5);
    // A repository is for backups alone.
    for inside in ["repo/out", "repo/keys/out", "repo/new/out"] {
        lab.run(&["restore-all", inside]).failed(17, &["is in the repository"]);
    }
    // What is damaged leaves nothing half restored.
    let segment = fs::read_dir(lab.path("repo/histories")).unwrap().map(|e| e.unwrap().path());
    for history in segment {
        for object in crate::support::cli::walk(&history) {
            if object.to_str().unwrap().contains("/log/") {
                crate::support::cli::flip(&object, fs::metadata(&object).unwrap().len() / 3);
            }
        }
    }
    assert_eq!(lab.run(&["restore-all", "some"]).code, Some(4));
    let left = fs::read_dir(lab.path("")).unwrap().map(|e| e.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_str().unwrap().contains("tmp")).collect();
    assert!(!lab.path("some").exists() && left.is_empty(), "{left:?}");
}

#[test]
fn a_group_of_two_repositories_is_refused() {
    let lab = Lab::new();
    for name in ["shop", "blog"] {
        lab.make(&format!("{name}.db"), 2);
    }
    let text = |of_blog: &str| {
        format!(
            "[repositories.main]\nlocation = \"repo\"\nkey-file = \"key\"
             [repositories.other]\nlocation = \"other\"\nkey-file = \"key\"
             [[databases]]\npath = \"sh*.db\"\nrepository = \"main\"
             [[databases]]\npath = \"blog.db\"\nrepository = \"{of_blog}\"
             [groups.both]\ndatabases = [\"*o*\"]"
        )
    };
    fs::write(lab.path("two.toml"), text("other")).unwrap();
    let wanted = ["in the repository main", "in other", "a moment is restored from one"];
    // Which files match is another matter every day, and keeps no daemon from its start.
    let check = |file: &str| lab.run(&["config", "check", "-c", file]);
    let told = check("two.toml");
    assert!(wanted.iter().all(|words| told.stderr.contains(words)), "{told:?}");
    assert_eq!(told.code, Some(3), "{told:?}");
    // What the configuration says by itself is a mistake of it.
    fs::write(lab.path("two.toml"), text("other").replace("sh*.db", "shop.db")).unwrap();
    check("two.toml").failed(2, &[&wanted[..], &["a group for each"]].concat());
    fs::write(lab.path("one.toml"), text("main")).unwrap();
    // The other repository is not there, which is a warning.
    assert_eq!(lab.run(&["config", "check", "-c", "one.toml"]).code, Some(3));
}
