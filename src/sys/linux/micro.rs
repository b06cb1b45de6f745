//! Doors to this module's pure code for the micro-benchmarks, which see a crate from outside.

use crate::sys::Table;
use crate::sys::linux::{mountinfo, table};

/// Parses a mount table; returns the number of mounts.
pub fn parse_mounts(content: &[u8]) -> usize {
    mountinfo::parse(content).len()
}

/// Formats a table as the kernel takes it; returns the length of its parameters.
pub fn format_table(wanted: &Table) -> usize {
    table::format(wanted).map_or(0, |line| line.parameters.len())
}

/// Parses what a snapshot reports of its store; returns whether it is understood.
pub fn parse_usage(status: &str) -> bool {
    table::parse_usage(status).is_some()
}
