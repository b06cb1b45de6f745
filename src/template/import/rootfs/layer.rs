//! What a root file system is put together from, one on top of the other: archives, directories, files at hand.

use crate::error::Result;
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::sys::FileTree;
use crate::template::import::meter::Meter;
use crate::template::import::pipeline;
use crate::template::import::rootfs::blob::Blob;
use crate::template::import::rootfs::directory;
use crate::template::import::rootfs::entry::{Entry, Extent, FilePath, Kind, Meta};
use crate::template::import::rootfs::tar::Take;

/// Files on top of those of the layers before.
pub(crate) struct Layer<'a> {
    pub(crate) files: Files<'a>,
    /// Whether names that begin with `.wh.` remove files.
    pub(crate) has_whiteouts: bool,
    /// Whether the owner and the times of its root are not those of the image's.
    pub(crate) is_on_top: bool,
}

pub(crate) enum Files<'a> {
    Archive(Blob<'a>),
    /// A directory, and what people call it.
    Directory(&'a dyn FileTree, String),
    /// Files that are at hand.
    Given(Vec<Given>),
}

/// A file that is at hand. It belongs to the superuser, and has no time.
pub(crate) struct Given {
    /// Its path in the image.
    pub(crate) path: &'static str,
    pub(crate) mode: u16,
    pub(crate) content: Vec<u8>,
}

impl Given {
    fn entry(&self) -> (Entry, &[u8]) {
        let path = FilePath::parse(self.path.as_bytes()).unwrap_or_default();
        let extent = Extent { size: self.content.len() as u64, parts: None };
        let meta = Meta { mode: self.mode, ..Meta::default() };
        (Entry { path, kind: Kind::File(extent), meta }, &self.content)
    }
}

impl Layer<'_> {
    pub(super) fn read(
        &self,
        wants_digest: bool,
        cancel: &Cancel,
        take: &mut Take<'_>,
    ) -> Result<Option<Digest>> {
        match &self.files {
            Files::Archive(blob) => blob.read(wants_digest, cancel, &Meter::default(), take),
            Files::Directory(tree, shown) => {
                directory::read(*tree, shown, &mut |entry, content| {
                    if cancel.is_requested() {
                        return Err(pipeline::cancelled());
                    }
                    take(entry, content)
                })?;
                Ok(None)
            }
            Files::Given(files) => {
                for file in files {
                    let (entry, mut content) = file.entry();
                    take(entry, &mut content)?;
                }
                Ok(None)
            }
        }
    }

    /// Bytes of the archive; 0 for a directory.
    pub(super) fn bytes(&self) -> u64 {
        match &self.files {
            Files::Archive(blob) => blob.size,
            Files::Directory(..) | Files::Given(_) => 0,
        }
    }

    pub(super) fn is_packed(&self) -> bool {
        matches!(&self.files, Files::Archive(blob) if blob.packing.is_some())
    }

    pub(super) fn shown(&self) -> &str {
        match &self.files {
            Files::Archive(blob) => &blob.shown,
            Files::Directory(_, shown) => shown,
            Files::Given(_) => "what is added",
        }
    }
}
