//! What is known of the machine that this runs on.

/// How whatever is said about a wrong clock names it, so that it is found in what was said.
pub(crate) const CLOCK: &str = "this machine's clock";

/// This machine's name.
pub(crate) fn host() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
