//! Which versions of SQLite may corrupt what they write.

use crate::error::{Error, ErrorKind, Result};

/// Whether a version of SQLite, as `SQLITE_VERSION_NUMBER` writes it, may corrupt a database in WAL
/// mode when the WAL is reset at the wrong moment. Mended in 3.51.3, and in 3.50.7 and 3.44.6
/// (<https://sqlite.org/wal.html>).
pub fn is_vulnerable(version: i32) -> bool {
    let mended = version >= 3_051_003
        || (3_050_007..3_051_000).contains(&version)
        || (3_044_006..3_045_000).contains(&version);
    // The WAL came with 3.7.0.
    !mended && version >= 3_007_000
}

/// Refuses to follow with a library that might corrupt what it follows.
///
/// # Errors
/// [`ErrorKind::Refused`].
pub fn check_library(version: i32) -> Result<()> {
    if !is_vulnerable(version) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Refused,
        format!(
            "SQLite {} has a bug that can corrupt a WAL; following needs a mended one",
            name_version(version)
        ),
    )
    .with_object("the SQLite library of this program")
    .with_hint("build with 3.51.3 or later, 3.50.7, or 3.44.6; the bundled one is"))
}

/// What to tell somebody whose application uses such a library.
pub(crate) fn describe_vulnerable(database: &str, version: i32) -> String {
    format!(
        "{database} was last written by SQLite {}, which can corrupt a database in WAL mode; let the application use \
         3.51.3 or later, 3.50.7, or 3.44.6",
        name_version(version)
    )
}

fn name_version(version: i32) -> String {
    format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mended_versions_are_told_from_the_others() {
        for bad in [3_007_000, 3_040_001, 3_044_005, 3_045_000, 3_050_006, 3_051_002] {
            assert!(is_vulnerable(bad), "{bad}");
            assert_eq!(check_library(bad).unwrap_err().kind(), ErrorKind::Refused);
        }
        for good in [3_006_023, 3_044_006, 3_050_007, 3_051_003, 3_054_000] {
            assert!(!is_vulnerable(good), "{good}");
            check_library(good).unwrap();
        }
        assert!(describe_vulnerable("a.db", 3_040_001).contains("SQLite 3.40.1,"));
        check_library(rusqlite::version_number()).unwrap();
    }
}
