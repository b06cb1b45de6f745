//! `calf volume`

mod create;
mod find;
mod fork;
mod publish;
mod view;

use std::cmp::Reverse;
use std::path::PathBuf;

use calf::units::format_size;
use calf::{Durability, Error, ErrorKind, Pool, RecoverOptions, Recovery, Result};
use clap::{Subcommand, ValueEnum};
use create::CreateArgs;
use fork::ForkArgs;
use jiff::Timestamp;
use publish::{InlineArgs, PublishArgs, StageArgs};
use serde_json::json;

use super::complete;
use super::context::{Context, size};
use super::help;
use super::interrupt;
use super::output::{Found, Outcome, fields, table};
pub(super) use view::{View, device_path};

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a volume
    #[command(after_help = help::CREATE)]
    Create(CreateArgs),
    /// Create volumes that start from what another holds at this moment, while it may be in use
    #[command(after_help = help::FORK)]
    Fork(ForkArgs),
    /// List all volumes
    #[command(visible_alias = "ls")]
    List {
        /// Sort by id, by age (youngest first), by size, or by space used (largest first)
        #[arg(long, value_enum, value_name = "KEY", default_value_t = SortKey::Id)]
        sort: SortKey,
        /// Reverse the order
        #[arg(long, short)]
        reverse: bool,
    },
    /// Show one volume
    #[command(after_help = help::INSPECT)]
    Inspect {
        /// The volume: its id, its name in `dmsetup ls`, or a path of its device or of a file in it
        #[arg(add = complete::volume())]
        id: String,
        /// Also report how full the file system is that is mounted at this path
        #[arg(long, value_name = "PATH")]
        at: Option<PathBuf>,
    },
    /// Bring a volume's device up and print its path
    #[command(after_help = help::ACTIVATE)]
    Activate {
        /// The volume
        #[arg(add = complete::volume())]
        id: String,
    },
    /// Enlarge a volume, whether or not it is in use
    ///
    /// The device grows immediately, and its content stays. A volume never shrinks.
    #[command(visible_alias = "resize", after_help = help::EXPAND)]
    Expand {
        /// The volume
        #[arg(add = complete::volume())]
        id: String,
        /// The new size; a volume of this size or more stays as it is
        #[arg(value_parser = size)]
        size: u64,
        /// Also grow the file system that is mounted at this path; a guest must grow its own
        #[arg(long, value_name = "PATH")]
        at: Option<PathBuf>,
    },
    /// Bring back a volume that a full pool or its own limit stopped
    ///
    /// Everything that was acknowledged is there again. A volume in use stays in use; writes that failed
    /// are not repeated. A volume that works stays as it is, apart from its limit.
    #[command(after_help = help::RECOVER)]
    Recover {
        /// The volume
        #[arg(add = complete::volume())]
        id: String,
        /// A higher limit on what the volume writes
        #[arg(long, value_name = "SIZE", value_parser = size)]
        cow_limit: Option<u64>,
    },
    /// Return a volume to what one of its snapshots holds
    ///
    /// What the volume holds now is lost, unless a snapshot has it. The snapshot is one that was made of the volume, or
    /// the one that the volume started from.
    #[command(after_help = help::ROLLBACK)]
    Rollback {
        /// The volume
        #[arg(add = complete::volume())]
        id: String,
        /// The snapshot
        #[arg(long, value_name = "NAME", add = complete::snapshot())]
        snapshot: String,
    },
    /// Mount a volume's file system at a directory, and grow it to the volume's size
    #[command(after_help = help::STAGE)]
    Stage(StageArgs),
    /// Unmount a volume's file system, and take its device down
    Unstage {
        /// The volume
        #[arg(add = complete::volume())]
        id: String,
        /// The directory at which it was staged
        path: PathBuf,
    },
    /// Show a volume's device, or its file system, at a path
    #[command(after_help = help::PUBLISH)]
    Publish(PublishArgs),
    /// Create a volume and show it at a path, in one step; unpublishing deletes it
    #[command(after_help = help::PUBLISH_INLINE)]
    PublishInline(InlineArgs),
    /// Remove a volume from a path; deletes a volume of `publish-inline`, others stay active
    Unpublish {
        /// The volume
        #[arg(add = complete::volume())]
        id: String,
        /// The path at which it was published
        target: PathBuf,
    },
    /// Take a volume's device down; its content stays
    Deactivate {
        /// The volume
        #[arg(add = complete::volume())]
        id: String,
    },
    /// Delete volumes with everything that was written to them
    ///
    /// An unknown id is not an error. A volume that is open, staged or published is not deleted.
    #[command(visible_alias = "rm")]
    Delete {
        /// The volumes
        #[arg(required = true, value_name = "ID", add = complete::volume())]
        ids: Vec<String>,
        /// Refuse a volume that is active, even if no process has it open
        #[arg(long)]
        inactive: bool,
    },
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum SortKey {
    Id,
    Age,
    Size,
    Used,
}

pub(super) fn run(context: &Context, command: Command) -> Result<Outcome> {
    match command {
        Command::Create(args) => create::create(context, args),
        Command::Fork(args) => fork::fork(context, args),
        Command::List { sort, reverse } => list(context, sort, reverse),
        Command::Inspect { id, at } => inspect(context, &id, at),
        Command::Activate { id } => activate(context, &id),
        Command::Expand { id, size, at } => expand(context, &id, size, at),
        Command::Recover { id, cow_limit } => recover(context, &id, cow_limit),
        Command::Rollback { id, snapshot } => rollback(context, &id, &snapshot),
        Command::Stage(args) => publish::stage(context, args),
        Command::Unstage { id, path } => publish::unstage(context, &id, path),
        Command::Publish(args) => publish::publish(context, args),
        Command::PublishInline(args) => publish::publish_inline(context, args),
        Command::Unpublish { id, target } => publish::unpublish(context, &id, target),
        Command::Deactivate { id } => {
            context.existing_pool()?.volume(&id)?.deactivate()?;
            let result = json!({ "id": id });
            context.output.done(&result, [&id], || format!("deactivated volume {id}"))
        }
        Command::Delete { ids, inactive } => {
            let pool = context.existing_pool()?;
            context.output.each("deleted", "volume", &ids, |id| {
                let volume = pool.volume(id)?;
                // What is left of a half-deleted volume goes all the same.
                let found = match volume.status() {
                    Err(error) if error.kind() == ErrorKind::NotFound => Found::Absent,
                    _ => Found::There,
                };
                match inactive {
                    true => volume.delete_inactive()?,
                    false => volume.delete()?,
                }
                Ok(found)
            })
        }
    }?;
    Ok(Outcome::Success)
}

fn list(context: &Context, sort: SortKey, reverse: bool) -> Result<()> {
    let pool = context.existing_pool()?;
    let mut volumes = pool.volumes()?;
    match sort {
        // The pool returns them in this order.
        SortKey::Id => {}
        SortKey::Age => volumes.sort_by_key(|volume| Reverse(volume.record.created)),
        SortKey::Size => volumes.sort_by_key(|volume| Reverse(volume.record.size)),
        SortKey::Used => volumes.sort_by_key(|volume| Reverse(volume.allocated)),
    }
    if reverse {
        volumes.reverse();
    }
    let views: Vec<View> = volumes.iter().map(|volume| View::new(&pool, volume)).collect();
    warn_of_damage(&pool)?;
    let ids = volumes.iter().map(|volume| &volume.record.id);
    context.output.result(&json!({ "volumes": views }), ids, || {
        let now = Timestamp::now();
        let rows = views.iter().map(|view| view.row(now)).collect();
        table(["ID", "STATE", "DEVICE", "TEMPLATE", "SIZE", "USED", "AGE"], rows)
    })
}

/// Warns of damaged records, which a list leaves out.
pub(super) fn warn_of_damage(pool: &Pool) -> Result<()> {
    for error in pool.damage()? {
        tracing::warn!("left out: {}", error.report());
    }
    Ok(())
}

fn inspect(context: &Context, name: &str, at: Option<PathBuf>) -> Result<()> {
    let pool = context.existing_pool()?;
    let volume = find::volume(&pool, name)?;
    let (volume, file_system) = match at {
        None => (volume, None),
        Some(path) => {
            let statistics = pool.volume(&volume.record.id)?.statistics(&absolute(path)?)?;
            (statistics.volume, statistics.file_system)
        }
    };
    let view = View::new(&pool, &volume).with_file_system(file_system);
    context.output.result(&view, [&volume.record.id], || fields(&view.fields()))
}

fn expand(context: &Context, id: &str, size: u64, at: Option<PathBuf>) -> Result<()> {
    let pool = context.existing_pool()?;
    let volume = pool.volume(id)?;
    let before = volume.status()?.record.size;
    let after = volume.expand(size)?;
    if let Some(path) = at {
        volume.expand_file_system_until(&absolute(path)?, &interrupt::cancel()?)?;
    }
    context.output.done(&View::new(&pool, &after), [id], || {
        let now = after.record.size;
        match now > before {
            true => format!("expanded volume {id} to {}", format_size(now)),
            false => format!("volume {id} already has {}", format_size(now)),
        }
    })
}

fn recover(context: &Context, id: &str, cow_limit: Option<u64>) -> Result<()> {
    let pool = context.existing_pool()?;
    let options = RecoverOptions::default().cow_limit(cow_limit);
    let Recovery { volume, from, chunks, .. } = pool.volume(id)?.recover(&options)?;
    context.output.done(&View::new(&pool, &volume), [id], || match from {
        Some(state) => {
            format!("recovered volume {id}, which was {}: it has {chunks} chunks", state.as_str())
        }
        None => format!("volume {id} needs no recovery"),
    })
}

fn rollback(context: &Context, id: &str, snapshot: &str) -> Result<()> {
    let pool = context.existing_pool()?;
    let volume = pool.volume(id)?.rollback(snapshot)?;
    context.output.done(&View::new(&pool, &volume), [id], || {
        let lasts = match volume.record.durability {
            Durability::Durable => "",
            Durability::Ephemeral => ", until the next reboot, since it is ephemeral",
        };
        format!("rolled back volume {id} to snapshot {snapshot}{lasts}")
    })
}

fn activate(context: &Context, id: &str) -> Result<()> {
    let device = context.existing_pool()?.volume(id)?.activate()?;
    let path = device.path().display().to_string();
    let result = json!({ "id": id, "device": path, "number": device.number().to_string() });
    context.output.result(&result, [id], || path)
}

/// An absolute path, as the engine requires.
fn absolute(path: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&path).map_err(|e| Error::io("find", path.display(), e))
}
