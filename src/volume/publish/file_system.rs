//! The file system on a volume, looked at before the host mounts it.
//!
//! Its superblock is whatever the template held, and whatever a tenant wrote since who had the volume
//! as a block device. The kernel would follow it to other devices, and let it decide how the host takes
//! an error; what it may demand is looked up here, on the device, each time before it is mounted. What
//! else is wrong with the file system is for the kernel to find.

use std::fmt;
use std::io;

use crate::error::{Error, ErrorKind, Result};
use crate::model::units::format_size;
use crate::pool::PoolDir;
use crate::pool::record::VolumeRecord;
use crate::sys::DeviceNumber;
use crate::template::superblock::{self, Bars, FileSystem, MOUNTABLE_PREFIX};

const MOUNT: &str = "mount the file system of volume";
const GROW: &str = "grow the file system of volume";

/// What the superblock on `device` says. Refuses a file system that calf does not mount.
pub(crate) fn check(
    pool: &PoolDir,
    record: &VolumeRecord,
    device: DeviceNumber,
) -> Result<FileSystem> {
    let refused = |kind, why: String| Error::new(kind, MOUNT, &record.id, why);
    let expected = record.fs_type.as_deref().unwrap_or_default();
    let found = look(pool, device)?.filter(|found| is_xfs(found.fs_type) == is_xfs(expected));
    let Some(found) = found else {
        let why = format!("its device does not hold {expected}, as its template does");
        return Err(refused(ErrorKind::Corrupt, why).remedy(
            "who had it as a block device wrote something else: use it as one, or delete the volume",
        ));
    };
    if found.size > record.size {
        let (needs, has) = (format_size(found.size), format_size(record.size));
        let why = format!("its {} has {needs}, and the volume only {has}", found.fs_type);
        return Err(refused(ErrorKind::Corrupt, why)
            .remedy("if its template was cut short, import the whole image and make new volumes"));
    }
    if let Some(finding) = found.barring(|bars| matches!(bars, Bars::Use | Bars::Mount)).next() {
        let why = format!("its {} {finding}", found.fs_type);
        return Err(refused(ErrorKind::Unsupported, why).remedy(finding.remedy));
    }
    Ok(found)
}

/// The error of a mount that the kernel refused, with what may be the reason.
pub(crate) fn explain_mount(
    record: &VolumeRecord,
    found: &FileSystem,
    read_only: bool,
    error: Error,
) -> Error {
    if read_only && is_about_writing(&error) {
        let why = format!(
            "its {} was not unmounted cleanly, and the device of a reader refuses to replay the journal",
            found.fs_type
        );
        return explained(ErrorKind::Unsupported, MOUNT, record, why, error).remedy(
            "stage it once with an access mode that writes, or repair the image (`fsck`) and import it \
             again",
        );
    }
    // Mount options that it refused, a busy device: the kernel has told.
    if error.kind() != ErrorKind::Internal {
        return error;
    }
    let kernels = |bars| matches!(bars, Bars::SomeKernels | Bars::KernelsBefore(..));
    explain(MOUNT, record, found, kernels, error)
}

/// The error of growing a file system, with what may be the reason.
pub(crate) fn explain_growth(
    pool: &PoolDir,
    record: &VolumeRecord,
    device: DeviceNumber,
    error: Error,
) -> Error {
    let tells = matches!(
        error.kind(),
        ErrorKind::Internal | ErrorKind::Unsupported | ErrorKind::Permission
    );
    match look(pool, device) {
        Ok(Some(found)) if tells => {
            explain(GROW, record, &found, |bars| bars == Bars::Growth, error)
        }
        _ => error,
    }
}

fn look(pool: &PoolDir, device: DeviceNumber) -> Result<Option<FileSystem>> {
    Ok(superblock::mountable(&pool.host().device_start(device, MOUNTABLE_PREFIX)?))
}

/// Whether the kernel would have had to write where it may not.
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
    bars: impl Fn(Bars) -> bool,
    error: Error,
) -> Error {
    let findings: Vec<_> = found.barring(bars).collect();
    if findings.is_empty() {
        return error;
    }
    let join = |words: Vec<String>| words.join("; ");
    let why = findings.iter().map(|finding| format!("its {} {finding}", found.fs_type)).collect();
    let remedies = findings.iter().map(|finding| finding.remedy.to_owned()).collect();
    explained(ErrorKind::Unsupported, operation, record, join(why), error).remedy(join(remedies))
}

/// An error whose cause is known better than the kernel tells it.
fn explained(
    kind: ErrorKind,
    operation: &'static str,
    record: &VolumeRecord,
    why: String,
    error: Error,
) -> Error {
    Error::new(kind, operation, &record.id, Explained { why, error })
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
