//! Names, the content that they point to, and who uses it.
//!
//! Content goes when neither a name nor a volume refers to it, and only under its exclusive lock:
//! an import that points a name to it and a creation that starts a volume from it hold the same
//! lock while they write their records.

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::model::limits::MAX_WARM;
use crate::model::template_name;
use crate::pool::record::TemplateRecord;
use crate::pool::{PoolDir, index, record};

/// How many names a message lists.
const NAMED: usize = 5;

/// What `name` points to.
pub(crate) fn template(
    pool: &PoolDir,
    operation: &'static str,
    name: &str,
) -> Result<TemplateRecord> {
    template_name::check(operation, name)?;
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
pub(crate) fn read(pool: &PoolDir, name: &str) -> Result<Option<TemplateRecord>> {
    let path = pool.layout().template_record(name);
    match record::read::<TemplateRecord>(pool.host(), &path)? {
        Some(record) if record.name != name => {
            Err(record::corrupt(&path, format!("it is the record of template {}", record.name)))
        }
        record => Ok(record),
    }
}

/// All names that templates have, in no order; one may be gone since.
fn names(pool: &PoolDir) -> Result<Vec<String>> {
    let mut names = index::names_in(pool, &pool.layout().templates())?;
    names.retain_mut(|file| {
        file.truncate(file.strip_suffix(".json").map_or(0, str::len));
        template_name::is_valid(file)
    });
    Ok(names)
}

/// All templates, ordered by name; fails if one cannot be read.
pub(crate) fn templates(pool: &PoolDir) -> Result<Vec<TemplateRecord>> {
    let mut all = Vec::new();
    for name in names(pool)? {
        all.extend(read(pool, &name)?);
    }
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// All templates whose records can be read, ordered by name, and why the others' cannot.
pub(crate) fn survey(pool: &PoolDir) -> Result<(Vec<TemplateRecord>, Vec<Error>)> {
    let (mut all, damaged) = index::survey(names(pool)?, |name| read(pool, name))?;
    all.sort_by(|a, b| a.name.cmp(&b.name));
    Ok((all, damaged))
}

/// Notes how many spares of the template are to be ready.
pub(crate) fn set_warm(pool: &PoolDir, name: &str, warm: u32) -> Result<TemplateRecord> {
    const OPERATION: &str = "set the number of spares of";
    template_name::check(OPERATION, name)?;
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

/// Digests of all content that is in its place, whole or not.
pub(crate) fn image_digests(pool: &PoolDir) -> Result<Vec<Digest>> {
    let names = index::names_in(pool, &pool.layout().images())?;
    let mut digests: Vec<_> =
        names.iter().filter_map(|name| Digest::from_file_name(name)).collect();
    digests.sort();
    Ok(digests)
}

/// The first few names, and how many more there are.
pub(crate) fn listing(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED)].join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
