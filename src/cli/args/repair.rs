//! The flags of `repair`.

use std::path::PathBuf;

use clap::Args;

/// Find out what is damaged, say which commits remain restorable, and make the best of it
///
/// Only says what it would do, unless --apply is given. Damaged objects are moved to the
/// repository's folder `quarantine`, never deleted; commits that can't be restored any more are not
/// offered any more, and no other commit gets their numbers. With --database the live database
/// becomes the next commit, so that the history goes on whole. It may be interrupted and run again.
/// Exit code 4 if there is damage that was not repaired.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep repair                            # look at everything
  pagekeep repair app --apply --database /srv/app.db
  pagekeep repair app --accept-rollback      # the history was set back or removed on purpose
  pagekeep repair --accept-rollback          # another repository is here on purpose")]
pub(crate) struct RepairArgs {
    /// Only this history
    pub(crate) name: Option<String>,
    /// Do what was only said before
    #[arg(long)]
    pub(crate) apply: bool,
    /// The live database: its present state becomes the next commit
    #[arg(long, value_name = "DB", requires = "apply", requires = "name")]
    pub(crate) database: Option<PathBuf>,
    /// Go on with a live database that lay elsewhere before
    #[arg(long, requires = "database")]
    pub(crate) adopt: bool,
    /// Look only at what holds the history together; do not open the stored pages
    #[arg(long)]
    pub(crate) quick: bool,
    /// Forget what this machine saw of the history: it was set back to an earlier state, or
    /// removed, on purpose; without a NAME, which repository was here before
    #[arg(long, conflicts_with_all = ["apply", "quick"])]
    pub(crate) accept_rollback: bool,
}
