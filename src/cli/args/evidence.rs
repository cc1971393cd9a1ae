//! The flags of `evidence`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// Write a signed file of all tests of a history, for auditors; or check one
///
/// It has every test that the daemon began and every proof in the repository: what was tested, how,
/// with which result, over which commits; those that failed or did not end, too, and the stretches
/// without any test. Who has the repository's public key (`key public`) can check it years later,
/// without this machine and without the repository.
///
/// Tests that failed are part of the evidence: it is written all the same, with exit code 0. What
/// could not be read is a warning, and stands in the file. With `--check`, exit code 4 says that
/// the file was altered or is none, and 12 that another key signed it.
#[derive(Args, Debug)]
#[command(after_help = "Examples:
  pagekeep evidence shop -c pagekeep.toml --since 2026-01-01 -o shop-2026.json
  pagekeep evidence shop -c pagekeep.toml --since 2026-01-01 --format html -o shop-2026.html
  pagekeep key public -c pagekeep.toml               # hand it over beforehand
  pagekeep evidence --check shop-2026.json --public-key HEX")]
pub(crate) struct EvidenceArgs {
    /// The history
    #[arg(required_unless_present = "check")]
    pub(crate) name: Option<String>,
    /// Tests from this time on; of a day, from its beginning [default: since the history began]
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Tests up to this time; of a day, up to its end [default: now]
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// As what: for programs, or a page for people; each is signed
    #[arg(long, value_enum, default_value = "json")]
    pub(crate) format: EvidenceFormat,
    /// The file to create [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Check the signature of this file, and print what it says
    #[arg(long, value_name = "FILE", conflicts_with_all = ["name", "since", "until", "format", "output"])]
    pub(crate) check: Option<PathBuf>,
    /// The public key that must have signed it
    #[arg(long, value_name = "HEX", requires = "check")]
    pub(crate) public_key: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum EvidenceFormat {
    Json,
    Text,
    Html,
}
