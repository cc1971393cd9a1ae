//! Which files of an application are kept beside its database.

use std::path::Path;

use toml::Spanned;

use super::mistake::Mistake;
use super::plan::{FilesPlan, Mode, Plan, Reader};
use super::text::DatabaseText;
use crate::ops::files::{check_excluded, check_path};

/// How often files are kept where nothing is said, and the database is followed.
const FILES: &str = "every 1h";

impl Reader<'_> {
    /// The files of a database, if there are any.
    pub(super) fn files(
        &mut self,
        folder: &Path,
        text: &DatabaseText,
        plan: &Plan,
    ) -> Option<FilesPlan> {
        let usual = match &plan.mode {
            Mode::Snapshots(schedule) => schedule.to_string(),
            Mode::Follow { .. } => FILES.to_owned(),
        };
        let schedule = self.schedule(text.files_schedule.as_ref(), &usual);
        for path in &text.files {
            let tried = path.get_ref().replace("{stem}", "a").replace("{folder}", "a");
            let sound = match tried.contains(['{', '}']) {
                true => Err("has a brace that is neither {stem} nor {folder}".to_owned()),
                false => check_path(Path::new(&tried)),
            };
            if let Err(why) = sound {
                self.wrong(Mistake::new(path.span(), why));
            }
        }
        for pattern in &text.exclude {
            if let Err(why) = check_excluded(pattern.get_ref()) {
                self.wrong(Mistake::new(pattern.span(), why));
            }
        }
        if text.files.is_empty() {
            let alone = [text.exclude.first(), text.files_schedule.as_ref()];
            for value in alone.into_iter().flatten() {
                let mistake = Mistake::new(value.span(), "no files are kept of this database");
                self.wrong(mistake.with_help("files = [\"/etc/shop\"] keeps a folder"));
            }
            return None;
        }
        let of = |texts: &[Spanned<String>]| texts.iter().map(|t| t.get_ref().clone()).collect();
        Some(FilesPlan {
            folder: folder.to_owned(),
            paths: of(&text.files),
            exclude: of(&text.exclude),
            schedule,
        })
    }

    /// Makes sure that the databases of a pattern do not all keep the same files.
    pub(super) fn check_own_files(&mut self, text: &DatabaseText) {
        let is_own = |path: &Spanned<String>| {
            ["{stem}", "{folder}"].iter().any(|part| path.get_ref().contains(part))
        };
        for path in text.files.iter().filter(|path| !is_own(path)) {
            let what = "each database of the pattern would keep the same files";
            let help = "{stem} stands for the file's name without its extension, {folder} for its folder's name";
            self.wrong(Mistake::new(path.span(), what).with_help(help));
        }
    }
}
