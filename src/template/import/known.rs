//! Content that the pool has already.

use crate::error::Result;
use crate::model::digest::Digest;
use crate::pool::PoolDir;
#[cfg(feature = "driver")]
use crate::pool::record::TemplateRecord;
use crate::template::catalog;
use crate::template::content::is_whole;
use crate::template::import::naming::{Found, Imported, point_name};
use crate::template::import::source::Source;
use crate::template::import::state::{self, ImportRecord, Origin};
use crate::template::spec::ImportSpec;

/// Points the name to content of the expected digest that the pool has already, or to what was made of a
/// file of that digest.
pub(super) fn present(pool: &PoolDir, spec: &ImportSpec) -> Result<Option<Imported>> {
    let Some(expected) = &spec.digest else { return Ok(None) };
    // A record that cannot be read is no proof: the content is brought in once more.
    let wanted = spec.partition.as_ref().map(ToString::to_string);
    let known = match state::of_content(pool, expected) {
        // With a partition, the content of this digest may be the whole disk.
        Ok(Some(known)) if wanted.is_none() || known.identity.partition() == wanted.as_deref() => {
            Some((expected.clone(), known))
        }
        _ => find(pool, |_, known| is_made_of(known, expected, spec)),
    };
    let Some((digest, known)) = known else { return Ok(None) };
    let found = Found { digest: &digest, size: known.identity.size(), made_by: None };
    point_name(pool, spec, &spec.source.to_string(), &found)
}

/// The digest of what the content was made of, where that is another one and the record of it can be read.
pub(crate) fn source_digest(pool: &PoolDir, digest: &Digest) -> Option<Digest> {
    let known = state::of_content(pool, digest).ok()??;
    known.identity.source_digest().filter(|source| *source != digest).cloned()
}

/// Whether the template's content is what is asked for, by its digest or by that of the file that it was
/// made of.
#[cfg(feature = "driver")]
pub(crate) fn is_of(pool: &PoolDir, record: &TemplateRecord, spec: &ImportSpec) -> bool {
    let Some(expected) = &spec.digest else { return true };
    let made_of = |known: &ImportRecord| is_made_of(known, expected, spec);
    (spec.partition.is_none() && record.digest == *expected)
        || state::of_content(pool, &record.digest)
            .is_ok_and(|known| known.as_ref().is_some_and(made_of))
}

fn is_made_of(known: &ImportRecord, expected: &Digest, spec: &ImportSpec) -> bool {
    // What was added may be other files today.
    !spec.is_extended()
        && known.identity.source_digest() == Some(expected)
        && known.identity.making() == spec.making().as_deref()
        && known.identity.partition() == spec.partition.as_ref().map(ToString::to_string).as_deref()
}

/// Content that was read from this very state of the source, if the source's identity proves that. It
/// does not replace a comparison of the bytes with a digest that the caller gave.
pub(super) fn known_content(
    pool: &PoolDir,
    spec: &ImportSpec,
    source: &Source,
) -> Result<Option<(Digest, Origin)>> {
    if spec.digest.is_some() || spec.is_extended() || !source.is_on_file_system_of(pool)? {
        return Ok(None);
    }
    let found = find(pool, |digest, known| {
        is_made_from(&known.identity, source, spec)
            && source.identity.settled_before(known.started)
            && is_whole(pool, digest, known.identity.size()).unwrap_or(false)
    });
    Ok(found.map(|(digest, known)| (digest, known.identity)))
}

/// Whole content that was made of this, where that cannot change.
#[cfg(feature = "formats")]
pub(super) fn made_of(pool: &PoolDir, of: &Origin) -> Option<Digest> {
    let is_it = |digest: &Digest, known: &ImportRecord| {
        matches!(&known.identity, Origin::Derived(derived) if *derived.of == *of)
            && is_whole(pool, digest, known.identity.size()).unwrap_or(false)
    };
    find(pool, is_it).map(|(digest, _)| digest)
}

/// Whether content of this origin was made of this state of the source.
fn is_made_from(origin: &Origin, source: &Source, spec: &ImportSpec) -> bool {
    let partition = spec.partition.as_ref().map(ToString::to_string);
    if origin.partition() != partition.as_deref() || origin.making() != spec.making().as_deref() {
        return false;
    }
    match origin {
        Origin::File(identity) => *identity == source.identity,
        Origin::Derived(derived) => *derived.of == Origin::File(source.identity.clone()),
        Origin::Remote(_) | Origin::Input(_) | Origin::Empty(_) => false,
    }
}

/// The first content whose record is like that.
fn find(
    pool: &PoolDir,
    is_it: impl Fn(&Digest, &ImportRecord) -> bool,
) -> Option<(Digest, ImportRecord)> {
    let digests = catalog::image_digests(pool).ok()?;
    digests.into_iter().find_map(|digest| {
        let known = state::of_content(pool, &digest).ok()??;
        is_it(&digest, &known).then_some((digest, known))
    })
}
