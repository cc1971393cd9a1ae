//! What the process asks of the system before anything else.

use std::io;

use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::daemon::notify::prepare_tls;

/// No core dump may hold keys. What the system refuses of it is told by nobody: everything works
/// without.
pub(crate) fn forbid_dumps() {
    let _ = no_dumps();
}

/// A limit on the size of files is an error of whoever writes, not the end of the process.
pub(crate) fn prepare() {
    prepare_tls();
    // Threads that begin later, and no children, inherit it. A write beyond the limit then fails
    // with EFBIG.
    let mut set = SigSet::empty();
    set.add(Signal::SIGXFSZ);
    let _ = set.thread_block();
}

fn no_dumps() -> io::Result<()> {
    let limit = getrlimit(Resource::Core);
    setrlimit(Resource::Core, Rlimit { current: Some(0), ..limit })?;
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}
