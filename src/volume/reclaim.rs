//! Finds the users of template content, and removes content without users.
//!
//! Content is removed once no name, no volume and no snapshot refers to it, and only under its exclusive
//! lock. An import that points a name to the content, and a creation of a volume from it, hold the same
//! lock while they write their records. A snapshot is made while its volume exists and cannot be deleted.

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::model::template_name;
use crate::pool::record::VolumeRecord;
use crate::pool::{PoolDir, index, snapshots};
use crate::sys::lock::Mode;
use crate::template::catalog::{listing, template, templates};
use crate::volume::machine::observe;
use crate::volume::spare;

/// Lists the ids of the volumes that started from the content, sorted.
pub(crate) fn users(pool: &PoolDir, digest: &Digest) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for user in find_users(pool, digest)? {
        ids.push(user?.id);
    }
    ids.sort();
    Ok(ids)
}

/// Lists the names of the snapshots that rest on the content, sorted.
pub(crate) fn snapshots_of(pool: &PoolDir, digest: &Digest) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for key in snapshots::keys(pool)? {
        let snapshot = snapshots::read(pool, &key)?;
        names.extend(snapshot.filter(|it| it.digest == *digest).map(|it| it.name));
    }
    names.sort();
    Ok(names)
}

/// Whether any volume started from the content, or a snapshot rests on it.
fn has_user(pool: &PoolDir, digest: &Digest) -> Result<bool> {
    let volume = find_users(pool, digest)?.next().transpose()?;
    Ok(volume.is_some() || !snapshots_of(pool, digest)?.is_empty())
}

/// Iterates over the volumes that started from the content, sorted by key. Reads each record only
/// when the iterator reaches it.
fn find_users<'a>(
    pool: &'a PoolDir,
    digest: &'a Digest,
) -> Result<impl Iterator<Item = Result<VolumeRecord>> + 'a> {
    let keys = index::keys(pool)?.into_iter();
    let records = keys.filter_map(|key| observe::read_record(pool, &key).transpose());
    Ok(records.filter(move |read: &Result<VolumeRecord>| {
        read.as_ref().map_or(true, |volume| volume.digest == *digest)
    }))
}

/// Removes a name, and with the last name of a content also the content.
pub(crate) fn remove_template(pool: &PoolDir, name: &str) -> Result<()> {
    const OPERATION: &str = "remove";
    template_name::check(OPERATION, name)?;
    let _name = pool.lock_template(name)?;
    let record = template(pool, OPERATION, name)?;
    let _image = pool.lock_image(&record.digest, Mode::Exclusive)?;
    let last = !templates(pool)?.iter().any(|t| t.digest == record.digest && t.name != name);
    if last {
        let refused = |users: &[String], what: [&str; 2]| {
            let why = match users.len() {
                1 => format!("1 {} uses it: {}", what[0], listing(users)),
                count => format!("{count} {} use it: {}", what[1], listing(users)),
            };
            let remedy =
                format!("delete these {} first, or import other content under the name", what[1]);
            let subject = format!("template {name}");
            Err(Error::new(ErrorKind::InUse, OPERATION, subject, why).remedy(remedy))
        };
        let users = users(pool, &record.digest)?;
        if !users.is_empty() {
            return refused(&users, ["volume", "volumes"]);
        }
        let snapshots = snapshots_of(pool, &record.digest)?;
        if !snapshots.is_empty() {
            return refused(&snapshots, ["snapshot", "snapshots"]);
        }
    }
    // The name goes first: reconciliation removes content without a name, but a name without
    // content is a fault.
    let layout = pool.layout();
    pool.host().remove_file(&layout.template_record(name))?;
    pool.host().sync_directory(&layout.templates())?;
    if last {
        spare::discard_all(pool, &record.digest)?;
        pool.host().remove_directory(&layout.image_directory(&record.digest))?;
    }
    Ok(())
}

/// Removes the content if no name, volume or snapshot refers to it, and returns whether it did. Called
/// when a volume or a snapshot is deleted or a name moves. Cheap if a name still points to the content.
pub(crate) fn release_image(pool: &PoolDir, digest: &Digest) -> Result<bool> {
    let named = || -> Result<bool> { Ok(templates(pool)?.iter().any(|t| t.digest == *digest)) };
    if named()? {
        return Ok(false);
    }
    let directory = pool.layout().image_directory(digest);
    let _image = pool.lock_image(digest, Mode::Exclusive)?;
    if pool.host().file(&directory)?.is_none() || named()? || has_user(pool, digest)? {
        return Ok(false);
    }
    spare::discard_all(pool, digest)?;
    pool.host().remove_directory(&directory)?;
    Ok(true)
}

/// Whether no name, volume or snapshot refers to the content at this moment.
pub(crate) fn is_unused(pool: &PoolDir, digest: &Digest) -> Result<bool> {
    let named = templates(pool)?.iter().any(|t| t.digest == *digest);
    Ok(!named && !has_user(pool, digest)?)
}
