//! What a run leaves out whoever names it, and where a restore may go.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use super::*;

/// A repository in the folder `app/kept`, beside a file of somebody's own.
fn with_repository() -> Lab {
    let lab = Lab::new();
    let folder = lab.path("app/kept");
    fs::create_dir(&folder).unwrap();
    let secret = Secret::new_recovery().unwrap();
    let kdf = KdfParams { memory_kib: 64, passes: 1, lanes: 1 };
    let store = crate::store::create_store(folder.to_str().unwrap()).unwrap();
    let options = RepositoryOptions::new(lab.path("state"));
    Repository::init(store, &[(&secret, "")], kdf, &options).unwrap();
    fs::write(folder.join("note"), "somebody's own").unwrap();
    fs::write(lab.path("app/good"), "good").unwrap();
    lab
}

#[test]
fn no_pattern_leads_into_a_repository_or_the_state() {
    let lab = with_repository();
    for pattern in ["app/*/*", "app/**/*", "app/kept/*", "app/kept/**/*", "*/**/*", "**/*"] {
        lab.keep(&[pattern]);
        for name in lab.names() {
            let is_ours = ["app/kept/repository", "app/kept/keys", "app/kept/histories", "state"];
            assert!(!is_ours.iter().any(|ours| name.starts_with(ours)), "{pattern}: {name}");
        }
        assert!(lab.names().contains(&"app/kept/note".to_owned()), "{pattern}");
    }
}

#[test]
fn a_part_of_a_repository_or_of_the_state_that_is_named_is_told_and_left_out() {
    let lab = with_repository();
    for named in ["app/kept/keys", "app/kept/keys/*", "app/kept/repository", "state", "state/*"] {
        let report = lab.keep(&["app/good", named]);
        let told: Vec<_> = report.passed_over.iter().map(|over| over.to_string()).collect();
        assert!(
            matches!(&*told, [one] if one.contains("a part of a repository")),
            "{named}: {told:?}"
        );
        assert_eq!(lab.names(), ["app/good"], "{named}");
    }
    // A folder of that name that is no repository's is as good as any other.
    fs::create_dir(lab.path("app/keys")).unwrap();
    fs::write(lab.path("app/keys/house"), "a house has keys").unwrap();
    assert!(lab.keep(&["app/keys/*"]).passed_over.is_empty());
    assert_eq!(lab.names(), ["app/keys/house"]);
}

#[test]
fn an_empty_folder_becomes_the_restored_one_and_nothing_else_does() {
    let lab = Lab::new();
    fs::write(lab.path("app/file"), "content").unwrap();
    lab.keep(&["app"]);
    let point = lab.repository.history("shop.files").unwrap().find("latest").unwrap();
    let out = lab.path("out");
    fs::create_dir(&out).unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o751)).unwrap();
    restore(&point, &out, &Silent).unwrap();
    assert_eq!(fs::metadata(&out).unwrap().mode() & 0o7777, 0o751);
    let file = out.join(lab.path("app/file").strip_prefix("/").unwrap());
    assert_eq!(fs::read(file).unwrap(), b"content");
    // It has something now. A file, and a link to an empty folder, are no empty folders.
    fs::write(lab.path("plain"), "").unwrap();
    fs::create_dir(lab.path("empty")).unwrap();
    symlink("empty", lab.path("link")).unwrap();
    for taken in ["out", "plain", "link"] {
        let error = restore(&point, &lab.path(taken), &Silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused, "{taken}");
    }
    assert_eq!(fs::read_dir(lab.path("empty")).unwrap().count(), 0);
    assert!(lab.path("link").is_symlink() && lab.path("plain").is_file());
    // Nothing unfinished is left behind.
    let names = fs::read_dir(lab.path("")).unwrap().map(|entry| entry.unwrap().file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().starts_with(".tmp-")).count(), 0);
}

#[test]
fn a_small_archive_has_no_endless_entries() {
    let lab = Lab::new();
    // Without a key, each of the one may belong to each of the other.
    let point = lab.hostile(
        "CREATE TABLE sqlar(name TEXT, mode INT, mtime INT, sz INT, data BLOB);
         CREATE TABLE pagekeep_files(name TEXT, uid INT, gid INT, mtime_ns INT);
         WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
         INSERT INTO sqlar SELECT 'file', 33188, 1, 1, x'61' FROM n;
         INSERT INTO pagekeep_files SELECT 'file', 0, 0, 1 FROM sqlar;",
    );
    let entries = list(&point).unwrap();
    assert_eq!(entries.len(), 3000);
    assert_eq!(entries.iter().filter(|entry| entry.refused().is_none()).count(), 1);
    let restored = restore(&point, &lab.path("out"), &Silent).unwrap();
    assert_eq!((restored.files, restored.refused.len()), (1, 2999));
}

#[test]
fn folders_that_an_archive_does_not_name_itself_are_made_for_what_is_in_them() {
    let lab = Lab::new();
    let point = lab.hostile(
        "CREATE TABLE sqlar(name TEXT PRIMARY KEY, mode INT, mtime INT, sz INT, data BLOB);
         INSERT INTO sqlar VALUES('a', 16384, 1, 0, NULL), ('a/b/c/file', 33188, 1, 1, x'61'),
             ('x/y/link', 41471, 1, -1, 'z'), ('p/../q/no', 33188, 1, 1, x'61');",
    );
    let restored = restore(&point, &lab.path("out"), &Silent).unwrap();
    assert_eq!((restored.files, restored.links, restored.refused.len()), (1, 1, 1));
    let out = lab.path("out");
    assert_eq!(fs::metadata(out.join("a")).unwrap().mode() & 0o777, 0);
    fs::set_permissions(out.join("a"), fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(fs::read(out.join("a/b/c/file")).unwrap(), b"a");
    assert!(
        out.join("x/y/link").is_symlink() && !out.join("p").exists() && !out.join("q").exists()
    );
}
