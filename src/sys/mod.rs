//! calf's interface to the machine: meaningful operations, in four traits behind one.
//!
//! [`LinuxHost`] implements [`Host`] with ioctls and system calls. A simulated kernel, which fails
//! on demand, implements it for tests of everything above. `sys` only acts: it makes no decisions,
//! retries nothing that is a matter of policy, and knows nothing of CSI. It is the only module with
//! `unsafe` code.
//!
//! Legal order of calls for one volume (which the planner in `volume::plan` follows):
//!
//! ```text
//! create_file ─ attach_loop ×2 ─ create_device ─ load_table ─ resume ─┬─ suspend ─ resume
//!                                                                     │
//! remove_file ◂── loops vanish automatically (AUTOCLEAR) ◂─ remove_device
//! ```
//!
//! Sizes are in bytes throughout; sectors exist only in `sys::linux`.

mod device;
#[cfg(feature = "fake-host")]
pub mod fake;
mod file;
mod holder;
mod host;
mod image;
mod linux;
pub mod lock;
mod mount;
#[cfg(feature = "driver")]
#[doc(hidden)]
pub mod privilege;
mod tree;
mod udev;

pub use device::{
    Device, DeviceNumber, LoopDevice, LoopHandle, LoopSpec, SnapshotGlance, SnapshotUsage, Table,
};
pub use file::{FileKind, FileStatus, Flush};
pub use holder::{Busy, Holder, Pod, Process, Usage};
pub use host::{Capabilities, CopyMode, Files, Host, Loops, Mapper, Mounts, Quiesce};
pub use image::{ImageFile, OpenMode, SparseRead};
pub use linux::LinuxHost;
#[cfg(feature = "fuzzing")]
pub(crate) use linux::fuzzing;
#[cfg(feature = "micro")]
pub(crate) use linux::micro;
pub(crate) use linux::{readiness, site};
pub use mount::{BindSpec, FileSystemUsage, MountSpec, MountedAt, Target, TargetKind};
pub use tree::{FileTree, TreeEntry, TreeKind};
pub use udev::{UDEV_RULES, UDEV_RULES_FILE};

pub use crate::cow::extents::Extent;
pub use crate::cow::header::StoreHeader;
pub use crate::cow::pieces::Piece;
pub use crate::model::device_id::{DeviceId, Role, SPARE_PREFIX, UUID_PREFIX};
