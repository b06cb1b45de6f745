//! Checks an image before anything relies on it: refuses unusable images, and warns of unusual ones.
//!
//! The checks read the superblock only. They find a file system that is larger than its image, but no
//! damage behind the superblock.

use std::fmt;

use crate::error::{Error, ErrorKind, Result};
use crate::model::units::format_size;
use crate::sys::{Host, SparseRead};
use crate::template::import::format::{self, HEAD, TAIL};
use crate::template::superblock::{self, Content, FileSystem, Impact};

const OPERATION: &str = "import";

/// How much of an image a file system may leave unused without a warning: `mkfs` omits a last group that
/// would be too small.
const SLACK: u64 = 16 << 20;

/// Refuses an image that cannot be a template; returns its content otherwise.
pub(crate) fn inspect(
    image: &dyn SparseRead,
    size: u64,
    subject: impl fmt::Display,
) -> Result<Content> {
    inspect_with(image, size, &subject, &|e| Error::io(OPERATION, &subject, e))
}

/// Does the same; `failed` makes an error of a failed read.
pub(crate) fn inspect_with(
    image: &dyn SparseRead,
    size: u64,
    subject: impl fmt::Display,
    failed: &dyn Fn(std::io::Error) -> Error,
) -> Result<Content> {
    let prefix = read_prefix(image).map_err(failed)?;
    let content = inspect_prefix(&prefix, size, &subject)?;
    let mut tail = vec![0; TAIL];
    let read = image.fill_from(&mut tail, size.saturating_sub(TAIL as u64)).map_err(failed)?;
    format::check_tail(&tail[..read], &subject)?;
    Ok(content)
}

/// Does the same, by the first [`PREFIX`](superblock::PREFIX) bytes only.
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

fn read_prefix(image: &dyn SparseRead) -> std::io::Result<Vec<u8>> {
    let mut bytes = vec![0; superblock::PREFIX];
    let filled = image.fill_from(&mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Refuses a file system that does not fit an image of `size` bytes, or that no volume can use.
fn refuse(found: &FileSystem, size: u64, subject: impl fmt::Display) -> Result<()> {
    refuse_cut(found.fs_type, found.size, size, &subject)?;
    let refused = |why: String| Error::new(ErrorKind::InvalidArgument, OPERATION, &subject, why);
    match found.findings_with(|impact| impact == Impact::Unusable).next() {
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
        "its {what} ends at {}, but the image ends at {}: it was cut short",
        exact(end),
        exact(size)
    );
    Err(Error::new(ErrorKind::InvalidArgument, OPERATION, subject, why)
        .remedy("make or copy the image again, and compare its SHA-256"))
}

/// A size that may differ only slightly from another.
fn exact(size: u64) -> String {
    format!("{} ({size} bytes)", format_size(size))
}

/// Logs a warning for each property of a template that may surprise its users.
pub(crate) fn warn(host: &dyn Host, name: &str, content: &Content, size: u64) {
    // A kernel that does not tell its version is no reason against the import.
    for warning in warnings(content, size, host.kernel_version().ok()) {
        tracing::warn!("template {name}: {warning}");
    }
}

fn warnings(content: &Content, size: u64, kernel: Option<(u32, u32)>) -> Vec<String> {
    const BLOCK: &str = "its volumes work as block devices, but calf cannot mount them";
    let found = match content {
        Content::Disk(disk) => {
            let what = disk.what;
            return vec![format!(
                "the image contains {what}: {BLOCK}; for mount volumes, import only the partition with \
                 the file system (--partition root)"
            )];
        }
        Content::Unknown => {
            return vec![format!("the image contains no file system that calf knows: {BLOCK}")];
        }
        Content::FileSystem(found) => found,
    };
    let mut warnings = Vec::new();
    if found.needs_recovery {
        warnings.push(format!(
            "its {} was not unmounted cleanly: each volume replays its journal at its first mount, \
             and reader-only mounts fail until then; repair the image (`fsck`) and import it again",
            found.fs_type
        ));
    }
    if !found.is_read_only() && found.block_size != 4096 {
        warnings.push(format!(
            "its {} has blocks of {} bytes: with a size other than 4096, TRIM in a volume frees \
             little or nothing",
            found.fs_type, found.block_size
        ));
    }
    if !found.is_read_only() && found.size.saturating_add(SLACK) < size {
        warnings.push(format!(
            "its {} uses {} of the image's {}: it grows only in volumes that are larger than the \
             template; grow it first (`resize2fs`, `xfs_growfs`), or cut the image to its size",
            found.fs_type,
            format_size(found.size),
            format_size(size)
        ));
    }
    for finding in &found.findings {
        let effect = match finding.impact {
            Impact::Unusable | Impact::Harmless => "",
            Impact::NeedsKernel(major, minor) if kernel >= Some((major, minor)) => continue,
            Impact::Unmountable => {
                "; its volumes work as block devices, but calf does not mount them"
            }
            Impact::KernelDependent => "; on other kernels its volumes work only as block devices",
            Impact::NeedsKernel(..) if kernel.is_none() => {
                "; on older kernels its volumes work only as block devices"
            }
            Impact::NeedsKernel(..) => "; on this kernel its volumes work only as block devices",
            Impact::NotGrowable => "; volumes larger than the template cannot be mounted",
        };
        let (fs_type, remedy) = (found.fs_type, finding.remedy);
        warnings.push(format!("its {fs_type} {finding}{effect}; {remedy}"));
    }
    warnings
}

#[cfg(test)]
mod tests;
