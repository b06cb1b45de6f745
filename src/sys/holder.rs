//! What keeps a device or a mount busy: the types in [`Host::holders`](super::Mapper::holders).

use std::fmt;
use std::path::{Path, PathBuf};

use crate::sys::DeviceNumber;

/// What the kernel refused to let go, since it is busy.
#[derive(Clone, Copy, Debug)]
pub enum Busy<'a> {
    /// A block device.
    Device(DeviceNumber),
    /// One mount of the file system on a device, or of the device's node.
    Mount {
        /// The mount point.
        path: &'a Path,
        /// The device.
        device: DeviceNumber,
    },
}

impl Busy<'_> {
    /// The block device, or the one that is mounted.
    pub fn device(&self) -> DeviceNumber {
        match self {
            Self::Device(number) | Self::Mount { device: number, .. } => *number,
        }
    }
}

/// A holder that keeps a device or a mount busy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A block device on top, by its kernel name; for loop devices, with the visible path of the
    /// backing file.
    Device(String),
    /// A process.
    Process {
        /// The process.
        process: Process,
        /// How it uses the file system; `None` if it has the block device open.
        usage: Option<Usage>,
    },
    /// A mount.
    Mount {
        /// The mount point.
        path: PathBuf,
        /// A process in whose mount namespace it is; `None` for the reader's own.
        namespace: Option<Process>,
    },
    /// An overlay, one of whose layers is in the file system.
    Overlay {
        /// The mount point.
        path: PathBuf,
        /// The layer, by the path that was given when the overlay was mounted.
        layer: PathBuf,
        /// A process in whose mount namespace it is; `None` for the reader's own.
        namespace: Option<Process>,
    },
    /// A swap file.
    Swap(PathBuf),
    /// A file system that is mounted nowhere, as far as the reader can see.
    HiddenFileSystem,
    /// Perhaps others: the search was cut short.
    Unsearched,
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The process id, in the reader's PID namespace.
    pub pid: u32,
    /// The command name.
    pub command: String,
    /// The pod that it belongs to.
    pub pod: Option<Pod>,
}

/// A Kubernetes pod, as the name of a control group tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The pod's UID.
    pub uid: String,
    /// The id of the container.
    pub container: Option<String>,
}

/// How a process uses a file system, and where, by the path that the process sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Usage {
    /// It has this file or directory open.
    Open(PathBuf),
    /// It is in this directory.
    WorkingDirectory(PathBuf),
    /// This is its root directory.
    Root(PathBuf),
    /// It runs this program.
    Program(PathBuf),
    /// It has mapped this file into its memory.
    Mapped(PathBuf),
}

// === impl Display ===

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(name) => write!(f, "block device {name}"),
            Self::Process { process, usage: None } => write!(f, "{process}"),
            Self::Process { process, usage: Some(usage) } => write!(f, "{process}, {usage}"),
            Self::Mount { path, namespace } => {
                write!(f, "mount {}{}", path.display(), In(namespace.as_ref()))
            }
            Self::Overlay { path, layer, namespace } => write!(
                f,
                "overlay mount {}{}, whose layer {} is in it",
                path.display(),
                In(namespace.as_ref()),
                layer.display()
            ),
            Self::Swap(path) => write!(f, "swap file {}", path.display()),
            Self::HiddenFileSystem => f.write_str("its file system, whose mount calf does not see"),
            Self::Unsearched => f.write_str("perhaps others, for which calf did not search longer"),
        }
    }
}

/// The place of a mount.
struct In<'a>(Option<&'a Process>);

impl fmt::Display for In<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(process) => write!(f, " in the mount namespace of {process}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.command)?;
        match &self.pod {
            Some(pod) => write!(f, " of {pod}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pod {}", self.uid)?;
        match &self.container {
            Some(container) => write!(f, " (container {container})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(path) => write!(f, "which has {} open", path.display()),
            Self::WorkingDirectory(path) => {
                write!(f, "whose working directory is {}", path.display())
            }
            Self::Root(path) => write!(f, "whose root directory is {}", path.display()),
            Self::Program(path) => write!(f, "which runs {}", path.display()),
            Self::Mapped(path) => write!(f, "which maps {}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_holder_is_told_with_its_pod_and_its_file() {
        let pod = Pod { uid: "u-1".to_owned(), container: Some("c1".to_owned()) };
        let mut process = Process { pid: 7, command: "sh".to_owned(), pod: Some(pod) };
        let usage = Some(Usage::Open("/data/f".into()));
        assert_eq!(
            Holder::Process { process: process.clone(), usage }.to_string(),
            "process 7 (sh) of pod u-1 (container c1), which has /data/f open"
        );
        process.pod = None;
        let mount = |namespace| Holder::Mount { path: "/mnt".into(), namespace }.to_string();
        assert_eq!(mount(Some(process)), "mount /mnt in the mount namespace of process 7 (sh)");
        assert_eq!(mount(None), "mount /mnt");
    }
}
