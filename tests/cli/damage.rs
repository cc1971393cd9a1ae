//! Damaged histories through the real binary: what is there is there, what is not ends with 4, and every command says the same.

use std::fs;

use crate::support::cli::{Lab, flip, walk};

/// Eight commits, none of which but the first stores all pages.
fn eight() -> Lab {
    let lab = Lab::new();
    lab.make("app.db", 400);
    for n in 0..8 {
        lab.sql("app.db", &format!("INSERT INTO t(x) VALUES('commit {n}')"));
        lab.ok(&["backup", "app.db", "--label", &format!("L{}", n + 1)]);
    }
    lab
}

#[test]
fn a_missing_segment_takes_only_what_needs_it() {
    let lab = eight();
    fs::remove_file(lab.segment_of(4)).unwrap();
    let warned = |args: &[&str]| {
        let ended = lab.run(args);
        ended.failed(3, &["is missing", "between seq:3 and seq:5", "pagekeep repair app"]);
        ended
    };
    warned(&["restore", "app@seq:2", "two.db"]);
    assert_eq!(lab.number("two.db", "SELECT count(*) FROM t"), 402);
    warned(&["show", "app@L3"]).says(&["app@seq:3"]);
    warned(&["label", "app@seq:1", "begin"]);
    for (args, says) in [
        (&["log", "app"][..], "seq:8"),
        (&["snapshots", "app"], "L5"),
        (&["status"], "can't be restored"),
        (&["verify", "app", "--level", "chain"], "is missing"),
    ] {
        let ended = lab.run(args);
        assert_eq!(ended.code, Some(4), "{args:?}: {ended:?}");
        ended.says(&[says]);
    }
    for when in ["app", "app@seq:4", "app@L4", "app@seq:6"] {
        let ended = lab.run(&["restore", when, "none.db"]);
        ended.failed(4, &["is missing", "pagekeep repair app"]);
    }
    assert!(!lab.path("none.db").exists());
    // Also when nothing changed: never green on what can't be restored.
    for _ in 0..2 {
        let ended = lab.run(&["backup", "app.db"]);
        ended.failed(4, &["the newest commit can't be restored", "repair app --apply --database"]);
        lab.sql("app.db", "INSERT INTO t(x) VALUES('more')");
    }
    lab.run(&["watch", "app.db"]).failed(4, &["the newest commit can't be restored"]);
    lab.run(&["prune", "app", "--keep-last", "1"]).failed(4, &["is missing"]);
    let dry = lab.run(&["repair", "app"]);
    dry.failed(4, &[]);
    dry.says(&["keeps 3 commits: seq:1 to seq:3", "lost 5 numbers: seq:4 to seq:8"]);
    let done = lab.ok(&["repair", "app", "--apply", "--database", "app.db"]);
    done.says(&["keeps 3 commits: seq:1 to seq:3", "the live database is app@seq:10"]);
    // One number was used up for what shows that the newest are lost.
    assert_eq!(lab.seqs(), [1, 2, 3, 10]);
    lab.ok(&["verify", "app", "--level", "data"]);
    lab.ok(&["backup", "app.db"]);
    lab.ok(&["status"]);
    lab.fails(&["restore", "app@L5", "none.db"], 16, &["seq:5", "\"L5\""]);
}

#[test]
fn a_repair_names_the_labels_and_holds_that_are_lost_before_it_does_anything() {
    let lab = eight();
    lab.ok(&["hold", "add", "app@seq:8", "audit"]);
    lab.ok(&["label", "app@seq:8", "mistake"]);
    lab.ok(&["label", "app", "--remove", "mistake"]);
    let label = walk(&lab.path("repo"))
        .into_iter()
        .find(|p| p.display().to_string().contains("/snapshots/0000000000000002-"));
    let newest = lab.segment_of(8);
    flip(&label.unwrap(), 60);
    // All but that label shows.
    for (args, code) in [
        (&["log", "app"][..], 4),
        (&["snapshots", "app"], 4),
        (&["show", "app@seq:5"], 3),
        (&["show", "app@L5"], 3),
    ] {
        let ended = lab.run(args);
        ended.failed(code, &["snapshots/0000000000000002-", "pagekeep repair app"]);
        ended.says(&["L5"]);
    }
    flip(&newest, 60);
    let dry = lab.run(&["repair", "app"]);
    dry.failed(4, &[]);
    dry.says(&["lost with seq:8: its label \"L8\"", "lost with seq:8: its hold \"audit\""]);
    dry.says(&["commit 2 is without this label"]);
    assert!(!dry.stdout.contains("mistake") && !dry.stdout.contains("L7"), "{dry:?}");
    let marks = lab.run(&["repair", "app", "--json"]).objects();
    let marks = &marks.last().unwrap()["lost_labels_and_holds"];
    assert_eq!(*marks, serde_json::json!([[8, "hold \"audit\""], [8, "label \"L8\""]]));
    lab.run(&["repair", "app", "--apply"]).says(&["lost with seq:8: its label \"L8\""]);
}

#[test]
fn a_repair_of_what_was_set_back_waits_for_a_word() {
    let lab = eight();
    let first = lab.segment_of(1);
    fs::remove_file(lab.segment_of(8)).unwrap();
    flip(&first, 60);
    let before = walk(&lab.path("repo"));
    for args in [&["repair", "app"][..], &["repair", "app", "--apply"]] {
        let ended = lab.run(args);
        ended.failed(4, &[]);
        ended.says(&["went backwards", "--accept-rollback"]);
        assert!(!ended.stdout.contains("lost"), "{ended:?}");
        assert_eq!(walk(&lab.path("repo")), before);
    }
    lab.ok(&["repair", "app", "--accept-rollback"]);
    lab.run(&["repair", "app"]).says(&["lost"]);
    lab.run(&["repair", "app", "--apply", "--database", "app.db"]);
    lab.ok(&["verify", "app"]);
}

#[test]
fn damaged_newest_segments_are_no_reason_to_get_an_older_commit() {
    let lab = eight();
    for segment in [6, 7, 8].map(|seq| lab.segment_of(seq)) {
        flip(&segment, 60);
    }
    lab.run(&["restore", "app", "none.db"]).failed(4, &["newest commits", "app@seq:5"]);
    lab.run(&["restore", "app@seq:5", "five.db"]).failed(3, &["after seq:5"]);
    lab.run(&["backup", "app.db"]).failed(4, &["can't be restored"]);
    lab.ok(&["repair", "app", "--apply"]).says(&["keeps 5 commits", "seq:6 to seq:"]);
    lab.ok(&["backup", "app.db"]);
    let newest = *lab.seqs().last().unwrap();
    assert!(newest > 8, "{newest}");
    lab.fails(&["restore", "app@L7", "none.db"], 16, &["\"L7\""]);
    lab.ok(&["verify", "app", "--level", "restore"]);
}

#[test]
fn a_newest_segment_that_lost_its_end_is_told_by_everything_that_lists_commits() {
    let lab = eight();
    let newest = lab.segment_of(8);
    let bytes = fs::read(&newest).unwrap();
    fs::write(&newest, &bytes[..bytes.len() - 1]).unwrap();
    let object = newest.strip_prefix(lab.path("repo")).unwrap().to_str().unwrap().to_owned();
    for args in [&["log", "app"][..], &["snapshots", "app"], &["snapshots"]] {
        let ended = lab.run(args);
        ended.failed(4, &[&object, "instead of", "pagekeep repair app"]);
        ended.says(&["seq:8"]);
        let json = lab.run(&[&["--json"], args].concat());
        assert_eq!(json.code, Some(4));
        let objects = json.objects();
        assert!(objects.iter().any(|o| o["type"] == "warning"), "{objects:?}");
        assert!(objects.iter().any(|o| o["type"] == "commit" && o["seq"] == 8), "{objects:?}");
    }
    lab.run(&["status"]).failed(4, &[]);
    lab.run(&["backup", "app.db"]).failed(4, &["can't be restored"]);
}

#[test]
fn what_harms_nobody_is_a_remark_to_every_command() {
    let lab = eight();
    let history = walk(&lab.path("repo/histories")).into_iter().find(|p| p.ends_with("about"));
    let history = history.unwrap().parent().unwrap().to_owned();
    let third = lab.segment_of(3);
    fs::write(history.join("log/ffffffffffffffff-ffffffffffffffff"), [0x5a; 300]).unwrap();
    fs::write(history.join("writers/ffffffffffffffff"), [0x5a; 300]).unwrap();
    let mut bytes = fs::read(&third).unwrap();
    bytes.push(0);
    fs::write(&third, bytes).unwrap();
    for args in [
        &["restore", "app", "new.db"][..],
        &["backup", "app.db"],
        &["status"],
        &["verify", "app"],
        &["prune", "app", "--keep-last", "99", "--grace", "0"],
        &["repair", "app"],
    ] {
        lab.run(args).failed(3, &["ffffffffffffffff"]);
    }
    lab.run(&["repair", "app", "--apply"]).failed(3, &["quarantine"]);
    for args in [&["verify", "app"][..], &["status"], &["repair", "app"], &["backup", "app.db"]] {
        lab.ok(args);
    }
    let moved = walk(&lab.path("repo/quarantine"));
    assert_eq!(moved.iter().filter(|path| path.is_file()).count(), 2, "{moved:?}");
}

/// A history with an object of every kind that a small one has.
fn everything() -> Lab {
    let lab = Lab::new();
    lab.make("app.db", 100);
    for n in 0..8 {
        lab.sql("app.db", &format!("INSERT INTO t(x) VALUES('commit {n}')"));
        lab.ok(&["backup", "app.db"]);
    }
    lab.ok(&["label", "app@seq:3", "third"]);
    lab.ok(&["hold", "add", "app@seq:4", "audit"]);
    lab.ok(&["verify", "app"]);
    lab.ok(&["prune", "app", "--keep-last", "3", "--grace", "1h"]);
    lab.sql("app.db", "INSERT INTO t(x) VALUES('behind')");
    lab.ok(&["backup", "app.db"]);
    lab
}

/// The newest file of each folder.
fn one_of_each_kind(lab: &Lab) -> Vec<std::path::PathBuf> {
    let mut files: Vec<_> = walk(&lab.path("repo")).into_iter().filter(|p| p.is_file()).collect();
    files.sort();
    let mut last = std::collections::BTreeMap::new();
    for file in files {
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        let folder = file.parent().unwrap().to_owned();
        let alone = name.starts_with("about") || name == "repository";
        last.insert((folder, alone.then_some(name)), file);
    }
    last.into_values().collect()
}

#[test]
fn a_flipped_version_or_feature_is_damage_to_every_command_and_a_repair_ends_it() {
    let mut kinds = std::collections::BTreeSet::new();
    for at in 5..8 {
        let lab = everything();
        let mut paths = one_of_each_kind(&lab);
        // What repairs and backups replace meanwhile is not the same from the other end.
        if at == 6 {
            paths.reverse();
        }
        for path in paths {
            // The repairs before may have put it away.
            let Ok(whole) = fs::read(&path) else { continue };
            let kind = whole[4];
            // Without the one slot that is used there is nothing to look at.
            if kind == 2 {
                continue;
            }
            kinds.insert(kind);
            let what = format!("{}, byte {at}", path.display());
            let mut bytes = whole.clone();
            bytes[at] ^= 8;
            fs::write(&path, bytes).unwrap();
            let codes: Vec<_> = ["status", "verify", "repair"]
                .iter()
                .map(|command| (lab.run(&[command, "app"]), command))
                .collect();
            for (ended, command) in &codes {
                let agree = ended.code == codes[0].0.code;
                let known = [Some(0), Some(3), Some(4)].contains(&ended.code);
                assert!(agree && known, "{what}: {command}: {codes:?}");
            }
            for args in [&["log", "app"][..], &["snapshots"], &["restore", "app@seq:8", "out.db"]] {
                let ended = lab.run(args);
                let known = [Some(0), Some(3), Some(4), Some(16)].contains(&ended.code);
                assert!(known, "{what}: {ended:?}");
                let _ = fs::remove_file(lab.path("out.db"));
            }
            let ended = lab.run(&["repair", "app", "--apply", "--database", "app.db"]);
            assert!([Some(0), Some(3)].contains(&ended.code), "{what}: {ended:?}");
            for args in
                [&["verify", "app"][..], &["status"], &["backup", "app.db"], &["log", "app"]]
            {
                let ended = lab.run(args);
                assert_eq!(ended.code, Some(0), "{what}: {args:?}: {ended:?}");
            }
        }
    }
    assert!([1, 3, 4, 5, 7, 8, 9, 10, 11].iter().all(|kind| kinds.contains(kind)), "{kinds:?}");
}

#[test]
fn a_slot_with_a_flipped_version_is_damaged() {
    let lab = eight();
    for slot in walk(&lab.path("repo/keys")) {
        flip(&slot, 5);
    }
    for args in [&["status"][..], &["log", "app"], &["repair"]] {
        lab.run(args).failed(4, &["keys/"]);
    }
}

/// What a newer version seals is no damage: every command says so, and nothing moves it.
#[test]
fn what_a_newer_version_wrote_is_left_alone() {
    for folder in ["snapshots", "holds", "proofs", "expired", "log"] {
        let lab = everything();
        let newest =
            |path: &std::path::PathBuf| path.parent().unwrap().ends_with(folder) && path.is_file();
        let mut files: Vec<_> =
            walk(&lab.path("repo/histories")).into_iter().filter(newest).collect();
        files.sort();
        let path = files.pop().unwrap();
        fs::write(&path, sealed_later(&lab, &path)).unwrap();
        let mut told = Vec::new();
        for args in [
            &["status"][..],
            &["status", "app"],
            &["verify"],
            &["verify", "app"],
            &["repair"],
            &["repair", "app", "--apply", "--database", "app.db"],
            &["prune", "app", "--keep-last", "3"],
        ] {
            let ended = lab.run(args);
            told.push((args, ended.code));
            if ended.code == Some(15) {
                assert!(ended.stderr.contains("newer"), "{folder}: {args:?}: {ended:?}");
            }
        }
        assert!(told.iter().all(|(_, code)| *code == Some(15)), "{folder}: {told:?}");
        assert!(path.exists(), "{folder}");
        assert!(!lab.path("repo/quarantine").exists(), "{folder}");
    }
}

/// An object as a later version might seal it in its place, with the key of this repository.
fn sealed_later(lab: &Lab, path: &std::path::Path) -> Vec<u8> {
    use pagekeep::internals::codec::seal::SealKey;
    use pagekeep::internals::format::ObjectKind;
    use pagekeep::internals::format::repository::RepositoryObject;
    use pagekeep::internals::format::slot::{SecretKind, SlotObject, decode_keyring};
    let text = fs::read_to_string(lab.path("key")).unwrap();
    let digits = text.lines().map(str::trim).find(|l| !l.is_empty() && !l.starts_with('#'));
    let digits = digits.unwrap();
    let mut secret = [0; 32];
    for (at, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap();
    }
    let slots = walk(&lab.path("repo/keys")).into_iter();
    let mut slots = slots.map(|path| SlotObject::decode(&fs::read(path).unwrap()).unwrap());
    let slot = slots.find(|slot| slot.front.secret == SecretKind::KeyFile).unwrap();
    let (key, _) = SealKey::for_slot(&secret, &slot.front);
    let bound = SlotObject::associated_data(&slot.front, &slot.commitment, slot.sealed.len());
    let mut sealed = slot.sealed.clone();
    let keys = decode_keyring(key.open_in_place(&[&bound], &mut sealed).unwrap()).unwrap();
    let object = fs::read(lab.path("repo/repository")).unwrap();
    let id = RepositoryObject::decode(&object).unwrap().id;
    let name = path.strip_prefix(lab.path("repo")).unwrap().to_str().unwrap();
    let mut prefix = fs::read(path).unwrap()[..44].to_vec();
    let kind = ObjectKind::ALL.into_iter().find(|kind| kind.number() == prefix[4]).unwrap();
    let object: [u8; 16] = prefix[24..40].try_into().unwrap();
    prefix[7] |= 0x80;
    let body = b"of a later version";
    prefix[40..44].copy_from_slice(&u32::try_from(body.len() + 16).unwrap().to_le_bytes());
    let key = SealKey::for_object(keys.last().unwrap(), id, kind, &object);
    let sealed = key.seal(&[&prefix, &id.0, name.as_bytes()], body).unwrap();
    [prefix, sealed].concat()
}
