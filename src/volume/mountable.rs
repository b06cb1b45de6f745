//! Whether calf mounts the file system of a volume, by what its superblock says.
//!
//! Asked of a template before a volume of it is made, and of the volume's own device before each mount. The
//! kernel may have further reasons to refuse.

use std::cell::OnceCell;

use crate::error::{Error, ErrorKind, Result};
use crate::model::access::Access;
use crate::model::digest::Digest;
use crate::pool::PoolDir;
use crate::pool::record::TemplateRecord;
#[cfg(feature = "driver")]
use crate::pool::record::VolumeRecord;
#[cfg(feature = "driver")]
use crate::pool::snapshots::SnapshotRecord;
use crate::sys::OpenMode;
use crate::template::superblock::{self, FileSystem, Impact, MOUNTABLE_PREFIX};

/// A template, as the records of templates, volumes and snapshots tell it.
pub(crate) struct Content<'a> {
    pub(crate) fs_type: Option<&'a str>,
    digest: &'a Digest,
    /// What its superblock says, once that was read.
    found: OnceCell<Option<FileSystem>>,
}

impl<'a> Content<'a> {
    pub(crate) fn of_template(template: &'a TemplateRecord) -> Self {
        Self::new(template.fs_type.as_deref(), &template.digest)
    }

    #[cfg(feature = "driver")]
    pub(crate) fn of_volume(record: &'a VolumeRecord) -> Self {
        Self::new(record.fs_type.as_deref(), &record.digest)
    }

    #[cfg(feature = "driver")]
    pub(crate) fn of_snapshot(record: &'a SnapshotRecord) -> Self {
        Self::new(record.fs_type.as_deref(), &record.digest)
    }

    fn new(fs_type: Option<&'a str>, digest: &'a Digest) -> Self {
        Self { fs_type, digest, found: OnceCell::new() }
    }

    /// The file system in it, if it is of a type that calf mounts; read once. None if the content is missing,
    /// which the creation of a volume reports.
    pub(crate) fn file_system(&self, pool: &PoolDir) -> Result<Option<&FileSystem>> {
        let found = match self.found.get() {
            Some(found) => found,
            None => {
                let read = in_content(pool, self.digest)?;
                self.found.get_or_init(|| read)
            }
        };
        Ok(found.as_ref())
    }
}

/// Refuses a kind of access to volumes with this content that staging would refuse: `what` names the
/// template, or a volume. A Kata guest mounts by its own rules.
pub(crate) fn check_access(
    pool: &PoolDir,
    content: &Content<'_>,
    access: &Access,
    kata_direct: bool,
    what: &str,
) -> Result<()> {
    access.check(content.fs_type, what)?;
    check_mount(pool, content, access, kata_direct, what)
}

/// Does the same for access that fits the type of the file system.
pub(crate) fn check_mount(
    pool: &PoolDir,
    content: &Content<'_>,
    access: &Access,
    kata_direct: bool,
    what: &str,
) -> Result<()> {
    let (Access::Mount { options, .. }, Some(fs_type), false) =
        (access, content.fs_type, kata_direct)
    else {
        return Ok(());
    };
    if !options.is_empty() {
        pool.host().check_mount_options(fs_type, options)?;
    }
    content.file_system(pool)?.map_or(Ok(()), |found| check(found, what))
}

/// Refuses a file system that decides what an image must not decide for the host.
pub(crate) fn check(found: &FileSystem, what: &str) -> Result<()> {
    let refuses = |impact| matches!(impact, Impact::Unusable | Impact::Unmountable);
    match found.findings_with(refuses).next() {
        None => Ok(()),
        Some(finding) => {
            let why = format!("its {} {finding}", found.fs_type);
            Err(Error::new(ErrorKind::Unsupported, "mount the file system of", what, why)
                .remedy(finding.remedy))
        }
    }
}

fn in_content(pool: &PoolDir, digest: &Digest) -> Result<Option<FileSystem>> {
    let path = pool.layout().image(digest);
    if pool.host().file(&path)?.is_none() {
        return Ok(None);
    }
    let image = pool.host().open_image(&path, OpenMode::Read)?;
    let mut prefix = vec![0; MOUNTABLE_PREFIX];
    image
        .fill_from(&mut prefix, 0)
        .map_err(|e| Error::io("read the superblock in", path.display(), e))?;
    Ok(superblock::mountable(&prefix))
}
