//! For tests: all that writes to a repository at once, interleaved in every way that the contract
//! of a store allows, repeatably.
//!
//! Each actor runs the real code on a thread of its own. Each operation on a store and on local
//! state is a point where a director chooses who goes on, whether the operation fails and how,
//! whether time passes, and whether a write of somebody who is long gone arrives ([`schedule`]).
//! After each change of the store a fresh reader looks whether all that was promised is there
//! ([`observer`]), and in the end whether anything is left that nobody names. A run that finds
//! something is shrunk to the actors and the turns that it takes, and told as a story.
//!
//! | variable | means |
//! |---|---|
//! | `PAGEKEEP_SCHEDULES` | how many schedules the random runs try |
//! | `PAGEKEEP_SCHEDULE_SEED` | the first seed; one schedule alone with `PAGEKEEP_SCHEDULES=1` |

mod cast;
mod damage;
mod observer;
mod play;
mod schedule;
mod stage;
mod stories;
mod tests;
