//! A disk image in place of a root file system: the only file of a container image, in `/disk`, as KubeVirt's
//! containerDisks have it.

use std::io::{Cursor, Read};

use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::template::import::files::options::{check_disk, check_files};
use crate::template::import::format::{HEAD, Packing};
use crate::template::import::rootfs::entry::{Entry, Extent};
use crate::template::import::rootfs::layer::Layer;
use crate::template::import::rootfs::tree::{Node, Place, ROOT, Tree};
use crate::template::import::staging::Staging;
use crate::template::import::state::{Derived, Origin};
use crate::template::import::stream::{self, Stream};
use crate::template::spec::{ImportSpec, Progress};

const OPERATION: &str = "import";
const DIRECTORY: &str = "disk";

/// The disk image in a tree.
pub(super) struct Disk<'a> {
    /// What people call it.
    shown: String,
    size: u64,
    place: Place,
    spec: &'a ImportSpec,
}

/// What such a disk is read from, and made for.
pub(super) struct Source<'a> {
    pub(super) layer: &'a Layer<'a>,
    pub(super) derived: Derived,
    /// SHA-256 of the source.
    pub(super) digest: Option<Digest>,
    /// Asked at the end: fails if the source changed meanwhile.
    pub(super) check: &'a dyn Fn() -> Result<()>,
    /// The error for a source that changed.
    pub(super) changed: &'a dyn Fn() -> Error,
    pub(super) cancel: &'a Cancel,
}

/// The disk image that is all there is in a tree, if the import may be of one; `None` if there are other
/// files. `image` is what people call it.
pub(super) fn find<'a>(
    tree: &Tree,
    spec: Option<&'a ImportSpec>,
    image: &str,
) -> Result<Option<Disk<'a>>> {
    let Some(spec) = spec else { return Ok(None) };
    let all = contents(tree);
    let (name, extent, place) = match all[..] {
        [] => return check_files(spec, image).map(|()| None),
        [one] => one,
        _ => {
            let why =
                format!("there are {} files in its /disk, and a template is one disk", all.len());
            return Err(Error::new(ErrorKind::InvalidArgument, OPERATION, image, why)
                .remedy("make an image with one disk in /disk"));
        }
    };
    let shown = format!("{image}, /{DIRECTORY}/{}", name.escape_debug());
    check_disk(spec, &shown)?;
    if extent.parts.is_some() {
        let why = "it is stored without its holes, as a sparse file";
        return Err(Error::new(ErrorKind::InvalidArgument, OPERATION, shown, why)
            .remedy("make the image with a tool that stores whole files, or with a qcow2 image"));
    }
    Ok(Some(Disk { shown, size: extent.size, place, spec }))
}

/// The files in `/disk`, if there is nothing else.
fn contents(tree: &Tree) -> Vec<(&str, &Extent, Place)> {
    let only = tree.names(ROOT).filter(|names| names.len() == 1);
    let directory = only.and_then(|names| names.get(DIRECTORY)).and_then(|it| tree.names(it.file));
    let files = directory.into_iter().flatten().map(|(name, it)| match &tree.file(it.file).node {
        Node::File { extent, content } => Some((&**name, extent, *content)),
        _ => None,
    });
    files.collect::<Option<_>>().unwrap_or_default()
}

impl Disk<'_> {
    /// The number of the layer that has it.
    pub(super) fn layer(&self) -> usize {
        self.place.layer
    }

    /// Makes the content of it, which is read a second time.
    pub(super) fn make(
        &self,
        staging: &Staging<'_>,
        source: Source<'_>,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Digest, Origin)> {
        let number = self.place.layer;
        let mut made = None;
        let mut position = 0;
        let mut take = |entry: Entry, given: &mut (dyn Read + Send)| -> Result<()> {
            let place = Place::of(number, position, &entry);
            position += 1;
            if place.entry != self.place.entry {
                return Ok(());
            }
            if place != self.place {
                return Err((source.changed)());
            }
            let failed = |error| Error::io(OPERATION, &self.shown, error);
            let mut head = Vec::new();
            (&mut *given).take(HEAD as u64).read_to_end(&mut head).map_err(failed)?;
            let stream = Stream {
                shown: self.shown.clone(),
                origin: (*source.derived.of).clone(),
                packing: Packing::of_head(&head),
                bytes: Box::new(Cursor::new(head).chain(given)),
                size: Some(self.size),
                partition: self.spec.partition.as_ref(),
                source_digest: source.digest.clone(),
                failed: &failed,
                check: source.check,
            };
            let derived = source.derived.clone();
            made = Some(stream::make(staging, derived, stream, source.cancel, progress)?);
            Ok(())
        };
        source.layer.read(false, source.cancel, &mut take)?;
        made.ok_or_else(|| (source.changed)())
    }
}
