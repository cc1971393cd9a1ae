//! What the whole-process comparison is asked to do.

use std::path::PathBuf;

use super::Result;
use super::rounds::Step;

pub const USAGE: &str = "\
cargo bench --bench whole -- [OPTIONS]
  --mib N            size of the database (1024); 4096 shows whether memory stays flat
  --seed N           which database of that size (1)
  --db FILE          a database of make_db instead; it is copied, never changed
  --rounds N         how often everything is done (3)
  --dir DIR          where to work; needs about 3 times the size, with --cmp 7 times
  --only A,B         measure these steps alone: full, unchanged, unchanged-scan, restore, verify,
                     one, pct1, restore-last
  --compression C    fast (the floor uses zstd 1) or default (zstd 3); fast unless told
  --warm MIB         memory touched before each step that writes much (2048)
  --cmp              keep each state aside, restore every commit at the end, compare all bytes
  --keep-work        leave the last round's files";

/// See [`USAGE`].
#[derive(Clone, Debug)]
pub struct Options {
    pub mib: u64,
    pub seed: u64,
    pub db: Option<PathBuf>,
    pub rounds: u64,
    pub dir: PathBuf,
    pub steps: Vec<Step>,
    pub compression: String,
    pub warm_mib: u64,
    pub compare: bool,
    pub keep_work: bool,
}

impl Options {
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let mut options = Self {
            mib: 1024,
            seed: 1,
            db: None,
            rounds: 3,
            // On the disk that has the build; a temporary directory may be memory.
            dir: PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("whole"),
            steps: Step::ALL.to_vec(),
            compression: "fast".to_owned(),
            warm_mib: 2048,
            compare: false,
            keep_work: false,
        };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--cmp" => options.compare = true,
                "--keep-work" => options.keep_work = true,
                name => {
                    let value = arguments
                        .next()
                        .ok_or_else(|| format!("{name}: not known, or lacks its value\n{USAGE}"))?;
                    options.set(name, value)?;
                }
            }
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<()> {
        let number =
            || value.parse::<u64>().map_err(|_| format!("{name} {value}: not a whole number"));
        match name {
            "--mib" => self.mib = number()?.max(1),
            "--seed" => self.seed = number()?,
            "--rounds" => self.rounds = number()?.max(1),
            "--warm" => self.warm_mib = number()?,
            "--db" => self.db = Some(value.into()),
            "--dir" => self.dir = value.into(),
            "--only" => {
                self.steps = value.split(',').map(str::parse).collect::<Result<_>>()?;
            }
            "--compression" if ["fast", "default"].contains(&value) => {
                self.compression = value.to_owned();
            }
            _ => return Err(format!("{name} {value}: no such option or value\n{USAGE}").into()),
        }
        Ok(())
    }

    /// The zstd level that the floor uses for the compression asked for.
    pub fn level(&self) -> &'static str {
        if self.compression == "fast" { "1" } else { "3" }
    }
}
