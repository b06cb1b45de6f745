//! Sources that hold files instead of a disk: a directory or an archive of a root file system, a container
//! image in a layout or an archive; and file systems that are made of no files.
//!
//! Each is read more than once. What comes in a stream is kept in the pool until its content is in place.

pub(crate) mod empty;
pub(crate) mod on_top;
pub(crate) mod options;
#[cfg(feature = "http")]
pub(crate) mod registry;
mod spool;

use std::path::Path;

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::pool::PoolDir;
use crate::sys::{FileKind, FileTree};
use crate::template::import::files::on_top::OnTop;
use crate::template::import::files::options::{check_disk, check_files, meaningless};
use crate::template::import::files::spool::{Kept, keep};
use crate::template::import::flight::{fly_alone, tidy};
use crate::template::import::format::{self, Archived, HEAD};
use crate::template::import::naming::{Found, Imported, point_name};
use crate::template::import::oci;
use crate::template::import::rootfs::{self, Blob, Files, Layer, RootFs};
use crate::template::import::source::{Identity, Source, unexpected};
use crate::template::import::staging::Staging;
use crate::template::import::state::{Derived, Origin};
use crate::template::import::stream::Stream;
use crate::template::spec::{ImportFormat, ImportSpec, Progress};

const OPERATION: &str = "import";
/// Bytes of a compressed file that are enough to see what is in it: more than a block of bzip2.
pub(crate) const PEEK: usize = 1 << 20;

/// What a source that begins so holds, if it is no disk: what it is said to hold, or else what its first
/// names tell.
pub(crate) fn format(
    prefix: &[u8],
    spec: &ImportSpec,
    shown: &str,
) -> Result<Option<ImportFormat>> {
    let found = format::archived(&spool::head(prefix, HEAD)).map(|archived| match archived {
        Archived::Container => ImportFormat::Oci,
        Archived::Files => ImportFormat::RootFs,
    });
    let format = spec.format.or(found);
    check(format, spec, shown)?;
    Ok(format)
}

/// Refuses options that have no meaning for what the source holds.
fn check(format: Option<ImportFormat>, spec: &ImportSpec, shown: &str) -> Result<()> {
    match format {
        None => check_disk(spec, shown)?,
        Some(ImportFormat::RootFs) => check_files(spec, shown)?,
        // Only what is in it tells whether it has files, or is a disk.
        Some(ImportFormat::Oci) => return Ok(()),
    }
    match spec.platform {
        None => Ok(()),
        Some(_) => {
            let why = "it is no container image, which alone has a platform";
            Err(meaningless(shown, why, "leave out --platform"))
        }
    }
}

/// Refuses options that have no meaning for a container image.
#[cfg(feature = "http")]
fn check_container(spec: &ImportSpec, shown: &str) -> Result<()> {
    if spec.format == Some(ImportFormat::RootFs) {
        let why = "a registry has container images, and no plain root file systems";
        return Err(meaningless(shown, why, "leave out --format"));
    }
    check(Some(ImportFormat::Oci), spec, shown)
}

/// Reads an archive in a file: of a container image only if it is not compressed.
pub(crate) fn read_file(
    pool: &PoolDir,
    source: &Source,
    format: ImportFormat,
    spec: &ImportSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let shown = source.path.display().to_string();
    let import = Import::new(pool, Origin::File(source.identity.clone()), &shown, spec)?;
    let check = || source.check_unchanged();
    import.run(|staging| match format {
        ImportFormat::Oci => {
            let (file, size) = (&*source.file, source.size);
            oci::make_from_archive(import.job(staging, &check), file, size, None, progress)
        }
        ImportFormat::RootFs => {
            let blob = Blob::new(&*source.file, source.size, source.packing, &shown);
            rootfs::make(staging, import.files(Files::Archive(blob), &check), progress)
        }
    })
}

/// Reads an archive that comes in a stream.
pub(crate) fn read_stream(
    pool: &PoolDir,
    stream: Stream<'_>,
    format: ImportFormat,
    spec: &ImportSpec,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let (shown, packing) = (stream.shown.clone(), stream.packing);
    let import = Import::new(pool, stream.origin.clone(), &shown, spec)?;
    let check = || Ok(());
    import.run(|staging| match format {
        // Its members are read at any offset.
        ImportFormat::Oci => {
            let Kept { file, size, source_digest } =
                keep(staging, stream, packing, &spec.cancel, progress)?;
            let job = import.job(staging, &check);
            oci::make_from_archive(job, &*file, size, Some(source_digest), progress)
        }
        ImportFormat::RootFs => {
            let Kept { file, size, .. } = keep(staging, stream, None, &spec.cancel, progress)?;
            let blob = Blob::new(&*file, size, packing, &shown);
            rootfs::make(staging, import.files(Files::Archive(blob), &check), progress)
        }
    })
}

/// Whether the path leads to a directory.
pub(crate) fn is_directory(pool: &PoolDir, path: &Path) -> Result<bool> {
    let host = pool.host();
    // Whoever opens the path says what is wrong with it.
    let Ok(path) = host.canonical_path(path) else { return Ok(false) };
    Ok(host.file(&path)?.is_some_and(|found| found.kind == FileKind::Directory))
}

/// Imports a directory: an OCI layout, or the files of a root file system.
pub(crate) fn import_directory(
    pool: &PoolDir,
    spec: &ImportSpec,
    path: &Path,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    let path = pool.host().canonical_path(path)?;
    let shown = path.display().to_string();
    let tree = pool.host().open_tree(&path)?;
    let format = spec.format.unwrap_or(match oci::is_layout(&tree.names(Path::new(""))?) {
        true => ImportFormat::Oci,
        false => ImportFormat::RootFs,
    });
    check(Some(format), spec, &shown)?;
    tidy(pool)?;
    let identity = Identity::of_directory(pool.host(), &path)?;
    let _flight = fly_alone(pool, &identity.id(), &shown, &spec.cancel)?;
    let import = Import::new(pool, Origin::File(identity), &shown, spec)?;
    let (digest, origin) =
        import.run(|staging| from_tree(&import, staging, &*tree, format, progress))?;
    let source = origin.source_digest().filter(|_| format == ImportFormat::Oci);
    if let Some(expected) = &spec.digest
        && *expected != digest
        && Some(expected) != source
    {
        import.staging().discard();
        return Err(unexpected(&shown, &digest, source, expected));
    }
    let found = Found { digest: &digest, size: origin.size(), made_by: Some(&origin) };
    point_name(pool, spec, &shown, &found)?.ok_or_else(|| {
        let why = "what was made of it was removed meanwhile";
        Error::new(ErrorKind::InProgress, OPERATION, shown, why).remedy("import it again")
    })
}

fn from_tree(
    import: &Import<'_>,
    staging: &Staging<'_>,
    tree: &dyn FileTree,
    format: ImportFormat,
    progress: &mut dyn FnMut(Progress),
) -> Result<(Digest, Origin)> {
    let check = || Ok(());
    match format {
        ImportFormat::Oci => oci::make_from_directory(import.job(staging, &check), tree, progress),
        ImportFormat::RootFs => {
            let files = Files::Directory(tree, import.shown.to_owned());
            rootfs::make(staging, import.files(files, &check), progress)
        }
    }
}

/// One import of files.
struct Import<'a> {
    pool: &'a PoolDir,
    shown: &'a str,
    derived: Derived,
    spec: &'a ImportSpec,
    on_top: OnTop,
}

impl<'a> Import<'a> {
    fn new(
        pool: &'a PoolDir,
        origin: Origin,
        shown: &'a str,
        spec: &'a ImportSpec,
    ) -> Result<Self> {
        let derived = Derived::new(origin, spec.partition.as_ref()).with(spec.making());
        Ok(Self { pool, shown, derived, spec, on_top: OnTop::open(pool, spec)? })
    }

    fn staging(&self) -> Staging<'a> {
        Staging::new(self.pool, &Origin::Derived(self.derived.clone()), self.shown)
    }

    /// Runs it in an empty directory. What was begun is of no use after a failure.
    fn run<T>(&self, run: impl FnOnce(&Staging<'_>) -> Result<T>) -> Result<T> {
        let staging = self.staging();
        let outcome = staging.clear().and_then(|()| run(&staging)).and_then(|made| {
            self.on_top.check_unchanged()?;
            Ok(made)
        });
        outcome.map_err(|error| staging.give_up(error))
    }

    fn job<'b>(
        &'b self,
        staging: &'b Staging<'b>,
        check: &'b dyn Fn() -> Result<()>,
    ) -> oci::Job<'b> {
        let derived = self.derived.clone();
        let (spec, on_top) = (self.spec, &self.on_top);
        oci::Job { staging, shown: self.shown, derived, spec, on_top, check }
    }

    fn files<'b>(&'b self, files: Files<'b>, check: &'b dyn Fn() -> Result<()>) -> RootFs<'b> {
        let mut layers = vec![Layer { files, has_whiteouts: false, is_on_top: false }];
        layers.extend(self.on_top.layers(None));
        RootFs {
            shown: self.shown.to_owned(),
            derived: self.derived.clone(),
            layers,
            size: self.spec.size,
            is_guess: self.spec.format.is_none(),
            may_be_disk: None,
            source_digest: None,
            check,
            cancel: &self.spec.cancel,
        }
    }
}
