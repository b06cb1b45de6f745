//! The text of device-mapper tables and of the snapshot target's status.

use crate::model::limits::SECTOR;
use crate::sys::linux::sysfs::parse_number;
use crate::sys::{DeviceNumber, SnapshotUsage, Table};

/// The target of a snapshot that is merged into its origin.
pub(super) const MERGE: &str = "snapshot-merge";

/// One line of a table in the kernel's format.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Length in sectors.
    pub(super) sectors: u64,
    /// Name of the target.
    pub(super) target: &'static str,
    /// Its parameters.
    pub(super) parameters: String,
    /// Whether the device must refuse writes.
    pub(super) read_only: bool,
}

/// The line for a table, or an error that says what is wrong with it.
pub(super) fn format(table: &Table) -> Result<Line, &'static str> {
    if table.size() == 0 || !table.size().is_multiple_of(SECTOR) {
        return Err("its size is not a positive multiple of 512 bytes");
    }
    let sectors = table.size() / SECTOR;
    match table {
        Table::Snapshot { origin, cow, chunk_size, discard, .. } => {
            let chunk = sectors_of_chunk(*chunk_size)?;
            let features = if *discard { " 1 discard_zeroes_cow" } else { "" };
            let parameters = format!("{origin} {cow} PO {chunk}{features}");
            Ok(Line { sectors, target: "snapshot", parameters, read_only: false })
        }
        Table::Frozen { origin, cow, chunk_size, .. } => {
            let chunk = sectors_of_chunk(*chunk_size)?;
            let parameters = format!("{origin} {cow} PO {chunk}");
            Ok(Line { sectors, target: "snapshot", parameters, read_only: true })
        }
        Table::Merge { origin, cow, chunk_size, .. } => {
            let chunk = sectors_of_chunk(*chunk_size)?;
            let parameters = format!("{origin} {cow} PO {chunk}");
            Ok(Line { sectors, target: MERGE, parameters, read_only: false })
        }
        Table::ReadOnly { device, .. } => {
            let parameters = format!("{device} 0");
            Ok(Line { sectors, target: "linear", parameters, read_only: true })
        }
    }
}

fn sectors_of_chunk(chunk_size: u64) -> Result<u64, &'static str> {
    if !chunk_size.is_power_of_two() || chunk_size < SECTOR {
        return Err("its chunk size is not a power of two of 512 bytes or more");
    }
    Ok(chunk_size / SECTOR)
}

/// The table that the single line of a live table describes; `None` if calf makes no such table.
pub(super) fn parse(
    sectors: u64,
    target: &str,
    parameters: &str,
    read_only: bool,
) -> Option<Table> {
    let size = sectors.checked_mul(SECTOR)?;
    let mut words = parameters.split_ascii_whitespace();
    let mut device = || words.next().and_then(parse_number);
    match target {
        "snapshot" | MERGE => {
            let (origin, cow) = (device()?, device()?);
            // Only a persistent store (`P`, `PO` with overflow) keeps the content in the COW file.
            if !words.next()?.starts_with('P') {
                return None;
            }
            let chunk_size = words.next()?.parse::<u64>().ok()?.checked_mul(SECTOR)?;
            if target == MERGE {
                return (!read_only).then_some(Table::Merge { origin, cow, size, chunk_size });
            }
            if read_only {
                return Some(Table::Frozen { origin, cow, size, chunk_size });
            }
            let discard = words.any(|word| word == "discard_zeroes_cow");
            Some(Table::Snapshot { origin, cow, size, chunk_size, discard })
        }
        "linear" if read_only => {
            let device: DeviceNumber = device()?;
            (words.next()? == "0").then_some(Table::ReadOnly { device, size })
        }
        _ => None,
    }
}

/// The usage that the status of a snapshot target describes; `None` if it cannot be parsed.
pub(super) fn parse_usage(status: &str) -> Option<SnapshotUsage> {
    match status.trim() {
        "Invalid" | "Merge failed" => return Some(SnapshotUsage::Invalid),
        "Overflow" => return Some(SnapshotUsage::Overflow),
        _ => {}
    }
    let (used, rest) = status.split_once('/')?;
    let (total, metadata) = rest.split_once(' ')?;
    let bytes = |sectors: &str| sectors.trim().parse::<u64>().ok()?.checked_mul(SECTOR);
    Some(SnapshotUsage::Valid {
        used: bytes(used)?,
        total: bytes(total)?,
        metadata: bytes(metadata)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: DeviceNumber = DeviceNumber { major: 7, minor: 0 };
    const COW: DeviceNumber = DeviceNumber { major: 7, minor: 300 };

    fn snapshot() -> Table {
        let size = 1 << 20;
        Table::Snapshot { origin: ORIGIN, cow: COW, size, chunk_size: 4096, discard: true }
    }

    fn reserved() -> Table {
        let size = 1 << 20;
        Table::Snapshot { origin: ORIGIN, cow: COW, size, chunk_size: 4096, discard: false }
    }

    fn frozen() -> Table {
        Table::Frozen { origin: ORIGIN, cow: COW, size: 1 << 20, chunk_size: 4096 }
    }

    #[test]
    fn a_reserved_store_takes_no_discards() {
        assert_eq!(format(&reserved()).unwrap().parameters, "7:0 7:300 PO 8");
    }

    #[test]
    fn tables_format_as_the_kernel_takes_them() {
        assert_eq!(
            format(&snapshot()).unwrap(),
            Line {
                sectors: 2048,
                target: "snapshot",
                parameters: "7:0 7:300 PO 8 1 discard_zeroes_cow".to_owned(),
                read_only: false,
            }
        );
        assert_eq!(
            format(&frozen()).unwrap(),
            Line {
                sectors: 2048,
                target: "snapshot",
                parameters: "7:0 7:300 PO 8".to_owned(),
                read_only: true,
            }
        );
        assert_eq!(
            format(&Table::ReadOnly { device: COW, size: 512 }).unwrap(),
            Line {
                sectors: 1,
                target: "linear",
                parameters: "7:300 0".to_owned(),
                read_only: true,
            }
        );
    }

    #[test]
    fn impossible_tables_are_refused() {
        for table in [
            Table::ReadOnly { device: COW, size: 0 },
            Table::ReadOnly { device: COW, size: 1000 },
            Table::Snapshot {
                origin: ORIGIN,
                cow: COW,
                size: 512,
                chunk_size: 1000,
                discard: true,
            },
            Table::Snapshot { origin: ORIGIN, cow: COW, size: 512, chunk_size: 256, discard: true },
            Table::Frozen { origin: ORIGIN, cow: COW, size: 512, chunk_size: 256 },
        ] {
            assert!(format(&table).is_err(), "{table:?}");
        }
    }

    #[test]
    fn tables_parse_back() {
        let merge = Table::Merge { origin: ORIGIN, cow: COW, size: 1 << 20, chunk_size: 4096 };
        for table in
            [snapshot(), reserved(), frozen(), merge, Table::ReadOnly { device: COW, size: 512 }]
        {
            let line = format(&table).unwrap();
            assert_eq!(
                parse(line.sectors, line.target, &line.parameters, line.read_only),
                Some(table)
            );
        }
    }

    #[test]
    fn foreign_tables_are_no_tables_of_ours() {
        for (target, parameters, read_only) in [
            ("error", "", false),
            ("linear", "7:0 0", false),
            ("linear", "7:0 8", true),
            ("linear", "7:0", true),
            ("snapshot", "7:0 7:1 N 8", false),
            ("snapshot", "7:0 7:1 PO", false),
            ("snapshot", "7:0 7:1 PO eight", false),
            ("snapshot", "", false),
            ("snapshot-merge", "7:0 7:1 P 8", true),
            ("snapshot-merge", "7:0 7:1 N 8", false),
        ] {
            assert_eq!(parse(8, target, parameters, read_only), None, "{target} {parameters}");
        }
    }

    #[test]
    fn usage_parses() {
        let valid = |used: u64, total: u64, metadata: u64| {
            Some(SnapshotUsage::Valid {
                used: used * 512,
                total: total * 512,
                metadata: metadata * 512,
            })
        };
        for (status, usage) in [
            ("16/2048 16", valid(16, 2048, 16)),
            ("2048/2048 24 ", valid(2048, 2048, 24)),
            ("Invalid", Some(SnapshotUsage::Invalid)),
            ("Merge failed", Some(SnapshotUsage::Invalid)),
            ("Overflow", Some(SnapshotUsage::Overflow)),
            ("Unknown", None),
            ("", None),
            ("16/2048", None),
            ("a/b c", None),
        ] {
            assert_eq!(parse_usage(status), usage, "{status}");
        }
    }
}
