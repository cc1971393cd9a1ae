//! How help says what WHEN may be.

/// What WHEN may be, at the end of the help of every command that takes one; after examples, if
/// there are any.
macro_rules! when {
    ($examples:literal) => {
        concat!($examples, "\n\n", when!())
    };
    () => {
        "\
WHEN names a commit:
  latest, latest~2           the newest, the second before it
  seq:17                     by its number
  \"before migration\"         by its label; the newest, if several have it
  \"label:seq:17\"             by a label that looks like something else
  \"2h ago\", \"1h30m ago\"      the last one then
  \"today 18:20:30\", \"yesterday 18:20\", \"2026-05-01 18:20\"
                             the last one at that time, by this machine's clocks
  2026-05-01, yesterday      the last one of that day
  2026-05-01T18:20:30Z, \"2026-05-01 18:20+02:00\"
                             the last one at that moment

Where clocks were set back, an hour came twice: the later one is meant.
Where they were set forward, a time that never was means the last moment
before the change. Both are said. A time in the future names no commit."
    };
}

pub(crate) use when;
