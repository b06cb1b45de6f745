//! What a stream needs in the pool: the content of the template, and perhaps an earlier snapshot.

use crate::error::{Error, ErrorKind, Result};
use crate::model::export::SnapshotImportSpec;
use crate::pool::{PoolDir, snapshots};
use crate::snapshot::import::refusal::OPERATION;
use crate::snapshot::stream::{Base, Head};
use crate::sys::OpenMode;
use crate::sys::lock::{Lock, Mode};
use crate::template::catalog::survey;
use crate::template::content::check_content;
use crate::template::superblock::{self, PREFIX};
use crate::volume::start::{self, Start};

/// The content of a template.
pub(super) struct Content {
    /// The name of a template that has it.
    pub(super) template: String,
    /// The file system in it, as this pool finds it: what the stream says is not asked.
    pub(super) fs_type: Option<String>,
}

/// Finds the content that the stream rests on. It may be gone later, unless its lock is held.
pub(super) fn content(pool: &PoolDir, spec: &SnapshotImportSpec, head: &Head) -> Result<Content> {
    let Head { digest, template, template_size, .. } = head;
    if pool.host().file(&pool.layout().image_directory(digest))?.is_none() {
        let what = digest.qualified();
        let why = format!("the pool does not have the template content that it rests on, {what}");
        let error = Error::new(ErrorKind::NotFound, OPERATION, &spec.name, why);
        return Err(match digest.sha256() {
            Some(digits) => error.remedy(format!(
                "import it first, from what template {template} was made of: `calf template import IMAGE --name \
                 {template} --sha256 {digits}`"
            )),
            None => error.remedy(
                "it was committed in another pool and cannot be had elsewhere: there, bring up the snapshot's \
                 device (`calf snapshot activate`), and import that as a template here",
            ),
        });
    }
    check_content(pool, digest, *template_size)?;
    let names: Vec<_> = survey(pool)?.0.into_iter().filter(|it| it.digest == *digest).collect();
    if let Some(other) = names.iter().find(|it| it.size != *template_size) {
        let why =
            format!("its template has {} bytes, and the stream says {template_size}", other.size);
        return Err(Error::new(ErrorKind::Corrupt, OPERATION, &spec.name, why)
            .remedy("export the snapshot again"));
    }
    let same = names.iter().find(|it| it.name == *template).or(names.first());
    let image = pool.layout().image(digest);
    let mut start = vec![0; PREFIX];
    let file = pool.host().open_image(&image, OpenMode::Read)?;
    let filled = file
        .fill_from(&mut start, 0)
        .map_err(|e| Error::io("read template content", image.display(), e))?;
    Ok(Content {
        template: same.map_or_else(|| template.clone(), |it| it.name.clone()),
        fs_type: match superblock::detect(&start[..filled]) {
            superblock::Content::FileSystem(found) => Some(found.fs_type.to_owned()),
            superblock::Content::Disk(_) | superblock::Content::Unknown => None,
        },
    })
}

/// Finds the snapshot upon which the stream was made, and keeps it in place. `None` if the stream needs none.
pub(super) fn base(
    pool: &PoolDir,
    spec: &SnapshotImportSpec,
    head: &Head,
) -> Result<Option<(Start, Lock)>> {
    let refused = |kind, why: String, remedy: String| {
        Err(Error::new(kind, OPERATION, &spec.name, why).remedy(remedy))
    };
    let Some(Base { snapshot, identity }) = &head.base else {
        return match &spec.base {
            None => Ok(None),
            Some(_) => refused(
                ErrorKind::InvalidArgument,
                "the stream has all that was written, and rests on no other snapshot".to_owned(),
                "leave out the base (--base)".to_owned(),
            ),
        };
    };
    let named = match &spec.base {
        Some(name) => Some(name.clone()),
        None => {
            let mut all = snapshots::survey(pool)?.0.into_iter();
            all.find(|it| it.identity(pool.id()) == *identity).map(|it| it.name)
        }
    };
    let Some(name) = named else {
        return refused(
            ErrorKind::NotFound,
            format!(
                "the stream has only what changed since snapshot {snapshot}, with identity {identity}, and the pool \
                 does not have that one"
            ),
            format!("import {snapshot} first, or export the snapshot without a base"),
        );
    };
    let (start, lock) = start::hold(pool, &name, Mode::Shared)?;
    let has = start.content.identity(pool.id());
    if has != *identity {
        return refused(
            ErrorKind::InvalidArgument,
            format!(
                "the stream has what changed since snapshot {snapshot}, with identity {identity}, and {name} has {has}"
            ),
            "leave out the base (--base) to have it found by its identity, or import that one first".to_owned(),
        );
    }
    if start.content.digest != head.digest || start.content.chunk_size != head.chunk_size {
        return refused(
            ErrorKind::Corrupt,
            format!(
                "it rests on another template or has chunks of another size than {name}, its base"
            ),
            "export the snapshot again".to_owned(),
        );
    }
    Ok(Some((start, lock)))
}
