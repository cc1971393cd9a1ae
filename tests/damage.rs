//! The damage matrix: every object of a small repository, damaged in every way that storage or an enemy has, and then
//! everything opened and restored from scratch.
//!
//! The rule: detected, with the object named, or harmless; never another byte in a restored file, never a panic. What
//! is expected of each damage is written down exactly in [`expected`]: where errors arise, of which kind, naming what,
//! and by that also what must go on working.
//!
//! `PAGEKEEP_FULL_MATRIX=1` damages every byte of large objects too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use common::exhibit::{Exhibit, Museum, Place, Restore, Role, look, museum};
use common::{quick_dir, store_of};
use pagekeep::error::ErrorKind;
use pagekeep::store::{MemoryStore, Store};

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
}

/// The expectation, for each object and damage.
fn expected(exhibit: &Exhibit, name: &str, damage: &Damage) -> Expected {
    let role = &exhibit.roles[name];
    // The version and the required features of a header come before anything else in it.
    let kind = match damage {
        Damage::Flip(5..=7) => ErrorKind::TooNew,
        _ => ErrorKind::Damaged,
    };
    let mut expected =
        Expected { kinds: vec![kind], objects: vec![name.to_owned()], ..Default::default() };
    let deleted = matches!(damage, Damage::Delete);
    let place = match role {
        Role::Repository => {
            // Another repository's id fits no slot.
            let slots = exhibit.roles.iter().filter(|(_, role)| role.kind() == 2);
            match damage {
                Damage::Replace => expected.objects = slots.map(|(name, _)| name.clone()).collect(),
                Damage::Delete => expected.elsewhere(ErrorKind::NoRepository, "memory"),
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
        Role::OtherSlot | Role::Snapshot { .. } | Role::Proof { .. } if deleted => return expected,
        Role::OtherSlot => Place::Slots,
        Role::Snapshot { history } => Place::Labels(history.clone()),
        Role::Proof { history } => Place::Proofs(history.clone()),
        // By the format a history without a description is one under creation.
        Role::About if deleted => {
            let history = exhibit.history_of(name);
            expected.lost = Some((history, 1));
            return expected;
        }
        Role::About => Place::Histories,
        // Claims are for writers and for people: the chain does without.
        Role::Writer { newest, .. } if deleted || !newest => return expected,
        Role::Writer { history, .. } => Place::Claim(history.clone()),
        Role::Segment { history, seq, child, data_at } => {
            match (damage, child) {
                // Bytes behind the data, and bytes that no part has: nobody looks there.
                (Damage::Append, _) => return expected,
                (Damage::Flip(i) | Damage::Cut(i), _) if i >= data_at => {
                    expected.data(exhibit, history, *seq);
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
            if !matches!(damage, Damage::Append | Damage::Flip(..48)) {
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

    /// A segment's data: its own commit needs all of it, those after it perhaps; no other does.
    fn data(&mut self, exhibit: &Exhibit, history: &str, seq: u64) {
        let commits = exhibit.references[history].len() as u64;
        self.must.insert(Place::Commit(history.to_owned(), seq));
        self.may.extend((seq + 1..=commits).map(|s| Place::Commit(history.to_owned(), s)));
    }

    fn and(mut self, other: Self) -> Self {
        self.must.extend(other.must);
        self.may.extend(other.may);
        self.kinds.extend(other.kinds);
        self.objects.extend(other.objects);
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
    // Whatever did not fail was restored.
    for (name, commits) in &museum.main.references {
        let early = [Place::Open, Place::Histories, Place::Chain(name.clone())];
        if !restore.includes(name) || early.iter().any(|place| view.errors.contains_key(place)) {
            continue;
        }
        let lost = expected.lost.as_ref().filter(|(history, _)| history == name);
        let restored = view.restored.get(name).cloned().unwrap_or_default();
        let wanted = (1..=commits.len() as u64)
            .filter(|seq| lost.is_none_or(|(_, from)| seq < from))
            .filter(|seq| !view.errors.contains_key(&Place::Commit(name.clone(), *seq)));
        assert!(wanted.eq(restored.iter().copied()), "{what}: of {name} only {restored:?}");
    }
}

/// Every place of a small object; of a large one both ends and a sample.
fn places(len: usize) -> Vec<usize> {
    if len <= 8192 || std::env::var_os("PAGEKEEP_FULL_MATRIX").is_some() {
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
            // restored now and then all the same.
            let restore = match (n, role) {
                _ if n % 128 == 0 => Restore::Everything,
                (_, Role::Segment { history, .. } | Role::Part { history, .. }) => {
                    Restore::History(history)
                }
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
    at_each_place(|role| !matches!(role, Role::Segment { .. } | Role::Part { .. }));
}

#[test]
fn a_changed_or_shortened_segment_of_one_object_never_gives_a_wrong_page() {
    at_each_place(|role| matches!(role, Role::Segment { history, .. } if history == "small"));
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
            let expected = first.and(second);
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
    let newer = |n: u64| format!("{prefix}/log/{:016x}-{n:016x}", 9);
    add(&newer(1), first, Some(Place::Chain(history())));
    add(&newer(4), first, Some(Place::Chain(history())));
    let label = format!("{prefix}/snapshots/{:016x}-{:016x}", 3, 77);
    add(&label, second, Some(Place::Labels(history())));
    let proof = format!("{prefix}/proofs/{:016x}-{:016x}-{:08x}", 3, 77, 77);
    add(&proof, &exhibit.objects[small("proofs")], Some(Place::Proofs(history())));
    let claim = format!("{prefix}/writers/{:016x}", 9);
    add(&claim, &exhibit.objects[small("writers")], Some(Place::Claim(history())));

    // Another repository's history, and its slots, which belong to it.
    let about = other.of_kind(3).next().unwrap();
    add(about, &other.objects[about], Some(Place::Histories));
    for slot in other.of_kind(2) {
        add(slot, &other.objects[slot], Some(Place::Slots));
    }
    // What has no name of an object is none.
    for junk in ["log/junk", "log/0-1", "snapshots/junk", "proofs/junk", "writers/junk", "junk"] {
        add(&format!("{prefix}/{junk}"), first, None);
    }
    for junk in ["keys/junk", "histories/junk", "histories/junk/about"] {
        add(junk, first, None);
    }
}
