//! Queries about the running Linux for `doctor`, in addition to [`Host`](crate::sys::Host): whether
//! it lets calf work at all. Nothing here changes the machine, except [`can_share_blocks`], which
//! undoes its changes.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::StatVfsMountFlags;

use crate::sys::{CopyMode, Flush, Host, UDEV_RULES_FILE};

/// The privileges of this process.
pub(crate) struct Rights {
    pub(crate) root: bool,
    /// Whether it has `CAP_SYS_ADMIN`.
    pub(crate) admin: bool,
}

pub(crate) fn rights() -> Rights {
    const CAP_SYS_ADMIN: u64 = 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let admin = effective >> CAP_SYS_ADMIN & 1 == 1;
    Rights { root: rustix::process::geteuid().is_root(), admin }
}

/// Whether the file system at `path` is mounted read-only.
pub(crate) fn is_read_only(path: &str) -> io::Result<bool> {
    Ok(rustix::fs::statvfs(path)?.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// The magic number of the file system at `path`, as in `linux/magic.h`.
pub(crate) fn file_system_magic(path: &Path) -> io::Result<u64> {
    Ok(rustix::fs::statfs(path)?.f_type as u64 & 0xFFFF_FFFF)
}

/// Permission bits and owner.
pub(crate) fn permissions(path: &Path) -> io::Result<(u32, u32)> {
    let metadata = fs::metadata(path)?;
    Ok((metadata.permissions().mode() & 0o777, metadata.uid()))
}

/// The directory itself, or its nearest existing ancestor.
pub(crate) fn nearest_directory(path: &Path) -> Option<&Path> {
    path.ancestors().find(|ancestor| ancestor.is_dir())
}

/// Whether udev runs on this machine.
pub(crate) fn has_udev() -> bool {
    Path::new("/run/udev/control").exists()
}

/// The file of calf's rules that udev reads, and its content.
pub(crate) fn udev_rules() -> Option<(PathBuf, String)> {
    const DIRECTORIES: [&str; 4] =
        ["/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"];
    DIRECTORIES.iter().find_map(|directory| {
        let path = Path::new(directory).join(UDEV_RULES_FILE);
        fs::read_to_string(&path).ok().map(|content| (path, content))
    })
}

/// Tries to clone a file in the directory, since file systems of one type differ in this. Returns
/// the reason if that fails.
pub(crate) fn can_share_blocks(host: &dyn Host, directory: &Path) -> Result<(), String> {
    let trial = Trial::new(directory);
    fs::write(&trial.from, [1; 4096]).map_err(|e| e.to_string())?;
    host.copy_file(&trial.from, &trial.to, 4096, CopyMode::Reflink, Flush::Later)
        .map_err(|e| e.root_cause())
}

/// Two temporary files, removed when dropped.
struct Trial {
    from: PathBuf,
    to: PathBuf,
}

impl Trial {
    fn new(directory: &Path) -> Self {
        let name = |suffix| directory.join(format!(".doctor-{}-{suffix}", std::process::id()));
        Self { from: name("a"), to: name("b") }
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        // At worst a page is left, and the next run with the same process id replaces it.
        let _ = fs::remove_file(&self.from);
        let _ = fs::remove_file(&self.to);
    }
}
