//! Processes, as `/proc` shows them. What cannot be read, such as a process that ended, is left out.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use crate::sys::Process;
use crate::sys::linux::mountinfo::{self, Entry};
use crate::sys::linux::pod;

/// A process that was there when all were listed.
pub(super) struct Listed {
    pub(super) pid: u32,
    /// Its directory below `/proc`.
    pub(super) directory: PathBuf,
}

/// All processes, this one first.
pub(super) fn all() -> Vec<Listed> {
    let own = std::process::id();
    let mut pids: Vec<u32> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable_by_key(|pid| (*pid != own, *pid));
    pids.into_iter()
        .map(|pid| Listed { pid, directory: PathBuf::from(format!("/proc/{pid}")) })
        .collect()
}

/// The first process in each mount namespace, with the mounts in it.
pub(super) fn mount_namespaces(all: &[Listed]) -> impl Iterator<Item = (&Listed, Vec<Entry>)> {
    let mut seen = HashSet::new();
    all.iter().filter_map(move |process| {
        let is_new = seen.insert(process.mount_namespace()?);
        let content = is_new.then(|| fs::read(process.directory.join("mountinfo")))?.ok()?;
        Some((process, mountinfo::parse(&content)))
    })
}

impl Listed {
    /// Whether it is this process.
    pub(super) fn is_own(&self) -> bool {
        self.pid == std::process::id()
    }

    /// The name of its mount namespace.
    pub(super) fn mount_namespace(&self) -> Option<PathBuf> {
        fs::read_link(self.directory.join("ns/mnt")).ok()
    }

    /// Who it is.
    pub(super) fn describe(&self) -> Process {
        let read = |name: &str| fs::read_to_string(self.directory.join(name)).unwrap_or_default();
        Process {
            pid: self.pid,
            command: read("comm").trim_end().to_owned(),
            pod: pod::parse(&read("cgroup")),
        }
    }
}
