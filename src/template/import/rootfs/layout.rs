//! From the tree of files to the layout of an ext4 file system.
//!
//! Whatever is decided here follows from the tree and the wanted size alone, so that the same files become
//! the same bytes on every machine: the order is that of the names, the UUID is derived from names and
//! metadata, and no time is that of the import.

use mkext4::{FsBuilder, InodeCount, InodeHandle, Layout, Options, ROOT as TOP, SpecialKind};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::model::limits::MAX_SIZE;
use crate::model::units::format_size;
use crate::template::import::rootfs::entry::{Extent, Meta, Special};
use crate::template::import::rootfs::sparse::{self, BLOCK};
use crate::template::import::rootfs::tree::{Id, Node, Place, ROOT, Tree};

const OPERATION: &str = "import";
const MIB: u64 = 1 << 20;
/// Every ext4 has it; images that were one bring theirs.
const LOST_AND_FOUND: &str = "lost+found";
/// Room for files to come: a quarter of what is there, and at least this.
const ROOM: u64 = 256 * MIB;
/// Default sizes are multiples of it.
const STEP: u64 = 64 * MIB;
/// The smallest file system with a journal that `mkext4` makes is half as large.
const SMALLEST: u64 = 16 * MIB;
/// Bytes per inode, as `mkfs.ext4` has it by default.
const INODE_RATIO: u64 = 16384;
const INODE: u64 = 256;
/// The times that an ext4 inode can hold, in seconds: up to the year 2446.
const TIMES: (i64, i64) = (-(1 << 31), (1 << 34) - (1 << 31) - 1);

/// A file system of which everything is decided but the content of files.
pub(super) struct Plan {
    pub(super) layout: Layout,
    /// By place.
    pub(super) contents: Vec<Content>,
    /// Bytes of files, in whole blocks.
    pub(super) data: u64,
    /// Bytes of all that will be written, at most.
    pub(super) written: u64,
}

/// The content of one file, and where it goes.
pub(super) struct Content {
    pub(super) place: Place,
    pub(super) extent: Extent,
    pub(super) handle: InodeHandle,
}

/// Lays out an ext4 of `size` bytes, or of as many as the files need, with some room.
pub(super) fn lay_out(tree: &Tree, size: Option<u64>, shown: &str) -> Result<Plan> {
    let survey = Survey::of(tree);
    let least = survey.least();
    let size = match size {
        Some(size) => check_size(size, shown)?,
        None => {
            let room = ROOM.max(survey.blocks * BLOCK / 4);
            (least + room).next_multiple_of(STEP)
        }
    };
    if size > MAX_SIZE {
        let why = format!("its files need {}, more than the largest volume", format_size(least));
        return Err(Error::new(ErrorKind::OutOfRange, OPERATION, shown, why)
            .remedy("give a smaller root file system"));
    }
    let failed = |error| explain(&error, size, least, shown);
    let mut options = Options::new(size, survey.uuid(), 0);
    // The reserve is for the superuser, which a guest's programs mostly are.
    options.reserved_percent = 0;
    let inodes = (size / INODE_RATIO).max(survey.inodes + survey.inodes / 4 + 1024);
    options.inodes = InodeCount::Exact(u32::try_from(inodes).unwrap_or(u32::MAX));
    let mut builder = FsBuilder::new(options).map_err(failed)?;
    let contents = Declaration::new(tree, &mut builder).run(shown)?;
    let layout = builder.seal().map_err(failed)?;
    Ok(Plan { layout, contents, data: survey.data * BLOCK, written: least })
}

fn check_size(size: u64, shown: &str) -> Result<u64> {
    let why = match size {
        size if size < SMALLEST => "a file system of less than 16 MiB has no room for its journal",
        size if size > MAX_SIZE => "no volume is that large: the limit is 15 TiB",
        size if !size.is_multiple_of(BLOCK) => "the size is not a multiple of 4,096 bytes",
        size => return Ok(size),
    };
    Err(Error::new(ErrorKind::OutOfRange, OPERATION, shown, why).remedy("give another --size"))
}

fn explain(error: &mkext4::Error, size: u64, least: u64, shown: &str) -> Error {
    if size < least || error.to_string().contains("full") {
        let (size, needed) =
            (format_size(size), format_size((least + ROOM).next_multiple_of(STEP)));
        let why = format!("its files do not fit a file system of {size}");
        return Error::new(ErrorKind::OutOfRange, OPERATION, shown, why)
            .remedy(format!("give a larger --size, such as {needed}"));
    }
    let why = format!("ext4 cannot hold its files: {error}");
    Error::new(ErrorKind::Unsupported, OPERATION, shown, why)
        .remedy("make a raw image of them with `mkfs.ext4 -d`, and import that")
}

/// What a file system must have room for, and a fingerprint of all but the content of files.
struct Survey {
    /// Blocks of file content.
    data: u64,
    /// Blocks of everything.
    blocks: u64,
    inodes: u64,
    fingerprint: Sha256,
}

impl Survey {
    fn of(tree: &Tree) -> Self {
        let mut survey = Self { data: 0, blocks: 0, inodes: 0, fingerprint: Sha256::new() };
        let mut first = vec![None; tree.count()];
        survey.file(tree, ROOT);
        let mut number = 0u64;
        tree.walk(&mut |depth, name, id| {
            number += 1;
            survey.fingerprint.update((depth as u64).to_le_bytes());
            survey.text(name.as_bytes());
            match first[id] {
                Some(same) => survey.numbers(&[u64::MAX, same]),
                None => {
                    first[id] = Some(number);
                    survey.file(tree, id);
                }
            }
        });
        survey
    }

    fn file(&mut self, tree: &Tree, id: Id) {
        let file = tree.file(id);
        self.inodes += 1;
        let blocks = match &file.node {
            Node::Directory(names) => {
                // Half empty at worst, when names are sorted into blocks by their hash.
                let entries: u64 = names.keys().map(|name| name.len() as u64 + 12).sum();
                self.numbers(&[0, names.len() as u64]);
                entries / (BLOCK / 2) + 2
            }
            Node::File { extent, .. } => {
                let data = sparse::blocks(extent);
                let extents = extent.parts.as_ref().map_or(0, Vec::len) as u64 + data / 32768;
                self.numbers(&[1, extent.size]);
                self.data += data;
                data + if extents > 2 { extents / 300 + 2 } else { 0 }
            }
            Node::Symlink(target) => {
                self.numbers(&[2]);
                self.text(target.as_bytes());
                u64::from(target.len() > 59)
            }
            Node::Special(special) => {
                let (kind, major, minor) = match special {
                    Special::Character(major, minor) => (3, *major, *minor),
                    Special::Block(major, minor) => (4, *major, *minor),
                    Special::Fifo => (5, 0, 0),
                    Special::Socket => (6, 0, 0),
                };
                self.numbers(&[kind, major.into(), minor.into()]);
                0
            }
        };
        let Meta { mode, uid, gid, modified, attributes } = &file.meta;
        let (seconds, nanoseconds) = *modified;
        self.numbers(&[(*mode).into(), (*uid).into(), (*gid).into()]);
        self.numbers(&[seconds as u64, nanoseconds.into(), attributes.len() as u64]);
        for (name, value) in attributes {
            self.text(name.as_bytes());
            self.text(value);
        }
        self.blocks += blocks + u64::from(!attributes.is_empty());
    }

    fn numbers(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.fingerprint.update(number.to_le_bytes()));
    }

    fn text(&mut self, bytes: &[u8]) {
        self.numbers(&[bytes.len() as u64]);
        self.fingerprint.update(bytes);
    }

    /// Bytes of a file system that has just room for the files.
    fn least(&self) -> u64 {
        let content = self.blocks * BLOCK + self.inodes * INODE;
        // Bitmaps, copies of the descriptors and rounding take less than 2 %; then the journal.
        content + content / 50 + journal(content) + 8 * MIB
    }

    /// An identifier of the file system: equal for equal files, and marked as one of a form of its own
    /// (version 8 of RFC 9562).
    fn uuid(&self) -> [u8; 16] {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&self.fingerprint.clone().finalize()[..16]);
        uuid[6] = uuid[6] & 0x0F | 0x80;
        uuid[8] = uuid[8] & 0x3F | 0x80;
        uuid
    }
}

/// Bytes of the journal of a file system with this much content, as `mkfs.ext4` makes it, or more.
fn journal(content: u64) -> u64 {
    const GIB: u64 = 1 << 30;
    let steps = [128 * MIB, GIB, 12 * GIB, 24 * GIB, 48 * GIB, 96 * GIB];
    steps.iter().zip(4..).find(|(most, _)| content < **most).map_or(GIB, |(_, power)| MIB << power)
}

/// Tells the builder of every file, in the order of names.
struct Declaration<'a> {
    tree: &'a Tree,
    builder: &'a mut FsBuilder,
    handles: Vec<Option<InodeHandle>>,
    contents: Vec<Content>,
}

impl<'a> Declaration<'a> {
    fn new(tree: &'a Tree, builder: &'a mut FsBuilder) -> Self {
        Self { tree, builder, handles: vec![None; tree.count()], contents: Vec::new() }
    }

    fn run(mut self, shown: &str) -> Result<Vec<Content>> {
        let refused = |path: &[&str], error: &dyn std::fmt::Display| {
            let path = path.join("/").escape_debug().to_string();
            Error::new(ErrorKind::Unsupported, OPERATION, shown, format!("/{path}: {error}"))
                .remedy("leave that file out, or make a raw image with `mkfs.ext4 -d`")
        };
        self.describe(TOP, ROOT).map_err(|error| refused(&[], &error))?;
        let tree = self.tree;
        // The directories on the way to the file, and their names.
        let mut trail = vec![TOP];
        let mut path: Vec<&str> = Vec::new();
        let mut outcome = Ok(());
        tree.walk(&mut |depth, name, id| {
            if outcome.is_err() {
                return;
            }
            trail.truncate(depth + 1);
            path.truncate(depth);
            path.push(name);
            if depth == 0 && name == LOST_AND_FOUND {
                if tree.names(id).is_none_or(|names| !names.is_empty()) {
                    outcome =
                        Err(refused(&path, &"ext4 reserves this name for an empty directory"));
                }
                return;
            }
            match self.declare(trail[depth], name, id) {
                Ok(handle) => trail.push(handle),
                Err(error) => outcome = Err(refused(&path, &error)),
            }
        });
        outcome?;
        self.contents.sort_unstable_by_key(|content| content.place);
        Ok(self.contents)
    }

    fn declare(&mut self, parent: InodeHandle, name: &str, id: Id) -> mkext4::Result<InodeHandle> {
        if let Some(same) = self.handles[id] {
            self.builder.hardlink(parent, name, same)?;
            return Ok(same);
        }
        let file = self.tree.file(id);
        let meta = meta(&file.meta);
        let builder = &mut *self.builder;
        let handle = match &file.node {
            Node::Directory(_) => builder.mkdir(parent, name, meta)?,
            Node::Symlink(target) => builder.symlink(parent, name, target, meta)?,
            Node::Special(special) => builder.mknod(parent, name, meta, kind(*special))?,
            Node::File { extent, content } => {
                let handle = match sparse::segments(extent) {
                    Some(segments) => builder.file_sparse(parent, name, meta, &segments)?,
                    None => builder.file(parent, name, meta, extent.size)?,
                };
                if sparse::blocks(extent) > 0 {
                    let (place, extent) = (*content, extent.clone());
                    self.contents.push(Content { place, extent, handle });
                }
                handle
            }
        };
        self.handles[id] = Some(handle);
        self.describe(handle, id)?;
        Ok(handle)
    }

    /// Gives a file its owner, times and attributes.
    fn describe(&mut self, handle: InodeHandle, id: Id) -> mkext4::Result<()> {
        let described = &self.tree.file(id).meta;
        self.builder.set_meta(handle, meta(described))?;
        described
            .attributes
            .iter()
            .try_for_each(|(name, value)| self.builder.set_xattr(handle, name, value))
    }
}

fn meta(meta: &Meta) -> mkext4::Meta {
    let (seconds, nanoseconds) = meta.modified;
    let modified = (seconds.clamp(TIMES.0, TIMES.1), nanoseconds);
    mkext4::Meta::new(meta.mode, meta.uid, meta.gid, modified)
}

fn kind(special: Special) -> SpecialKind {
    match special {
        Special::Character(major, minor) => SpecialKind::Char { major, minor },
        Special::Block(major, minor) => SpecialKind::Block { major, minor },
        Special::Fifo => SpecialKind::Fifo,
        Special::Socket => SpecialKind::Socket,
    }
}
