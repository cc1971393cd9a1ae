//! Names in an archive: paths without the slash in front.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The longest name that a system takes.
const LONGEST: usize = 4096;

/// The name that a real path has in the archive.
pub(super) fn name_of(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_prefix(b"/").unwrap_or(bytes)
}

/// A name for people.
pub(super) fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// The parts of a name that stays within a folder; else why it does not.
pub(super) fn parts(name: &[u8]) -> Result<Vec<&OsStr>, &'static str> {
    if name.is_empty() {
        return Err("has no name");
    }
    if name.contains(&0) {
        return Err("has a NUL in its name");
    }
    if name.starts_with(b"/") {
        return Err("is an absolute path");
    }
    if name.len() > LONGEST {
        return Err("has a name that no system takes");
    }
    let parts = name.split(|byte| *byte == b'/');
    parts
        .map(|part| match part {
            b".." => Err("leads out of its folder"),
            b"" | b"." => Err("has a part without a name"),
            part => Ok(OsStr::from_bytes(part)),
        })
        .collect()
}

/// The folders that a name is in, the outermost first.
pub(super) fn above(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let ends = name.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    ends.filter_map(|end| name.get(..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_is_no_name() {
        for bad in [
            "",
            "/",
            "/etc/passwd",
            "..",
            "../a",
            "a/..",
            "a/../../b",
            "a//b",
            "a/",
            ".",
            "./a",
            "a/./b",
            "a\0b",
        ] {
            assert!(parts(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(parts(&[b'a'; 5000]).is_err());
        assert_eq!(parts(b"etc/a ..b/\xff").unwrap().len(), 3);
        assert_eq!(above(b"a/b/c").collect::<Vec<_>>(), [&b"a"[..], b"a/b"]);
    }
}
