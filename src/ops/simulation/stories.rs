//! What schedules found, as stories that are played again: each lost something once.

use super::cast::Role;
use super::play::Script;
use super::schedule::{Cue, Director, Turn};

/// Plays a story, of which every cue must come.
fn play(beginning: usize, cast: Vec<Role>, cues: &[(usize, &'static str, Turn)]) -> String {
    let cue =
        |(actor, at, turn): &(usize, &'static str, Turn)| Cue { actor: *actor, at, turn: *turn };
    let script = Script { seed: 1, beginning, cast, fan: 2, inline: 100_000 };
    let outcome = script.run(Director::Cues(cues.iter().map(cue).collect()), true);
    let story = outcome.story.join("\n");
    assert_eq!(outcome.violation, None, "{story}");
    assert_eq!(outcome.taken.len(), cues.len(), "not every cue came:\n{story}");
    story
}

/// A merged segment has the term of the prune that made it, which is lower than those of the
/// segments that it covers when a follower renewed its turn meanwhile. Such a term once made a
/// history unreadable.
#[test]
fn a_prune_merges_what_a_follower_published_after_it_renewed_its_turn() {
    let cast = vec![
        Role::Prune { last: 9, grace: 0, times: 1 },
        Role::Follow { machine: 0, commits: 6, renew: false },
    ];
    let story = play(1, cast, &[(0, "asks for about", Turn::Switch(1))]);
    assert!(story.contains("1 watch: creates log/3-5"), "{story}");
    assert!(story.contains("0 prune: creates merged/2-8"), "{story}");
}

/// A backup listed the claims, and slept. Others claimed later terms, and deleted their claims
/// again. Then it claimed a term that was over, and took its commit for safe.
#[test]
fn a_claim_that_comes_when_its_term_is_over_gives_no_turn() {
    let cast = vec![
        Role::Backup { machine: 1, times: 1 },
        Role::Backup { machine: 2, times: 2 },
        Role::Backup { machine: 3, times: 2 },
        Role::Prune { last: 9, grace: 0, times: 1 },
    ];
    let story = play(1, cast, &[(0, "creates writer/", Turn::Switch(1))]);
    assert!(story.contains("3 prune: deletes writer/2"), "{story}");
    assert!(story.contains("0 backup: is told"), "{story}");
}

/// A writer published, found that a prune had its turn, and claimed the next one. A clone of its
/// machine, made right then, knew that claim for its own, and not what was published before.
#[test]
fn a_clone_that_was_made_in_the_middle_displaces_nothing() {
    let cast = vec![
        Role::Backup { machine: 0, times: 1 },
        Role::Prune { last: 9, grace: 0, times: 1 },
        Role::Clone { times: 2 },
    ];
    let story = play(
        1,
        cast,
        &[
            (0, "creates log/", Turn::Switch(1)),
            (1, "leaves", Turn::Switch(0)),
            (0, "writes page digests", Turn::Switch(2)),
        ],
    );
    assert!(story.contains("0 backup: creates writer/3"), "{story}");
}

/// A follower wrote down that it was about to renew its turn. A clone of its machine, made right
/// then, took the new turn for one of its own, in which nothing happens, and took its commit for
/// safe. The follower, which had not seen that commit, displaced it.
#[test]
fn a_clone_does_not_take_a_turn_that_the_other_is_in_for_an_old_one_of_its_own() {
    let cast = vec![Role::Follow { machine: 0, commits: 4, renew: true }, Role::Clone { times: 1 }];
    let cues = [
        (0, "creates writer/2", Turn::Switch(1)),
        (1, "creates log/", Turn::Switch(0)),
        (0, "creates log/2-3", Turn::Switch(1)),
    ];
    let story = play(0, cast, &cues);
    assert!(story.contains("1 clone: creates log/1-"), "{story}");
    assert!(story.contains("1 clone: the backup ends: "), "{story}");
}

/// A writer that another one was about to supersede published a commit, and a copy took it. Then
/// the other one displaced it.
#[test]
fn a_copy_does_not_take_what_another_writer_may_displace() {
    let cast = vec![
        Role::Backup { machine: 1, times: 1 },
        Role::Backup { machine: 2, times: 2 },
        Role::Copy { times: 1 },
    ];
    let cues = [
        (0, "creates log/", Turn::Switch(1)),
        (1, "creates log/", Turn::Switch(0)),
        (0, "leaves", Turn::Switch(2)),
        (2, "leaves", Turn::Switch(1)),
    ];
    let story = play(1, cast, &cues);
    assert!(story.contains("was taken over by"), "{story}");
    assert!(!story.contains("2 copy: creates copy: log/1-4"), "{story}");
}

/// A prune claimed its term, and slept. A follower began the history in a later term. Then the
/// prune merged all but the first segment, in its own term, which is lower than that of the segment
/// before: old readers refused the whole history.
#[test]
fn a_prune_merges_what_stands_behind_a_segment_of_a_later_term() {
    let cast = vec![
        Role::Prune { last: 2, grace: 0, times: 1 },
        Role::Follow { machine: 0, commits: 6, renew: false },
    ];
    let story = play(0, cast, &[(0, "asks for about", Turn::Switch(1))]);
    assert!(story.contains("0 prune: creates writer/1"), "{story}");
    assert!(story.contains("1 watch: creates log/2-1"), "{story}");
    assert!(story.contains("0 prune: creates merged/2-5"), "{story}");
}

/// A writer found the newest segment, and slept before it published that as its head. Another
/// writer published behind that segment, and a prune, which saw no head, let its commits expire.
/// Only the second look keeps the first writer from building on what is not there any more.
#[test]
fn a_writer_looks_again_when_its_head_is_published() {
    let cast = vec![
        // The second time it has the page digests of what it builds on, and stores little.
        Role::Backup { machine: 0, times: 2 },
        Role::Backup { machine: 1, times: 1 },
        Role::Prune { last: 1, grace: 0, times: 1 },
    ];
    let cues = [
        (0, "locks its state", Turn::Pass(1)),
        (0, "locks its state", Turn::Switch(1)),
        (1, "creates log/", Turn::Switch(0)),
        (0, "creates heads/", Turn::Switch(1)),
        (1, "leaves", Turn::Switch(2)),
        (2, "leaves", Turn::Switch(0)),
    ];
    let story = play(1, cast, &cues);
    assert_eq!(story.matches("0 backup: creates heads/3-").count(), 2, "{story}");
    assert!(story.contains("2 prune: creates expire/"), "{story}");
}

/// A prune announced what it lets expire, found no labels, and slept. Somebody labelled one of
/// those commits: that withdraws the announcement, so the prune's decision comes too late.
#[test]
fn a_label_withdraws_what_a_prune_announced() {
    let cast = vec![Role::Prune { last: 1, grace: 0, times: 1 }, Role::Label { times: 6 }];
    let story = play(2, cast, &[(0, "creates expire/", Turn::Switch(1))]);
    assert!(story.contains("has a label"), "{story}");
    assert!(story.contains("1 label: creates expire/"), "{story}");
}

/// A hold read the chain, the heads, and then the log once more: nothing was published since. Only
/// then it looked for what the head of another writer names. By that time the writer had gone on,
/// and a prune had merged and deleted it: so it seemed that nobody builds on it, and a commit was
/// held that the other writer had displaced.
#[test]
fn what_a_head_names_may_go_after_the_log_was_listed() {
    let cast = vec![
        Role::Backup { machine: 1, times: 1 },
        Role::Backup { machine: 2, times: 6 },
        Role::Hold { times: 1 },
        Role::Prune { last: 9, grace: 0, times: 1 },
    ];
    let cues = [
        (0, "creates log/", Turn::Switch(1)),
        (1, "creates log/", Turn::Switch(0)),
        (0, "leaves", Turn::Switch(2)),
        (2, "has listed log/", Turn::Pass(1)),
        (2, "has listed log/", Turn::Pass(1)),
        (2, "has listed log/", Turn::Pass(1)),
        (2, "has listed log/", Turn::Switch(1)),
        (1, "leaves", Turn::Switch(3)),
        (3, "leaves", Turn::Switch(2)),
    ];
    let story = play(1, cast, &cues);
    assert!(story.contains("3 prune: deletes log/1-3"), "{story}");
    assert!(!story.contains("2 hold: is told"), "{story}");
}

/// The first segment was damaged. An old repair cut off all that was built on it, and the next
/// backup, on another machine, began at seq 1 again: numbers that people had been told named other
/// content.
#[test]
fn numbers_go_on_behind_what_a_repair_found_lost() {
    let cast = vec![
        Role::Damage { of: "/log/0000000000000001-0000000000000001" },
        Role::Repair,
        Role::Backup { machine: 1, times: 1 },
    ];
    let story = play(1, cast, &[]);
    assert!(story.contains("1 repair: the repair ends well"), "{story}");
    assert!(story.contains("2 backup: is told that seq 4 is safe"), "{story}");
}
