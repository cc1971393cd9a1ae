//! Which tables each of some commits touched.

use super::change::TableDiff;
use super::feed::{Feed, FeedEvent, FeedOptions};
use crate::error::{Error, ErrorKind, Result};
use crate::progress::Monitor;
use crate::repo::history::handle::History;
use crate::types::Seq;

impl History {
    /// How the tables of each of these commits differ from those of the restore point before it;
    /// `None` for the oldest restore point. The commits ascend. Between neighbours this costs what
    /// changed.
    ///
    /// # Errors
    /// As [`Feed::advance`].
    pub fn touched_tables(
        &self,
        commits: &[Seq],
        monitor: &dyn Monitor,
    ) -> Result<Vec<Option<Vec<TableDiff>>>> {
        let chain = self.chain()?;
        let all: Vec<Seq> = chain.commits().map(|commit| commit.seq).collect();
        drop(chain);
        let mut feed: Option<Feed> = None;
        let mut touched = Vec::with_capacity(commits.len());
        for seq in commits {
            let at = all.partition_point(|other| other < seq);
            let Some(before) = at.checked_sub(1).and_then(|at| all.get(at).copied()) else {
                touched.push(None);
                continue;
            };
            // What goes on from the commit that was told last is told at less cost.
            let mut open = match feed.take().filter(|feed| feed.seq() == Some(before)) {
                Some(open) => open,
                None => self.feed(&FeedOptions::default().from(before))?,
            };
            let mut tables = None;
            let mut take = |_, _, event| {
                if let FeedEvent::End(found) = event {
                    tables = Some(found);
                }
                Ok(())
            };
            open.advance_to(*seq, &mut take, monitor)?;
            let Some(tables) = tables else {
                return Err(Error::new(ErrorKind::NotFound, "was pruned meanwhile")
                    .with_object(format!("commit {seq}"))
                    .with_hint("ask again"));
            };
            touched.push(Some(tables));
            feed = Some(open);
        }
        Ok(touched)
    }
}
