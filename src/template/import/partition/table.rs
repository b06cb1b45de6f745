//! Partition tables: GPT, and MBR without logical partitions.

use std::io::Cursor;

use gptman::GPTHeader;

use crate::template::import::partition::place::Place;

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) number: u32,
    /// Empty if it has none.
    pub(super) label: String,
    pub(super) kind: Kind,
    pub(super) place: Place,
}

/// What a partition is for, as its table says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A root file system, of whatever architecture.
    Root,
    /// A file system of Linux.
    Linux,
    /// Anything else.
    Other,
}

impl Kind {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Root => "Linux root",
            Self::Linux => "Linux",
            Self::Other => "not for a root file system",
        }
    }
}

/// The partitions that may hold the root file system: those whose type says so, or else those that are of
/// Linux.
pub(super) fn roots(entries: &[Entry]) -> Vec<&Entry> {
    let of = |kind| entries.iter().filter(|entry| entry.kind == kind).collect::<Vec<_>>();
    let roots = of(Kind::Root);
    if roots.is_empty() { of(Kind::Linux) } else { roots }
}

/// The partitions of a disk that begins so, or why there are none.
pub(super) fn entries(head: &[u8]) -> Result<Vec<Entry>, String> {
    for sector in [512, 4096] {
        if head.get(sector..).is_some_and(|header| header.starts_with(b"EFI PART")) {
            return gpt(head, sector as u64);
        }
    }
    mbr(head)
}

/// The types of root file systems, as they are stored: of x86-64, of 64-bit ARM, of 64-bit RISC-V.
const ROOTS: [&str; 3] = [
    "e3bc684fcde8b14d96e7fbcaf984b709",
    "45b021b9f01dc341af444c6f280d3fae",
    "f13fa772f108934580a4c4b5e5eca1ee",
];
const LINUX: &str = "af3dc60f838472478e793d69d8477de4";

fn gpt(head: &[u8], sector: u64) -> Result<Vec<Entry>, String> {
    /// Most partitions of a table that is read: eight times the usual size.
    const MOST: u32 = 1024;
    let damaged = |e: gptman::Error| format!("its partition table (GPT) is damaged: {e}");
    let mut disk = Cursor::new(head);
    disk.set_position(sector);
    let header = GPTHeader::read_from(&mut disk).map_err(damaged)?;
    // The library believes these, and would take memory for them or panic.
    let end = header.partition_entry_lba.checked_mul(sector).filter(|at| *at < head.len() as u64);
    if header.size_of_partition_entry != 128
        || header.number_of_partition_entries > MOST
        || end.is_none()
    {
        return Err(
            "its partition table (GPT) has an unusual form, which calf does not read".into()
        );
    }
    let partitions = header.read_partitions(&mut disk, sector).map_err(damaged)?;
    let used = (1..).zip(partitions).filter(|(_, partition)| partition.is_used());
    used.map(|(number, partition)| {
        let place = partition.size().ok().and_then(|sectors| {
            let start = partition.starting_lba.checked_mul(sector)?;
            Some(Place { start, length: sectors.checked_mul(sector)? })
        });
        let place = place.ok_or_else(|| format!("its partition {number} ends before it begins"))?;
        let kind = match hex::encode(partition.partition_type_guid).as_str() {
            guid if ROOTS.contains(&guid) => Kind::Root,
            LINUX => Kind::Linux,
            _ => Kind::Other,
        };
        Ok(Entry { number, label: partition.partition_name.as_str().to_owned(), kind, place })
    })
    .collect()
}

fn mbr(head: &[u8]) -> Result<Vec<Entry>, String> {
    const ENTRIES: usize = 446;
    const LENGTH: usize = 16;
    let Some((table, [0x55, 0xAA])) =
        head.get(..512).and_then(|sector| sector.split_at_checked(510))
    else {
        return Err("it has no partition table".into());
    };
    let le32 = |entry: &[u8], at: usize| {
        u64::from(u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]))
    };
    let mut entries = Vec::new();
    for (number, entry) in (1..).zip(table[ENTRIES..].chunks_exact(LENGTH)) {
        // Other boot sectors have code here, not a boot flag.
        if !matches!(entry[0], 0 | 0x80) {
            return Err("it has no partition table".into());
        }
        let (start, length) = (le32(entry, 8) * 512, le32(entry, 12) * 512);
        let kind = match entry[4] {
            0 => continue,
            0x83 => Kind::Linux,
            // An extended partition, which holds logical ones.
            0x05 | 0x0F | 0x85 => continue,
            _ => Kind::Other,
        };
        if length > 0 {
            entries.push(Entry {
                number,
                label: String::new(),
                kind,
                place: Place { start, length },
            });
        }
    }
    if entries.is_empty() {
        return Err(
            "its partition table (MBR) has no primary partition, and calf reads no others".into()
        );
    }
    Ok(entries)
}
