//! `calf volume`

mod view;

use std::path::PathBuf;
use std::time::Duration;

use calf::units::format_size;
use calf::{
    Access, Durability, Error, NodeOwner, Pool, Publish, Reserve, Result, Stage, VolumeSpec,
};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::context::{Context, size};
use super::help;
use super::output::{Outcome, fields, table};
pub(super) use view::View;

#[derive(Subcommand)]
pub(super) enum Command {
    /// Create a volume
    #[command(after_help = help::CREATE)]
    Create(CreateArgs),
    /// List all volumes
    #[command(visible_alias = "ls")]
    List,
    /// Show one volume
    Inspect {
        /// The volume
        id: String,
    },
    /// Bring a volume's device up and print its path
    #[command(after_help = help::ACTIVATE)]
    Activate {
        /// The volume
        id: String,
    },
    /// Show a volume's device at a path, with the volume's owner and mode
    #[command(after_help = help::PUBLISH)]
    Publish {
        /// The volume
        id: String,
        /// Where the device is to appear: a file that calf makes, or an empty one
        target: PathBuf,
        /// Give a device that refuses writes
        #[arg(long)]
        read_only: bool,
    },
    /// Take a volume's device away from a path; the volume stays active
    Unpublish {
        /// The volume
        id: String,
        /// Where it was published
        target: PathBuf,
    },
    /// Take a volume's device down; the content stays
    Deactivate {
        /// The volume
        id: String,
    },
    /// Delete volumes with all that was written to them
    ///
    /// An unknown id is fine. A volume that is open, staged or published is not deleted.
    #[command(visible_alias = "rm")]
    Delete {
        /// The volumes
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
}

#[derive(Args)]
pub(super) struct CreateArgs {
    /// The volume's id: 1 to 128 bytes
    id: String,
    /// The template to start from
    #[arg(long, short, value_name = "NAME")]
    template: String,
    /// Size of the device [default: that of the template]
    #[arg(long, short, value_parser = size)]
    size: Option<u64>,
    /// Most that the volume may write [default: all of its size]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    cow_limit: Option<u64>,
    /// Unit of copying: a power of two from 4Ki to 1Mi
    #[arg(long, value_name = "SIZE", value_parser = size, default_value = "4Ki")]
    chunk_size: u64,
    /// What a reboot or crash of the machine may cost
    #[arg(long, value_enum, default_value_t = DurabilityArg::Ephemeral)]
    durability: DurabilityArg,
    /// Allocate all that the volume may write now: it cannot run out of space, and TRIM gives none
    /// back
    #[arg(long)]
    reserve_space: bool,
    /// Delete the volume that long after its creation, once nobody uses it, such as 2h
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// Owner of the published device node
    #[arg(long, default_value_t = 0)]
    uid: u32,
    /// Group of the published device node
    #[arg(long, default_value_t = 0)]
    gid: u32,
    /// Permissions of the published device node, in octal
    #[arg(long, value_parser = mode, default_value = "0600")]
    mode: u32,
}

#[derive(Clone, Copy, ValueEnum)]
enum DurabilityArg {
    /// All content: the volume starts from its template again. Fast
    Ephemeral,
    /// Nothing that was synced
    Durable,
}

pub(super) fn run(context: &Context, command: Command) -> Result<Outcome> {
    match command {
        Command::Create(args) => create(context, args),
        Command::List => list(context),
        Command::Inspect { id } => inspect(context, &id),
        Command::Activate { id } => activate(context, &id),
        Command::Publish { id, target, read_only } => publish(context, &id, target, read_only),
        Command::Unpublish { id, target } => unpublish(context, &id, target),
        Command::Deactivate { id } => {
            context.existing_pool()?.deactivate(&id)?;
            context.output.result(&json!({ "id": id }), || format!("deactivated volume {id}"))
        }
        Command::Delete { ids } => {
            let pool = context.existing_pool()?;
            context.output.each("deleted", "volume", &ids, |id| pool.delete_volume(id))
        }
    }?;
    Ok(Outcome::Success)
}

fn create(context: &Context, args: CreateArgs) -> Result<()> {
    let spec = VolumeSpec {
        id: args.id,
        template: args.template,
        size: args.size,
        cow_limit: args.cow_limit,
        chunk_size: args.chunk_size,
        durability: match args.durability {
            DurabilityArg::Ephemeral => Durability::Ephemeral,
            DurabilityArg::Durable => Durability::Durable,
        },
        owner: NodeOwner { uid: args.uid, gid: args.gid, mode: args.mode },
        reserve: if args.reserve_space { Reserve::Full } else { Reserve::None },
        ttl: args.ttl,
        inline: false,
        kata_direct: false,
    };
    let pool = context.existing_pool()?;
    let volume = pool.create_volume(&spec)?;
    context.output.result(&View::new(&pool, &volume), || {
        let record = &volume.record;
        let size = format_size(record.size);
        format!("created volume {} ({size}, template {})", record.id, record.template)
    })
}

fn list(context: &Context) -> Result<()> {
    let pool = context.existing_pool()?;
    let volumes = pool.volumes()?;
    let views: Vec<View> = volumes.iter().map(|volume| View::new(&pool, volume)).collect();
    warn_of_damage(&pool)?;
    context.output.result(&json!({ "volumes": views }), || {
        let rows = views.iter().map(View::row).collect();
        table(["ID", "STATE", "DEVICE", "TEMPLATE", "SIZE", "USED"], rows)
    })
}

/// A list leaves out what it cannot understand, and says so.
pub(super) fn warn_of_damage(pool: &Pool) -> Result<()> {
    for error in pool.damage()? {
        tracing::warn!("left out: {}", error.report());
    }
    Ok(())
}

fn inspect(context: &Context, id: &str) -> Result<()> {
    let pool = context.existing_pool()?;
    let volume = pool.volume(id)?;
    let view = View::new(&pool, &volume);
    context.output.result(&view, || fields(&view.fields()))
}

fn publish(context: &Context, id: &str, target: PathBuf, read_only: bool) -> Result<()> {
    let target = absolute(target)?;
    let stage = Stage { path: target.clone(), access: Access::Block, read_only };
    let publish = Publish { target, stage, read_only, exclusive: false };
    context.existing_pool()?.publish(id, &publish)?;
    let result = json!({ "id": id, "target": publish.target, "readOnly": read_only });
    context
        .output
        .result(&result, || format!("published volume {id} at {}", publish.target.display()))
}

fn unpublish(context: &Context, id: &str, target: PathBuf) -> Result<()> {
    let target = absolute(target)?;
    context.existing_pool()?.unpublish(id, &target)?;
    let result = json!({ "id": id, "target": target });
    context.output.result(&result, || format!("unpublished volume {id} from {}", target.display()))
}

fn absolute(target: PathBuf) -> Result<PathBuf> {
    std::path::absolute(&target).map_err(|e| Error::io("find", target.display(), e))
}

fn activate(context: &Context, id: &str) -> Result<()> {
    let pool = context.existing_pool()?;
    let number = pool.activate(id)?;
    let path = view::device_path(&pool, number)?;
    let result = json!({ "id": id, "device": path, "number": number.to_string() });
    context.output.result(&result, || path)
}

/// Parses permission bits.
fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "permissions are an octal number up to 777, such as 0660".into())
}
