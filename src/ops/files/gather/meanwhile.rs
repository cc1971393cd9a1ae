//! For tests: what somebody else does with a file between the moment when it was read and the
//! moment when it is looked at again.

use std::cell::RefCell;
use std::path::Path;

type Deed = Box<dyn FnMut(&Path)>;

thread_local! {
    static DEED: RefCell<Option<Deed>> = const { RefCell::new(None) };
}

/// From now on a deed happens whenever this thread has read a file.
pub(in crate::ops::files) fn set(deed: impl FnMut(&Path) + 'static) {
    DEED.with(|slot| slot.replace(Some(Box::new(deed))));
}

/// A file was read.
pub(super) fn happens(path: &Path) {
    DEED.with(|slot| {
        if let Some(deed) = slot.borrow_mut().as_mut() {
            deed(path);
        }
    });
}
