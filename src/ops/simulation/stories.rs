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

/// A merged segment has the term of the prune that made it, which is lower than those of the segments that it covers when a
/// follower renewed its turn meanwhile. Such a term once made a history unreadable.
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

/// A backup listed the claims, and slept. Others claimed later terms, and deleted their claims again. Then it claimed a term that
/// was over, and took its commit for safe.
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

/// A writer published, found that a prune had its turn, and claimed the next one. A clone of its machine, made right then, knew that
/// claim for its own, and not what was published before.
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

/// A writer that another one was about to supersede published a commit, and a copy took it. Then the other one displaced it.
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
    assert!(story.contains("another writer took over"), "{story}");
    assert!(!story.contains("2 copy: creates copy: log/1-4"), "{story}");
}
