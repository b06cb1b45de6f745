//! What is found out about an image before anybody relies on it: what is refused, and what is told.
//!
//! A superblock is believed in what it demands, not in what it promises: a file system that says that it
//! is larger than its image is refused, and one that is damaged behind its superblock is not noticed.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::model::units::format_size;
use crate::sys::{Host, ImageFile};
use crate::template::import::format::{self, HEAD, TAIL};
use crate::template::superblock::{self, Bars, Content, FileSystem};

const OPERATION: &str = "import";

/// How much of an image a file system may leave unused without a word: `mkfs` drops a last group that
/// would be too small.
const SLACK: u64 = 16 << 20;

/// Refuses an image that cannot be a template, and tells what it holds.
pub(crate) fn inspect(
    image: &dyn ImageFile,
    size: u64,
    subject: impl fmt::Display,
) -> Result<Content> {
    let failed = |e| Error::io(OPERATION, &subject, e);
    let prefix = read_prefix(image).map_err(failed)?;
    let content = inspect_prefix(&prefix, size, &subject)?;
    let mut tail = vec![0; TAIL];
    let read = image.fill_from(&mut tail, size.saturating_sub(TAIL as u64)).map_err(failed)?;
    format::check_tail(&tail[..read], &subject)?;
    Ok(content)
}

/// The same by its first [`PREFIX`](superblock::PREFIX) bytes alone.
pub(crate) fn inspect_prefix(
    prefix: &[u8],
    size: u64,
    subject: impl fmt::Display,
) -> Result<Content> {
    let head = &prefix[..prefix.len().min(HEAD)];
    format::check_head(head, &subject)?;
    format::check_size(size, head, &subject)?;
    let content = superblock::detect(prefix);
    match &content {
        Content::FileSystem(found) => refuse(found, size, subject)?,
        Content::Disk(disk) => refuse_cut("last partition", disk.size, size, subject)?,
        Content::Unknown => {}
    }
    Ok(content)
}

fn read_prefix(image: &dyn ImageFile) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; superblock::PREFIX];
    let filled = image.fill_from(&mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Refuses a file system that is not whole in an image of `size` bytes.
fn refuse(found: &FileSystem, size: u64, subject: impl fmt::Display) -> Result<()> {
    refuse_cut(found.fs_type, found.size, size, &subject)?;
    let refused = |why: String| Error::new(ErrorKind::InvalidArgument, OPERATION, &subject, why);
    match found.barring(|bars| bars == Bars::Use).next() {
        None => Ok(()),
        Some(finding) => {
            Err(refused(format!("its {} {finding}", found.fs_type)).remedy(finding.remedy))
        }
    }
}

/// Refuses an image of `size` bytes in which `what` ends after `end` bytes.
fn refuse_cut(what: &str, end: u64, size: u64, subject: impl fmt::Display) -> Result<()> {
    if end <= size {
        return Ok(());
    }
    let why = format!(
        "its {what} ends at {}, and the image at {}: it was cut short",
        exact(end),
        exact(size)
    );
    Err(Error::new(ErrorKind::InvalidArgument, OPERATION, subject, why)
        .remedy("make or copy the image anew, and compare its SHA-256"))
}

/// A size that may differ from another one by little.
fn exact(size: u64) -> String {
    format!("{} ({size} bytes)", format_size(size))
}

/// Tells what users of the template may stumble over.
pub(crate) fn tell(host: &dyn Host, name: &str, content: &Content, size: u64) -> Result<()> {
    let kernel = host.kernel_version()?;
    for warning in warnings(content, size, kernel) {
        tracing::warn!("template {name}: {warning}");
    }
    Ok(())
}

fn warnings(content: &Content, size: u64, kernel: (u32, u32)) -> Vec<String> {
    const BLOCK: &str = "its volumes serve as block devices, and cannot be mounted by calf";
    let found = match content {
        Content::Disk(disk) => {
            let what = disk.what;
            return vec![format!(
                "the image holds {what}: {BLOCK}; for mount volumes, import the file system alone \
                 (`losetup --find --show --partscan IMAGE` shows each partition as a device)"
            )];
        }
        Content::Unknown => {
            return vec![format!("the image holds no file system that calf knows: {BLOCK}")];
        }
        Content::FileSystem(found) => found,
    };
    let mut warnings = Vec::new();
    if found.needs_recovery {
        warnings.push(format!(
            "its {} was not unmounted cleanly: each volume replays its journal when it is first \
             mounted, and volumes for readers alone cannot be mounted; repair the image (`fsck`) and \
             import it again",
            found.fs_type
        ));
    }
    if !found.is_read_only() && found.block_size != 4096 {
        warnings.push(format!(
            "its {} has blocks of {} bytes: with other than 4096, TRIM in a volume frees little or \
             nothing",
            found.fs_type, found.block_size
        ));
    }
    if !found.is_read_only() && found.size.saturating_add(SLACK) < size {
        warnings.push(format!(
            "its {} has {} of the image's {}: it grows in volumes that are larger than the template \
             only; grow it first (`resize2fs`, `xfs_growfs`), or cut the image to its size",
            found.fs_type,
            format_size(found.size),
            format_size(size)
        ));
    }
    for finding in &found.findings {
        let effect = match finding.bars {
            Bars::Use | Bars::Nothing => "",
            Bars::KernelsBefore(major, minor) if kernel >= (major, minor) => continue,
            Bars::Mount => "; its volumes serve as block devices, and are not mounted by calf",
            Bars::SomeKernels => "; without that, its volumes serve as block devices only",
            Bars::KernelsBefore(..) => "; until then, its volumes serve as block devices only",
            Bars::Growth => "; volumes larger than the template cannot be mounted",
        };
        let (fs_type, remedy) = (found.fs_type, finding.remedy);
        warnings.push(format!("its {fs_type} {finding}{effect}; {remedy}"));
    }
    warnings
}

#[cfg(test)]
mod tests;
