//! Apprise: a relay that passes messages on to the services that its own configuration names.

use serde_json::json;

use super::http::Post;
use super::message::Message;
use crate::error::Result;

/// Delivers a message.
///
/// # Errors
/// As [`Post::send`].
pub(super) fn send(
    message: &Message,
    url: &str,
    tags: Option<&str>,
    allow_private: bool,
) -> Result<String> {
    let kind = match (message.event, message.severity) {
        ("recovery", _) => "success",
        ("test", _) | (_, "notice") => "info",
        (_, "warning") => "warning",
        _ => "failure",
    };
    let mut body = json!({
        "title": message.subject,
        "body": message.text,
        "type": kind,
        "format": "text",
    });
    if let (Some(tags), Some(body)) = (tags, body.as_object_mut()) {
        body.insert("tag".to_owned(), tags.into());
    }
    Post::json(url, &body.to_string(), allow_private).send()
}
