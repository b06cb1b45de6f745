//! Where the blobs of an image are: an OCI layout in a directory, or an archive.

use std::collections::HashMap;
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::sys::{FileTree, ImageFile};
use crate::template::import::format::{HEAD, Packing};
use crate::template::import::meter::Meter;
use crate::template::import::oci::model::{Descriptor, MAX_DOCUMENT};
use crate::template::import::rootfs::{Blob, Expected, Kind};

const OPERATION: &str = "import";
pub(super) const WHOLE: &str = "fetch or make the image again, and compare its digest";
/// Most members of an archive of an image that are looked at: its documents and layers.
const MAX_MEMBERS: usize = 10_000;

/// An open file, of its own or one that others read too.
pub(crate) enum Held<'a> {
    Own(Box<dyn ImageFile>),
    Shared(&'a dyn ImageFile),
}

impl Held<'_> {
    pub(crate) fn file(&self) -> &dyn ImageFile {
        match self {
            Self::Own(file) => &**file,
            Self::Shared(file) => *file,
        }
    }
}

/// A blob: a part of a file.
pub(crate) struct Part<'a> {
    pub(crate) held: Held<'a>,
    pub(crate) start: u64,
    pub(crate) size: u64,
}

impl Part<'_> {
    /// How it is compressed, by its first bytes.
    pub(super) fn packing(&self, shown: &str) -> Result<Option<Packing>> {
        let mut head = vec![0; HEAD.min(self.size as usize)];
        let read = self.held.file().fill_from(&mut head, self.start);
        head.truncate(read.map_err(|e| Error::io(OPERATION, shown, e))?);
        Ok(Packing::of_head(&head))
    }
}

/// Where blobs are found.
pub(crate) trait Store {
    /// The blob that a descriptor names, whose content is not checked yet.
    fn blob(&self, wanted: &Descriptor, shown: &str) -> Result<Part<'_>>;
}

/// An error about an image.
pub(crate) fn refused(shown: &str, why: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, OPERATION, shown, why.into())
}

/// The digest that a descriptor says.
pub(crate) fn digest(wanted: &Descriptor, shown: &str) -> Result<Digest> {
    wanted.digest().map_err(|why| refused(shown, why).remedy(WHOLE))
}

/// Reads a document, and checks its digest.
pub(crate) fn document(store: &dyn Store, wanted: &Descriptor, shown: &str) -> Result<Vec<u8>> {
    let digest = digest(wanted, shown)?;
    let part = store.blob(wanted, shown)?;
    let bytes = read(&part, shown)?;
    if Digest::of(Sha256::new_with_prefix(&bytes)) != digest {
        let why = format!("its document sha256:{digest} has other content than that digest says");
        return Err(refused(shown, why).remedy(WHOLE));
    }
    Ok(bytes)
}

/// Reads a small blob.
pub(crate) fn read(part: &Part<'_>, shown: &str) -> Result<Vec<u8>> {
    if part.size > MAX_DOCUMENT {
        let why = format!("a document of it has {} bytes, more than 4 MiB", part.size);
        return Err(refused(shown, why).remedy("make the image again"));
    }
    let mut bytes = vec![0; part.size as usize];
    let read = part.held.file().fill_from(&mut bytes, part.start);
    bytes.truncate(read.map_err(|e| Error::io(OPERATION, shown, e))?);
    Ok(bytes)
}

/// An OCI layout in a directory.
pub(crate) struct Directory<'a>(pub(crate) &'a dyn FileTree);

impl Directory<'_> {
    /// Opens a file of the layout.
    pub(crate) fn open(&self, path: &str) -> Result<Part<'static>> {
        let file = self.0.open(Path::new(path))?;
        let size = file.status().map_err(|e| Error::io(OPERATION, path, e))?.length;
        Ok(Part { held: Held::Own(file), start: 0, size })
    }
}

impl Store for Directory<'_> {
    fn blob(&self, wanted: &Descriptor, shown: &str) -> Result<Part<'_>> {
        let digest = digest(wanted, shown)?;
        let part = self.open(&format!("blobs/sha256/{digest}"))?;
        check_size(part, wanted, shown)
    }
}

fn check_size<'a>(part: Part<'a>, wanted: &Descriptor, shown: &str) -> Result<Part<'a>> {
    if part.size == wanted.size {
        return Ok(part);
    }
    let why = format!("a blob of it has {} bytes instead of {}", part.size, wanted.size);
    Err(refused(shown, why).remedy(WHOLE))
}

/// An archive of an image, which is not compressed: where in it the members are.
pub(crate) struct Archive<'a> {
    file: &'a dyn ImageFile,
    /// Offset and size, by path.
    members: HashMap<String, (u64, u64)>,
    /// SHA-256 of the archive.
    pub(crate) digest: Digest,
}

impl<'a> Archive<'a> {
    /// Finds the members of an archive.
    pub(crate) fn open(
        file: &'a dyn ImageFile,
        size: u64,
        shown: &str,
        cancel: &Cancel,
    ) -> Result<Self> {
        let blob = Blob::new(file, size, None, shown);
        let mut members = HashMap::new();
        let mut links = Vec::new();
        let meter = Meter::default();
        let digest = blob.read(true, cancel, &meter, &mut |entry, _| {
            if members.len() + links.len() > MAX_MEMBERS {
                return Err(refused(shown, "it has more than 10,000 members")
                    .remedy("if it is a root file system, say so (--format rootfs)"));
            }
            let name = entry.path.to_string();
            match entry.kind {
                Kind::File(extent) if extent.parts.is_none() => {
                    members.insert(name, (meter.bytes(), extent.size));
                }
                // `docker save` of old wrote a layer once, and linked to it.
                Kind::Symlink(target) => links.push((name, target)),
                Kind::HardLink(target) => links.push((name, target.to_string())),
                _ => {}
            }
            Ok(())
        })?;
        for (name, target) in links {
            if let Some(found) = members.get(&resolved(&name, &target)).copied() {
                members.insert(name, found);
            }
        }
        let digest = digest.unwrap_or_else(|| Digest::of(Sha256::new()));
        Ok(Self { file, members, digest })
    }

    /// A member of the archive.
    pub(crate) fn member(&self, path: &str) -> Option<Part<'a>> {
        let (start, size) = *self.members.get(&format!("/{path}"))?;
        Some(Part { held: Held::Shared(self.file), start, size })
    }
}

/// The path to which a link at `name` leads, within an archive.
fn resolved(name: &str, target: &str) -> String {
    if target.starts_with('/') {
        return target.to_owned();
    }
    let mut parts: Vec<&str> = name.split('/').skip(1).collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

impl Store for Archive<'_> {
    fn blob(&self, wanted: &Descriptor, shown: &str) -> Result<Part<'_>> {
        let digest = digest(wanted, shown)?;
        let part = self.member(&format!("blobs/sha256/{digest}")).ok_or_else(|| {
            let why = format!("its blob sha256:{digest} is missing");
            refused(shown, why).remedy(WHOLE)
        })?;
        check_size(part, wanted, shown)
    }
}

/// What the bytes of a layer must be.
pub(crate) fn expected(wanted: &Descriptor, shown: &str) -> Result<Expected> {
    let digest = digest(wanted, shown)?;
    Ok(Expected::Packed(digest))
}
