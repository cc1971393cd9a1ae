//! Where the daemon answers to monitors, and to whom.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use toml::Spanned;

use super::mistake::Mistake;
use super::plan::Reader;
use super::text::HttpText;

/// The prefix of a socket of this machine.
const UNIX: &str = "unix:";

/// Where the daemon answers to monitors, and to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpConfig {
    /// Where it listens.
    pub(crate) listen: Listen,
    /// Whether nothing but metrics and health is ever told there, which others may read then.
    pub(crate) metrics_only: bool,
    /// The names by which it is asked, besides addresses and `localhost`; in lower case.
    pub(crate) hosts: Vec<String>,
    /// Whether it is the socket in the state folder: whoever comes in there is the owner.
    pub(crate) is_own: bool,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listen {
    /// An address and a port; with the port 0 the system chooses one.
    Tcp(SocketAddr),
    /// A socket that this user alone may open.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "{UNIX}{}", path.display()),
        }
    }
}

impl HttpConfig {
    /// That of the socket for this user's commands.
    pub(crate) fn of_commands(path: PathBuf) -> Self {
        Self { listen: Listen::Unix(path), metrics_only: false, hosts: Vec::new(), is_own: true }
    }

    /// The one that a text means, unless that is wrong.
    pub(super) fn of(reader: &mut Reader<'_>, folder: &Path, text: &HttpText) -> Option<Self> {
        let metrics_only = text.metrics_only.unwrap_or_default();
        let hosts: Vec<String> =
            text.hosts.iter().filter_map(|host| host_of(reader, host)).collect();
        let listen = text.listen.get_ref();
        let wrong = |what: &str| Mistake::new(text.listen.span(), format!("{listen:?} {what}"));
        let listen = match listen.strip_prefix(UNIX) {
            Some("") => {
                reader.wrong(wrong("names no file").with_help("unix:/run/pagekeep/http.sock"));
                return None;
            }
            Some(path) => Listen::Unix(folder.join(path)),
            None => match listen.parse::<SocketAddr>() {
                Ok(address) => Listen::Tcp(address),
                Err(_) => {
                    let help =
                        "\"127.0.0.1:7373\", \"[::1]:7373\" or \"unix:/run/pagekeep/http.sock\"";
                    reader.wrong(wrong("is no address with a port").with_help(help));
                    return None;
                }
            },
        };
        if let Listen::Tcp(address) = &listen
            && !address.ip().is_loopback()
            && !metrics_only
        {
            let help = "metrics-only = true allows it: who reaches the port reads the names of databases, \
                        and how they stand";
            reader.wrong(wrong("can be reached by other machines").with_help(help));
        }
        Some(Self { listen, metrics_only, hosts, is_own: false })
    }
}

/// The name of a host: without a port, which may be any.
fn host_of(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<String> {
    let host = text.get_ref();
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
    if host.is_empty() || !host.chars().all(is_part) {
        let mistake = Mistake::new(text.span(), format!("{host:?} is no name of a host"));
        reader.wrong(mistake.with_help("it stands without a port, as in \"backup.example.org\""));
        return None;
    }
    Some(host.to_ascii_lowercase())
}
