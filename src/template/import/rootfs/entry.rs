//! One file of a root file system, as an archive or a directory gives it, and its path.

use std::fmt;

/// Longest path and longest target of a symlink, in bytes: the kernel's limit.
pub(crate) const MAX_PATH: usize = 4096;
/// Longest name, in bytes: that of ext4.
const MAX_NAME: usize = 255;
/// Most components of a path. Deeper ones can be made, but few programs can use them.
pub(super) const MAX_DEPTH: usize = 1024;

/// A file, directory or link of a root file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) path: FilePath,
    pub(crate) kind: Kind,
    pub(crate) meta: Meta,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File(Extent),
    Symlink(String),
    /// Another name of the file at this path.
    HardLink(FilePath),
    Special(Special),
}

/// Size of a regular file, and which parts of it are given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Extent {
    /// Size in bytes.
    pub(crate) size: u64,
    /// Offset and length of what is given, ascending and apart; the rest is zeros. `None` if all is given.
    pub(crate) parts: Option<Vec<(u64, u64)>>,
}

/// What is neither file, directory nor link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Special {
    /// Major and minor number.
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
    Socket,
}

/// What is kept of a file besides its content.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Permissions, with set-id and sticky bits.
    pub(crate) mode: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Seconds and nanoseconds.
    pub(crate) modified: (i64, u32),
    /// Names and values of extended attributes.
    pub(crate) attributes: Vec<(String, Vec<u8>)>,
}

/// The path of a file in an image: components without `.` and `..`. The root has none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct FilePath(Vec<Box<str>>);

impl FilePath {
    /// Takes a path as archives give it: with or without `/` or `./` at its start. What is wrong with it
    /// otherwise.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() > MAX_PATH {
            return Err("it has more than 4,096 bytes");
        }
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8")?;
        if text.contains('\0') {
            return Err("it contains a zero byte");
        }
        let mut parts = Vec::new();
        for part in text.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err("it leads upwards (`..`)"),
                name if name.len() > MAX_NAME => {
                    return Err("a name in it has more than 255 bytes");
                }
                name => parts.push(name.into()),
            }
        }
        if parts.len() > MAX_DEPTH {
            return Err("it has more than 1,024 components");
        }
        Ok(Self(parts))
    }

    /// The directory and the name in it; `None` for the root.
    pub(crate) fn split(&self) -> Option<(&[Box<str>], &str)> {
        self.0.split_last().map(|(name, parent)| (parent, &**name))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("/");
        }
        // It may hold characters that a terminal obeys.
        self.0.iter().try_for_each(|part| write!(f, "/{}", part.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_the_image() {
        for (given, shown) in [
            ("", "/"),
            ("./", "/"),
            ("/", "/"),
            ("./etc/passwd", "/etc/passwd"),
            ("/etc//./passwd/", "/etc/passwd"),
            ("a\u{1b}[2Jb", "/a\\u{1b}[2Jb"),
        ] {
            assert_eq!(FilePath::parse(given.as_bytes()).unwrap().to_string(), shown, "{given}");
        }
        let long = ["a".repeat(256), "a/".repeat(1025), "a/".repeat(2049)];
        for refused in
            ["..", "a/../b", "/../etc", "a\0b"].into_iter().chain(long.iter().map(|s| &**s))
        {
            FilePath::parse(refused.as_bytes()).unwrap_err();
        }
        assert!(FilePath::parse(b"caf\xE9").unwrap_err().contains("UTF-8"));
    }
}
