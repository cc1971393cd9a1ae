//! Mail by SMTP.

use std::net::SocketAddr;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as Seal, TlsParameters};
use lettre::{SmtpTransport, Transport};

use super::guard::allowed;
use super::message::{Message, cleaned};
use crate::daemon::config::{Mail, Tls};
use crate::error::{Error, ErrorKind, Result};

/// How long the server may take for each step.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many of its addresses are tried.
const ADDRESSES: usize = 3;
/// How much of an answer is told.
const SHOWN: usize = 300;

/// Delivers a message. `password` is the one of the login, if there is one.
///
/// # Errors
/// [`ErrorKind::Failure`] with what the server said.
pub(super) fn send(
    message: &Message,
    mail: &Mail,
    password: Option<&str>,
    allow_private: bool,
) -> Result<String> {
    let object = format!("{}:{}", mail.server, mail.port);
    let failed = |what: String| {
        let error = Error::new(ErrorKind::Failure, what).with_object(&*object);
        error.with_hint("check server, port, tls and the login of the channel")
    };
    let written = written(message, mail).map_err(&failed)?;
    let addresses =
        allowed(&mail.server, mail.port, allow_private).map_err(|e| match e.kind() {
            std::io::ErrorKind::PermissionDenied => {
                failed(e.to_string()).with_hint("allow-private = true lets it")
            }
            _ => failed(format!("cannot be found: {e}")),
        })?;
    let mut last = failed("has no address".to_owned());
    for address in addresses.into_iter().take(ADDRESSES) {
        let transport = transport(address, mail, password).map_err(|e| failed(told(&e)))?;
        match transport.send(&written) {
            Ok(answer) => {
                let said = answer.message().collect::<Vec<_>>().join(" ");
                return Ok(cleaned(&format!("{} {said}", answer.code()), SHOWN));
            }
            Err(e) => {
                let is_answered = e.is_permanent() || e.is_transient() || e.is_client();
                last = failed(told(&e));
                if is_answered {
                    return Err(last);
                }
            }
        }
    }
    Err(last)
}

/// The mail. Its subject is encoded as RFC 2047 has it, its text as is needed.
fn written(message: &Message, mail: &Mail) -> std::result::Result<lettre::Message, String> {
    let mailbox = |text: &str| {
        text.parse::<Mailbox>().map_err(|e| format!("{text:?} is no mail address: {e}"))
    };
    let mut builder = lettre::Message::builder().from(mailbox(&mail.from)?);
    for to in &mail.to {
        builder = builder.to(mailbox(to)?);
    }
    let wrong = |e: lettre::error::Error| format!("the mail can't be written: {e}");
    builder
        .subject(&*message.subject)
        .date_now()
        // Who answers by a machine does not answer this.
        .header(AutoSubmitted)
        .header(ContentType::TEXT_PLAIN)
        .body(format!("{}\n", message.text))
        .map_err(wrong)
}

/// What connects to an address of the server, which was checked. The certificate has to be the
/// server's.
fn transport(
    address: SocketAddr,
    mail: &Mail,
    password: Option<&str>,
) -> std::result::Result<SmtpTransport, lettre::transport::smtp::Error> {
    let parameters = || TlsParameters::new(mail.server.clone());
    let tls = match mail.tls {
        Tls::Always => Seal::Wrapper(parameters()?),
        Tls::Start => Seal::Required(parameters()?),
        Tls::Never => Seal::None,
    };
    let mut builder = SmtpTransport::builder_dangerous(address.ip().to_string())
        .port(address.port())
        .tls(tls)
        .timeout(Some(PATIENCE));
    if let (Some((user, _)), Some(password)) = (&mail.login, password) {
        builder = builder.credentials(Credentials::new(user.clone(), password.to_owned()));
    }
    Ok(builder.build())
}

/// An error with its causes, in one line.
fn told(e: &lettre::transport::smtp::Error) -> String {
    let mut text = e.to_string();
    let mut source = std::error::Error::source(e);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    cleaned(&format!("did not take the mail: {text}"), SHOWN)
}

/// The header that says that a machine wrote a mail (RFC 3834).
#[derive(Clone)]
struct AutoSubmitted;

impl lettre::message::header::Header for AutoSubmitted {
    fn name() -> lettre::message::header::HeaderName {
        lettre::message::header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> std::result::Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> lettre::message::header::HeaderValue {
        lettre::message::header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}
