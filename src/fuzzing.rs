//! The functions that fuzzers call: one per parser, which takes any bytes and must return.
//!
//! The module is behind the feature `fuzzing`, for `tests/fuzz` and for the test that replays its
//! corpus. Nothing here is part of the library's interface. Each function also checks what must
//! hold for every accepted input, such as that it parses back from its own text.

#[cfg(feature = "driver")]
pub use crate::csi::fuzzing::requests;
pub use crate::pool::fuzzing::records;
pub use crate::snapshot::stream::fuzzing::snapshot_stream;
pub use crate::sys::fuzzing::{device_mapper, mount_options, mountinfo};
#[cfg(feature = "formats")]
pub use crate::template::fuzzing::{archive, compressed, container_image, partitions, qcow2};
pub use crate::template::fuzzing::{checksums, names, superblock};

/// A function to fuzz.
pub type Target = fn(&[u8]);

/// All functions, by the names of their corpora.
pub const TARGETS: &[(&str, Target)] = &[
    #[cfg(feature = "formats")]
    ("archive", archive),
    ("checksums", checksums),
    #[cfg(feature = "formats")]
    ("compressed", compressed),
    #[cfg(feature = "formats")]
    ("container_image", container_image),
    ("device_mapper", device_mapper),
    ("mount_options", mount_options),
    ("mountinfo", mountinfo),
    ("names", names),
    #[cfg(feature = "formats")]
    ("partitions", partitions),
    #[cfg(feature = "formats")]
    ("qcow2", qcow2),
    ("records", records),
    #[cfg(feature = "driver")]
    ("requests", requests),
    ("snapshot_stream", snapshot_stream),
    ("superblock", superblock),
];
