//! What SQLite and the user's assertions say of one restored commit.

use crate::error::Result;
use crate::ops::finding::Finding;
use crate::repo::history::doubt::{ASSERTION, INTEGRITY, KEYS};
use crate::sqlite::check::{Asserted, Checker};

/// What restoring one commit came to.
#[derive(Default)]
pub(super) struct Looked {
    pub(super) findings: Vec<Finding>,
    pub(super) refuted: Vec<Finding>,
    pub(super) broken_rules: Vec<Finding>,
    pub(super) unchecked: Vec<Finding>,
    /// Checks that came to an end, of all.
    checks: (u64, u64),
    /// Assertions that hold.
    pub(super) held: u32,
}

impl Looked {
    /// Asks everything. `of` makes a finding of a text.
    ///
    /// # Errors
    /// When SQLite can't finish a check for another reason than the database; when an assertion is
    /// no query.
    pub(super) fn ask(
        &mut self,
        checker: &Checker,
        assertions: &[String],
        of: &dyn Fn(String) -> Finding,
    ) -> Result<()> {
        let checks =
            [(INTEGRITY, checker.integrity_check()?), (KEYS, checker.foreign_key_check()?)];
        for (name, answer) in checks {
            let named = |found: String| of(format!("{name}{found}"));
            self.count(answer.unchecked.is_empty());
            self.findings.extend(answer.unsound.into_iter().map(named));
            self.broken_rules.extend(answer.broken_rules.into_iter().map(named));
            self.unchecked.extend(answer.unchecked.into_iter().map(named));
        }
        for sql in assertions {
            let asserted = checker.assertion(sql)?;
            self.count(!matches!(asserted, Asserted::Unanswered(_)));
            match asserted {
                Asserted::Holds => self.held = self.held.saturating_add(1),
                Asserted::Fails(why) => self.refuted.push(of(format!("{ASSERTION}{why}"))),
                Asserted::Unsound(why) => self.findings.push(of(format!("{INTEGRITY}{why}"))),
                Asserted::Unanswered(why) => self.unchecked.push(of(format!("{ASSERTION}{why}"))),
            }
        }
        Ok(())
    }

    fn count(&mut self, is_done: bool) {
        self.checks = (self.checks.0 + u64::from(is_done), self.checks.1 + 1);
    }

    /// The share of the checks that came to an end, in millionths.
    pub(super) fn share(&self) -> u32 {
        share(self.checks)
    }
}

/// A share of all, in millionths; all of nothing.
pub(super) fn share((done, all): (u64, u64)) -> u32 {
    let ppm = if all == 0 { 1_000_000 } else { u128::from(done) * 1_000_000 / u128::from(all) };
    u32::try_from(ppm).unwrap_or(1_000_000).min(1_000_000)
}
