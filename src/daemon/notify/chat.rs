//! Slack, Mattermost and Discord: a URL that writes into a channel of theirs. Each has a markup of
//! its own, which is not to change what is told, and notifies nobody whose name is in it.

use serde_json::json;

use super::http::Post;
use super::message::{Message, cut};
use crate::error::Result;

/// The longest message that each takes as one.
const SLACK: usize = 35_000;
const MATTERMOST: usize = 15_000;
const DISCORD: usize = 1900;

/// Writes to Slack.
///
/// # Errors
/// As [`Post::send`].
pub(super) fn slack(message: &Message, url: &str, allow_private: bool) -> Result<String> {
    let text = escaped_for_slack(&whole(message, SLACK));
    Post::json(url, &json!({ "text": text, "mrkdwn": false }).to_string(), allow_private).send()
}

/// Writes to Mattermost.
///
/// # Errors
/// As [`Post::send`].
pub(super) fn mattermost(message: &Message, url: &str, allow_private: bool) -> Result<String> {
    let text = escaped(&whole(message, MATTERMOST));
    Post::json(url, &json!({ "text": text }).to_string(), allow_private).send()
}

/// Writes to Discord.
///
/// # Errors
/// As [`Post::send`].
pub(super) fn discord(message: &Message, url: &str, allow_private: bool) -> Result<String> {
    // Escaped, a text is longer.
    let text = cut_chars(&escaped(&whole(message, DISCORD)), DISCORD);
    let body = json!({ "content": text, "allowed_mentions": { "parse": [] }, "flags": 4 });
    Post::json(url, &body.to_string(), allow_private).send()
}

fn whole(message: &Message, most: usize) -> String {
    cut(&format!("{}\n\n{}", message.subject, message.text), most)
}

fn escaped_for_slack(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// For Markdown. A mention is none with something between the sign and the name.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '~' | '[' | ']' | '<' | '>' | '#' | '|' => {
                escaped.extend(['\\', c]);
            }
            '@' => escaped.extend(['@', '\u{200b}']),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The first so many characters, without half of an escape at the end.
fn cut_chars(text: &str, most: usize) -> String {
    let short: String = text.chars().take(most).collect();
    match short.len() == text.len() {
        true => short,
        false => format!("{}…", short.trim_end_matches('\\')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_says_nothing_and_calls_nobody() {
        assert_eq!(escaped_for_slack("<!channel> & <@U1>"), "&lt;!channel&gt; &amp; &lt;@U1&gt;");
        assert_eq!(escaped("@all *b* `c` [x](y)"), "@\u{200b}all \\*b\\* \\`c\\` \\[x\\](y)");
        let long = escaped(&"*".repeat(3000));
        assert!(cut_chars(&long, DISCORD).chars().count() <= DISCORD + 1);
        assert_eq!(cut_chars("a\\*b", 2), "a…");
    }
}
