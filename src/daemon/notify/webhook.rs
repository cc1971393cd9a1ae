//! A request with JSON, or with what a template says, signed so that the receiver knows who sent it
//! and when.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::http::Post;
use super::message::Message;
use crate::error::{Error, ErrorKind, Result};

/// Delivers a message.
///
/// # Errors
/// As [`Post::send`].
pub(super) fn send(
    message: &Message,
    url: &str,
    secret: Option<&str>,
    template: Option<&str>,
    content_type: &str,
    allow_private: bool,
) -> Result<String> {
    let body = match template {
        Some(template) => filled(template, message, content_type.contains("json")),
        None => message.json(),
    };
    let mut headers = vec![("x-pagekeep-event", message.event.to_owned())];
    if let Some(secret) = secret {
        let seconds = (message.time.0 / 1_000_000).to_string();
        headers.push(("x-pagekeep-signature", signature(secret, &seconds, &body)?));
        headers.push(("x-pagekeep-timestamp", seconds));
    }
    Post { url, content_type, headers, body: &body, allow_private }.send()
}

/// The HMAC-SHA256 of the timestamp, a dot and the body, as hexadecimal digits.
fn signature(secret: &str, timestamp: &str, body: &str) -> Result<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|_| Error::new(ErrorKind::WrongKey, "the secret of the channel signs nothing"))?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    let mut hex = String::from("sha256=");
    for byte in mac.finalize().into_bytes() {
        hex.push_str(&format!("{byte:02x}"));
    }
    Ok(hex)
}

/// A template with the values of a message. In JSON they stand within quotes.
fn filled(template: &str, message: &Message, is_json: bool) -> String {
    let time = message.time.to_string();
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, inner)) = rest.split_once("{{") {
        text.push_str(before);
        let (name, after) = inner.split_once("}}").unwrap_or((inner, ""));
        let value = match name.trim() {
            "subject" => &message.subject,
            "text" => &message.text,
            "severity" => message.severity,
            "event" => message.event,
            "host" => &message.host,
            "time" => &time,
            _ => "",
        };
        match is_json {
            true => {
                let quoted = serde_json::Value::from(value).to_string();
                let inner = quoted.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
                text.push_str(inner.unwrap_or_default());
            }
            false => text.push_str(value),
        }
        rest = after;
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    #[test]
    fn a_signature_is_what_others_compute() {
        // openssl: printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
        let signed = signature("key", "1700000000", "{\"a\":1}").unwrap();
        assert_eq!(
            signed,
            "sha256=a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03"
        );
    }

    #[test]
    fn a_template_of_json_stays_json_whatever_is_in_it() {
        for odd in ["plain", "\"", "\\", "a\"b\\\"", "\\\"\\", "\n\u{1}", "{{text}}", "", "\"\""] {
            let mut message = Message::test("a", "box", Timestamp(0));
            message.subject = odd.to_owned();
            let text = filled("{\"a\": \"{{ subject }}\", \"b\": [\"{{event}}\"]}", &message, true);
            let read: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!((read["a"].as_str(), read["b"][0].as_str()), (Some(odd), Some("test")));
        }
        let message = Message::test("a", "box", Timestamp(0));
        assert_eq!(filled("{{host}}: {{event}}!", &message, false), "box: test!");
    }
}
