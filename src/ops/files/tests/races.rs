//! Files that somebody changes while they are read. Each deed happens at the same point of each
//! read, so that a run can be repeated.

use std::cell::Cell;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::rc::Rc;

use super::super::gather::meanwhile;
use super::{FilesReport, Lab};

/// What was told: the last part of the path, the reason, and whether a version stays.
fn told(report: &FilesReport) -> Vec<(String, &'static str, bool)> {
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    let over = report.passed_over.iter();
    over.map(|over| (name(&over.path), over.why.name(), over.is_held)).collect()
}

/// A deed that happens to one file, so often; the answer counts how often it was read.
fn meanwhile(
    name: &'static str,
    times: usize,
    deed: impl Fn(&Path, usize) + 'static,
) -> Rc<Cell<usize>> {
    let reads = Rc::new(Cell::new(0));
    let count = Rc::clone(&reads);
    meanwhile::set(move |path| {
        if path.ends_with(name) {
            count.set(count.get() + 1);
            if count.get() <= times {
                deed(path, count.get());
            }
        }
    });
    reads
}

fn restored(lab: &Lab, name: &str) -> std::io::Result<Vec<u8>> {
    let out = lab.path("out");
    if out.exists() {
        fs::remove_dir_all(&out).unwrap();
    }
    lab.restore("latest", &out);
    fs::read(out.join(lab.path(name).strip_prefix("/").unwrap()))
}

#[test]
fn a_file_that_changes_once_while_it_is_read_is_read_again() {
    // Longer, shorter, and as long: of the last only the time tells.
    for after in ["longer than before", "short", "after "] {
        let lab = Lab::new();
        fs::write(lab.path("app/moving"), "before").unwrap();
        let reads = meanwhile("moving", 1, move |path, _| fs::write(path, after).unwrap());
        let report = lab.keep(&["app"]);
        assert_eq!((reads.get(), told(&report)), (2, Vec::new()), "{after}");
        assert_eq!(restored(&lab, "app/moving").unwrap(), after.as_bytes());
    }
}

#[test]
fn a_file_that_changes_whenever_it_is_read_is_told_and_keeps_its_last_version() {
    let lab = Lab::new();
    for name in ["a", "moving", "z"] {
        fs::write(lab.path("app").join(name), "before").unwrap();
    }
    lab.keep(&["app"]);
    for name in ["a", "moving", "z"] {
        fs::write(lab.path("app").join(name), "after!").unwrap();
    }
    let reads =
        meanwhile("moving", usize::MAX, |path, n| fs::write(path, format!("state{n}")).unwrap());
    let report = lab.keep(&["app"]);
    assert_eq!(told(&report), [("moving".to_owned(), "changing", true)]);
    assert_eq!(reads.get(), 3);
    assert_eq!(restored(&lab, "app/moving").unwrap(), b"before");
    for name in ["app/a", "app/z"] {
        assert_eq!(restored(&lab, name).unwrap(), b"after!");
    }
    // When it rests it is kept.
    meanwhile("moving", 0, |_, _| ());
    assert_eq!(told(&lab.keep(&["app"])), []);
    assert_eq!(restored(&lab, "app/moving").unwrap(), b"state3");
}

#[test]
fn a_file_that_never_rested_has_no_version_and_that_is_said() {
    let lab = Lab::new();
    fs::write(lab.path("app/moving"), "before").unwrap();
    meanwhile("moving", usize::MAX, |path, n| fs::write(path, "x".repeat(n * 5000)).unwrap());
    assert_eq!(told(&lab.keep(&["app"])), [("moving".to_owned(), "changing", false)]);
    assert_eq!(lab.names(), ["app"]);
}

#[test]
fn a_name_that_gets_something_else_while_it_is_read_is_read_as_what_it_was() {
    let lab = Lab::new();
    let secret = lab.path("secret");
    fs::write(&secret, "nobody's business").unwrap();
    for (at, name) in ["replaced", "linked", "gone"].into_iter().enumerate() {
        fs::write(lab.path("app").join(name), "before").unwrap();
        let secret = secret.clone();
        meanwhile(name, 1, move |path, _| {
            fs::remove_file(path).unwrap();
            match at {
                0 => fs::write(path, "another").unwrap(),
                1 => symlink(&secret, path).unwrap(),
                _ => {}
            }
        });
        let report = lab.keep(&["app"]);
        // A file without a name has another time of change: the name is looked at again.
        match at {
            0 => assert_eq!(
                (told(&report), restored(&lab, "app/replaced").unwrap()),
                (vec![], b"another".to_vec())
            ),
            1 => assert_eq!(told(&report), [("linked".to_owned(), "changing", false)]),
            _ => assert_eq!(
                (told(&report), lab.names().contains(&"app/gone".to_owned())),
                (vec![], false)
            ),
        }
    }
    // The link is kept as one the next time, and never what it leads to.
    meanwhile("linked", 0, |_, _| ());
    assert_eq!(told(&lab.keep(&["app"])), []);
    lab.restore("latest", &lab.path("last"));
    let there = lab.path("last").join(lab.path("app/linked").strip_prefix("/").unwrap());
    assert_eq!(fs::read_link(there).unwrap(), secret);
}
