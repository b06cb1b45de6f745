//! Values that all other modules share: names, ids, sizes, policies and states. No I/O.

pub(crate) mod access;
pub(crate) mod block_range;
pub(crate) mod cancel;
pub(crate) mod checksums;
pub(crate) mod commit;
pub(crate) mod device_id;
pub(crate) mod digest;
pub(crate) mod download;
pub(crate) mod empty;
pub(crate) mod export;
pub(crate) mod identity;
pub(crate) mod key;
pub(crate) mod limits;
pub(crate) mod mount_options;
pub(crate) mod partition;
pub(crate) mod platform;
pub(crate) mod policy;
pub(crate) mod publication;
pub(crate) mod ratio;
pub(crate) mod size_range;
pub(crate) mod snapshot;
pub(crate) mod template_name;
pub mod units;
pub(crate) mod volume;
pub(crate) mod volume_id;
