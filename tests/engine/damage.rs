//! The damage matrix: every object of a small repository, damaged in every way that storage or an enemy has, and then
//! everything opened and restored from scratch.
//!
//! The rule: detected, with the object named, or harmless; never another byte in a restored file, never a panic. What
//! is expected of each damage is written down exactly in [`expected`]: where errors arise, of which kind, naming what,
//! and by that also what must go on working.
//!
//! `PAGEKEEP_FULL_MATRIX=1` damages every byte of large objects too.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::support::exhibit::{Exhibit, Museum, Place, Restore, Role, look, museum};
use crate::support::{quick_dir, store_of, verify_all};
use pagekeep::ErrorKind;
use pagekeep::internals::format::proof::Level;
use pagekeep::internals::repo::{Repository, RepositoryOptions};
use pagekeep::internals::store::{MemoryStore, Store};

/// What happens to an object.
#[derive(Clone, Debug)]
enum Damage {
    Flip(usize),
    Cut(usize),
    Append,
    Delete,
    /// Another object of the kind stands in its place.
    Replace,
}

/// What must come of a damage.
#[derive(Clone, Debug, Default)]
struct Expected {
    /// Errors here, for certain.
    must: BTreeSet<Place>,
    /// Errors here, perhaps.
    may: BTreeSet<Place>,
    kinds: Vec<ErrorKind>,
    objects: Vec<String>,
    /// Commits that are gone without a trace: of this history, from this one on.
    lost: Option<(String, u64)>,
    /// Errors in one of these at least.
    some: BTreeSet<Place>,
    /// Segments that can't be read, and in whose place others stand.
    unreadable: BTreeSet<String>,
    /// Commits that are visible again, by history. Whether they come back depends on what was dropped since they expired.
    back: BTreeMap<String, Vec<u64>>,
}

/// The expectation, for each object and damage.
fn expected(exhibit: &Exhibit, name: &str, damage: &Damage) -> Expected {
    let role = &exhibit.roles[name];
    // A version or a feature that is not known counts only if it is authentic: no damage is newer than this version.
    let kinds = vec![ErrorKind::Damaged];
    let mut expected = Expected { kinds, objects: vec![name.to_owned()], ..Default::default() };
    if matches!(damage, Damage::Append) {
        // Bytes behind the end of an object belong to nothing.
        return expected;
    }
    let deleted = matches!(damage, Damage::Delete);
    let place = match role {
        Role::Repository => {
            // Another repository's id fits no slot.
            let slots = exhibit.roles.iter().filter(|(_, role)| role.kind() == 2);
            match damage {
                Damage::Replace => expected.objects = slots.map(|(name, _)| name.clone()).collect(),
                Damage::Delete => expected.elsewhere(ErrorKind::Damaged, "memory"),
                _ => {}
            }
            Place::Open
        }
        Role::UsedSlot => {
            if deleted {
                expected.elsewhere(ErrorKind::WrongKey, "memory");
            }
            Place::Open
        }
        // Another key's slot, a label, a proof: that one is gone tells only who knew of it.
        Role::OtherSlot | Role::Snapshot { .. } | Role::Proof { .. } | Role::Hold { .. }
            if deleted =>
        {
            return expected;
        }
        // What expired is visible again. Some of it may need what merges dropped.
        Role::Expiry { history } if deleted => {
            let back = exhibit.expired[history].clone();
            expected.may = back.iter().map(|s| Place::Commit(history.clone(), *s)).collect();
            expected.objects = exhibit.of_kind(5).cloned().collect();
            expected.back = BTreeMap::from([(history.clone(), back)]);
            return expected;
        }
        Role::Expiry { history } => Place::Chain(history.clone()),
        Role::OtherSlot => Place::Slots,
        Role::Hold { history } => Place::Holds(history.clone()),
        Role::Snapshot { history } => Place::Labels(history.clone()),
        Role::Proof { history } => Place::Proofs(history.clone()),
        // The other copy is read instead.
        Role::About { history } => Place::Description(history.clone()),
        // Claims are for writers and for people: the chain does without.
        Role::Writer { newest, .. } if deleted || !newest => return expected,
        Role::Writer { history, .. } => Place::Claim(history.clone()),
        // The chain does not come to what a merged segment stands in for.
        Role::Covered { .. } | Role::Sign { .. } | Role::Head { .. } => return expected,
        Role::Segment { history, seq, child, data_at, stands_in } => {
            match (damage, child) {
                (Damage::Flip(i) | Damage::Cut(i), _) if i >= data_at => {
                    expected.data(exhibit, history, *seq);
                    if *stands_in {
                        // What it covers is there, and is read instead.
                        expected.some.clear();
                    }
                    return expected;
                }
                // What it covers is there.
                (Damage::Delete, _) if *stands_in => return expected,
                (_, _) if *stands_in => {
                    expected.unreadable.insert(name.to_owned());
                    return expected;
                }
                (Damage::Delete, Some(child)) => expected.objects = vec![child.clone()],
                // Nothing refers to the newest segment.
                (Damage::Delete, None) => {
                    expected.lost = Some((history.clone(), *seq));
                    return expected;
                }
                _ => {}
            }
            Place::Chain(history.clone())
        }
        Role::Part { history, seq } => {
            // Locations name bytes behind the header; a restore reads those alone.
            if !matches!(damage, Damage::Flip(..48)) {
                expected.kinds = vec![ErrorKind::Damaged];
                expected.data(exhibit, history, *seq);
            }
            return expected;
        }
    };
    expected.must.insert(place);
    expected
}

impl Expected {
    fn elsewhere(&mut self, kind: ErrorKind, object: &str) {
        (self.kinds, self.objects) = (vec![kind], vec![object.to_owned()]);
    }

    /// A segment's data: its own commit needs all of it, those after it perhaps; no other does. Of a segment with many commits
    /// each byte is needed by one of those that are restore points still, or by a later one.
    fn data(&mut self, exhibit: &Exhibit, history: &str, seq: u64) {
        let points = exhibit.points[history].iter().filter(|s| **s >= seq);
        let places = points.map(|s| Place::Commit(history.to_owned(), *s));
        if history == "pruned" {
            self.some = places.clone().collect();
        } else {
            self.must.insert(Place::Commit(history.to_owned(), seq));
        }
        self.may.extend(places);
    }

    fn and(mut self, other: Self) -> Self {
        self.must.extend(other.must);
        self.may.extend(other.may);
        self.kinds.extend(other.kinds);
        self.objects.extend(other.objects);
        self.unreadable.extend(other.unreadable);
        self.back.extend(other.back);
        self
    }

    /// What fails early hides what would fail later.
    fn masked(mut self) -> Self {
        let all = self.must.clone();
        let open = all.contains(&Place::Open);
        let histories = all.contains(&Place::Histories);
        let seen = |place: &Place| match place {
            Place::Open => true,
            Place::Slots | Place::Histories => !open,
            Place::Commit(h, _) => !open && !histories && !all.contains(&Place::Chain(h.clone())),
            _ => !open && !histories,
        };
        self.must.retain(seen);
        self.may.retain(seen);
        self.some.retain(seen);
        self
    }
}

/// A damaged store against its expectation. `what` is for the message.
fn judge(
    museum: &Museum,
    store: &MemoryStore,
    expected: Expected,
    what: &str,
    restore: Restore<'_>,
) {
    thread_local!(static DIR: tempfile::TempDir = quick_dir());
    let view = DIR.with(|dir| {
        catch_unwind(AssertUnwindSafe(|| look(museum, store, restore, dir.path())))
            .unwrap_or_else(|_| panic!("{what}: panicked, or restored wrong bytes"))
    });
    let expected = expected.masked();
    for (place, e) in &view.errors {
        let foreseen = expected.must.contains(place) || expected.may.contains(place);
        assert!(foreseen, "{what}: an error at {place:?}: {e:?}");
        assert!(expected.kinds.contains(&e.kind()), "{what}: kind of {e:?} at {place:?}");
        let object = e.object().unwrap_or("nothing");
        assert!(expected.objects.iter().any(|o| o == object), "{what}: names {object} in {e:?}");
    }
    for place in &expected.must {
        let noticed = match place {
            Place::Slots => view.bad_slots == expected.objects,
            _ => view.errors.contains_key(place),
        };
        assert!(noticed, "{what}: not noticed at {place:?}; {view:?}");
    }
    if !expected.must.contains(&Place::Slots) {
        assert!(view.bad_slots.is_empty(), "{what}: {:?}", view.bad_slots);
    }
    let history = |place: &Place| match place {
        Place::Commit(history, _) => restore.includes(history),
        _ => true,
    };
    let some = expected.some.iter().any(|place| view.errors.contains_key(place));
    assert!(some || !expected.some.iter().any(history), "{what}: not noticed; {view:?}");
    let unreadable: BTreeSet<_> = view.unreadable.iter().cloned().collect();
    let chain_failed = view.errors.keys().any(|place| matches!(place, Place::Chain(_)));
    assert!(unreadable == expected.unreadable || chain_failed, "{what}: {unreadable:?}");
    // Whatever did not fail was restored.
    for (name, points) in &museum.main.points {
        let early = [Place::Open, Place::Histories, Place::Chain(name.clone())];
        if !restore.includes(name) || early.iter().any(|place| view.errors.contains_key(place)) {
            continue;
        }
        let lost = expected.lost.as_ref().filter(|(history, _)| history == name);
        let restored = view.restored.get(name).cloned().unwrap_or_default();
        let back = expected.back.get(name).into_iter().flatten();
        let all: BTreeSet<u64> = points.iter().chain(back).copied().collect();
        let wanted = all
            .into_iter()
            .filter(|seq| lost.is_none_or(|(_, from)| seq < from))
            .filter(|seq| !view.errors.contains_key(&Place::Commit(name.clone(), *seq)));
        assert!(wanted.eq(restored.iter().copied()), "{what}: of {name} only {restored:?}");
    }
}

/// Every place of a small object; of a large one both ends and a sample.
fn places(len: usize) -> Vec<usize> {
    if len <= 4096 || std::env::var_os("PAGEKEEP_FULL_MATRIX").is_some() {
        return (0..len).collect();
    }
    let stride = (len / 100).max(1);
    let sampled = (512..len - 64).step_by(stride);
    (0..512).chain(sampled).chain(len - 64..len).collect()
}

/// A store with the museum's objects.
fn store() -> MemoryStore {
    store_of(&museum().main.objects)
}

/// Damages each object that `which` picks at each of its places: a flipped bit, and an end that is missing.
fn at_each_place(which: impl Fn(&Role) -> bool) {
    let (museum, store) = (museum(), store());
    for (name, role) in museum.main.roles.iter().filter(|(_, role)| which(role)) {
        let whole = &museum.main.objects[name];
        for (n, i) in places(whole.len()).into_iter().enumerate() {
            // Objects of one history are nothing to another, and few are anything to the pages: those are
            // restored now and then all the same. So are those of a segment in whose place others stand.
            let restore = match role {
                _ if n % 128 == 0 => Restore::Everything,
                Role::Segment { stands_in: true, data_at, .. } if i < *data_at && n % 16 > 0 => {
                    Restore::Nothing
                }
                Role::Covered { .. } if n % 16 > 0 => Restore::Nothing,
                Role::Segment { history, .. }
                | Role::Covered { history }
                | Role::Part { history, .. } => Restore::History(history),
                _ => Restore::Nothing,
            };
            let mut flipped = whole.clone();
            flipped[i] ^= 1 << (n % 8);
            for (damage, bytes) in [(Damage::Flip(i), &*flipped), (Damage::Cut(i), &whole[..i])] {
                store.damage(name, bytes);
                let expected = expected(&museum.main, name, &damage);
                judge(museum, &store, expected, &format!("{name}: {damage:?}"), restore);
            }
        }
        store.damage(name, whole);
    }
}

#[test]
fn a_changed_or_shortened_small_object_is_named_or_harmless() {
    at_each_place(|role| ![5, 6].contains(&role.kind()));
}

#[test]
fn a_changed_or_shortened_segment_of_one_object_never_gives_a_wrong_page() {
    at_each_place(|role| matches!(role, Role::Segment { history, .. } if history == "small"));
}

#[test]
fn a_changed_or_shortened_segment_of_a_pruned_history_never_gives_a_wrong_page() {
    at_each_place(|role| [5, 6].contains(&role.kind()) && role.history() == Some("pruned"));
}

#[test]
fn a_changed_or_shortened_segment_with_parts_never_gives_a_wrong_page() {
    // The delta between the two is like those of the small history.
    at_each_place(|role| match role {
        Role::Segment { history, seq, .. } | Role::Part { history, seq } => {
            history == "large" && *seq != 2
        }
        _ => false,
    });
}

#[test]
fn appended_bytes_and_deleted_objects_are_noticed_exactly_where_they_can_be() {
    let (museum, store) = (museum(), store());
    for (name, whole) in &museum.main.objects {
        store.damage(name, &[whole, &b"x"[..]].concat());
        let appended = expected(&museum.main, name, &Damage::Append);
        judge(museum, &store, appended, &format!("{name}: appended"), Restore::Everything);
        store.delete(name).unwrap();
        let deleted = expected(&museum.main, name, &Damage::Delete);
        judge(museum, &store, deleted, &format!("{name}: deleted"), Restore::Everything);
        store.damage(name, whole);
    }
}

#[test]
fn objects_that_change_places_are_noticed() {
    let (museum, store) = (museum(), store());
    let exhibit = &museum.main;
    for (a, role) in &exhibit.roles {
        for b in exhibit.of_kind(role.kind()).filter(|b| a < *b) {
            store.damage(a, &exhibit.objects[b]);
            store.damage(b, &exhibit.objects[a]);
            let both = [a, b].map(|name| expected(exhibit, name, &Damage::Replace));
            let [first, second] = both;
            let mut expected = first.and(second);
            // A merged segment and what it stands in for: nothing is left.
            let stands_in = |role: &Role| matches!(role, Role::Segment { stands_in: true, .. });
            let covered = |role: &Role| matches!(role, Role::Covered { .. });
            let other = &exhibit.roles[b];
            if (stands_in(role) && covered(other)) || (covered(role) && stands_in(other)) {
                expected.must.insert(Place::Chain(role.history().unwrap().to_owned()));
            }
            // Both copies of one description: nothing is left.
            if role.kind() == 3 && role.history() == other.history() {
                expected.must.insert(Place::Histories);
            }
            judge(museum, &store, expected, &format!("{a} <-> {b}"), Restore::Everything);
            store.damage(a, &exhibit.objects[a]);
            store.damage(b, &exhibit.objects[b]);
        }
    }
}

#[test]
fn objects_of_another_place_history_or_repository_are_refused() {
    let (museum, store) = (museum(), store());
    let exhibit = &museum.main;
    for (name, role) in &exhibit.roles {
        for donor in [exhibit, &museum.other] {
            for other in donor.of_kind(role.kind()) {
                if donor.objects[other] == exhibit.objects[name] {
                    continue;
                }
                store.damage(name, &donor.objects[other]);
                let expected = expected(exhibit, name, &Damage::Replace);
                let what = format!("{name} replaced by {other}");
                judge(museum, &store, expected, &what, Restore::Everything);
            }
        }
        store.damage(name, &exhibit.objects[name]);
    }
}

/// What expired comes back as it was, or as damage, and never as something else.
#[test]
fn commits_whose_expiry_is_lost_come_back_right_or_not_at_all() {
    let (museum, store) = (museum(), store());
    let expiry = museum.main.of_kind(10).next().unwrap();
    store.delete(expiry).unwrap();
    let dir = quick_dir();
    let view = look(museum, &store, Restore::History("pruned"), dir.path());
    let (back, points) = (&museum.main.expired["pruned"], &museum.main.points["pruned"]);
    let (right, damaged): (Vec<u64>, Vec<u64>) =
        back.iter().partition(|seq| view.restored["pruned"].contains(seq));
    assert!(right.contains(&19) && damaged.contains(&16) && damaged.contains(&17), "{view:?}");
    assert!(points.iter().all(|seq| view.restored["pruned"].contains(seq)), "{view:?}");
    assert_eq!(view.errors.len(), damaged.len(), "{view:?}");
}

/// A merged segment that can't be read does no harm while what it covers is there, and verify tells of it.
#[test]
fn verify_tells_of_a_merged_segment_that_cannot_be_read() {
    let (museum, store) = (museum(), store());
    let dir = quick_dir();
    let stands_in = |role: &&Role| matches!(role, Role::Segment { stands_in: true, .. });
    let (name, _) = museum.main.roles.iter().find(|(_, role)| stands_in(role)).unwrap();
    let verified = || {
        let shared = std::sync::Arc::new(store.clone());
        let repository = Repository::open(
            shared,
            &museum.secret,
            &RepositoryOptions::new(dir.path().join("state")),
        );
        let history = repository.unwrap().history("pruned").unwrap();
        verify_all(&history, Level::Data, dir.path()).unwrap()
    };
    let sound = verified();
    assert_eq!((sound.findings, sound.strays, sound.unreadable), (vec![], 1, vec![]));
    let mut bytes = museum.main.objects[name].clone();
    bytes[100] ^= 1;
    store.damage(name, &bytes);
    let report = verified();
    assert_eq!(
        (report.findings, report.strays, report.unreadable),
        (vec![], 1, vec![name.clone()])
    );
    // A hold that can't be opened is a finding.
    let hold = museum.main.of_kind(9).next().unwrap();
    store.damage(hold, b"PGKP");
    let findings = verified().findings;
    assert_eq!(findings.iter().map(|f| &f.object).collect::<Vec<_>>(), [hold]);
}

/// Objects that were never there, put in beside the others.
#[test]
fn added_objects_are_refused_or_passed_over() {
    let (museum, store) = (museum(), store());
    let (exhibit, other) = (&museum.main, &museum.other);
    let add = |name: &str, bytes: &[u8], place: Option<Place>| {
        store.damage(name, bytes);
        let expected = Expected {
            must: place.into_iter().collect(),
            kinds: vec![ErrorKind::Damaged],
            objects: vec![name.to_owned()],
            ..Default::default()
        };
        judge(museum, &store, expected, &format!("added {name}"), Restore::Everything);
        store.delete(name).unwrap();
    };
    let small = |kind: &str| {
        let mut names = exhibit.roles.iter().filter(|(name, role)| {
            role.history() == Some("small") && name.contains(&format!("/{kind}/"))
        });
        names.next().unwrap().0.as_str()
    };
    let history = || "small".to_owned();
    let prefix = small("log").split("/log/").next().unwrap();

    // An older segment, label, proof or claim as if it were a newer one.
    let (first, second) = (&exhibit.objects[small("log")], &exhibit.objects[small("snapshots")]);
    let newer = |term: u64, n: u64| format!("{prefix}/log/{term:016x}-{n:016x}");
    let claims =
        exhibit.roles.keys().filter(|name| name.starts_with(&format!("{prefix}/writers/")));
    let claimed = claims.map(|name| u64::from_str_radix(&name[name.len() - 16..], 16).unwrap());
    let claimed = claimed.max().unwrap();
    add(&newer(claimed, 4), first, Some(Place::Chain(history())));
    // Nobody claimed that turn, or so far.
    add(&newer(9, 1), first, None);
    add(&newer(9, 4), first, None);
    add(&newer(u64::MAX, u64::MAX), first, None);
    let label = format!("{prefix}/snapshots/{:016x}-{:016x}", 3, 77);
    add(&label, second, Some(Place::Labels(history())));
    let proof = format!("{prefix}/proofs/{:016x}-{:016x}-{:08x}", 3, 77, 77);
    add(&proof, &exhibit.objects[small("proofs")], Some(Place::Proofs(history())));
    for (term, place) in [(claimed + 1, Some(Place::Claim(history()))), (9, None), (u64::MAX, None)]
    {
        let claim = format!("{prefix}/writers/{term:016x}");
        add(&claim, &exhibit.objects[small("writers")], place);
    }

    // A hold and an expiry of another history or under another name.
    let (hold, expiry) = (exhibit.of_kind(9).next().unwrap(), exhibit.of_kind(10).next().unwrap());
    let of_pruned = hold.split("/holds/").next().unwrap();
    for (prefix, name) in [(prefix, "small"), (of_pruned, "pruned")] {
        let added = format!("{prefix}/holds/{:016x}-{:016x}", 3, 77);
        add(&added, &exhibit.objects[hold], Some(Place::Holds(name.to_owned())));
        let added = format!("{prefix}/expired/{:016x}-{:08x}", 77, 77);
        add(&added, &exhibit.objects[expiry], Some(Place::Chain(name.to_owned())));
    }

    // Another repository's history, and its slots, which belong to it.
    let about = other.of_kind(3).next().unwrap();
    add(about, &other.objects[about], Some(Place::Histories));
    for slot in other.of_kind(2) {
        add(slot, &other.objects[slot], Some(Place::Slots));
    }
    // What has no name of an object is none.
    for folder in ["log", "merged", "data", "snapshots", "proofs", "writers", "holds", "expired"] {
        for junk in ["junk", "0-1", "0000000000000001"] {
            add(&format!("{prefix}/{folder}/{junk}x"), first, None);
        }
    }
    add(&format!("{prefix}/junk"), first, None);
    for junk in ["keys/junk", "histories/junk", "histories/junk/about"] {
        add(junk, first, None);
    }

    // Segments as if they were merged ones, in the place of all that the chain has or of some: what can't be read is passed over.
    for bytes in exhibit.of_kind(5).map(|name| &exhibit.objects[name]) {
        for (prefix, ends) in [(prefix, [1, 2].as_slice()), (of_pruned, &[1, 9, 15, 20])] {
            for last in ends {
                let name = format!("{prefix}/merged/{:016x}-{last:016x}-{:032x}", 1, 77);
                store.damage(&name, bytes);
                let expected =
                    Expected { unreadable: BTreeSet::from([name.clone()]), ..Default::default() };
                judge(museum, &store, expected, &format!("added {name}"), Restore::Nothing);
                store.delete(&name).unwrap();
            }
        }
    }
}
