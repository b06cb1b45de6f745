//! `calf snapshot`

mod blocks;
mod group;
mod transfer;

use std::cmp::Reverse;
use std::time::Duration;

use calf::units::format_size;
use calf::{
    Consistency, ErrorKind, Pool, Result, SnapshotIdentity, SnapshotSpec, SnapshotStatus, Taken,
};
use clap::{Subcommand, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

use super::complete;
use super::context::Context;
use super::help;
use super::output::{Found, Outcome, age, fields, moment, table};
use super::volume::{device_path, warn_of_damage};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Keep what a volume holds at this moment, while it may be in use
    #[command(after_help = help::SNAPSHOT_CREATE)]
    Create {
        /// The volume
        #[arg(add = complete::volume())]
        volume: String,
        /// The snapshot's name: 1 to 128 bytes [default: the volume's id and the time]
        name: Option<String>,
        /// The state in which its content must be [default: file-system if a file system of the volume is
        /// mounted on this machine, else crash]
        #[arg(long, value_enum)]
        consistency: Option<ConsistencyArg>,
    },
    /// List all snapshots
    #[command(visible_alias = "ls")]
    List {
        /// Sort by name, by age (youngest first), by size, or by space used (largest first)
        #[arg(long, value_enum, value_name = "KEY", default_value_t = SortKey::Name)]
        sort: SortKey,
        /// Reverse the order
        #[arg(long, short)]
        reverse: bool,
    },
    /// Show one snapshot
    Inspect {
        /// The snapshot
        #[arg(add = complete::snapshot())]
        name: String,
    },
    /// Bring up a read-only device that shows what a snapshot holds, and print its path
    #[command(after_help = help::SNAPSHOT_ACTIVATE)]
    Activate {
        /// The snapshot
        #[arg(add = complete::snapshot())]
        name: String,
    },
    /// Take a snapshot's device down
    Deactivate {
        /// The snapshot
        #[arg(add = complete::snapshot())]
        name: String,
    },
    /// List the ranges in which a snapshot may differ from an earlier one of the same volume
    #[command(after_help = help::SNAPSHOT_DIFF)]
    Diff(blocks::Diff),
    /// List the ranges of a snapshot that hold something
    #[command(after_help = help::SNAPSHOT_ALLOCATED)]
    Allocated(blocks::Allocated),
    /// Write a snapshot to a file or stream, from which another pool makes the same
    #[command(after_help = help::SNAPSHOT_EXPORT)]
    Export(transfer::Export),
    /// Make a snapshot of what `calf snapshot export` wrote
    #[command(after_help = help::SNAPSHOT_IMPORT)]
    Import(transfer::Import),
    /// Snapshots of several volumes as of one instant
    #[command(subcommand)]
    Group(group::Command),
    /// Delete snapshots; volumes that started from them stay as they are
    ///
    /// An unknown name is not an error. A snapshot whose device is open is not deleted.
    #[command(visible_alias = "rm")]
    Delete {
        /// The snapshots
        #[arg(required = true, value_name = "NAME", add = complete::snapshot())]
        names: Vec<String>,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum ConsistencyArg {
    /// As after a loss of power: what was synced is there
    Crash,
    /// As after the file system, which is mounted on this machine, was frozen
    FileSystem,
}

impl From<ConsistencyArg> for Consistency {
    fn from(wanted: ConsistencyArg) -> Self {
        match wanted {
            ConsistencyArg::Crash => Self::Crash,
            ConsistencyArg::FileSystem => Self::FileSystem,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum SortKey {
    Name,
    Age,
    Size,
    Used,
}

pub(super) fn run(context: &Context, command: Command) -> Result<Outcome> {
    match command {
        Command::Create { volume, name, consistency } => {
            create(context, &volume, name, consistency)
        }
        Command::List { sort, reverse } => list(context, sort, reverse),
        Command::Inspect { name } => inspect(context, &name),
        Command::Activate { name } => activate(context, &name),
        Command::Deactivate { name } => {
            context.existing_pool()?.snapshot(&name)?.deactivate()?;
            let result = json!({ "name": name });
            context.output.done(&result, [&name], || format!("deactivated snapshot {name}"))
        }
        Command::Diff(arguments) => blocks::diff(context, &arguments),
        Command::Allocated(arguments) => blocks::allocated(context, &arguments),
        Command::Export(arguments) => transfer::export(context, &arguments),
        Command::Import(arguments) => transfer::import(context, &arguments),
        Command::Group(command) => group::run(context, command),
        Command::Delete { names } => {
            let pool = context.existing_pool()?;
            context.output.each("deleted", "snapshot", &names, |name| {
                let snapshot = pool.snapshot(name)?;
                let found = match snapshot.status() {
                    Err(error) if error.kind() == ErrorKind::NotFound => Found::Absent,
                    _ => Found::There,
                };
                snapshot.delete()?;
                Ok(found)
            })
        }
    }?;
    Ok(Outcome::Success)
}

fn create(
    context: &Context,
    volume: &str,
    name: Option<String>,
    consistency: Option<ConsistencyArg>,
) -> Result<()> {
    let name = name
        .unwrap_or_else(|| format!("{volume}-{}", Timestamp::now().strftime("%Y%m%dT%H%M%S%3fZ")));
    let spec = SnapshotSpec::new(name).consistency(consistency.map(Consistency::from));
    let pool = context.existing_pool()?;
    let taken = pool.volume(volume)?.take_snapshot(&spec)?;
    let view = TakenView {
        snapshot: View::new(&pool, &taken.snapshot),
        writers_waited_ms: taken.waited.map(milliseconds),
        copied: taken.copied,
    };
    context.output.done(&view, [&spec.name], || sentence(&spec.name, volume, &taken))
}

fn sentence(name: &str, volume: &str, taken: &Taken) -> String {
    let held = format_size(taken.snapshot.allocated);
    match taken.waited {
        None => format!("snapshot {name} of volume {volume} exists ({held})"),
        Some(_) if taken.copied => format!(
            "created snapshot {name} of volume {volume} ({held}, copied: files of this pool cannot share \
             blocks)"
        ),
        Some(Duration::ZERO) => format!("created snapshot {name} of volume {volume} ({held})"),
        Some(waited) => {
            let waited = milliseconds(waited);
            format!(
                "created snapshot {name} of volume {volume} ({held}; writers waited {waited:.1} ms at most)"
            )
        }
    }
}

pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn list(context: &Context, sort: SortKey, reverse: bool) -> Result<()> {
    let pool = context.existing_pool()?;
    let mut snapshots = pool.snapshots()?;
    match sort {
        // The pool returns them in this order.
        SortKey::Name => {}
        SortKey::Age => snapshots.sort_by_key(|snapshot| Reverse(snapshot.record.created)),
        SortKey::Size => snapshots.sort_by_key(|snapshot| Reverse(snapshot.record.size)),
        SortKey::Used => snapshots.sort_by_key(|snapshot| Reverse(snapshot.allocated)),
    }
    if reverse {
        snapshots.reverse();
    }
    warn_of_damage(&pool)?;
    let views: Vec<View> = snapshots.iter().map(|it| View::new(&pool, it)).collect();
    let names = snapshots.iter().map(|snapshot| &snapshot.record.name);
    context.output.result(&json!({ "snapshots": views }), names, || {
        let now = Timestamp::now();
        let rows = snapshots.iter().map(|snapshot| {
            let record = &snapshot.record;
            [
                record.name.clone(),
                record.volume.clone(),
                record.template.clone(),
                format_size(record.size),
                format_size(snapshot.allocated),
                age(record.created, now),
            ]
        });
        table(["NAME", "VOLUME", "TEMPLATE", "SIZE", "USED", "AGE"], rows.collect())
    })
}

fn activate(context: &Context, name: &str) -> Result<()> {
    let device = context.existing_pool()?.snapshot(name)?.activate()?;
    let path = device.path().display().to_string();
    let result = json!({ "name": name, "device": path, "number": device.number().to_string() });
    context.output.result(&result, [name], || path)
}

fn inspect(context: &Context, name: &str) -> Result<()> {
    let pool = context.existing_pool()?;
    let snapshot = pool.snapshot(name)?.status()?;
    let record = &snapshot.record;
    let view = View::new(&pool, &snapshot);
    context.output.result(&view, [name], || {
        fields(&[
            ("Name", record.name.clone()),
            ("Volume", record.volume.clone()),
            ("Device", view.device.clone().unwrap_or_else(|| "-".into())),
            ("Size", format!("{} ({} bytes)", format_size(record.size), record.size)),
            ("Template", format!("{} ({})", record.template, record.digest.qualified())),
            ("File system", record.fs_type.clone().unwrap_or_else(|| "-".into())),
            ("Consistency", record.consistency.as_str().to_owned()),
            ("Chunk size", format_size(record.chunk_size)),
            ("Chunks written", record.chunks.to_string()),
            ("Allocated", format_size(snapshot.allocated)),
            ("Created", moment(record.created)),
            ("Imported", record.imported.as_ref().map_or("-".into(), |it| moment(it.time))),
            ("Identity", snapshot.identity.to_string()),
            ("Group", record.group.as_ref().map_or("-", |group| &group.name).to_owned()),
        ])
    })
}

// === JSON ===

/// A snapshot in the output for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    name: &'a str,
    volume: &'a str,
    /// Path of the block device while active.
    device: Option<String>,
    template: &'a str,
    digest: String,
    size: u64,
    template_size: u64,
    fs_type: Option<&'a str>,
    consistency: Consistency,
    chunk_size: u64,
    /// Number of chunks that were written.
    chunks: u64,
    /// Bytes that it occupies in the pool, shared ones included.
    allocated: u64,
    created: Timestamp,
    /// Name of the group that it is part of.
    group: Option<&'a str>,
    /// When it came from another pool.
    imported: Option<Timestamp>,
    /// What identifies it in every pool.
    identity: &'a SnapshotIdentity,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TakenView<'a> {
    #[serde(flatten)]
    snapshot: View<'a>,
    /// For how long writers of the volume waited at most; null if the snapshot existed.
    writers_waited_ms: Option<f64>,
    /// Whether data was copied, since files of the pool cannot share blocks.
    copied: bool,
}

impl<'a> View<'a> {
    fn new(pool: &Pool, snapshot: &'a SnapshotStatus) -> Self {
        let record = &snapshot.record;
        Self {
            name: &record.name,
            volume: &record.volume,
            // A device that went down in the meantime no longer has a node.
            device: snapshot.device.and_then(|number| device_path(pool, number).ok()),
            template: &record.template,
            digest: record.digest.qualified(),
            size: record.size,
            template_size: record.template_size,
            fs_type: record.fs_type.as_deref(),
            consistency: record.consistency,
            chunk_size: record.chunk_size,
            chunks: record.chunks,
            allocated: snapshot.allocated,
            created: record.created,
            group: record.group.as_ref().map(|group| &*group.name),
            imported: record.imported.as_ref().map(|import| import.time),
            identity: &snapshot.identity,
        }
    }
}
