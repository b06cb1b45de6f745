//! The bounds of what calf makes.

/// Bytes that a volume's size is a multiple of: the sector of the kernel's block layer.
pub(crate) const SECTOR: u64 = 512;

/// Largest volume, in bytes: 15 TiB. Its COW store, 0.4 % larger, still fits a file on ext4 with
/// 4 KiB blocks, which ends one block below 16 TiB: the least of the file systems for pools.
pub const MAX_SIZE: u64 = 15 << 40;

/// Most spares of one template.
pub const MAX_WARM: u32 = 256;
