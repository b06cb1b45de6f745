//! The files of a root file system, put together from one or several layers. Pure.
//!
//! Every path is looked up in the tree itself: symlinks on the way lead to other files of the image and
//! never to the host's. A later file replaces an earlier one of its name. In layers of container images,
//! names that begin with `.wh.` (whiteouts) remove what the layers below have, in whatever order a layer
//! lists them.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use crate::template::import::rootfs::entry::{
    Entry, Extent, FilePath, Kind, MAX_DEPTH, Meta, Special,
};

/// Most entries of all layers. The memory that an import takes follows their number.
const MAX_ENTRIES: u64 = 1_000_000;
/// Most symlinks that one path may lead through: the kernel's limit.
const MAX_LINKS: usize = 40;
/// Permissions of a directory that no entry describes.
const DIRECTORY_MODE: u16 = 0o755;
const WHITEOUT: &str = ".wh.";
/// Removes all that the layers below have in its directory.
const OPAQUE: &str = ".wh..wh..opq";
/// Other files with this prefix belong to AUFS itself.
const RESERVED: &str = ".wh..wh.";

/// The number of a file among the files of the tree.
pub(super) type Id = usize;
/// The root directory.
pub(super) const ROOT: Id = 0;

/// Why an entry is refused.
pub(super) type Refusal = String;

pub(super) struct Tree {
    files: Vec<File>,
    entries: u64,
    layer: usize,
    /// Entries of the layer so far.
    position: u64,
}

/// A file of the tree, with any number of names.
pub(super) struct File {
    pub(super) node: Node,
    pub(super) meta: Meta,
}

pub(super) enum Node {
    Directory(Names),
    File { extent: Extent, content: Place },
    Symlink(String),
    Special(Special),
}

/// Where the content of a file is: the number of a layer, and that of an entry in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) layer: usize,
    pub(super) entry: u64,
    /// Tells whether the entry is still the same when it is read again.
    pub(super) proof: u64,
}

impl Place {
    pub(super) fn of(layer: usize, position: u64, entry: &Entry) -> Self {
        let mut hasher = DefaultHasher::new();
        entry.path.hash(&mut hasher);
        entry.meta.modified.hash(&mut hasher);
        if let Kind::File(extent) = &entry.kind {
            (extent.size, &extent.parts).hash(&mut hasher);
        }
        Self { layer, entry: position, proof: hasher.finish() }
    }
}

pub(super) type Names = BTreeMap<Box<str>, Name>;

/// A name in a directory.
pub(super) struct Name {
    pub(super) file: Id,
    /// The last layer that named it, or something below it.
    layer: usize,
}

/// What to do about directories that are missing on the way.
#[derive(Clone, Copy)]
enum Missing {
    /// Make them, with this time.
    Make((i64, u32)),
    Leave,
}

impl Tree {
    pub(super) fn new() -> Self {
        let meta = Meta { mode: DIRECTORY_MODE, ..Meta::default() };
        let root = File { node: Node::Directory(Names::new()), meta };
        Self { files: vec![root], entries: 0, layer: 0, position: 0 }
    }

    /// What comes from now on belongs to the next layer.
    pub(super) fn next_layer(&mut self) {
        self.layer += 1;
        self.position = 0;
    }

    pub(super) fn file(&self, id: Id) -> &File {
        &self.files[id]
    }

    /// How many files there are or were: each [`Id`] is below it.
    pub(super) fn count(&self) -> usize {
        self.files.len()
    }

    /// Visits every name but the root, a directory before what is in it, in the order of names: its depth,
    /// which is 0 in the root, the name and the file.
    pub(super) fn walk<'a>(&'a self, visit: &mut dyn FnMut(usize, &'a str, Id)) {
        let mut trail: Vec<_> = self.names(ROOT).map(BTreeMap::iter).into_iter().collect();
        while let Some(names) = trail.last_mut() {
            let Some((name, to)) = names.next() else {
                trail.pop();
                continue;
            };
            visit(trail.len() - 1, name, to.file);
            trail.extend(self.names(to.file).map(BTreeMap::iter));
        }
    }

    /// The names in a directory; `None` if the file is none.
    pub(super) fn names(&self, id: Id) -> Option<&Names> {
        match &self.files[id].node {
            Node::Directory(names) => Some(names),
            _ => None,
        }
    }

    /// Adds the next entry of the layer, which is one of a container image if it `has_whiteouts`.
    pub(super) fn add(&mut self, entry: Entry, has_whiteouts: bool) -> Result<(), Refusal> {
        let place = Place::of(self.layer, self.position, &entry);
        self.position += 1;
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err("there are more than 1,000,000 entries".to_owned());
        }
        let Entry { path, kind, meta } = entry;
        let Some((parent, name)) = path.split() else {
            if kind != Kind::Directory {
                return Err("the root is no directory".to_owned());
            }
            self.files[ROOT].meta = meta;
            return Ok(());
        };
        if has_whiteouts && name.starts_with(WHITEOUT) {
            return self.white_out(parent, name);
        }
        let directory = self.directory(parent, Missing::Make(meta.modified))?;
        let directory = directory.ok_or("its directory is missing")?;
        let node = match kind {
            Kind::Directory => {
                let there = self.name(directory, name).map(|there| there.file);
                if let Some(id) = there.filter(|id| self.names(*id).is_some()) {
                    self.files[id].meta = meta;
                    self.put(directory, name, id);
                    return Ok(());
                }
                Node::Directory(Names::new())
            }
            Kind::File(extent) => Node::File { extent, content: place },
            Kind::Symlink(target) => Node::Symlink(target),
            Kind::Special(special) => Node::Special(special),
            Kind::HardLink(target) => {
                let id = self.linked(&target)?;
                self.put(directory, name, id);
                return Ok(());
            }
        };
        self.files.push(File { node, meta });
        self.put(directory, name, self.files.len() - 1);
        Ok(())
    }

    fn name(&self, directory: Id, name: &str) -> Option<&Name> {
        self.names(directory)?.get(name)
    }

    fn put(&mut self, directory: Id, name: &str, file: Id) {
        let layer = self.layer;
        if let Node::Directory(names) = &mut self.files[directory].node {
            names.insert(name.into(), Name { file, layer });
        }
    }

    /// The file that a hard link names.
    fn linked(&mut self, target: &FilePath) -> Result<Id, Refusal> {
        let missing = || format!("it is a hard link to {target}, which is missing");
        let (parent, name) = target.split().ok_or_else(missing)?;
        let directory = self.directory(parent, Missing::Leave)?.ok_or_else(missing)?;
        let id = self.name(directory, name).ok_or_else(missing)?.file;
        match self.files[id].node {
            Node::Directory(_) => Err(format!("it is a hard link to {target}, a directory")),
            _ => Ok(id),
        }
    }

    /// The directory at a path, through symlinks; `None` if it is missing and is not to be made.
    fn directory(&mut self, path: &[Box<str>], missing: Missing) -> Result<Option<Id>, Refusal> {
        let mut rest: VecDeque<Box<str>> = path.iter().cloned().collect();
        let mut trail = vec![ROOT];
        let mut links = 0;
        while let Some(part) = rest.pop_front() {
            let here = trail.last().copied().unwrap_or(ROOT);
            if &*part == ".." {
                // Above the root is the root.
                trail.truncate(trail.len().saturating_sub(1).max(1));
                continue;
            }
            if trail.len() > MAX_DEPTH {
                return Err("it is more than 1,024 directories deep".to_owned());
            }
            let Some(next) = self.name(here, &part).map(|name| name.file) else {
                let Missing::Make(modified) = missing else { return Ok(None) };
                let meta = Meta { mode: DIRECTORY_MODE, modified, ..Meta::default() };
                self.files.push(File { node: Node::Directory(Names::new()), meta });
                let made = self.files.len() - 1;
                self.put(here, &part, made);
                trail.push(made);
                continue;
            };
            match &self.files[next].node {
                Node::Directory(_) => {
                    if matches!(missing, Missing::Make(_)) {
                        self.put(here, &part, next);
                    }
                    trail.push(next);
                }
                Node::Symlink(target) => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err("its path leads through too many symlinks".to_owned());
                    }
                    if target.starts_with('/') {
                        trail.truncate(1);
                    }
                    for part in target.split('/').rev().filter(|part| !matches!(*part, "" | ".")) {
                        rest.push_front(part.into());
                    }
                }
                _ if matches!(missing, Missing::Leave) => return Ok(None),
                _ => return Err(format!("{:?} in its path is no directory", &*part)),
            }
        }
        Ok(trail.last().copied())
    }

    fn white_out(&mut self, parent: &[Box<str>], name: &str) -> Result<(), Refusal> {
        let hidden = &name[WHITEOUT.len()..];
        if matches!(hidden, "" | "." | "..") {
            return Err("it is a whiteout of no file".to_owned());
        }
        let Some(directory) = self.directory(parent, Missing::Leave)? else { return Ok(()) };
        if name == OPAQUE {
            self.prune(directory);
            return Ok(());
        }
        if name.starts_with(RESERVED) {
            return Ok(());
        }
        let Some(found) = self.name(directory, hidden) else { return Ok(()) };
        let (file, is_below) = (found.file, found.layer < self.layer);
        match &mut self.files[directory].node {
            Node::Directory(names) if is_below => {
                names.remove(hidden);
            }
            _ => self.prune(file),
        }
        Ok(())
    }

    /// Removes from a directory what only the layers below have.
    fn prune(&mut self, directory: Id) {
        let layer = self.layer;
        let mut left = vec![directory];
        while let Some(id) = left.pop() {
            if let Node::Directory(names) = &mut self.files[id].node {
                names.retain(|_, name| name.layer == layer);
                left.extend(names.values().map(|name| name.file));
            }
        }
    }
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
