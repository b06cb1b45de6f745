//! A directory of this machine as a root file system.
//!
//! The walk stays in its file system: what is mounted below is an empty directory in the image.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::{FileTree, ImageFile, TreeEntry, TreeKind};
use crate::template::import::rootfs::attributes;
use crate::template::import::rootfs::entry::{
    Entry, Extent, FilePath, Kind, MAX_DEPTH, Meta, Special,
};
use crate::template::import::rootfs::tar::{Take, symlink};

const OPERATION: &str = "import";

/// Takes every file of the tree, a directory before what is in it. `shown` names the directory for people.
pub(crate) fn read(tree: &dyn FileTree, shown: &str, take: &mut Take<'_>) -> Result<()> {
    let mut walk = Walk { tree, shown, named: HashMap::new() };
    // Names still to come, the next one last, for each directory on the way.
    let mut trail = vec![walk.directory(Path::new(""), take)?];
    let mut path = PathBuf::new();
    while let Some(names) = trail.last_mut() {
        let Some(name) = names.pop() else {
            trail.pop();
            path.pop();
            continue;
        };
        path.push(&name);
        match walk.file(&path, take)? {
            Some(below) if trail.len() < MAX_DEPTH => trail.push(below),
            Some(_) => return Err(walk.refused(&path, "it is more than 1,024 directories deep")),
            None => {
                path.pop();
            }
        }
    }
    Ok(())
}

struct Walk<'a> {
    tree: &'a dyn FileTree,
    shown: &'a str,
    /// The first path of each file that has several.
    named: HashMap<(u64, u64), FilePath>,
}

type Names = Vec<std::ffi::OsString>;

impl Walk<'_> {
    fn refused(&self, path: &Path, why: impl std::fmt::Display) -> Error {
        let path = path.to_string_lossy().escape_debug().to_string();
        Error::new(ErrorKind::InvalidArgument, OPERATION, self.shown, format!("/{path}: {why}"))
            .remedy("change or leave out that file, or make a raw image with `mkfs.ext4 -d`")
    }

    /// Takes a directory; the names in it, in reverse order.
    fn directory(&mut self, path: &Path, take: &mut Take<'_>) -> Result<Names> {
        let (own, found) = self.entry(path)?;
        let meta = self.meta(path, &found)?;
        take(Entry { path: own, kind: Kind::Directory, meta }, &mut io::empty())?;
        let mut names = self.tree.names(path)?;
        names.reverse();
        Ok(names)
    }

    /// Takes a file. If it is a directory, the names in it.
    fn file(&mut self, path: &Path, take: &mut Take<'_>) -> Result<Option<Names>> {
        if self.tree.is_mount_point(path)? {
            tracing::info!(
                "{}/{}: another file system is mounted there",
                self.shown,
                path.display()
            );
            let own = self.path(path)?;
            let meta = Meta { mode: 0o755, ..Meta::default() };
            take(Entry { path: own, kind: Kind::Directory, meta }, &mut io::empty())?;
            return Ok(None);
        }
        let (own, found) = self.entry(path)?;
        if found.kind == TreeKind::Directory {
            return self.directory(path, take).map(Some);
        }
        let meta = self.meta(path, &found)?;
        if found.links > 1 {
            if let Some(first) = self.named.get(&found.identity) {
                let kind = Kind::HardLink(first.clone());
                take(Entry { path: own, kind, meta }, &mut io::empty())?;
                return Ok(None);
            }
            self.named.insert(found.identity, own.clone());
        }
        let kind = match &found.kind {
            TreeKind::File { size } => {
                self.content(path, own, meta, *size, take)?;
                return match self.tree.entry(path)? {
                    same if same == found => Ok(None),
                    _ => Err(self.changed(path)),
                };
            }
            TreeKind::Symlink { target } => {
                let target = symlink(target.as_bytes()).map_err(|why| self.refused(path, why))?;
                Kind::Symlink(target)
            }
            TreeKind::Character { number } => Kind::Special(Special::Character(number.0, number.1)),
            TreeKind::Block { number } => Kind::Special(Special::Block(number.0, number.1)),
            TreeKind::Fifo => Kind::Special(Special::Fifo),
            TreeKind::Socket | TreeKind::Directory => Kind::Special(Special::Socket),
        };
        take(Entry { path: own, kind, meta }, &mut io::empty())?;
        Ok(None)
    }

    fn content(
        &self,
        path: &Path,
        own: FilePath,
        meta: Meta,
        size: u64,
        take: &mut Take<'_>,
    ) -> Result<()> {
        let file = self.tree.open(path)?;
        let failed = |e| Error::io(OPERATION, format_args!("{}/{}", self.shown, path.display()), e);
        let parts = parts(&*file, size).map_err(failed)?;
        let mut content = Parts { file: &*file, left: parts.iter().rev().copied().collect() };
        let whole = parts == [(0, size)] || size == 0;
        let extent = Extent { size, parts: (!whole).then_some(parts) };
        take(Entry { path: own, kind: Kind::File(extent), meta }, &mut content)
    }

    fn changed(&self, path: &Path) -> Error {
        let path = path.to_string_lossy().escape_debug().to_string();
        let why = format!("/{path} changed while it was read");
        Error::new(ErrorKind::InUse, OPERATION, self.shown, why)
            .remedy("stop what writes to the directory, or import a copy of it")
    }

    fn entry(&self, path: &Path) -> Result<(FilePath, TreeEntry)> {
        Ok((self.path(path)?, self.tree.entry(path)?))
    }

    fn path(&self, path: &Path) -> Result<FilePath> {
        FilePath::parse(path.as_os_str().as_bytes()).map_err(|why| self.refused(path, why))
    }

    fn meta(&self, path: &Path, found: &TreeEntry) -> Result<Meta> {
        let mut kept = Vec::new();
        for (name, value) in &found.attributes {
            let attribute = attributes::kept(OsStr::as_bytes(name), value, true);
            kept.extend(attribute.map_err(|why| self.refused(path, why))?);
        }
        let TreeEntry { mode, uid, gid, modified, .. } = *found;
        Ok(Meta { mode, uid, gid, modified, attributes: kept })
    }
}

/// Offset and length of the data of a file, without its holes.
fn parts(file: &dyn ImageFile, size: u64) -> io::Result<Vec<(u64, u64)>> {
    let mut parts = Vec::new();
    let mut at = 0;
    while at < size {
        let start = file.next_data(at)?.min(size);
        if start == size {
            break;
        }
        // A hole that was punched since then reads as zeros.
        let end = file.next_hole(start)?.min(size).max(start + 1);
        match parts.last_mut() {
            Some((from, length)) if *from + *length == start => *length += end - start,
            _ => parts.push((start, end - start)),
        }
        at = end;
    }
    Ok(parts)
}

/// The data of a file, one part after the other.
struct Parts<'a> {
    file: &'a dyn ImageFile,
    /// Offset and length, the next one last.
    left: Vec<(u64, u64)>,
}

impl Read for Parts<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((at, length)) = self.left.last_mut() else { return Ok(0) };
        let most = buffer.len().min(usize::try_from(*length).unwrap_or(usize::MAX));
        let read = self.file.read_at(&mut buffer[..most], *at)?;
        (*at, *length) = (*at + read as u64, *length - read as u64);
        if *length == 0 {
            self.left.pop();
        }
        Ok(read)
    }
}
