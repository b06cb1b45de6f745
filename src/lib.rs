//! calf gives every microVM its own copy-on-write root disk in milliseconds.
//!
//! This crate is the engine: a [`Pool`] of templates and volumes. A *template* is a named,
//! immutable disk image. A *volume* is a writable block device, a Linux dm-snapshot, that starts as
//! its template and takes up only the space of what is written to it. The CSI driver ([`csi`]) and
//! the command line use this crate; a sandbox manager can use it too.
//!
//! # Example
//!
//! ```no_run
//! use std::path::Path;
//!
//! use calf::{ImportSpec, Pool, VolumeSpec};
//!
//! # fn main() -> calf::Result<()> {
//! // The directory becomes a pool if it is missing or empty. Needs root, and a kernel with
//! // dm-snapshot.
//! let pool = Pool::open("/var/lib/calf")?;
//!
//! // Copies (or reflinks) the image once. A repeated call finds that there is nothing to do.
//! let image = ImportSpec::new(Path::new("debian.img"), "debian-12");
//! pool.import_template(&image, &mut |progress| {
//!     eprintln!("{} bytes", progress.done);
//! })?;
//!
//! // The intent is on disk when this returns; a device comes with `activate`.
//! let volume = pool.create_volume(&VolumeSpec::new("vm1", "debian-12").size(20 << 30))?;
//! let device = volume.activate()?;
//! println!("give {} to the VMM", device.path().display()); // /dev/dm-5210
//!
//! // Once the VMM has closed it: removes the device, its loop devices and its files.
//! volume.delete()?;
//! # Ok(())
//! # }
//! ```
//!
//! A later process finds the volume by its id: `pool.volume("vm1")?.activate()?.path()`. For a volume
//! that must not outlive a function, [`Volume::delete_on_drop`] returns a guard.
//!
//! # Guarantees
//!
//! - Every call may be repeated, with the same result as a single call.
//! - A process may be killed at any instant. [`Pool::reconcile`], or the next call for the volume,
//!   completes or undoes what it was doing; live volumes are not touched.
//! - Any number of processes may use one pool. A second call for one volume fails with
//!   [`ErrorKind::InProgress`] while the first call runs, or waits for it: see
//!   [`PoolOptions::wait`].
//! - All methods block. In an async program, call them on a thread of their own, see below.
//! - Errors name the operation, its subject, the cause and the remedy: see [`Error::report`]. Match
//!   on [`Error::kind`].
//!
//! # In an async program
//!
//! A handle is cheap to clone and may be sent to another thread. Dropping a future does not end the
//! call: its thread runs until the call is complete, so nothing is left half-done. A repeated call
//! waits for the first or fails with [`ErrorKind::InProgress`]. At the end of the program, wait for
//! such threads; after a kill, [`Pool::reconcile`] completes interrupted calls at the next start.
//! With Tokio:
//!
//! ```no_run
//! # #[cfg(feature = "driver")]
//! # async fn start(pool: calf::Pool) -> Result<(), Box<dyn std::error::Error>> {
//! let volume = pool.volume("vm1")?;
//! let device = tokio::task::spawn_blocking(move || volume.activate()).await??;
//! println!("{}", device.path().display());
//! # Ok(())
//! # }
//! ```
//!
//! # Testing without a kernel
//!
//! With the feature `fake-host`, `calf::sys::fake::FakeHost` replaces the kernel. It needs no
//! privileges, keeps devices in memory and files in a real directory, and can fail or crash at its
//! n-th call on request:
//!
//! ```
//! # #[cfg(feature = "fake-host")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use calf::sys::fake::FakeHost;
//! use calf::{ErrorKind, ImportSpec, PoolOptions, VolumeSpec, VolumeState};
//!
//! let directory = tempfile::tempdir()?;
//! let source = directory.path().join("debian.img");
//! std::fs::write(&source, vec![0xca; 1 << 20])?;
//!
//! let host = FakeHost::new();
//! let pool = PoolOptions::default()
//!     .host(Arc::new(host.clone()))
//!     .open(directory.path().join("pool"))?;
//! pool.import_template(&ImportSpec::new(source, "debian-12"), &mut |_| ())?;
//!
//! let volume = pool.create_volume(&VolumeSpec::new("vm1", "debian-12"))?;
//! assert_eq!(volume.status()?.state, VolumeState::Inactive);
//! let device = volume.activate()?;
//!
//! // A VMM has the device open, so the volume cannot be deleted.
//! host.open(device.number());
//! assert_eq!(volume.delete().unwrap_err().kind(), ErrorKind::InUse);
//! host.close(device.number());
//!
//! volume.delete()?;
//! assert!(host.leftovers().is_empty());
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "fake-host"))]
//! # fn main() {}
//! ```

mod api;
mod cow;
#[cfg(feature = "driver")]
pub mod csi;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod guard;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "driver")]
pub mod kubernetes;
#[cfg(feature = "driver")]
mod metrics;
#[cfg(feature = "micro")]
#[doc(hidden)]
pub mod micro;
mod model;
mod pool;
mod reconcile;
mod snapshot;
pub mod sys;
mod template;
mod volume;

// The pool.
pub use api::{Pool, PoolOptions};
pub use model::key::{Key, PoolId};
pub use model::policy::Backing;
pub use pool::losses::Losses;
pub use pool::{Capacity, Fallback};

// Admission: what fits into the pool.
pub use api::{Admission, VolumeKind};
pub use model::ratio::OvercommitRatio;
pub use model::size_range::SizeRange;
pub use volume::commitment::Commitment;

// The guard over the pool's space.
pub use guard::watermark::{GuardOptions, Watermark};
pub use guard::{Guard, Look};

// Volumes.
pub use api::{Device, Forked, TemporaryVolume, Volume};
pub use model::access::Access;
pub use model::policy::{Durability, NodeOwner, Reserve};
pub use model::publication::{Publish, Stage};
pub use model::volume::{VolumeSpec, VolumeState};
pub use pool::image_config::{ImageConfig, Run};
pub use pool::record::VolumeRecord;
pub use volume::recover::{RecoverOptions, Recovery};
pub use volume::status::{VolumeStatistics, VolumeStatus};

// Templates.
pub use api::{Template, TemplateStatus};
pub use model::checksums::digest_in_checksums;
pub use model::commit::CommitSpec;
pub use model::digest::Digest;
pub use model::download::DownloadOptions;
pub use model::empty::EmptyFileSystem;
pub use model::partition::Partition;
pub use model::platform::Platform;
pub use pool::record::TemplateRecord;
pub use reconcile::spares::SpareReport;
pub use template::import::source::reference::ImageReference;
pub use template::import::source::url::ImageUrl;
#[cfg(feature = "driver")]
pub use template::required::{RequiredTemplate, RequiredTemplates};
pub use template::spec::{ImportFormat, ImportSource, ImportSpec, Progress};

// Snapshots.
pub use api::{GroupSnapshot, Snapshot};
pub use model::block_range::BlockRange;
pub use model::export::{ExportSpec, SnapshotImportSpec};
pub use model::identity::SnapshotIdentity;
pub use model::snapshot::{Consistency, GroupSnapshotSpec, SnapshotSpec, VolumeSource};
pub use pool::groups::{GroupMember, GroupRecord};
pub use pool::snapshots::{GroupMembership, SnapshotImport, SnapshotRecord};
pub use snapshot::blocks::Blocks;
pub use snapshot::catalog::SnapshotStatus;
pub use snapshot::commit::Committed;
pub use snapshot::create::Taken;
pub use snapshot::export::Exported;
pub use snapshot::group::TakenGroup;
pub use snapshot::import::ImportedSnapshot;

// Reconciliation.
pub use reconcile::report::{ReconcileOptions, ReconcileReport, Removal, RemovalKind, Repair};

// Checks of the machine.
pub use api::{Check, Verdict};

// Shared by all of them.
pub use error::{Error, ErrorKind, Result};
pub use model::cancel::Cancel;
pub use model::limits::{MAX_SIZE, MAX_WARM};
pub use model::units;

/// Items for the command and for calf's own tests. They are not part of the interface, and change
/// without notice.
#[doc(hidden)]
pub mod internal {
    pub use crate::cow::{EXCEPTION_MEMORY, largest_volume, store_size};
    pub use crate::pool::{layout, record};
    pub use crate::template::superblock::growth_estimate;
}
