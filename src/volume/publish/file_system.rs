//! Checks the file system of a volume before the host mounts it.
//!
//! The superblock is the template's, or was written by a tenant that had the volume as a block device.
//! The kernel obeys it: it uses the devices that it names, and reacts to errors as it says. So calf
//! reads the superblock on the device before each mount, and refuses what an image must not decide for
//! the host. The kernel finds everything else that is wrong with the file system.

use std::fmt;
use std::io;

use crate::error::{Error, ErrorKind, Result};
use crate::model::units::format_size;
use crate::pool::PoolDir;
use crate::pool::record::VolumeRecord;
use crate::sys::DeviceNumber;
use crate::template::superblock::{FileSystem, Impact};
use crate::volume::{growth, mountable};

const MOUNT: &str = "mount the file system of volume";

/// Reads the superblock on `device`, and refuses a file system that calf does not mount.
pub(crate) fn check(
    pool: &PoolDir,
    record: &VolumeRecord,
    device: DeviceNumber,
) -> Result<FileSystem> {
    let refused = |kind, why: String| Error::new(kind, MOUNT, &record.id, why);
    let expected = record.fs_type.as_deref().unwrap_or_default();
    let found =
        growth::on_device(pool, device)?.filter(|found| is_xfs(found.fs_type) == is_xfs(expected));
    let Some(found) = found else {
        let why = format!("its device does not contain {expected}, unlike its template");
        return Err(refused(ErrorKind::Corrupt, why).remedy(
            "a user of the block device has overwritten it: use the volume as a block device, or delete it",
        ));
    };
    if found.size > record.size {
        let (needs, has) = (format_size(found.size), format_size(record.size));
        let why = format!("its {} needs {needs}, but the volume has only {has}", found.fs_type);
        return Err(refused(ErrorKind::Corrupt, why).remedy(
            "if the template's image was cut short, import the whole image and make new volumes",
        ));
    }
    mountable::check(&found, &format!("volume {}", record.id))?;
    Ok(found)
}

/// Adds the likely reason to the error of a mount that the kernel refused.
pub(crate) fn explain_mount(
    record: &VolumeRecord,
    found: &FileSystem,
    read_only: bool,
    error: Error,
) -> Error {
    if read_only && is_about_writing(&error) {
        let why = format!(
            "its {} was not unmounted cleanly, and a reader's device refuses the writes that replay the \
             journal",
            found.fs_type
        );
        return explained(MOUNT, record, why, error).remedy(
            "stage it once with an access mode that writes, or repair the image (`fsck`) and import it \
             again",
        );
    }
    // Other kinds, such as refused mount options or a busy device, already say why.
    if error.kind() != ErrorKind::Internal {
        return error;
    }
    let kernels = |impact| matches!(impact, Impact::KernelDependent | Impact::NeedsKernel(..));
    explain(MOUNT, record, found, kernels, error)
}

/// Adds the likely reason to the error of growing a file system.
pub(crate) fn explain_growth(
    pool: &PoolDir,
    record: &VolumeRecord,
    device: DeviceNumber,
    error: Error,
) -> Error {
    if !matches!(error.kind(), ErrorKind::Internal | ErrorKind::Unsupported | ErrorKind::Permission)
    {
        return error;
    }
    // An error of this reading would hide the one that matters.
    let Ok(Some(found)) = growth::on_device(pool, device) else { return error };
    explain(growth::GROW, record, &found, |impact| impact == Impact::NotGrowable, error)
}

/// Whether the kernel failed because it may not write.
fn is_about_writing(error: &Error) -> bool {
    let kind = error.raw_os_error().map(|code| io::Error::from_raw_os_error(code).kind());
    kind == Some(io::ErrorKind::ReadOnlyFilesystem)
}

fn is_xfs(fs_type: &str) -> bool {
    fs_type == "xfs"
}

fn explain(
    operation: &'static str,
    record: &VolumeRecord,
    found: &FileSystem,
    impact: impl Fn(Impact) -> bool,
    error: Error,
) -> Error {
    let findings: Vec<_> = found.findings_with(impact).collect();
    if findings.is_empty() {
        return error;
    }
    let join = |words: Vec<String>| words.join("; ");
    let why = findings.iter().map(|finding| format!("its {} {finding}", found.fs_type)).collect();
    let remedies = findings.iter().map(|finding| finding.remedy.to_owned()).collect();
    explained(operation, record, join(why), error).remedy(join(remedies))
}

/// The kernel's error, with the reason in front of it.
fn explained(operation: &'static str, record: &VolumeRecord, why: String, error: Error) -> Error {
    Error::new(ErrorKind::Unsupported, operation, &record.id, Explained { why, error })
}

#[derive(Debug)]
struct Explained {
    why: String,
    error: Error,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Explained {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
