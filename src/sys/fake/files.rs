//! The simulated machine's files: real ones, without the care for power losses.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::sys::{FileExtent, Target, TargetKind};

pub(super) fn extent(path: &Path) -> Result<Option<FileExtent>> {
    match fs::symlink_metadata(path) {
        Ok(meta) => Ok(Some(FileExtent { length: meta.len(), allocated: meta.blocks() * 512 })),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("look at", path.display(), e)),
    }
}

pub(super) fn resolve(path: &Path) -> PathBuf {
    let parent = path.parent().and_then(|parent| fs::canonicalize(parent).ok());
    parent.zip(path.file_name()).map_or(path.to_owned(), |(parent, name)| parent.join(name))
}

pub(super) fn write_record(path: &Path, content: &[u8]) -> Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|e| Error::io("make", parent.display(), e))?;
    }
    let temporary = path.with_extension("new");
    fs::write(&temporary, content)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|e| Error::io("write", path.display(), e))
}

pub(super) fn create(path: &Path, length: u64) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|file| file.set_len(length))
        .map_err(|e| Error::io("create", path.display(), e))
}

pub(super) fn copy(from: &Path, path: &Path, length: u64) -> Result<()> {
    let content = fs::read(from).map_err(|e| Error::io("read", from.display(), e))?;
    create(path, 0)?;
    fs::write(path, content).map_err(|e| Error::io("write", path.display(), e))?;
    extend(path, length)
}

pub(super) fn extend(path: &Path, length: u64) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| match file.metadata()?.len() < length {
            true => file.set_len(length),
            false => Ok(()),
        })
        .map_err(|e| Error::io("extend", path.display(), e))
}

pub(super) fn remove(path: &Path) -> Result<()> {
    missing_is_fine(fs::remove_file(path)).map_err(|e| Error::io("remove", path.display(), e))
}

pub(super) fn remove_directory(path: &Path) -> Result<()> {
    missing_is_fine(fs::remove_dir_all(path)).map_err(|e| Error::io("remove", path.display(), e))
}

pub(super) fn target(path: &Path) -> Result<Target> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(Target::Plain(TargetKind::Directory)),
        Ok(meta) if meta.is_file() => Ok(Target::Plain(TargetKind::File)),
        Ok(_) => Ok(Target::Foreign("neither a directory nor a regular file")),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Target::Missing),
        Err(e) => Err(Error::io("look at", path.display(), e)),
    }
}

pub(super) fn create_target(path: &Path, kind: TargetKind) -> Result<()> {
    if target(path)? == Target::Plain(kind) {
        return Ok(());
    }
    match kind {
        TargetKind::Directory => fs::create_dir(path),
        TargetKind::File => OpenOptions::new().write(true).create_new(true).open(path).map(drop),
    }
    .map_err(|e| Error::io("create", path.display(), e))
}

pub(super) fn remove_target(path: &Path) -> Result<()> {
    let result = match target(path)? {
        Target::Plain(TargetKind::Directory) => fs::remove_dir(path),
        Target::Missing => Ok(()),
        _ => fs::remove_file(path),
    };
    result.map_err(|e| Error::io("remove", path.display(), e))
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
