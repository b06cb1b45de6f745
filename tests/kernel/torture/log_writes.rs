//! Reads the log of the kernel's dm-log-writes: every write to a disk, in an order in which a
//! write cache that loses power may have kept them.
//!
//! The kernel logs a write when a flush that covers it has completed (or, with FUA, the write
//! itself). So each prefix of the log is a disk with all flushed writes, and with any prefix of the
//! last flush's writes; unflushed writes are lost. A mark is a message of the test to the kernel,
//! which is logged immediately. What a mark promises must therefore hold on every disk that is cut
//! after it.
//!
//! Format: `drivers/md/dm-log-writes.c`. Unit is the sector of the logged device, 512 bytes here.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

const MAGIC: u64 = 0x006a_7366_7773_6872;
const VERSION: u64 = 1;
const SECTOR: u64 = 512;

const DISCARD: u64 = 1 << 2;
const MARK: u64 = 1 << 3;

/// Bytes of an entry before a mark's text.
const ENTRY: usize = 32;

/// One write, or one mark.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    sector: u64,
    sectors: u64,
    flags: u64,
    /// Where its data is in the log, in bytes.
    data: u64,
    /// The text of a mark.
    pub(crate) mark: Option<String>,
}

/// The log on a device.
pub(crate) struct Log {
    device: File,
    pub(crate) entries: Vec<Entry>,
}

impl Log {
    pub(crate) fn read(device: &Path) -> Self {
        let device = File::open(device).expect("the log's device");
        let mut sector = [0; SECTOR as usize];
        device.read_exact_at(&mut sector, 0).expect("the log's first sector");
        let word = |sector: &[u8; 512], n: usize| {
            u64::from_le_bytes(sector[n * 8..][..8].try_into().expect("eight bytes"))
        };
        assert_eq!((word(&sector, 0), word(&sector, 1)), (MAGIC, VERSION), "no log of writes");
        let count = word(&sector, 2);
        assert_eq!(word(&sector, 3) & 0xffff_ffff, SECTOR, "another sector size");
        let mut entries = Vec::new();
        let mut at = SECTOR;
        for _ in 0..count {
            device.read_exact_at(&mut sector, at).expect("an entry");
            let (flags, length) = (word(&sector, 2), word(&sector, 3) as usize);
            let entry = Entry {
                sector: word(&sector, 0),
                sectors: word(&sector, 1),
                flags,
                data: at + SECTOR,
                mark: (flags & MARK != 0)
                    .then(|| String::from_utf8_lossy(&sector[ENTRY..][..length]).into_owned()),
            };
            at += SECTOR;
            if flags & DISCARD == 0 {
                at += entry.sectors * SECTOR;
            }
            entries.push(entry);
        }
        Self { device, entries }
    }

    /// Repeats entry `n` on `disk`. Ignores discards, which promise nothing.
    pub(crate) fn replay(&self, n: usize, disk: &File) {
        let entry = &self.entries[n];
        if entry.flags & (DISCARD | MARK) != 0 {
            return;
        }
        let mut data = vec![0; (entry.sectors * SECTOR) as usize];
        self.device.read_exact_at(&mut data, entry.data).expect("the data of a write");
        disk.write_all_at(&data, entry.sector * SECTOR).expect("replay a write");
    }
}
