//! For tests: a thread may be simulated. Its random bytes and its operations on local state are
//! then under the control of a [`World`], so that a run can be repeated exactly.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

/// What controls a simulated thread.
pub(crate) trait World {
    /// Fills bytes that look random.
    fn random(&self, bytes: &mut [u8]);
    /// An operation on local state is about to happen.
    fn local(&self, what: &str) -> io::Result<()>;
    /// How many neighbours are merged into one; few, so that short runs have merges.
    fn fan(&self) -> usize;
    /// How many bytes a segment object carries inside; few, so that small segments have parts.
    fn inline(&self) -> usize;
}

thread_local! {
    static WORLD: RefCell<Option<Arc<dyn World>>> = const { RefCell::new(None) };
}

/// Puts this thread under the control of a world, or of none, until the answer is dropped.
pub(crate) fn enter(world: Option<Arc<dyn World>>) -> Entered {
    Entered(WORLD.with(|slot| slot.replace(world)))
}

/// What controls this thread, if anything does.
pub(crate) fn world() -> Option<Arc<dyn World>> {
    WORLD.with(|slot| slot.borrow().clone())
}

/// Gives the thread back to the world that controlled it before.
pub(crate) struct Entered(Option<Arc<dyn World>>);

impl Drop for Entered {
    fn drop(&mut self) {
        WORLD.with(|slot| slot.replace(self.0.take()));
    }
}
