//! Root file systems: archives and directories of files become an ext4.
//!
//! ```text
//!           ┌── names, sizes, owners ──▸ tree ──▸ layout ──┐
//! archive ──┤                                              ├──▸ image ──▸ hash, checks
//!           └── the content of the files that are left ────┘
//! ```
//!
//! Everything is read twice, since ext4 has its metadata first. Memory follows the number of files, not
//! their size. The same files give the same image, whatever they come in. What was interrupted begins
//! anew. To be called with the import locked.

mod attributes;
mod blob;
mod directory;
mod disk;
mod entry;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod image;
mod layer;
mod layout;
mod sparse;
mod tar;
mod tree;

use std::io::Read;

use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::digest::Digest;
use crate::sys::ImageFile;
use crate::template::import::hash::ContentHash;
use crate::template::import::ratio::check_ratio;
use crate::template::import::rootfs::entry::Entry;
use crate::template::import::rootfs::image::{Cause, Content, Image};
use crate::template::import::rootfs::layout::Plan;
use crate::template::import::rootfs::sparse::Stored;
use crate::template::import::rootfs::tree::{Place, ROOT, Tree};
use crate::template::import::staging::Staging;
use crate::template::import::state::{self, Derived, ImportRecord, Origin};
use crate::template::import::{inspection, pipeline};
use crate::template::spec::{ImportSpec, Progress};

pub(crate) use blob::{Blob, Expected};
pub(crate) use entry::Kind;
pub(crate) use layer::{Files, Given, Layer};
pub(crate) use tar::End;

const OPERATION: &str = "import";
/// Names of which every root file system has some.
const USUAL: [&str; 7] = ["bin", "etc", "init", "lib", "sbin", "usr", "nix"];

/// A root file system, and what is to become of it.
pub(crate) struct RootFs<'a> {
    /// What people call it.
    pub(crate) shown: String,
    /// What it is made of, of which nothing was read yet.
    pub(crate) derived: Derived,
    pub(crate) layers: Vec<Layer<'a>>,
    /// Bytes of the file system; as many as it needs, with some room, if that is not given.
    pub(crate) size: Option<u64>,
    /// Whether nobody said that it is a root file system, so that it must look like one.
    pub(crate) is_guess: bool,
    /// The import, if its source may be a disk image and nothing else.
    pub(crate) may_be_disk: Option<&'a ImportSpec>,
    /// SHA-256 of the source; that of the first archive if it is not given.
    pub(crate) source_digest: Option<Digest>,
    /// Asked at the end: fails if the source changed meanwhile.
    pub(crate) check: &'a dyn Fn() -> Result<()>,
    pub(crate) cancel: &'a Cancel,
}

/// Makes the image in the directory of the import, which is empty but for what is being read. Returns the
/// digest of the content, and what it was made of.
pub(crate) fn make(
    staging: &Staging<'_>,
    files: RootFs<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let shown = files.shown.clone();
    let steps = Steps::new(&files);
    let (tree, source_digest) = files.survey(&steps, progress)?;
    if let Some(disk) = disk::find(&tree, files.may_be_disk, &shown)? {
        let source = disk::Source {
            layer: &files.layers[disk.layer()],
            derived: files.derived.clone(),
            digest: source_digest,
            check: files.check,
            changed: &|| files.changed(),
            cancel: files.cancel,
        };
        return disk.make(staging, source, progress);
    }
    let plan = layout::lay_out(&tree, files.size, &shown)?;
    drop(tree);

    let room = staging.claim_room(plan.written)?;
    let record = ImportRecord::new(&shown, Origin::Derived(files.derived.clone()));
    staging.write_record(&record)?;
    staging.create_image()?;
    let image = staging.open_image()?;
    let size = plan.layout.image_len();
    image.set_length(size).map_err(|e| staging.write_failed(e))?;
    // From now on, what is written is counted by looking at the free space.
    drop(room);
    files.fill(staging, &*image, &plan, &steps, progress)?;
    drop(plan);
    (files.check)()?;
    staging.remove_source()?;

    let job = pipeline::Job {
        source: pipeline::Input::File(&*image),
        size: Some(size),
        destination: None,
        start: 0,
        hash: ContentHash::default(),
        read_failed: &|e| Error::io(OPERATION, staging.image().display(), e),
        write_failed: &|e| staging.write_failed(e),
        cancel: files.cancel.clone(),
        room: &|_| Ok(()),
        checkpoint: &|_, _| Ok(()),
    };
    let digest = pipeline::run(job, &mut |done| progress(steps.at(2, done, size)))?.digest;
    inspection::inspect(&*image, size, &shown)?;
    let source_digest = source_digest.unwrap_or_else(|| digest.clone());
    let made = state::Read { size, source_digest };
    staging.complete(&*image, record, files.derived, made, digest)
}

impl RootFs<'_> {
    /// Reads all but the content of files. Returns the SHA-256 of the source, if it is an archive.
    fn survey(
        &self,
        steps: &Steps,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<(Tree, Option<Digest>)> {
        let mut tree = Tree::new();
        let (mut digest, mut done) = (None, 0);
        for (number, layer) in self.layers.iter().enumerate() {
            if layer.is_on_top {
                // Nothing is added to a disk.
                disk::find(&tree, self.may_be_disk, &self.shown)?;
            }
            if number > 0 {
                tree.next_layer();
            }
            let mut take = |entry: Entry, _: &mut (dyn Read + Send)| {
                if layer.is_on_top && entry.path.split().is_none() {
                    return Ok(());
                }
                let path = entry.path.clone();
                tree.add(entry, layer.has_whiteouts).map_err(|why| {
                    Error::new(
                        ErrorKind::InvalidArgument,
                        OPERATION,
                        layer.shown(),
                        format!("{path}: {why}"),
                    )
                    .remedy("make the archive again without that file")
                })
            };
            let whole = layer.read(true, self.cancel, &mut take)?;
            digest = if number == 0 { whole } else { digest };
            done += layer.bytes();
            progress(steps.at(0, done, steps.bytes));
        }
        let usual = |names: &tree::Names| USUAL.iter().any(|name| names.contains_key(*name));
        if self.is_guess && !tree.names(ROOT).is_some_and(usual) {
            let why = "its files are not those of a Linux root file system: there is no /usr, /etc or /bin";
            return Err(Error::new(ErrorKind::InvalidArgument, OPERATION, &self.shown, why)
                .remedy("if it is one, say so (--format rootfs); if it contains a disk image, unpack it and import that"));
        }
        Ok((tree, self.source_digest.clone().or(digest)))
    }

    /// Writes metadata, and the content of files.
    fn fill(
        &self,
        staging: &Staging<'_>,
        image: &dyn ImageFile,
        plan: &Plan,
        steps: &Steps,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<()> {
        let cause = Cause::default();
        let packed = steps.bytes;
        let is_packed = self.layers.iter().any(Layer::is_packed);
        let sink = Image {
            file: image,
            cause: &cause,
            failed: &|error| staging.write_failed(error),
            room: &|written| {
                if is_packed {
                    check_ratio(written, packed, &self.shown)?;
                }
                if self.cancel.is_requested() {
                    return Err(pipeline::cancelled());
                }
                staging.check_room()
            },
            written: 0,
            looked: 0,
        };
        let failed = |error: mkext4::Error| match cause.take() {
            Some(error) => error,
            None => Error::new(ErrorKind::Internal, OPERATION, &self.shown, error)
                .remedy("make a raw image of its files with `mkfs.ext4 -d`, and report this"),
        };
        let mut writer = plan.layout.writer(sink).map_err(failed)?;
        let mut contents = plan.contents.iter().peekable();
        let mut done = 0;
        for (number, layer) in self.layers.iter().enumerate() {
            let mut position = 0;
            let mut take = |entry: Entry, given: &mut (dyn Read + Send)| -> Result<()> {
                if layer.is_on_top && entry.path.split().is_none() {
                    return Ok(());
                }
                let place = (number, position);
                position += 1;
                let Some(content) =
                    contents.next_if(|next| (next.place.layer, next.place.entry) == place)
                else {
                    return Ok(());
                };
                if Place::of(number, position - 1, &entry) != content.place {
                    return Err(self.changed());
                }
                let mut content_bytes = Content {
                    given: Stored::new(&content.extent, given),
                    cause: &cause,
                    short: &|| self.changed(),
                    failed: &|error| Error::io(OPERATION, &self.shown, error),
                };
                writer.fill(content.handle, &mut content_bytes).map_err(failed)?;
                done += sparse::blocks(&content.extent) * sparse::BLOCK;
                progress(steps.at(1, done, plan.data));
                Ok(())
            };
            layer.read(false, self.cancel, &mut take)?;
        }
        if contents.next().is_some() {
            return Err(self.changed());
        }
        writer.finish().map_err(failed)?;
        Ok(())
    }

    fn changed(&self) -> Error {
        Error::new(ErrorKind::InUse, OPERATION, &self.shown, "it changed while it was read")
            .remedy("stop what writes to it, or import a copy of it")
    }
}

/// Progress over three steps that take about as long: reading names, writing content, hashing.
struct Steps {
    /// Bytes of all archives.
    bytes: u64,
}

impl Steps {
    fn new(files: &RootFs<'_>) -> Self {
        Self { bytes: files.layers.iter().map(Layer::bytes).sum() }
    }

    fn at(&self, step: u64, done: u64, of: u64) -> Progress {
        const WHOLE: u64 = 1 << 20;
        let total = if self.bytes > 0 { self.bytes } else { WHOLE };
        let share = done.min(of) as f64 / of.max(1) as f64;
        let done = total as f64 * (step as f64 + share) / 3.0;
        Progress { done: done as u64, total: Some(total) }
    }
}
