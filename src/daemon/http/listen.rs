//! Where the server listens: a port, or a socket that this user alone may open.

use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};

use super::hosts::Hosts;
use crate::daemon::config::{HttpConfig, Listen};
use crate::types::{random_bytes, write_hex};

/// A place where clients come in.
#[derive(Debug)]
pub(super) enum Door {
    Tcp(TcpListener),
    Unix(UnixListener, Socket),
}

/// Whatever a client is connected by.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Door {
    /// Opens it.
    ///
    /// # Errors
    /// What keeps it from being opened; [`ErrorKind::AddrInUse`] where somebody else listens.
    pub(super) async fn open(listen: &Listen) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => Ok(Self::Tcp(TcpListener::bind(address).await?)),
            Listen::Unix(path) => {
                let (listener, socket) = Socket::open(path).await?;
                Ok(Self::Unix(listener, socket))
            }
        }
    }

    /// Waits for the next client.
    ///
    /// # Errors
    /// Whatever the system says, such as that too many files are open.
    pub(super) async fn next(&self) -> io::Result<Box<dyn Stream>> {
        match self {
            Self::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            Self::Unix(listener, _) => Ok(Box::new(listener.accept().await?.0)),
        }
    }

    /// The address, as one types it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::Tcp(listener) => match listener.local_addr() {
                Ok(address) => format!("http://{address}"),
                Err(_) => "a port that the system does not tell".to_owned(),
            },
            Self::Unix(_, socket) => socket.path.display().to_string(),
        }
    }

    /// The names by which clients that come in here may ask.
    pub(super) fn hosts(&self, config: &HttpConfig) -> Hosts {
        match self {
            Self::Tcp(_) => Hosts::of(&config.hosts),
            // No browser opens a socket.
            Self::Unix(..) => Hosts::any(),
        }
    }
}

/// The file of a socket, which goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    /// Which file it is: another daemon's may have taken its place.
    identity: (u64, u64),
}

impl Socket {
    /// Listens at a path, where nothing is or a socket at which nobody listens any more.
    async fn open(path: &Path) -> io::Result<(UnixListener, Self)> {
        match std::fs::symlink_metadata(path) {
            Ok(meta) if !meta.file_type().is_socket() => {
                return Err(io::Error::new(ErrorKind::AlreadyExists, "is there, and no socket"));
            }
            Ok(_) => {
                if UnixStream::connect(path).await.is_ok() {
                    return Err(ErrorKind::AddrInUse.into());
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
        // It gets its name when nobody else may open it any more.
        let Some(name) = path.file_name() else { return Err(ErrorKind::InvalidInput.into()) };
        let mut hidden = String::from(".");
        hidden.push_str(&name.to_string_lossy());
        hidden.push('-');
        let random = random_bytes::<4>().map_err(io::Error::other)?;
        write_hex(&mut hidden, &random).map_err(io::Error::other)?;
        let hidden = path.with_file_name(hidden);
        let listener = UnixListener::bind(&hidden)?;
        let named = std::fs::set_permissions(&hidden, PermissionsExt::from_mode(0o600))
            .and_then(|()| std::fs::rename(&hidden, path))
            .and_then(|()| identity(path));
        match named {
            Ok(identity) => Ok((listener, Self { path: path.to_owned(), identity })),
            Err(e) => {
                // What is told is why.
                let _ = std::fs::remove_file(&hidden);
                Err(e)
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity) {
            // One that stays is replaced by the next daemon.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|meta| (meta.dev(), meta.ino()))
}
