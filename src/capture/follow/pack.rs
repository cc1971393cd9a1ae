//! A group becomes a segment, with the follower's priority while it keeps up.

use super::options::FollowOptions;
use super::shared::Shared;
use crate::capture::group::Group;
use crate::error::Result;
use crate::repo::local::digests::HeadDigests;
use crate::repo::local::state::Head;
use crate::repo::write::segment_writer::Prepared;
use crate::repo::write::writer::Writer;
use crate::types::{Digest, PageNo};

/// Makes a segment of a group. One that somebody waits for is packed at the application's priority,
/// for it may be the application that waits. So is one that has outgrown memory, for which a low
/// priority had no time.
///
/// # Errors
/// Store errors; when what was captured can't be read back.
pub(super) fn pack(
    shared: &Shared,
    writer: &Writer,
    options: &FollowOptions,
    group: &Group,
    head: &Head,
    digests: &HeadDigests,
) -> Result<(Prepared, Vec<(PageNo, Digest)>)> {
    let work = || group.prepare(writer, head, digests, &options.capture);
    let is_waited_for = {
        let state = shared.lock();
        state.stop || state.wanted > state.done.0
    };
    if is_waited_for || group.is_beyond_memory() {
        return work();
    }
    options.priority.run("pagekeep-pack", work)
}
