//! Where alerts go: the channels of a configuration.

use std::path::Path;

use toml::Spanned;
use zeroize::Zeroizing;

use super::keys::Keys;
use super::mistake::Mistake;
use super::notify_text::TableText;
use super::plan::Reader;
use super::source::TextSource;
use crate::error::{Error, ErrorKind};
use crate::progress::Monitor;

/// Where the bots of Telegram are.
const TELEGRAM: &str = "https://api.telegram.org";
/// What a template may ask for.
pub(crate) const PLACEHOLDERS: [&str; 6] = ["subject", "text", "severity", "event", "host", "time"];

/// A channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Channel {
    /// How it delivers, and to where.
    pub(crate) way: Way,
    /// Whether its target may be in a private network.
    pub(crate) allow_private: bool,
}

/// How a channel delivers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// A request with JSON, or what a template says, signed if there is a secret.
    Webhook {
        url: TextSource,
        secret: Option<TextSource>,
        template: Option<String>,
        content_type: String,
    },
    /// A shell command that gets JSON.
    Command {
        command: String,
    },
    Ntfy {
        url: TextSource,
        token: Option<TextSource>,
    },
    Slack {
        url: TextSource,
    },
    Mattermost {
        url: TextSource,
    },
    Discord {
        url: TextSource,
    },
    Telegram {
        api: String,
        token: TextSource,
        chat: String,
    },
    Mail(Mail),
    /// A relay that knows a hundred other services.
    Apprise {
        url: TextSource,
        tags: Option<String>,
    },
}

impl Way {
    /// Where the texts are that it needs.
    pub(crate) fn sources(&self) -> Vec<&TextSource> {
        match self {
            Self::Webhook { url, secret, .. } => [url].into_iter().chain(secret).collect(),
            Self::Ntfy { url, token } => [url].into_iter().chain(token).collect(),
            Self::Slack { url }
            | Self::Mattermost { url }
            | Self::Discord { url }
            | Self::Apprise { url, .. } => vec![url],
            Self::Telegram { token, .. } => vec![token],
            Self::Mail(mail) => mail.login.iter().map(|(_, password)| password).collect(),
            Self::Command { .. } => Vec::new(),
        }
    }
}

/// A mail server, and who writes to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mail {
    pub(crate) server: String,
    pub(crate) port: u16,
    pub(crate) tls: Tls,
    pub(crate) login: Option<(String, TextSource)>,
    pub(crate) from: String,
    pub(crate) to: Vec<String>,
}

/// How a connection to a mail server is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    /// From the first byte.
    Always,
    /// By STARTTLS, and not at all without it.
    Start,
    /// Not at all.
    Never,
}

impl Tls {
    pub(super) const WORDS: [(&'static str, Self); 3] =
        [("always", Self::Always), ("starttls", Self::Start), ("never", Self::Never)];

    /// The port where such servers are.
    const fn port(self) -> u16 {
        match self {
            Self::Always => 465,
            Self::Start => 587,
            Self::Never => 25,
        }
    }
}

/// The kinds of channels.
const KINDS: [&str; 9] =
    ["webhook", "command", "ntfy", "slack", "mattermost", "discord", "telegram", "mail", "apprise"];

impl Channel {
    /// The channel of a table.
    pub(super) fn of(
        reader: &mut Reader<'_>,
        folder: &Path,
        name: &Spanned<String>,
        table: &TableText,
    ) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.get_ref().is_empty() || !name.get_ref().chars().all(plain) {
            let what = "a channel's name has letters, digits, - and _ alone";
            reader.wrong(Mistake::new(name.span(), what));
        }
        let mut keys = Keys::of(table, name.span(), folder);
        let kind = keys.needed(reader, "kind")?;
        let words = KINDS.map(|kind| (kind, kind));
        let kind = reader.word(Some(&kind), &words)?;
        let allow_private = keys.flag(reader, "allow-private");
        let way = way(reader, &mut keys, kind);
        keys.end(reader, &format!("a channel of kind {kind}"));
        way.map(|way| Self { way, allow_private })
    }

    /// A stable lower-case name of its kind.
    pub(crate) const fn kind(&self) -> &'static str {
        match &self.way {
            Way::Webhook { .. } => "webhook",
            Way::Command { .. } => "command",
            Way::Ntfy { .. } => "ntfy",
            Way::Slack { .. } => "slack",
            Way::Mattermost { .. } => "mattermost",
            Way::Discord { .. } => "discord",
            Way::Telegram { .. } => "telegram",
            Way::Mail(_) => "mail",
            Way::Apprise { .. } => "apprise",
        }
    }
}

fn way(reader: &mut Reader<'_>, keys: &mut Keys<'_>, kind: &str) -> Option<Way> {
    Some(match kind {
        "webhook" => {
            let secret = keys.source(reader, "secret", true).map(|(secret, _)| secret);
            let template = keys.text(reader, "template");
            if let Some(template) = &template {
                check_template(reader, template);
            }
            let content_type = keys.text(reader, "content-type");
            let content_type =
                content_type.map_or("application/json".to_owned(), Spanned::into_inner);
            let url = url(reader, keys, false);
            Way::Webhook {
                url: url?,
                secret,
                template: template.map(Spanned::into_inner),
                content_type,
            }
        }
        "command" => Way::Command { command: keys.needed(reader, "command")?.into_inner() },
        "ntfy" => {
            let token = keys.source(reader, "token", true).map(|(token, _)| token);
            Way::Ntfy { url: url(reader, keys, false)?, token }
        }
        // Whoever knows one of these may write there.
        "slack" => Way::Slack { url: url(reader, keys, true)? },
        "mattermost" => Way::Mattermost { url: url(reader, keys, true)? },
        "discord" => Way::Discord { url: url(reader, keys, true)? },
        "telegram" => {
            let token = keys.needed_source(reader, "token", true);
            let chat = keys.needed(reader, "chat");
            let api = keys.text(reader, "url");
            if let Some(api) = &api
                && let Err(why) = check_url(api.get_ref())
            {
                reader.wrong(Mistake::new(api.span(), why));
            }
            let api = api.map_or(TELEGRAM.to_owned(), Spanned::into_inner);
            Way::Telegram { api, token: token?.0, chat: chat?.into_inner() }
        }
        "mail" => Way::Mail(mail(reader, keys)?),
        _ => {
            let tags = keys.text(reader, "tags").map(Spanned::into_inner);
            Way::Apprise { url: url(reader, keys, false)?, tags }
        }
    })
}

fn mail(reader: &mut Reader<'_>, keys: &mut Keys<'_>) -> Option<Mail> {
    let server = keys.needed(reader, "server");
    let tls = keys.text(reader, "tls");
    let tls = reader.word(tls.as_ref(), &Tls::WORDS).unwrap_or(Tls::Start);
    let port = keys.port(reader, "port").unwrap_or(tls.port());
    let user = keys.text(reader, "user");
    let password = keys.source(reader, "password", true);
    let from = keys.needed(reader, "from");
    let to = keys.texts(reader, "to");
    for address in from.iter().chain(&to) {
        if let Err(why) = check_address(address.get_ref()) {
            reader.wrong(Mistake::new(address.span(), why));
        }
    }
    let login = match (user, password) {
        (Some(user), Some((password, _))) => Some((user.into_inner(), password)),
        (Some(user), None) => {
            let mistake = Mistake::new(user.span(), "a user needs a password");
            reader.wrong(mistake.with_help("password-file says where it is"));
            None
        }
        (None, Some((_, span))) => {
            reader.wrong(Mistake::new(span, "a password needs a `user`"));
            None
        }
        (None, None) => None,
    };
    let to = to.into_iter().map(Spanned::into_inner).collect();
    let (server, from) = (server?.into_inner(), from?.into_inner());
    Some(Mail { server, port, tls, login, from, to })
}

/// The URL of a channel.
fn url(reader: &mut Reader<'_>, keys: &mut Keys<'_>, is_secret: bool) -> Option<TextSource> {
    let (url, span) = keys.needed_source(reader, "url", is_secret)?;
    if let TextSource::Plain(text) = &url
        && let Err(why) = check_url(text)
    {
        reader.wrong(Mistake::new(span, why));
    }
    Some(url)
}

/// Reads the URL that a channel has elsewhere. An error names the place.
///
/// # Errors
/// [`ErrorKind::WrongKey`] when it is not there, or is none; [`ErrorKind::Interrupted`].
pub(crate) fn read_url(
    source: &TextSource,
    monitor: &dyn Monitor,
) -> crate::error::Result<Zeroizing<String>> {
    let url = source.read(monitor)?;
    // Of a ping, a name stands there later.
    check_url(&url.replace("{name}", "name")).map_err(|why| {
        Error::new(ErrorKind::WrongKey, why)
            .with_object(source.described().unwrap_or_else(|| "the configuration".to_owned()))
            .with_hint("write a URL there, such as https://example.com/hook")
    })?;
    Ok(url)
}

/// Whether a text is a URL to which something can be sent.
///
/// # Errors
/// What it is instead.
pub(crate) fn check_url(text: &str) -> Result<(), String> {
    let uri: ureq::http::Uri = text.parse().map_err(|e| format!("is no URL: {e}"))?;
    let Some(authority) = uri.authority() else {
        return Err("is no URL, such as https://example.com/hook".to_owned());
    };
    match uri.scheme_str() {
        Some("http" | "https") => {}
        scheme => {
            return Err(format!("is no URL of http or https: {}", scheme.unwrap_or_default()));
        }
    }
    if authority.as_str().contains('@') {
        return Err("has a user or a password before its host, which is not supported".to_owned());
    }
    match uri.host().unwrap_or_default().is_empty() {
        true => Err("names no host".to_owned()),
        false => Ok(()),
    }
}

/// Whether a text is a mail address, also with a name before it.
fn check_address(text: &str) -> Result<(), String> {
    let read = text.parse::<lettre::message::Mailbox>();
    read.map(|_| ()).map_err(|e| format!("{text:?} is no mail address: {e}"))
}

/// Whether a template asks for nothing that there is not.
fn check_template(reader: &mut Reader<'_>, template: &Spanned<String>) {
    for part in template.get_ref().split("{{").skip(1) {
        let name = part.split_once("}}").map_or(part, |(name, _)| name).trim();
        if !PLACEHOLDERS.contains(&name) || !part.contains("}}") {
            let shown: String = name.chars().take(30).collect();
            let mistake =
                Mistake::new(template.span(), format!("there is nothing called {shown:?}"));
            let known = PLACEHOLDERS.map(|name| format!("{{{{{name}}}}}")).join(", ");
            reader.wrong(mistake.with_help(format!("there are {known}")));
        }
    }
}
