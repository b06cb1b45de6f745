//! Checks of the pool: its record, file system, space and permissions.

use std::path::Path;
use std::sync::Arc;

use crate::api::doctor::{Check, Verdict};
use crate::model::units::format_size;
use crate::pool::layout::Layout;
use crate::pool::record;
use crate::pool::record::{FORMATS, PoolRecord};
use crate::pool::{Missing, PoolDir, Settings};
use crate::sys::site::{self, Site};
use crate::sys::{FileSystemUsage, Host, readiness};
use crate::volume::commitment;

pub(super) fn checks(host: &Arc<dyn Host>, path: &Path, settings: &Settings) -> Vec<Check> {
    let (shared, host) = (host, &**host);
    let pool = record_check(host, path);
    let exists = pool.verdict == Verdict::Ok;
    let mut checks = vec![pool];
    if exists {
        checks.push(permissions(path));
    }
    // A pool that does not exist yet will be on the file system of its nearest existing ancestor.
    if let Some(place) = readiness::nearest_directory(path) {
        checks.extend([file_system(place), disk(path), space(host, place, settings.reserve)]);
    }
    if exists {
        checks.extend([commitment(shared, path, settings), reflink(host, path)]);
    }
    checks
}

fn record_check(host: &dyn Host, path: &Path) -> Check {
    const NAME: &str = "pool";
    match record::read::<PoolRecord>(host, &Layout::new(path).pool_record()) {
        Ok(Some(pool)) if FORMATS.contains(&pool.format) => {
            Check::ok(NAME, format!("{} (id {})", path.display(), pool.id))
        }
        Ok(Some(pool)) => Check::fail(
            NAME,
            format!(
                "{} has format {}; this calf knows {} to {}",
                path.display(),
                pool.format,
                FORMATS.start(),
                FORMATS.end()
            ),
            "use the calf version that wrote it, or a newer one",
        ),
        Ok(None) => Check::warn(
            NAME,
            format!("there is no pool at {} yet", path.display()),
            "name a pool with --pool, or create this one with `calf pool create`",
        ),
        Err(e) => Check::fail(NAME, e.story(), e.remedies().join("; ")),
    }
}

fn permissions(path: &Path) -> Check {
    const NAME: &str = "pool permissions";
    let help = format!("run `chown root:root {0} && chmod 0700 {0}`", path.display());
    match readiness::permissions(path) {
        Ok((mode, owner)) => {
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
    const GOOD: &str = "put the pool on a file system of its own, preferably XFS with reflink";
    let kind = match readiness::file_system_magic(path) {
        Ok(kind) => kind,
        Err(e) => return Check::fail(NAME, format!("{}: {e}", path.display()), GOOD),
    };
    // Magic numbers of linux/magic.h.
    match kind {
        0x5846_5342 => Check::ok(NAME, "xfs"),
        0x9123_683E => Check::ok(NAME, "btrfs"),
        0xEF53 => Check::ok(NAME, "ext4"),
        0xF2F5_2010 => Check::ok(NAME, "f2fs"),
        0x0102_1994 => Check::warn(NAME, "tmpfs: the pool is lost at the next boot", GOOD),
        0x794C_7630 => Check::fail(
            NAME,
            "overlayfs: the pool is in a container's own layer",
            "mount a directory of the host at that path",
        ),
        0x6969 | 0xFF53_4D42 | 0xFE53_4D42 => Check::fail(
            NAME,
            "a network file system: locks and loop devices need a local file system",
            GOOD,
        ),
        other => Check::warn(NAME, format!("unknown (magic {other:#x})"), GOOD),
    }
}

/// Whose disk the pool is on, which need not exist yet.
fn disk(path: &Path) -> Check {
    const NAME: &str = "pool disk";
    match site::of(path) {
        Ok(Some(site)) => match site.risk() {
            Some((detail, help)) => Check::warn(NAME, detail, help),
            None if site == Site::Own => Check::ok(NAME, "a file system of its own"),
            None => Check::ok(NAME, "it shares a file system with other directories"),
        },
        Ok(None) => Check::ok(NAME, "unknown: no mount shows the directory"),
        Err(e) => Check::warn(NAME, e.story(), "mount /proc"),
    }
}

fn space(host: &dyn Host, path: &Path, reserve: u64) -> Check {
    const NAME: &str = "free space";
    const HELP: &str = "delete unused volumes or templates, or enlarge the file system";
    match host.file_system_usage(path) {
        Ok(FileSystemUsage { available: free, .. }) => {
            let detail = format!("{} free, reserve {}", format_size(free), format_size(reserve));
            if free > reserve { Check::ok(NAME, detail) } else { Check::fail(NAME, detail, HELP) }
        }
        Err(e) => Check::fail(NAME, e.story(), HELP),
    }
}

/// Compares what volumes may still write with what there is.
fn commitment(host: &Arc<dyn Host>, path: &Path, settings: &Settings) -> Check {
    const NAME: &str = "overcommitment";
    const HELP: &str = "delete volumes or spares, enlarge the pool's file system, or raise the bound: until \
                        then, new volumes are refused";
    let settings = Settings { missing: Missing::Refuse, ..settings.clone() };
    let found = PoolDir::open(Arc::clone(host), path, settings)
        .and_then(|pool| Ok((commitment::of_pool(&pool)?, pool.capacity()?, pool)));
    let (sum, capacity, pool) = match found {
        Ok(found) => found,
        Err(e) => return Check::fail(NAME, e.story(), e.remedies().join("; ")),
    };
    let (space, memory) = (format_size(sum.space), format_size(sum.kernel_memory));
    let free = format_size(capacity.available);
    let ratio = pool.overcommit_ratio();
    let bound = ratio.map_or("no ratio is set".to_owned(), |ratio| format!("ratio {ratio}"));
    let most = pool.max_kernel_memory();
    let memory_bound = most.map_or(String::new(), |most| format!(" of {}", format_size(most)));
    let detail = format!(
        "volumes may still write {space}, {free} is free beyond the reserve ({bound}); they may take \
         {memory}{memory_bound} of kernel memory"
    );
    let exceeded = ratio.is_some_and(|ratio| sum.space > ratio.allowed(capacity.available))
        || most.is_some_and(|most| sum.kernel_memory > most);
    if exceeded { Check::warn(NAME, detail, HELP) } else { Check::ok(NAME, detail) }
}

fn reflink(host: &dyn Host, path: &Path) -> Check {
    const NAME: &str = "reflink";
    match readiness::can_share_blocks(host, path) {
        Ok(()) => Check::ok(NAME, "files can share blocks"),
        Err(reason) => Check::warn(
            NAME,
            format!("files cannot share blocks: imports copy ({reason})"),
            "put the pool on XFS (mkfs.xfs -m reflink=1) or Btrfs",
        ),
    }
}
