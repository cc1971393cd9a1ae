//! Which commit is the last one before a moment: while somebody holds the database's write lock,
//! a follower is asked how far it is, and answers with the commit once that is durable.
//!
//! A barrier answers any commit that has everything; a cut answers the one that has nothing more.

use std::sync::Arc;
use std::time::Duration;

use super::shared::{CutAt, Shared, State};
use crate::error::{Error, ErrorKind, Result};
use crate::types::{Digest, Seq};

/// Asks a follower for cuts.
#[derive(Clone, Debug)]
pub(crate) struct Cutter(Arc<Shared>);

/// A cut that was asked for. Dropping it forgets it.
#[derive(Debug)]
pub(crate) struct Cut {
    shared: Arc<Shared>,
    barrier: u64,
}

impl Cutter {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// Asks for the commit that is the last one now. Nobody else may commit until
    /// [`Cut::wait_captured`] answers: whoever asks holds the database's write lock.
    pub(crate) fn cut(&self) -> Cut {
        let barrier = self.0.update(|state| {
            state.wanted += 1;
            state.cuts.insert(state.wanted, CutAt::Wanted);
            state.wanted
        });
        self.0.waker.wake();
        Cut { shared: self.0.clone(), barrier }
    }
}

impl Cut {
    fn at(&self, state: &State) -> CutAt {
        state.cuts.get(&self.barrier).copied().unwrap_or(CutAt::Lost)
    }

    /// Waits until the follower has seen all that was committed.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] after so long, or when the follower can't follow at the moment.
    pub(crate) fn wait_captured(&self, at_most: Duration) -> Result<()> {
        let state = self.shared.wait_for(at_most, |s| s.gone || self.at(s) != CutAt::Wanted);
        match self.at(&state) {
            CutAt::Captured(_) | CutAt::Durable(..) => Ok(()),
            CutAt::Wanted | CutAt::Lost => {
                Err(Error::new(ErrorKind::Busy, "its follower does not catch up"))
            }
        }
    }

    /// Waits until the commit is durable in the repository, and answers it with the digest of its
    /// database.
    ///
    /// # Errors
    /// [`ErrorKind::Busy`] after so long, or when the follower lost its place: the cut has no
    /// commit then.
    pub(crate) fn wait_durable(&self, at_most: Duration) -> Result<(Seq, Digest)> {
        let is_over = |at: CutAt| matches!(at, CutAt::Durable(..) | CutAt::Lost);
        let state = self.shared.wait_for(at_most, |s| s.gone || is_over(self.at(s)));
        match self.at(&state) {
            CutAt::Durable(seq, digest) => Ok((seq, digest)),
            CutAt::Lost => {
                Err(Error::new(ErrorKind::Busy, "its follower lost its place meanwhile"))
            }
            CutAt::Wanted | CutAt::Captured(_) => {
                let what = "what was committed is not durable yet";
                let error = Error::new(ErrorKind::Busy, what);
                Err(match &state.fault {
                    Some(fault) => error.with_source(fault.message.clone()),
                    None => error,
                })
            }
        }
    }
}

impl Drop for Cut {
    fn drop(&mut self) {
        self.shared.lock().cuts.remove(&self.barrier);
    }
}
