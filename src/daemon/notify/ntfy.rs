//! ntfy: a topic to which phones and browsers listen.

use serde_json::json;

use super::http::Post;
use super::message::{Message, cut};
use crate::error::{Error, ErrorKind, Result};

/// The longest message that a server takes as one, in bytes.
const MOST: usize = 4000;

/// Delivers a message to the topic that a URL names.
///
/// # Errors
/// As [`Post::send`].
pub(super) fn send(
    message: &Message,
    url: &str,
    token: Option<&str>,
    allow_private: bool,
) -> Result<String> {
    let trimmed = url.trim_end_matches('/');
    let topic = trimmed.rsplit_once('/').filter(|(server, _)| !server.ends_with('/'));
    let Some((server, topic)) = topic else {
        let wrong = "names no topic, such as https://ntfy.sh/my-topic";
        return Err(Error::new(ErrorKind::Usage, wrong).with_object("the URL of ntfy"));
    };
    let (priority, tag) = match (message.is_alert(), message.severity) {
        (true, "critical") => (5, "rotating_light"),
        (true, "warning") => (4, "warning"),
        (true, _) => (3, "information_source"),
        (false, _) => (3, "white_check_mark"),
    };
    // As JSON: titles of other alphabets have no place in a header.
    let body = json!({
        "topic": topic,
        "title": message.subject,
        "message": cut(&message.text, MOST),
        "priority": priority,
        "tags": [tag],
    });
    let body = body.to_string();
    let mut post = Post::json(server, &body, allow_private);
    if let Some(token) = token {
        post.headers.push(("authorization", format!("Bearer {token}")));
    }
    post.send()
}
