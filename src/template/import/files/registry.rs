//! Importing an image from a registry.

use crate::error::{Error, ErrorKind, Result};
use crate::pool::PoolDir;
use crate::template::import::files::Import;
use crate::template::import::flight::{fly_alone, tidy};
use crate::template::import::known::present;
use crate::template::import::naming::{Found, Imported, point_name};
use crate::template::import::source::http::registry::Registry;
use crate::template::import::source::reference::ImageReference;
use crate::template::import::source::remote::Remote;
use crate::template::import::source::unexpected;
use crate::template::import::state::Origin;
use crate::template::spec::{ImportSource, ImportSpec, Progress};

const OPERATION: &str = "import";

/// Asks the registry where the name leads to, and fetches that unless the pool has it.
pub(crate) fn import_registry(
    pool: &PoolDir,
    spec: &ImportSpec,
    reference: &ImageReference,
    progress: &mut dyn FnMut(Progress),
) -> Result<Imported> {
    super::check_container(spec, &reference.to_string())?;
    if let Some(digest) = reference.digest().filter(|_| spec.digest.is_none())
        && let Some(known) = present(pool, &spec.clone().digest(digest.clone()))?
    {
        return Ok(known);
    }
    tidy(pool)?;
    let registry = Registry::new(pool, reference, spec)?;
    let resolved = registry.resolve()?;
    let source = ImportSource::Registry(reference.resolved(&resolved.digest));
    let shown = source.to_string();
    let remote = Remote { expected: shown.clone(), size: 0, validator: None };
    let _flight = fly_alone(pool, &remote.id(), &shown, &spec.cancel)?;
    let named = ImportSpec { source, ..spec.clone() };
    let wanted = spec.digest.as_ref().unwrap_or(&resolved.digest);
    if *wanted == resolved.digest
        && let Some(known) = present(pool, &named.clone().digest(wanted.clone()))?
    {
        return Ok(known);
    }
    let digest_of_name = resolved.digest.clone();
    let import = Import::new(pool, Origin::Remote(remote), &shown, spec)?;
    let check = || Ok(());
    let (digest, origin) =
        import.run(|staging| registry.fetch(import.job(staging, &check), resolved, progress))?;
    if let Some(expected) = &spec.digest
        && *expected != digest
        && *expected != digest_of_name
    {
        import.staging().discard();
        return Err(unexpected(&shown, &digest, Some(&digest_of_name), expected));
    }
    let found = Found { digest: &digest, size: origin.size(), made_by: Some(&origin) };
    point_name(pool, &named, &shown, &found)?.ok_or_else(|| {
        let why = "what was made of it was removed meanwhile";
        Error::new(ErrorKind::InProgress, OPERATION, shown, why).remedy("import it again")
    })
}
