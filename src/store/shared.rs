//! Whose it is what is created in a repository's folder.
//!
//! Root works for others: in a folder of another account everything that root creates is that
//! account's, who could neither read nor list it otherwise. And a folder may be shared by a group,
//! if the group may write to it: what one member creates, the others can then read and delete. It
//! gets the folder's group, and its permissions as far as they are the group's; a umask takes none
//! of them away. Everything else is private.

use std::fs::{File, Metadata, Permissions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Gid, Mode, OFlags, Uid, fchown};

use crate::disk::{Disk, DiskFile, Os};

/// Permissions of the group: to read, to write, and to hand the group down to what is created in a
/// folder.
const READ: u32 = 0o040;
const WRITE: u32 = 0o020;
const ALL: u32 = 0o2070;

/// The operating system's disk, on which everything that is created is given to others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shared {
    /// The account, if it is another one.
    owner: Option<u32>,
    group: u32,
    /// What the group may do.
    mode: u32,
}

impl Shared {
    /// How a folder is shared, if it is.
    pub(super) fn like(folder: &Metadata) -> Option<Self> {
        let is_root = rustix::process::geteuid().is_root();
        // An owner that this user namespace does not know can't be given anything.
        let unknown = std::fs::read_to_string("/proc/sys/kernel/overflowuid");
        let unknown = unknown.ok().and_then(|uid| uid.trim().parse().ok()).unwrap_or(65534);
        let owner = folder.uid();
        let owner = (is_root && owner != 0 && owner != unknown).then_some(owner);
        let mode = folder.mode() & ALL;
        let mode = if mode & WRITE == 0 { 0 } else { mode };
        (owner.is_some() || mode != 0).then_some(Self { owner, group: folder.gid(), mode })
    }

    fn share(self, file: &File, mode: u32) -> io::Result<()> {
        let meta = file.metadata()?;
        if meta.uid() != rustix::process::geteuid().as_raw() {
            // Somebody else's, who shared it.
            return Ok(());
        }
        if self.owner.is_some() || meta.gid() != self.group {
            let (owner, group) = (self.owner.map(Uid::from_raw), Gid::from_raw(self.group));
            if fchown(file.as_fd(), owner, Some(group)).is_err() {
                // Who is no member of the group, or may not give files away, keeps them private:
                // another group has no business there.
                return Ok(());
            }
        }
        if meta.mode() & 0o7777 != mode {
            file.set_permissions(Permissions::from_mode(mode))?;
        }
        Ok(())
    }
}

impl Disk for Shared {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = Os::create_file(path)?;
        self.share(&file, 0o600 | self.mode & READ)?;
        Ok(Box::new(file))
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        let made = Os.make_dir(path);
        match &made {
            // Whoever made it may have died before it was shared.
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => return made,
            _ => {}
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(dir) => self.share(&File::from(dir), 0o700 | self.mode)?,
            // What is in the way, or can't be looked into, is for others to tell.
            Err(_) if made.is_err() => {}
            Err(e) => return Err(e.into()),
        }
        made
    }
}
