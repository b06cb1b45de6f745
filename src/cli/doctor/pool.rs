//! The pool: its record, its file system, its space, its permissions.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use calf::internal::layout::Layout;
use calf::internal::record;
use calf::internal::record::{FORMATS, PoolRecord};
use calf::sys::{CopyMode, Files as _, Flush, LinuxHost};
use calf::units::format_size;

use super::{Check, Verdict};

pub(super) fn checks(path: &Path, reserve: u64) -> Vec<Check> {
    let pool = record_check(path);
    let exists = pool.verdict == Verdict::Ok;
    let mut checks = vec![pool];
    if exists {
        checks.push(permissions(path));
    }
    // A pool that is still to be made will be on the file system of its nearest ancestor.
    if let Some(place) = path.ancestors().find(|p| p.is_dir()) {
        checks.extend([file_system(place), space(place, reserve)]);
    }
    if exists {
        checks.push(reflink(path));
    }
    checks
}

fn record_check(path: &Path) -> Check {
    const NAME: &str = "pool";
    match record::read::<PoolRecord>(&LinuxHost::new(), &Layout::new(path).pool_record()) {
        Ok(Some(pool)) if FORMATS.contains(&pool.format) => {
            Check::ok(NAME, format!("{} (id {})", path.display(), pool.id))
        }
        Ok(Some(pool)) => Check::fail(
            NAME,
            format!(
                "{} has format {}, this calf knows {} to {}",
                path.display(),
                pool.format,
                FORMATS.start(),
                FORMATS.end()
            ),
            "use the calf version that wrote it, or a newer one",
        ),
        Ok(None) => Check::warn(
            NAME,
            format!("there is none at {} yet", path.display()),
            "name one with --pool, or make this one with `calf template import`",
        ),
        Err(e) => Check::fail(NAME, e.story(), e.remedies().join("; ")),
    }
}

fn permissions(path: &Path) -> Check {
    const NAME: &str = "pool permissions";
    let help = format!("run `chown root:root {0} && chmod 0700 {0}`", path.display());
    match fs::metadata(path) {
        Ok(metadata) => {
            let mode = metadata.permissions().mode() & 0o777;
            let owner = metadata.uid();
            if mode & 0o077 == 0 && owner == 0 {
                Check::ok(NAME, format!("root only ({mode:04o})"))
            } else {
                Check::fail(
                    NAME,
                    format!("mode {mode:04o}, owner {owner}: others may read tenants' disks"),
                    help,
                )
            }
        }
        Err(e) => Check::fail(NAME, e.to_string(), help),
    }
}

fn file_system(path: &Path) -> Check {
    const NAME: &str = "pool file system";
    const GOOD: &str = "put the pool on a file system of its own, XFS with reflink at best";
    let kind = match rustix::fs::statfs(path) {
        Ok(stat) => stat.f_type,
        Err(e) => return Check::fail(NAME, format!("{}: {e}", path.display()), GOOD),
    };
    // Magic numbers of linux/magic.h.
    match kind as u64 & 0xFFFF_FFFF {
        0x5846_5342 => Check::ok(NAME, "xfs"),
        0x9123_683E => Check::ok(NAME, "btrfs"),
        0xEF53 => Check::ok(NAME, "ext4"),
        0xF2F5_2010 => Check::ok(NAME, "f2fs"),
        0x0102_1994 => Check::warn(NAME, "tmpfs: the pool is lost with the next boot", GOOD),
        0x794C_7630 => Check::fail(
            NAME,
            "overlayfs: the pool is in a container's own layer",
            "mount a directory of the host there",
        ),
        0x6969 | 0xFF53_4D42 | 0xFE53_4D42 => Check::fail(
            NAME,
            "a network file system: locks and loop devices need a local one",
            GOOD,
        ),
        other => Check::warn(NAME, format!("unknown (magic {other:#x})"), GOOD),
    }
}

fn space(path: &Path, reserve: u64) -> Check {
    const NAME: &str = "free space";
    const HELP: &str =
        "delete volumes or templates that are not needed, or enlarge the file system";
    match rustix::fs::statvfs(path) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            let detail = format!("{} free, reserve {}", format_size(free), format_size(reserve));
            if free > reserve { Check::ok(NAME, detail) } else { Check::fail(NAME, detail, HELP) }
        }
        Err(e) => Check::fail(NAME, format!("{}: {e}", path.display()), HELP),
    }
}

/// Really clones a file, since file systems of one type differ in it.
fn reflink(path: &Path) -> Check {
    const NAME: &str = "reflink";
    let trial = Trial::new(path);
    let host = LinuxHost::new();
    let outcome = fs::write(&trial.from, [1; 4096]).map_err(|e| e.to_string()).and_then(|()| {
        host.copy_file(&trial.from, &trial.to, 4096, CopyMode::Reflink, Flush::Later)
            .map_err(|e| cause(&e))
    });
    match outcome {
        Ok(()) => Check::ok(NAME, "files can share blocks"),
        Err(reason) => Check::warn(
            NAME,
            format!("files cannot share blocks: imports copy ({reason})"),
            "put the pool on XFS (mkfs.xfs -m reflink=1) or Btrfs",
        ),
    }
}

/// The innermost cause of an error: what the system said.
fn cause(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |e| e.source()).last().unwrap_or(error).to_string()
}

/// Two temporary files, removed in the end.
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
        // At worst a page is left, and the next run by the same id replaces it.
        let _ = fs::remove_file(&self.from);
        let _ = fs::remove_file(&self.to);
    }
}
