//! The machine: rights, the kernel's targets, devices, udev, sysfs.

use std::fs;
use std::path::Path;

use calf::sys::{Capabilities, Host as _, LinuxHost};
use rustix::fs::StatVfsMountFlags;

use super::{Check, Verdict};
use crate::cli::udev;

/// With a `fallback`, calf works without device-mapper.
pub(super) fn checks(fallback: bool) -> Vec<Check> {
    let mut checks = vec![rights()];
    let mut device_mapper = device_mapper();
    if fallback {
        for check in device_mapper.iter_mut().filter(|check| check.verdict == Verdict::Fail) {
            check.verdict = Verdict::Warn;
        }
    }
    checks.extend(device_mapper);
    checks.push(loop_devices());
    checks.extend([sysfs(), udev_rules()]);
    checks
}

fn rights() -> Check {
    const NAME: &str = "rights";
    const CAP_SYS_ADMIN: u64 = 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .unwrap_or(0);
    let admin = effective >> CAP_SYS_ADMIN & 1 == 1;
    match (rustix::process::geteuid().is_root(), admin) {
        (true, true) => Check::ok(NAME, "root with CAP_SYS_ADMIN"),
        (true, false) => Check::fail(
            NAME,
            "root without CAP_SYS_ADMIN",
            "run the container privileged, or with CAP_SYS_ADMIN",
        ),
        (false, _) => Check::fail(NAME, "not root", "run calf as root"),
    }
}

fn device_mapper() -> Vec<Check> {
    const SNAPSHOT: &str = "run `modprobe dm-snapshot`; where the kernel has none, `--fallback \
                            reflink` or `--fallback copy` makes private copies instead";
    let Capabilities { snapshot, linear, .. } = match LinuxHost::new().capabilities() {
        Ok(capabilities) => capabilities,
        Err(e) => return vec![Check::fail("device-mapper", e.story(), e.remedies().join("; "))],
    };
    let target = |name, found: Result<(u32, u32, u32), String>, help: &str| match found {
        Ok((major, minor, patch)) => Check::ok(name, format!("version {major}.{minor}.{patch}")),
        Err(reason) => Check::fail(name, reason, help),
    };
    match (snapshot, linear) {
        // What both targets lack is below them.
        (Err(reason), Err(same)) if reason == same => vec![Check::fail(
            "device-mapper",
            reason,
            format!("in a container, mount the host's /dev; {SNAPSHOT}"),
        )],
        (snapshot, linear) => vec![
            target("dm snapshot target", snapshot, SNAPSHOT),
            target("dm linear target", linear, "run `modprobe dm-mod`"),
        ],
    }
}

fn loop_devices() -> Check {
    const NAME: &str = "loop devices";
    match LinuxHost::new().capabilities().map(|capabilities| capabilities.loop_control) {
        Ok(Ok(())) => Check::ok(NAME, "/dev/loop-control works"),
        Ok(Err(reason)) => {
            Check::fail(NAME, reason, "run `modprobe loop`; in a container, mount the host's /dev")
        }
        Err(e) => Check::fail(NAME, e.story(), e.remedies().join("; ")),
    }
}

/// The flush policy of a volume is set through sysfs.
fn sysfs() -> Check {
    const NAME: &str = "sysfs";
    match rustix::fs::statvfs("/sys") {
        Ok(stat) if stat.f_flag.contains(StatVfsMountFlags::RDONLY) => Check::fail(
            NAME,
            "/sys is mounted read-only: ephemeral volumes cannot be made fast",
            "run the container privileged, or mount the host's /sys writable",
        ),
        Ok(_) => Check::ok(NAME, "/sys is writable"),
        Err(e) => Check::fail(NAME, format!("/sys: {e}"), "mount sysfs on /sys"),
    }
}

fn udev_rules() -> Check {
    const NAME: &str = "udev";
    const DIRECTORIES: [&str; 4] =
        ["/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"];
    if !Path::new("/run/udev/control").exists() {
        return Check::ok(NAME, "no udev runs here: nothing looks into volumes");
    }
    let help = format!(
        "run `calf udev-rules >/etc/udev/rules.d/{0} && udevadm control --reload`",
        udev::FILE_NAME
    );
    let installed = DIRECTORIES.iter().find_map(|directory| {
        let path = Path::new(directory).join(udev::FILE_NAME);
        fs::read_to_string(&path).ok().map(|content| (path, content))
    });
    match installed {
        Some((path, content)) if content == udev::RULES => {
            Check::ok(NAME, format!("{} is in place", path.display()))
        }
        Some((path, _)) => {
            Check::warn(NAME, format!("{} is from a different calf version", path.display()), help)
        }
        None => Check::warn(
            NAME,
            "udev runs and has no rules for calf: it looks into what guests write",
            help,
        ),
    }
}
