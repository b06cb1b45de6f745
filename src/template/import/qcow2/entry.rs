//! The entries of the tables that map a disk to clusters of its image.
//!
//! Pure: numbers in, places out.

use crate::template::import::qcow2::header::Header;

/// Bits of an entry that are a place in the image.
const OFFSET: u64 = 0x00FF_FFFF_FFFF_FE00;
const PACKED: u64 = 1 << 62;
/// Reads as zeros, whatever the place holds. From version 3 on.
const ZEROS: u64 = 1;
/// Parts of a cluster that have an allocation of their own, where entries are extended.
const PARTS: u32 = 32;
const SECTOR: u64 = 512;

/// An entry of the L1 table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum L1Entry {
    /// Nothing was written to all that the L2 table would map.
    Hole,
    /// Where the L2 table is.
    Table(u64),
}

/// What is in a part of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Zeros, which take up no space.
    Hole,
    /// The bytes from this one of the image on.
    Data(u64),
    /// A compressed cluster, in at most `length` bytes of the image.
    Packed { at: u64, length: u64 },
}

/// What an entry of the L1 table says, or what is wrong with it.
pub(super) fn l1(header: &Header, entry: u64) -> Result<L1Entry, &'static str> {
    match entry & OFFSET {
        0 => Ok(L1Entry::Hole),
        at if at & (header.cluster_size() - 1) == 0 => Ok(L1Entry::Table(at)),
        _ => Err("the L1 table names an L2 table that does not begin with a cluster"),
    }
}

/// What an entry of an L2 table says about the byte `within` its cluster, and for how many bytes from there;
/// or what is wrong with it. `parts` is the second half of an extended entry.
pub(super) fn l2(
    header: &Header,
    entry: u64,
    parts: Option<u64>,
    within: u64,
) -> Result<(Content, u64), &'static str> {
    let rest = header.cluster_size() - within;
    if entry & PACKED != 0 {
        return Ok((packed(header, entry), rest));
    }
    let at = entry & OFFSET;
    if at & (header.cluster_size() - 1) != 0 {
        return Err("the L2 table names data that does not begin with a cluster");
    }
    if let Some(parts) = parts {
        return part(header, at, parts, within);
    }
    if entry & ZEROS != 0 {
        if header.version < 3 {
            return Err("the L2 table has a mark that only version 3 has");
        }
        return Ok((Content::Hole, rest));
    }
    Ok(match at {
        0 => (Content::Hole, rest),
        at => (Content::Data(at + within), rest),
    })
}

/// Where a compressed cluster is: its place takes the lower bits, its length in sectors the upper ones.
fn packed(header: &Header, entry: u64) -> Content {
    let bits = 62 - (header.cluster_bits - 8);
    let at = entry & ((1 << bits) - 1);
    let sectors = ((entry & (PACKED - 1)) >> bits) + 1;
    Content::Packed { at, length: sectors * SECTOR - at % SECTOR }
}

/// The same for a cluster whose parts are allocated one by one: `parts` has a bit for each that has data,
/// and in its upper half one for each that reads as zeros.
fn part(header: &Header, at: u64, parts: u64, within: u64) -> Result<(Content, u64), &'static str> {
    let (data, zeros) = (parts as u32, (parts >> PARTS) as u32);
    if data & zeros != 0 {
        return Err(
            "the L2 table says of a part of a cluster that it has data and that it has none",
        );
    }
    if data != 0 && at == 0 {
        return Err("the L2 table does not say where the data of a cluster is");
    }
    let size = header.cluster_size() / u64::from(PARTS);
    let first = (within / size) as u32;
    let is_data = data >> first & 1 == 1;
    // As many of the same kind as there are.
    let following = if is_data { data >> first } else { !data >> first };
    let count = following.trailing_ones();
    let length = u64::from(first + count) * size - within;
    Ok(match is_data {
        true => (Content::Data(at + within), length),
        false => (Content::Hole, length),
    })
}
