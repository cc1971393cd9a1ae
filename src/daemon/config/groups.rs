//! Groups of databases: one moment of all of them, now and then.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::databases::{Files, Target};
use super::mistake::{Mistake, meant};
use super::plan::{Mode, Reader};
use super::text::GroupText;
use crate::ops::group::moment_label;
use crate::policy::retention::{Zone, zone};
use crate::policy::schedule::Schedule;
use crate::policy::typed::parse_duration;
use crate::repo::catalog::check_history_name;
use crate::repo::history::labels::sound_label;
use crate::types::Timestamp;

/// How often a moment of a group is labelled where nothing is said.
const SCHEDULE: &str = "every 1h";
/// How long such a moment stays where nothing is said.
const KEEP: Duration = Duration::from_secs(30 * 24 * 3600);

/// A group of databases.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// The names of the histories, or patterns of them.
    pub(crate) databases: Vec<glob::Pattern>,
    /// When one moment of them is labelled.
    pub(crate) schedule: Schedule,
    /// Whose clock that goes by.
    pub(crate) zone: Zone,
    /// How long the labels last; `None` for ever.
    pub(crate) keep: Option<Duration>,
}

impl Group {
    /// Two databases of it that are kept in different repositories, of some by name and repository:
    /// in words.
    pub(crate) fn divided<'a>(
        &self,
        found: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Option<String> {
        let mut members = found.filter(|(name, _)| self.has(name));
        let (first, of_first) = members.next()?;
        let (other, of_other) = members.find(|(_, repository)| *repository != of_first)?;
        Some(format!(
            "{first} is kept in the repository {of_first}, and {other} in {of_other}: a moment is restored from one repository"
        ))
    }

    /// Whether a history is in it.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.databases.iter().any(|pattern| pattern.matches(name))
    }

    /// The names that no history of those that are there has.
    pub(crate) fn missing<'a>(&'a self, names: &[&str]) -> Vec<&'a str> {
        let is_missing = |pattern: &&glob::Pattern| !names.iter().any(|name| pattern.matches(name));
        self.databases.iter().filter(is_missing).map(glob::Pattern::as_str).collect()
    }
}

/// All groups that a configuration names.
pub(super) fn groups_of(
    reader: &mut Reader<'_>,
    texts: &BTreeMap<Spanned<String>, Spanned<GroupText>>,
) -> BTreeMap<String, Group> {
    let mut groups = BTreeMap::new();
    for (name, text) in texts {
        let label = moment_label(name.get_ref(), Timestamp::default(), 2);
        let sound = check_history_name(name.get_ref()).and_then(|()| sound_label(&label));
        if let Err(e) = sound {
            let mistake = Mistake::new(name.span(), e.to_string());
            reader.wrong(mistake.with_help("the labels of its moments begin with this name"));
        }
        if let Some(group) = group_of(reader, text.get_ref()) {
            groups.insert(name.get_ref().clone(), group);
        }
    }
    groups
}

/// Makes sure that the databases of a group that are named are kept in one repository: a moment is
/// restored from one, and each repository would have a part of it. Which files a pattern matches
/// is another matter every day: the moment fails where these are kept in two.
pub(super) fn check_one_repository(
    reader: &mut Reader<'_>,
    texts: &BTreeMap<Spanned<String>, Spanned<GroupText>>,
    groups: &BTreeMap<String, Group>,
    targets: &[Target],
) {
    if groups.is_empty() {
        return;
    }
    let mut found = Vec::new();
    for (at, target) in targets.iter().enumerate() {
        let Files::One(path) = &target.files else { continue };
        // The first entry that means a file counts.
        if !targets.iter().take(at).any(|before| before.means(path)) {
            found.push((target.name_of(path), &*target.plan.repository));
        }
    }
    for (name, text) in texts {
        let Some(group) = groups.get(name.get_ref()) else { continue };
        let named = found.iter().map(|(name, repository)| (name.as_str(), *repository));
        let Some(what) = group.divided(named) else { continue };
        let mistake = Mistake::new(text.get_ref().databases.span(), what);
        reader.wrong(mistake.with_help("keep its databases in one, or make a group for each"));
    }
}

/// Makes sure that each name of a group may be that of a database, and that all which are in it are
/// followed: what is captured by a schedule has no commit of that moment.
pub(super) fn check_members(
    reader: &mut Reader<'_>,
    texts: &BTreeMap<Spanned<String>, Spanned<GroupText>>,
    targets: &[Target],
) {
    let named: Vec<(String, &Target)> = targets
        .iter()
        .filter_map(|target| match &target.files {
            Files::One(path) => Some((target.name_of(path), target)),
            Files::Matching(_) => None,
        })
        .collect();
    // What files a pattern will match nobody knows.
    let may_match = |name: &str| targets.iter().any(|target| target.may_name(name));
    for name in texts.values().flat_map(|text| text.get_ref().databases.get_ref()) {
        let Ok(pattern) = glob::Pattern::new(name.get_ref()) else { continue };
        let mut members = named.iter().filter(|(of, _)| pattern.matches(of)).peekable();
        let is_pattern = name.get_ref().contains(['*', '?', '[']);
        if members.peek().is_none() && !is_pattern && !may_match(name.get_ref()) {
            let what = format!("there is no database {:?}", name.get_ref());
            let mistake = Mistake::new(name.span(), what);
            let known = named.iter().map(|(name, _)| name.as_str());
            reader.wrong(match meant(name.get_ref(), known) {
                Some(word) => mistake.with_help(format!("did you mean `{word}`?")),
                None => mistake.with_help("a group has names of histories, or patterns of them"),
            });
        }
        if let Some((other, _)) =
            members.find(|(_, target)| !matches!(target.plan.mode, Mode::Follow { .. }))
        {
            let what = format!("{other} is not followed, so no commit of it is of that moment");
            let mistake = Mistake::new(name.span(), what);
            reader.wrong(mistake.with_help("a database of a group has mode = \"follow\""));
        }
    }
}

fn group_of(reader: &mut Reader<'_>, text: &GroupText) -> Option<Group> {
    if text.databases.get_ref().is_empty() {
        reader.wrong(Mistake::new(text.databases.span(), "a group without databases"));
    }
    let mut databases = Vec::new();
    for name in text.databases.get_ref() {
        match glob::Pattern::new(name.get_ref()) {
            Ok(pattern) => databases.push(pattern),
            Err(e) => reader.wrong(Mistake::new(name.span(), e.msg)),
        }
        if Path::new(name.get_ref()).components().count() > 1 {
            let mistake = Mistake::new(name.span(), "is a path");
            reader.wrong(mistake.with_help("a group has names of histories"));
        }
    }
    let schedule = match &text.schedule {
        Some(schedule) => reader.parsed(Some(schedule), Schedule::parse),
        None => Schedule::parse(SCHEDULE).ok(),
    };
    let keep = match &text.keep {
        Some(keep) if keep.get_ref() == "forever" => None,
        keep => Some(reader.value(keep.as_ref(), parse_duration).unwrap_or(KEEP)),
    };
    let time_zone = reader.parsed(text.time_zone.as_ref(), |name| zone(Some(name)));
    Some(Group { databases, schedule: schedule?, zone: time_zone.unwrap_or(Zone::Local), keep })
}
