//! `calf snapshot group`

use std::time::Duration;

use calf::{
    Consistency, ErrorKind, GroupRecord, GroupSnapshotSpec, Result, SnapshotStatus, TakenGroup,
};
use clap::Subcommand;
use jiff::Timestamp;
use serde::Serialize;

use super::{ConsistencyArg, View, milliseconds};
use crate::cli::context::Context;
use crate::cli::output::{Found, age, fields, moment, table};
use crate::cli::{complete, help};

#[derive(Subcommand)]
pub(in crate::cli) enum Command {
    /// Keep what several volumes hold at one instant, while they may be in use
    #[command(after_help = help::SNAPSHOT_GROUP_CREATE)]
    Create {
        /// The group's name: 1 to 128 bytes
        name: String,
        /// The volumes
        #[arg(required = true, value_name = "VOLUME", add = complete::volume())]
        volumes: Vec<String>,
        /// The state in which their content must be [default: file-system for a volume whose file system is mounted
        /// on this machine, else crash]
        #[arg(long, value_enum)]
        consistency: Option<ConsistencyArg>,
    },
    /// List all groups
    #[command(visible_alias = "ls")]
    List,
    /// Show one group
    Inspect {
        /// The group
        name: String,
    },
    /// Delete groups with their snapshots; volumes that started from these stay as they are
    ///
    /// An unknown name is not an error.
    #[command(visible_alias = "rm")]
    Delete {
        /// The groups
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}

pub(super) fn run(context: &Context, command: Command) -> Result<()> {
    match command {
        Command::Create { name, volumes, consistency } => {
            create(context, &name, volumes, consistency)
        }
        Command::List => list(context),
        Command::Inspect { name } => inspect(context, &name),
        Command::Delete { names } => {
            let pool = context.existing_pool()?;
            context.output.each("deleted", "group", &names, |name| {
                let group = pool.group_snapshot(name)?;
                let found = match group.record() {
                    Err(error) if error.kind() == ErrorKind::NotFound => Found::Absent,
                    _ => Found::There,
                };
                group.delete()?;
                Ok(found)
            })
        }
    }
}

fn create(
    context: &Context,
    name: &str,
    volumes: Vec<String>,
    consistency: Option<ConsistencyArg>,
) -> Result<()> {
    let spec =
        GroupSnapshotSpec::new(name, volumes).consistency(consistency.map(Consistency::from));
    let pool = context.existing_pool()?;
    let taken = pool.take_group_snapshot(&spec)?;
    let view = TakenView {
        name,
        created: taken.created,
        snapshots: taken.snapshots.iter().map(|it| View::new(&pool, it)).collect(),
        writers_waited_ms: taken.waited.map(milliseconds),
    };
    context.output.done(&view, [name], || sentence(name, &taken))
}

fn sentence(name: &str, taken: &TakenGroup) -> String {
    let count = taken.snapshots.len();
    match taken.waited {
        None => format!("group {name} of {count} volumes exists"),
        Some(Duration::ZERO) => format!("created group {name} of {count} volumes"),
        Some(waited) => {
            let waited = milliseconds(waited);
            format!(
                "created group {name} of {count} volumes (writers waited {waited:.1} ms at most)"
            )
        }
    }
}

fn list(context: &Context) -> Result<()> {
    let groups = context.existing_pool()?.group_snapshots()?;
    let names = groups.iter().map(|group| &group.name);
    context.output.result(&serde_json::json!({ "groups": groups }), names, || {
        let now = Timestamp::now();
        let row = |group: &GroupRecord| {
            let volumes: Vec<&str> = group.members.iter().map(|it| it.volume.as_str()).collect();
            [group.name.clone(), volumes.join(","), age(group.created, now)]
        };
        table(["NAME", "VOLUMES", "AGE"], groups.iter().map(row).collect())
    })
}

fn inspect(context: &Context, name: &str) -> Result<()> {
    let pool = context.existing_pool()?;
    let group = pool.group_snapshot(name)?;
    let (record, snapshots) = (group.record()?, group.snapshots()?);
    let view = GroupView {
        name,
        created: record.created,
        snapshots: snapshots.iter().map(|it| View::new(&pool, it)).collect(),
    };
    context.output.result(&view, [name], || {
        let head = [("Name", record.name.clone()), ("Created", moment(record.created))];
        let row = |snapshot: &SnapshotStatus| {
            let record = &snapshot.record;
            let consistency = record.consistency.as_str().to_owned();
            [record.name.clone(), record.volume.clone(), consistency]
        };
        let rows = snapshots.iter().map(row).collect();
        format!("{}{}", fields(&head), table(["SNAPSHOT", "VOLUME", "CONSISTENCY"], rows))
    })
}

// === JSON ===

/// A group in the output for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct GroupView<'a> {
    name: &'a str,
    created: Timestamp,
    snapshots: Vec<View<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TakenView<'a> {
    name: &'a str,
    created: Timestamp,
    snapshots: Vec<View<'a>>,
    /// For how long writers of the volumes waited at most; null if the group existed.
    writers_waited_ms: Option<f64>,
}
