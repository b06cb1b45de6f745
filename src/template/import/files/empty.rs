//! Making an empty file system: one of files, of which there are none.

use crate::error::{Error, ErrorKind, Result};
use crate::model::empty::EmptyFileSystem;
use crate::pool::PoolDir;
use crate::template::import::files::{Import, OPERATION};
use crate::template::import::flight::{fly_alone, tidy};
use crate::template::import::known::made_of;
use crate::template::import::naming::{Found, Imported, point_name};
use crate::template::import::rootfs::{self, Files, RootFs};
use crate::template::import::source::unexpected;
use crate::template::import::state::{Empty, Origin};
use crate::template::spec::{ImportSpec, Progress};

/// Makes an empty file system of the size of the import, unless the pool has it.
pub(crate) fn import_empty(
    pool: &PoolDir,
    spec: &ImportSpec,
    kind: EmptyFileSystem,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    let shown = spec.source.to_string();
    let size = check(spec, &shown)?;
    tidy(pool)?;
    let origin = Origin::Empty(Empty { empty: kind.to_string(), size });
    let _flight = fly_alone(pool, &origin.id(), &shown, &spec.cancel)?;
    // A digest that was given is compared with what is made now.
    if spec.digest.is_none()
        && let Some(digest) = made_of(pool, &origin)
    {
        let found = Found { digest: &digest, size, made_by: None };
        if let Some(known) = point_name(pool, spec, &shown, &found)? {
            progress(Progress { done: size, total: Some(size) });
            return Ok(known);
        }
    }
    let import = Import::new(pool, origin, &shown, spec)?;
    let (digest, origin) = import.run(|staging| {
        let files = import.files(Files::Given(Vec::new()), &|| Ok(()));
        rootfs::make(staging, RootFs { is_guess: false, ..files }, progress)
    })?;
    if let Some(expected) = &spec.digest
        && *expected != digest
    {
        import.staging().discard();
        return Err(unexpected(&shown, &digest, None, expected));
    }
    let found = Found { digest: &digest, size, made_by: Some(&origin) };
    point_name(pool, spec, &shown, &found)?.ok_or_else(|| {
        let why = "what was made was removed meanwhile";
        Error::new(ErrorKind::InProgress, OPERATION, shown, why).remedy("make it again")
    })
}

/// Refuses options that have no meaning without a source. Returns the size.
fn check(spec: &ImportSpec, shown: &str) -> Result<u64> {
    let refused = |why: &'static str, remedy: &'static str| {
        Err(Error::new(ErrorKind::InvalidArgument, OPERATION, shown, why).remedy(remedy))
    };
    if spec.format.is_some() || spec.platform.is_some() || spec.partition.is_some() {
        let why = "nothing is read for it, so it has no format, platform or partition";
        return refused(why, "give its size alone");
    }
    if spec.is_extended() {
        let why = "files that are added would leave it not empty";
        return refused(why, "import a directory with these files (--format rootfs)");
    }
    match spec.size {
        Some(size) => Ok(size),
        None => refused(
            "its size is not given",
            "give its size, such as 128Mi: volumes may be larger than their template",
        ),
    }
}
