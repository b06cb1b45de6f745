//! The simulated machine's files: real files, without protection against power loss.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::cow::header::StoreHeader;
use crate::cow::pieces::Piece;
use crate::error::{Error, ErrorKind, Result};
use crate::sys::{ImageFile as _, SparseRead as _, Target, TargetKind};

/// Asks the kernel for the real path, which takes fewer system calls than walking to it.
pub(super) fn resolve(path: &Path) -> PathBuf {
    let real = |directory: &Path| {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = rustix::fs::open(directory, flags, Mode::empty()).ok()?;
        fs::read_link(format!("/proc/self/fd/{}", open.as_raw_fd())).ok()
    };
    let parent = path.parent().and_then(real);
    parent.zip(path.file_name()).map_or(path.to_owned(), |(parent, name)| parent.join(name))
}

pub(super) fn write_record(path: &Path, content: &[u8]) -> Result<()> {
    make_parent(path)?;
    let temporary = path.with_extension("new");
    fs::write(&temporary, content)
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|e| Error::io("write", path.display(), e))
}

pub(super) fn create(path: &Path, length: u64) -> Result<()> {
    make_parent(path)?;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .and_then(|file| file.set_len(length))
        .map_err(|e| Error::io("create", path.display(), e))
}

pub(super) fn copy(from: &Path, path: &Path, length: u64) -> Result<()> {
    create(path, 0)?;
    copy_data(from, path, length).map_err(|e| Error::io("copy", from.display(), e))
}

/// Copies what a file holds, with its holes.
fn copy_data(from: &Path, path: &Path, length: u64) -> io::Result<()> {
    let source = fs::File::open(from)?;
    let target = OpenOptions::new().write(true).open(path)?;
    let mut at = source.next_data(0)?;
    while at != u64::MAX {
        let end = source.next_hole(at)?;
        let mut data = vec![0; usize::try_from(end - at).unwrap_or(usize::MAX)];
        source.fill_from(&mut data, at)?;
        target.write_all_at(&data, at)?;
        at = source.next_data(end)?;
    }
    target.set_len(length)
}

/// Copies parts of one file to their places in another.
pub(super) fn copy_pieces(from: &Path, to: &Path, pieces: &[Piece]) -> Result<()> {
    let copy = || -> io::Result<()> {
        let source = fs::File::open(from)?;
        let target = OpenOptions::new().write(true).open(to)?;
        for Piece { from, to, length } in pieces {
            let mut data = vec![0; usize::try_from(*length).unwrap_or(usize::MAX)];
            source.fill_from(&mut data, *from)?;
            target.write_all_at(&data, *to)?;
        }
        Ok(())
    };
    copy().map_err(|e| Error::io("share blocks of", from.display(), e))
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::io("move", from.display(), e))
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

pub(super) fn allocate(path: &Path, length: u64) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|file| {
            Ok(rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, length)?)
        })
        .map_err(|e| Error::io("allocate", path.display(), e))
}

/// The simulated kernel writes nothing into a store: only tests put content there.
pub(super) fn store_header(path: &Path) -> Result<StoreHeader> {
    fs::File::open(path)
        .and_then(StoreHeader::read)
        .map_err(|e| Error::io("read", path.display(), e))
}

pub(super) fn start(path: &Path, length: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let filled = fs::File::open(path).and_then(|file| file.fill_from(&mut bytes, 0));
    bytes.truncate(filled.map_err(|e| Error::io("read", path.display(), e))?);
    Ok(bytes)
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
        Target::Plain(TargetKind::File) if path.metadata().is_ok_and(|found| found.len() == 0) => {
            fs::remove_file(path)
        }
        _ => Err(io::Error::from(io::ErrorKind::ResourceBusy)),
    };
    result.map_err(|e| {
        let has_content = e.kind() == io::ErrorKind::DirectoryNotEmpty;
        let error = Error::io("remove", path.display(), e);
        if has_content { error.with_kind(ErrorKind::InUse) } else { error }
    })
}

pub(super) fn make_parent(path: &Path) -> Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    fs::create_dir_all(parent).map_err(|e| Error::io("make", parent.display(), e))
}

fn missing_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
