//! Names, the content that they point to, and who uses it.
//!
//! Content goes when neither a name nor a volume refers to it, and only under its exclusive lock:
//! an import that points a name to it and a creation that starts a volume from it hold the same
//! lock while they write their records.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use super::name;
use crate::error::{Error, ErrorKind, Result};
use crate::pool::Pool;
use crate::pool::record::{self, TemplateRecord, VolumeRecord};
use crate::sys::lock::Mode;
use crate::volume::{self, MAX_WARM};

/// How many names a message lists.
const NAMED: usize = 5;

/// What `name` points to.
pub(super) fn template(pool: &Pool, operation: &'static str, name: &str) -> Result<TemplateRecord> {
    name::check(operation, name)?;
    if let Some(record) = read(pool, name)? {
        return Ok(record);
    }
    let names: Vec<String> = survey(pool)?.0.into_iter().map(|t| t.name).collect();
    let remedy = match names.as_slice() {
        [] => "the pool has no templates: import one with `calf template import`".to_owned(),
        names => format!("the pool has {}", listing(names)),
    };
    let subject = format!("template {name}");
    Err(Error::new(ErrorKind::NotFound, operation, subject, "there is no such template")
        .remedy(remedy))
}

/// What the valid name `name` points to; `Corrupt` if its record is of another name.
pub(super) fn read(pool: &Pool, name: &str) -> Result<Option<TemplateRecord>> {
    let path = pool.layout().template_record(name);
    match record::read::<TemplateRecord>(&path)? {
        Some(record) if record.name != name => {
            Err(record::corrupt(&path, format!("it is the record of template {}", record.name)))
        }
        record => Ok(record),
    }
}

/// All names that templates have, in no order; one may be gone since.
fn names(pool: &Pool) -> Result<Vec<String>> {
    let mut names = entries(&pool.layout().templates())?;
    names.retain_mut(|file| {
        file.truncate(file.strip_suffix(".json").map_or(0, str::len));
        name::is_valid(file)
    });
    Ok(names)
}

/// All templates, ordered by name; fails if one cannot be read.
pub(super) fn templates(pool: &Pool) -> Result<Vec<TemplateRecord>> {
    let mut all = Vec::new();
    for name in names(pool)? {
        all.extend(read(pool, &name)?);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// All templates whose records can be read, ordered by name, and why the others' cannot.
pub(crate) fn survey(pool: &Pool) -> Result<(Vec<TemplateRecord>, Vec<Error>)> {
    let (mut all, mut damaged) = (Vec::new(), Vec::new());
    for name in names(pool)? {
        match read(pool, &name) {
            Err(error) if error.kind() == ErrorKind::Corrupt => damaged.push(error),
            record => all.extend(record?),
        }
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((all, damaged))
}

/// Ids of the volumes that started from the content, ordered.
pub(super) fn users(pool: &Pool, digest: &str) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for user in find_users(pool, digest)? {
        ids.push(user?.id);
    }
    ids.sort();
    Ok(ids)
}

/// Whether a volume started from the content. Of many that did, the first one that is met is enough.
fn has_user(pool: &Pool, digest: &str) -> Result<bool> {
    Ok(find_users(pool, digest)?.next().transpose()?.is_some())
}

/// Volumes that started from the content, ordered by key, each record read when it is asked for.
fn find_users<'a>(
    pool: &'a Pool,
    digest: &'a str,
) -> Result<impl Iterator<Item = Result<VolumeRecord>> + 'a> {
    let keys = volume::keys(pool)?.into_iter();
    let records =
        keys.filter_map(|key| record::read(&pool.layout().volume_record(&key)).transpose());
    Ok(records.filter(move |read: &Result<VolumeRecord>| {
        read.as_ref().map_or(true, |volume| volume.digest == digest)
    }))
}

/// Removes a name, and its content with the last name of it.
pub(super) fn remove(pool: &Pool, name: &str) -> Result<()> {
    const OPERATION: &str = "remove";
    name::check(OPERATION, name)?;
    let _name = pool.lock_template(name)?;
    let record = template(pool, OPERATION, name)?;
    let _image = pool.lock_image(&record.digest, Mode::Exclusive)?;
    let last = !templates(pool)?.iter().any(|t| t.digest == record.digest && t.name != name);
    if last {
        let users = users(pool, &record.digest)?;
        if !users.is_empty() {
            let count = users.len();
            let why = format!(
                "{count} {} it: {}",
                if count == 1 { "volume uses" } else { "volumes use" },
                listing(&users)
            );
            let subject = format!("template {name}");
            return Err(Error::new(ErrorKind::InUse, OPERATION, subject, why)
                .remedy("delete these volumes first, or import other content under the name"));
        }
    }
    // The name goes first: content without a name is swept up, a name without content is a fault.
    let layout = pool.layout();
    pool.host().remove_file(&layout.template_record(name))?;
    sync_directory(&layout.templates())?;
    if last {
        volume::discard_spares(pool, &record.digest)?;
        pool.host().remove_directory(&layout.image_directory(&record.digest))?;
    }
    Ok(())
}

/// Notes how many spares of the template are to be ready.
pub(super) fn set_warm(pool: &Pool, name: &str, warm: u32) -> Result<TemplateRecord> {
    const OPERATION: &str = "set the number of spares of";
    name::check(OPERATION, name)?;
    if warm > MAX_WARM {
        let why = format!("{warm} are too many");
        return Err(Error::new(ErrorKind::InvalidArgument, OPERATION, name, why)
            .remedy(format!("give at most {MAX_WARM}: each spare is a device")));
    }
    let _name = pool.lock_template(name)?;
    let record = template(pool, OPERATION, name)?;
    if record.warm == warm {
        return Ok(record);
    }
    let record = TemplateRecord { warm, ..record };
    pool.require_format(record.format())?;
    pool.host().write_record(&pool.layout().template_record(name), &record::to_bytes(&record))?;
    Ok(record)
}

/// Removes content that no name and no volume refers to; true if it did. Called when a volume
/// is gone or a name has moved. Cheap where a name still points to the content.
pub(crate) fn release_image(pool: &Pool, digest: &str) -> Result<bool> {
    let named = || -> Result<bool> { Ok(templates(pool)?.iter().any(|t| t.digest == digest)) };
    if named()? {
        return Ok(false);
    }
    let directory = pool.layout().image_directory(digest);
    let _image = pool.lock_image(digest, Mode::Exclusive)?;
    if !directory.exists() || named()? || has_user(pool, digest)? {
        return Ok(false);
    }
    volume::discard_spares(pool, digest)?;
    pool.host().remove_directory(&directory)?;
    Ok(true)
}

/// Whether no name and no volume refers to the content, at this moment.
pub(super) fn is_unused(pool: &Pool, digest: &str) -> Result<bool> {
    let named = templates(pool)?.iter().any(|t| t.digest == digest);
    Ok(!named && !has_user(pool, digest)?)
}

/// Digests of all content that is in its place, whole or not.
pub(super) fn image_digests(pool: &Pool) -> Result<Vec<String>> {
    let mut names = entries(&pool.layout().images())?;
    names.retain(|name| record::is_digest(name));
    names.sort();
    Ok(names)
}

/// Names of what is in a directory of the pool; nothing if it does not exist.
pub(super) fn entries(directory: &Path) -> Result<Vec<String>> {
    let failed = |e| Error::io("list", directory.display(), e);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed(e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        // calf gives no name that is not UTF-8.
        names.extend(entry.map_err(failed)?.file_name().into_string());
    }
    Ok(names)
}

/// Bytes that a file occupies.
pub(super) fn allocated(path: &Path) -> Result<u64> {
    let metadata = path.metadata().map_err(|e| Error::io("inspect", path.display(), e))?;
    Ok(metadata.blocks().saturating_mul(512))
}

/// Makes renames and removals in a directory durable.
pub(super) fn sync_directory(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|e| Error::io("sync", path.display(), e))
}

/// The first few names, and how many more there are.
fn listing(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
