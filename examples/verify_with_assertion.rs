//! A backup that is tested: restored to a scratch file, checked by SQLite, and asked questions that
//! only the application can answer.
//!
//! ```text
//! $ cargo run --example verify_with_assertion
//! ```
//!
//! It works in a temporary folder. It backs a small database up, verifies it with an assertion that
//! holds and with one that does not, and lists the proofs that the repository keeps of both.
//! [`verify_newest`] is the part to copy.

use std::error::Error;
use std::path::Path;

use pagekeep::rusqlite::Connection;
use pagekeep::{
    BackupOptions, History, Level, Repository, RepositoryOptions, Secret, Silent, VerifyOptions,
    VerifyReport, create_store,
};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("shop.db");
    let app = Connection::open(&database)?;
    app.execute_batch("CREATE TABLE orders(cents INT); INSERT INTO orders VALUES(1000), (2500)")?;
    let key = Secret::create_key_file(&folder.path().join("key"))?;
    let store = create_store(&folder.path().join("repository").display().to_string())?;
    let keys = [(&key, "first key")];
    let state = folder.path().join("state");
    let repository =
        Repository::init(store, &keys, Default::default(), &RepositoryOptions::new(state))?;
    let history = repository.backup(&database, &BackupOptions::default(), &Silent)?.history;

    for assertion in ["SELECT min(cents) > 0 FROM orders", "SELECT count(*) >= 1000 FROM orders"] {
        println!("{assertion}");
        let report = verify_newest(&history, assertion, folder.path())?;
        tell(&report);
    }
    for proof in history.proofs()? {
        let outcome = proof.failure.as_deref().unwrap_or("passed");
        println!("a proof of seq:{} at level {}: {outcome}", proof.seq, proof.level.name());
    }
    Ok(())
}

/// Restores the newest commit to a scratch file and checks it there. The result is stored in the
/// repository as a proof.
///
/// An error means that the verification could not go on. Damage is no error: the report lists it.
fn verify_newest(
    history: &History,
    assertion: &str,
    scratch: &Path,
) -> pagekeep::Result<VerifyReport> {
    // The scratch folder needs room for the whole database.
    let mut options = VerifyOptions::new(Level::Restore, scratch);
    options.assertions.push(assertion.to_owned());
    history.verify(None, &options, &Silent)
}

/// Tells damage, refuted assertions and the rest apart: each asks for another deed.
fn tell(report: &VerifyReport) {
    for finding in &report.findings {
        println!("  damaged: {}: {}", finding.object, finding.message);
    }
    for finding in &report.refuted {
        println!("  does not hold: {}: {}", finding.object, finding.message);
    }
    for finding in report.unchecked.iter().chain(&report.broken_rules) {
        println!("  warning: {}: {}", finding.object, finding.message);
    }
    if report.findings.is_empty() && report.refuted.is_empty() {
        let restored: Vec<String> = report.restored.iter().map(|s| format!("seq:{s}")).collect();
        println!("  holds, {} restored", restored.join(", "));
    }
}
