//! Whether a database lost what somebody else captured of it: two copies of one database may go on
//! in one history by turns, each from a copy of the same local state.
//!
//! Nothing in a database says which of its copies it is. But whoever comes back to a history after
//! others knows the page digests of his own last commit, and those of the head. Pages that the
//! others changed and that are again as he left them tell that their commits are not in this file.
//! That is a sign and no proof: an older copy that was put back looks the same, and of two small
//! databases that changed the same pages nothing shows.

use crate::capture::pipeline::{Entries, Sink};
use crate::codec::batch::SealedBatch;
use crate::error::Result;
use crate::remedy::{Advice, Remedy, advice};
use crate::repo::local::digests::HeadDigests;
use crate::repo::local::state::Head;
use crate::repo::write::writer::Writer;
use crate::types::{Digest, PageNo, Seq};

/// What a scan finds of the pages that others changed since this machine's own last commit.
#[derive(Debug)]
pub(crate) struct Divergence {
    own: HeadDigests,
    /// This machine's last commit, and the head.
    from: Seq,
    to: Seq,
    /// Pages that are as in the one, and as in the other.
    back: u64,
    kept: u64,
}

impl Divergence {
    /// Opens the digests of this machine's own last commit; `None` when that is the head, or when
    /// they are gone. They have to be asked for before those of the head take their place.
    ///
    /// # Errors
    /// When the digests are there and can't be read.
    pub(crate) fn watch(writer: &Writer, head: &Head) -> Result<Option<Self>> {
        let own = writer.state.acknowledged.as_ref();
        let Some(own) = own.filter(|own| own.seq < head.seq && own.page_size == head.page_size)
        else {
            return Ok(None);
        };
        let digests = HeadDigests::open(&writer.dir.path("digests"), writer.history().id(), own)?;
        let found = |digests| Self { own: digests, from: own.seq, to: head.seq, back: 0, kept: 0 };
        Ok(digests.map(found))
    }

    /// Takes in consecutive pages of the database, which are read in ascending order.
    ///
    /// # Errors
    /// When digests can't be read.
    pub(crate) fn see(&mut self, pages: &[(PageNo, Digest)], head: &HeadDigests) -> Result<()> {
        for run in pages.chunk_by(|a, b| a.0.0 + 1 == b.0.0) {
            let Some((first, _)) = run.first() else { continue };
            let (mut own, mut theirs) = (vec![None; run.len()], vec![None; run.len()]);
            self.own.read(*first, &mut own)?;
            head.read(*first, &mut theirs)?;
            for ((_, now), (own, theirs)) in run.iter().zip(own.iter().zip(&theirs)) {
                match own != theirs {
                    true if *own == Some(*now) => self.back += 1,
                    true if *theirs == Some(*now) => self.kept += 1,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// What to tell people.
    pub(crate) fn warning(&self) -> Option<Advice> {
        let Self { from, to, back, kept, .. } = self;
        (back > kept).then(|| {
            advice![
                format!(
                    "the database does not have what the commits after seq:{from} up to seq:{to} brought: {back} of the pages that \
                 they changed are as they were in seq:{from}, and {kept} as in seq:{to}. Was an older copy put back, or is a \
                 copy of this database backed up into the same history? A copy needs a history of its own: "
                ),
                Remedy::Name,
            ]
        })
    }
}

/// A sink, and a look at all that goes into it.
pub(crate) struct Watched<'a> {
    pub(crate) sink: &'a mut dyn Sink,
    pub(crate) head: &'a HeadDigests,
    pub(crate) divergence: &'a mut Divergence,
}

impl Sink for Watched<'_> {
    fn seen(&mut self, pages: &[(PageNo, Digest)]) -> Result<()> {
        self.divergence.see(pages, self.head)?;
        self.sink.seen(pages)
    }

    fn batch(&mut self, batch: &SealedBatch, entries: &Entries) -> Result<()> {
        self.sink.batch(batch, entries)
    }
}
