//! Checks of the machine: privileges, the kernel's targets, devices, udev, sysfs.

use crate::api::doctor::{Check, Verdict};
use crate::error::Result;
use crate::model::units::format_size;
use crate::sys::{Capabilities, Host, UDEV_RULES, UDEV_RULES_FILE, readiness};

/// With a `fallback`, calf works without device-mapper.
pub(super) fn checks(host: &dyn Host, fallback: bool) -> Vec<Check> {
    let mut checks = vec![rights()];
    let capabilities = host.capabilities();
    let mut device_mapper = device_mapper(&capabilities);
    if fallback {
        for check in device_mapper.iter_mut().filter(|check| check.verdict == Verdict::Fail) {
            check.verdict = Verdict::Warn;
        }
    }
    checks.extend(device_mapper);
    checks.extend(copy_buffer(host));
    checks.push(loop_devices(&capabilities));
    checks.extend([sysfs(), udev_rules()]);
    checks
}

fn rights() -> Check {
    const NAME: &str = "rights";
    let readiness::Rights { root, admin } = readiness::rights();
    match (root, admin) {
        (true, true) => Check::ok(NAME, "root with CAP_SYS_ADMIN"),
        (true, false) => Check::fail(
            NAME,
            "root without CAP_SYS_ADMIN",
            "run the container privileged, or with CAP_SYS_ADMIN",
        ),
        (false, _) => Check::fail(NAME, "not root", "run calf as root"),
    }
}

fn device_mapper(capabilities: &Result<Capabilities>) -> Vec<Check> {
    const SNAPSHOT: &str = "run `modprobe dm-snapshot`; if the kernel does not have it, `--fallback \
                            reflink` or `--fallback copy` makes private copies instead";
    let Capabilities { snapshot, linear, .. } = match capabilities {
        Ok(capabilities) => capabilities,
        Err(e) => return vec![Check::fail("device-mapper", e.story(), e.remedies().join("; "))],
    };
    let target = |name, found: &Result<(u32, u32, u32), String>, help: &str| match found {
        Ok((major, minor, patch)) => Check::ok(name, format!("version {major}.{minor}.{patch}")),
        Err(reason) => Check::fail(name, reason.as_str(), help),
    };
    match (snapshot, linear) {
        // If both targets are missing, device-mapper itself is.
        (Err(reason), Err(same)) if reason == same => vec![Check::fail(
            "device-mapper",
            reason.as_str(),
            format!("in a container, mount the host's /dev; {SNAPSHOT}"),
        )],
        (snapshot, linear) => vec![
            target("dm snapshot target", snapshot, SNAPSHOT),
            target("dm linear target", linear, "run `modprobe dm-mod`"),
        ],
    }
}

/// Never wrong: what else copies on this machine is not calf's to judge.
fn copy_buffer(host: &dyn Host) -> Option<Check> {
    const NAME: &str = "dm copy buffers";
    /// More is of no use to volumes with small chunks.
    const ENOUGH: u64 = 64 << 10;
    let bytes = match host.copy_buffer() {
        Ok(bytes) => bytes?,
        Err(e) => return Some(Check::warn(NAME, e.story(), e.remedies().join("; "))),
    };
    let mut detail = format!("{} of kernel memory for each volume", format_size(bytes));
    if let Some(saved) = bytes.checked_sub(ENOUGH).filter(|saved| *saved > 0) {
        detail.push_str(&format!(
            "; `calf serve --kcopyd-subjob-size 64Ki` would save {} of it, for all of this machine",
            format_size(saved)
        ));
    }
    Some(Check::ok(NAME, detail))
}

fn loop_devices(capabilities: &Result<Capabilities>) -> Check {
    const NAME: &str = "loop devices";
    match capabilities.as_ref().map(|capabilities| &capabilities.loop_control) {
        Ok(Ok(())) => Check::ok(NAME, "/dev/loop-control works"),
        Ok(Err(reason)) => Check::fail(
            NAME,
            reason.as_str(),
            "run `modprobe loop`; in a container, mount the host's /dev",
        ),
        Err(e) => Check::fail(NAME, e.story(), e.remedies().join("; ")),
    }
}

/// calf sets the flush policy of a volume through sysfs.
fn sysfs() -> Check {
    const NAME: &str = "sysfs";
    match readiness::is_read_only("/sys") {
        Ok(true) => Check::fail(
            NAME,
            "/sys is mounted read-only: ephemeral volumes cannot be made fast",
            "run the container privileged, or mount the host's /sys writable",
        ),
        Ok(false) => Check::ok(NAME, "/sys is writable"),
        Err(e) => Check::fail(NAME, format!("/sys: {e}"), "mount sysfs on /sys"),
    }
}

fn udev_rules() -> Check {
    const NAME: &str = "udev";
    if !readiness::has_udev() {
        return Check::ok(NAME, "no udev runs here, so nothing reads volumes");
    }
    let help = format!(
        "run `calf udev-rules >/etc/udev/rules.d/{UDEV_RULES_FILE} && udevadm control --reload`"
    );
    match readiness::udev_rules() {
        Some((path, content)) if content == UDEV_RULES => {
            Check::ok(NAME, format!("{} is installed", path.display()))
        }
        Some((path, _)) => {
            Check::warn(NAME, format!("{} is from a different calf version", path.display()), help)
        }
        None => {
            Check::warn(NAME, "udev runs without calf's rules: it reads what guests write", help)
        }
    }
}
