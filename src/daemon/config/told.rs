//! Channels, alerts and pings as they are in force, as TOML that says the same. Secrets stand
//! elsewhere, so none is shown.

use super::alerts::Alerts;
use super::channels::{Channel, Mail, Tls, Way};
use super::ping::Ping;
use super::shown::{key, quoted, schedule, span, zone};
use super::source::TextSource;
use crate::policy::alert::judge::Room;

impl Channel {
    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        let mut lines =
            vec![format!("\n[channels.{}]", key(name)), format!("kind = \"{}\"", self.kind())];
        match &self.way {
            Way::Webhook { url, secret, template, content_type } => {
                lines.push(source("url", url));
                lines.extend(secret.as_ref().map(|secret| source("secret", secret)));
                lines.extend(template.as_ref().map(|text| format!("template = {}", quoted(text))));
                lines.push(format!("content-type = {}", quoted(content_type)));
            }
            Way::Command { command } => lines.push(format!("command = {}", quoted(command))),
            Way::Ntfy { url, token } => {
                lines.push(source("url", url));
                lines.extend(token.as_ref().map(|token| source("token", token)));
            }
            Way::Slack { url } | Way::Mattermost { url } | Way::Discord { url } => {
                lines.push(source("url", url));
            }
            Way::Telegram { api, token, chat } => {
                lines.push(format!("url = {}", quoted(api)));
                lines.push(source("token", token));
                lines.push(format!("chat = {}", quoted(chat)));
            }
            Way::Mail(mail) => lines.extend(mail.lines()),
            Way::Apprise { url, tags } => {
                lines.push(source("url", url));
                lines.extend(tags.as_ref().map(|tags| format!("tags = {}", quoted(tags))));
            }
        }
        lines.push(format!("allow-private = {}", self.allow_private));
        lines
    }
}

impl Mail {
    fn lines(&self) -> Vec<String> {
        let to: Vec<String> = self.to.iter().map(|to| quoted(to)).collect();
        let tls = Tls::WORDS.iter().find(|(_, tls)| *tls == self.tls).map_or("", |(word, _)| word);
        let mut lines = vec![
            format!("server = {}", quoted(&self.server)),
            format!("port = {}", self.port),
            format!("tls = \"{tls}\""),
        ];
        if let Some((user, password)) = &self.login {
            lines.push(format!("user = {}", quoted(user)));
            lines.push(source("password", password));
        }
        lines.push(format!("from = {}", quoted(&self.from)));
        lines.push(format!("to = [{}]", to.join(", ")));
        lines
    }
}

impl Alerts {
    pub(super) fn lines(&self) -> Vec<String> {
        let Self { limits, manner } = self;
        let mut lines = vec!["\n[alerts]".to_owned()];
        lines.extend(manner.quiet.map(|quiet| format!("quiet = \"{quiet}\"")));
        let room = match limits.low_space {
            Room::Bytes(bytes) => bytes.to_string(),
            Room::Share(ppm) => format!("{}%", f64::from(ppm) / 10_000.0),
        };
        lines.extend([
            format!("critical-breaks-quiet = {}", manner.critical_breaks_quiet),
            format!("time-zone = {}", quoted(&zone(&manner.zone))),
            format!("remind = \"{}\"", manner.remind.map_or("never".to_owned(), span)),
            format!("digest = {}", schedule(manner.digest.as_ref())),
            format!("failures = {}", limits.failures),
            format!("after = \"{}\"", span(manner.after)),
            format!("low-space = \"{room}\""),
            format!("max-lag = \"{}\"", span(limits.max_lag)),
        ]);
        lines
    }
}

impl Ping {
    pub(super) fn line(&self) -> String {
        let Self { url, every, allow_private } = self;
        let url = source("url", url);
        format!("ping = {{ {url}, every = \"{}\", allow-private = {allow_private} }}", span(*every))
    }
}

fn source(key: &str, source: &TextSource) -> String {
    let (suffix, value) = source.shown();
    format!("{key}{suffix} = {}", quoted(&value))
}
