//! Telegram: a bot writes to a chat, as plain text.

use serde_json::json;

use super::http::Post;
use super::message::{Message, cut};
use crate::error::{Error, ErrorKind, Result};

/// The longest message.
const MOST: usize = 4000;

/// Delivers a message.
///
/// # Errors
/// As [`Post::send`].
pub(super) fn send(
    message: &Message,
    api: &str,
    token: &str,
    chat: &str,
    allow_private: bool,
) -> Result<String> {
    let is_token = |c: char| c.is_ascii_alphanumeric() || matches!(c, ':' | '-' | '_');
    if !token.chars().all(is_token) {
        let error = Error::new(ErrorKind::WrongKey, "is no token of a bot");
        return Err(error.with_object("the token for Telegram"));
    }
    let url = format!("{}/bot{token}/sendMessage", api.trim_end_matches('/'));
    let text = format!("{}\n\n{}", message.subject, message.text);
    let body = json!({
        "chat_id": chat,
        "text": cut(&text, MOST),
        "link_preview_options": { "is_disabled": true },
    });
    Post::json(&url, &body.to_string(), allow_private).send()
}
