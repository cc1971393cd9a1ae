//! When somebody is told: the table `[alerts]`, and the pings of a database.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use toml::Spanned;

use super::channels::{Channel, check_url};
use super::mistake::Mistake;
use super::notify_text::{AlertsText, PingText};
use super::ping::Ping;
use super::plan::Reader;
use super::source::TextSource;
use crate::policy::alert::course::Manner;
use crate::policy::alert::judge::{Limits, Room};
use crate::policy::alert::quiet::Quiet;
use crate::policy::retention::{Zone, zone};
use crate::policy::schedule::Schedule;
use crate::policy::typed::{parse_duration, parse_interval, parse_percent, parse_size};

/// How often a service is told that a database which is followed is well.
const EVERY: Duration = Duration::from_secs(300);

/// Who is told of what, and when.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Notices {
    /// Where alerts go, by name.
    pub(crate) channels: BTreeMap<String, Channel>,
    /// When somebody is told.
    pub(crate) alerts: Alerts,
    /// The channels that are told of what is about no database of the file.
    pub(crate) notify: Vec<String>,
}

/// From when on, and when, somebody is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Alerts {
    pub(crate) limits: Limits,
    pub(crate) manner: Manner,
}

impl Reader<'_> {
    /// What a configuration says about alerts.
    pub(super) fn alerts(&mut self, text: &AlertsText) -> Alerts {
        let usual = Alerts::default();
        let time_zone = self.parsed(text.time_zone.as_ref(), |name| zone(Some(name)));
        let is_never = |text: &&Spanned<String>| text.get_ref() == "never";
        let failures = text.failures.as_ref().map_or(usual.limits.failures, |failures| {
            if *failures.get_ref() == 0 {
                self.wrong(Mistake::new(failures.span(), "is at least 1"));
            }
            *failures.get_ref()
        });
        let limits = Limits {
            failures,
            max_lag: self.span(text.max_lag.as_ref(), usual.limits.max_lag),
            low_space: self
                .value(text.low_space.as_ref(), parse_room)
                .unwrap_or(usual.limits.low_space),
        };
        let manner = Manner {
            after: self.value(text.after.as_ref(), parse_interval).unwrap_or(usual.manner.after),
            remind: match &text.remind {
                Some(remind) if is_never(&remind) => None,
                None => usual.manner.remind,
                remind => self.value(remind.as_ref(), parse_duration),
            },
            quiet: self.value(text.quiet.as_ref(), Quiet::parse),
            critical_breaks_quiet: text.critical_breaks_quiet.unwrap_or_default(),
            digest: match &text.digest {
                Some(digest) if is_never(&digest) => None,
                digest => self.parsed(digest.as_ref(), Schedule::parse),
            },
            zone: time_zone.unwrap_or(Zone::Local),
        };
        Alerts { limits, manner }
    }

    /// Who is told that a database is well.
    pub(super) fn ping(&mut self, folder: &Path, text: Option<&Spanned<PingText>>) -> Option<Ping> {
        let (span, text) = (text?.span(), text?.get_ref());
        let PingText { url, url_file, url_env, url_command, .. } = text;
        let given = [url, url_file, url_env, url_command];
        if given.iter().filter(|given| given.is_some()).count() != 1 {
            let help = "url, url-file, url-env or url-command says it";
            self.wrong(Mistake::new(span, "one URL is pinged").with_help(help));
            return None;
        }
        if let Some(url) = url
            && let Err(why) = check_url(&url.get_ref().replace("{name}", "name"))
        {
            self.wrong(Mistake::new(url.span(), why));
        }
        let every = self.span(text.every.as_ref(), EVERY);
        let text_of = |text: &Option<Spanned<String>>| text.as_ref().map(|t| t.get_ref().clone());
        let source = text_of(url).map(TextSource::Plain);
        let source =
            source.or_else(|| text_of(url_file).map(|path| TextSource::File(folder.join(path))));
        let source = source.or_else(|| text_of(url_env).map(TextSource::Env));
        let source = source.or_else(|| text_of(url_command).map(TextSource::Command));
        let allow_private = text.allow_private.unwrap_or_default();
        Some(Ping { url: source?, every, allow_private })
    }
}

/// An amount of free space: a percentage, or a size.
fn parse_room(text: &str) -> Result<Room, String> {
    match text.ends_with('%') {
        true => parse_percent(text).map(Room::Share),
        false => parse_size(text)
            .map(Room::Bytes)
            .map_err(|_| "neither a size nor a percentage, such as 10GiB or 5%".to_owned()),
    }
}
