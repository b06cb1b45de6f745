//! `calf snapshot diff` and `calf snapshot allocated`

use calf::units::format_size;
use calf::{BlockRange, Blocks, Result};
use clap::Args;
use serde::Serialize;

use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::output::table;

#[derive(Args)]
pub(in crate::cli) struct Diff {
    /// The earlier snapshot
    #[arg(add = complete::snapshot())]
    base: String,
    /// The later snapshot of the same volume
    #[arg(add = complete::snapshot())]
    name: String,
}

#[derive(Args)]
pub(in crate::cli) struct Allocated {
    /// The snapshot
    #[arg(add = complete::snapshot())]
    name: String,
}

/// The ranges in the output for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    snapshot: &'a str,
    /// The snapshot that it was compared with; absent if with none.
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<&'a str>,
    size: u64,
    chunk_size: u64,
    /// The sum of all lengths.
    bytes: u64,
    ranges: &'a [BlockRange],
}

pub(super) fn diff(context: &Context, Diff { base, name }: &Diff) -> Result<()> {
    let pool = context.existing_pool()?;
    let blocks = pool.snapshot(name)?.changed_since(&pool.snapshot(base)?)?;
    print(context, name, Some(base), &blocks)
}

pub(super) fn allocated(context: &Context, Allocated { name }: &Allocated) -> Result<()> {
    let blocks = context.existing_pool()?.snapshot(name)?.allocated()?;
    print(context, name, None, &blocks)
}

fn print(context: &Context, snapshot: &str, base: Option<&str>, blocks: &Blocks) -> Result<()> {
    let (size, chunk_size, bytes) = (blocks.size, blocks.chunk_size, blocks.bytes());
    let ranges = blocks.ranges();
    let view = View { snapshot, base, size, chunk_size, bytes, ranges };
    let lines = ranges.iter().map(|range| format!("{} {}", range.offset, range.length));
    context.output.result(&view, lines, || {
        let rows = ranges.iter().map(|range| [range.offset.to_string(), range.length.to_string()]);
        let count = ranges.len();
        let sum = format!("{} of {} in {count} ranges", format_size(bytes), format_size(size));
        format!("{}\n{sum}", table(["OFFSET", "LENGTH"], rows.collect()))
    })
}
