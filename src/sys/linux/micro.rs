//! Access to this module's pure code for the micro-benchmarks, which use the crate from outside.

use crate::sys::Table;
use crate::sys::linux::{mountinfo, table};

/// Parses a mount table; returns the number of mounts.
pub fn parse_mounts(content: &[u8]) -> usize {
    mountinfo::parse(content).len()
}

/// Formats a table for the kernel; returns the length of its parameters.
pub fn format_table(wanted: &Table) -> usize {
    table::format(wanted).map_or(0, |line| line.parameters.len())
}

/// Parses a snapshot's report on its store; returns whether it could be parsed.
pub fn parse_usage(status: &str) -> bool {
    table::parse_usage(status).is_some()
}
