//! Finds what a test left behind in the kernel.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

/// An autoclear loop device is detached shortly after its last user has gone.
const SETTLE: Duration = Duration::from_secs(2);

/// Every device-mapper device, attached loop device and mount, one line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelObjects(BTreeSet<String>);

impl KernelObjects {
    pub fn take() -> Self {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir("/sys/block").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let read = |file: &str| {
                fs::read_to_string(entry.path().join(file)).map(|text| text.trim().to_owned())
            };
            if let Ok(dm) = read("dm/name") {
                found.insert(format!("device-mapper device {dm} ({name})"));
            }
            if let Ok(file) = read("loop/backing_file") {
                found.insert(format!("loop device {name} on {file}"));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        found.extend(mounts.lines().filter_map(mount));
        Self(found)
    }

    /// The items that did not exist `before`.
    pub fn beyond(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

/// The items that are left beyond `before`, after some time to settle.
pub fn left_beyond(before: &KernelObjects) -> Vec<String> {
    let deadline = Instant::now() + SETTLE;
    loop {
        let left = KernelObjects::take().beyond(before);
        if left.is_empty() || Instant::now() > deadline {
            return left;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// A description of a line of mountinfo. The mount id distinguishes stacked mounts.
fn mount(line: &str) -> Option<String> {
    let fields: Vec<&str> = line.split(' ').collect();
    let separator = fields.iter().position(|field| *field == "-")?;
    let (id, target) = (fields.first()?, fields.get(4)?);
    let (kind, source) = (fields.get(separator + 1)?, fields.get(separator + 2)?);
    Some(format!("mount of {source} ({kind}) on {target} [{id}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_told_in_words() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount(line).unwrap(), "mount of /dev/root (ext3) on /mnt2 [36]");
    }

    #[test]
    fn only_what_is_new_is_left() {
        let set = |lines: &[&str]| KernelObjects(lines.iter().map(|&line| line.into()).collect());
        let left = set(&["loop0", "dm-1"]).beyond(&set(&["loop0", "loop1"]));
        assert_eq!(left, ["dm-1"]);
    }
}
