//! Limits of volumes and spares.

/// Unit of a volume's size, in bytes: the sector of the kernel's block layer.
pub(crate) const SECTOR: u64 = 512;

/// Largest size of a volume, in bytes: 15 TiB. Its COW store is 0.4 % larger, and still fits a file
/// on ext4 with 4 KiB blocks. The limit of ext4, one block below 16 TiB, is the lowest among the
/// file systems for pools.
pub const MAX_SIZE: u64 = 15 << 40;

/// Maximum number of spares of one template.
pub const MAX_WARM: u32 = 256;
