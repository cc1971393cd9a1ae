//! Delivers a message by a channel, whatever its kind.

use super::message::Message;
use super::{apprise, chat, command, mail, ntfy, telegram, webhook};
use crate::daemon::config::{Channel, TextSource, Way, read_url};
use crate::error::Result;
use crate::progress::Monitor;

/// Delivers a message. Returns what the other side answered, in a few words.
///
/// # Errors
/// [`crate::ErrorKind::WrongKey`] when a secret can't be read; [`crate::ErrorKind::Failure`] when
/// the other side can't be reached or does not take it; [`crate::ErrorKind::Interrupted`].
pub(crate) fn deliver(
    channel: &Channel,
    message: &Message,
    monitor: &dyn Monitor,
) -> Result<String> {
    let read = |source: &TextSource| source.read(monitor);
    let maybe = |source: &Option<TextSource>| source.as_ref().map(read).transpose();
    let private = channel.allow_private;
    match &channel.way {
        Way::Webhook { url, secret, template, content_type } => {
            let (url, secret) = (read_url(url, monitor)?, maybe(secret)?);
            let secret = secret.as_ref().map(|secret| secret.as_str());
            webhook::send(message, &url, secret, template.as_deref(), content_type, private)
        }
        Way::Command { command } => command::send(message, command, monitor),
        Way::Ntfy { url, token } => {
            let token = maybe(token)?;
            ntfy::send(
                message,
                &read_url(url, monitor)?,
                token.as_ref().map(|t| t.as_str()),
                private,
            )
        }
        Way::Slack { url } => chat::slack(message, &read_url(url, monitor)?, private),
        Way::Mattermost { url } => chat::mattermost(message, &read_url(url, monitor)?, private),
        Way::Discord { url } => chat::discord(message, &read_url(url, monitor)?, private),
        Way::Telegram { api, token, chat } => {
            telegram::send(message, api, &read(token)?, chat, private)
        }
        Way::Mail(mail) => {
            let password = mail.login.as_ref().map(|(_, password)| read(password)).transpose()?;
            mail::send(message, mail, password.as_ref().map(|p| p.as_str()), private)
        }
        Way::Apprise { url, tags } => {
            apprise::send(message, &read_url(url, monitor)?, tags.as_deref(), private)
        }
    }
}
