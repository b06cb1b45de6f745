//! The properties of a new volume, and `calf volume create`.

use std::time::Duration;

use calf::units::format_size;
use calf::{Durability, NodeOwner, Reserve, Result, VolumeSource, VolumeSpec};
use clap::{Args, ValueEnum};

use super::view::{View, start};
use crate::cli::complete;
use crate::cli::context::{Context, size};

#[derive(Args)]
pub(in crate::cli) struct CreateArgs {
    /// The volume's id: 1 to 128 bytes
    id: String,
    #[command(flatten)]
    properties: Properties,
    /// Also bring its device up, and print only the path
    #[arg(long)]
    activate: bool,
}

/// The properties of a new volume.
#[derive(Args)]
pub(super) struct Properties {
    /// The template to start from; required without --snapshot
    #[arg(
        long,
        short,
        value_name = "NAME",
        required_unless_present = "snapshot",
        add = complete::template()
    )]
    template: Option<String>,
    /// The snapshot to start from
    #[arg(long, value_name = "NAME", add = complete::snapshot())]
    snapshot: Option<String>,
    /// Unit of copying: a power of two from 4Ki to 1Mi; a snapshot determines it
    #[arg(
        long,
        value_name = "SIZE",
        value_parser = size,
        default_value = "4Ki",
        conflicts_with = "snapshot"
    )]
    chunk_size: u64,
    #[command(flatten)]
    common: Common,
}

/// The properties that a new volume has whatever it starts from.
#[derive(Args)]
pub(super) struct Common {
    /// Size of the device [default: that of what it starts from]
    #[arg(long, short, value_parser = size)]
    size: Option<u64>,
    /// Most that the volume may write [default: its whole size]
    #[arg(long, value_name = "SIZE", value_parser = size)]
    cow_limit: Option<u64>,
    /// What survives a reboot or a crash of the machine
    #[arg(long, value_enum, default_value_t = DurabilityArg::Ephemeral)]
    durability: DurabilityArg,
    /// Allocate all the space that the volume may use now: it cannot run out of space, and TRIM
    /// returns none
    #[arg(long)]
    reserve_space: bool,
    /// Delete the volume that long after its creation, such as 2h, once nothing uses it
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
    /// Leave the file system to a Kata guest: publishing tells Kata to attach the device, and this
    /// machine never mounts it
    #[arg(long)]
    kata_direct: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum DurabilityArg {
    /// Nothing: the volume starts again from its template or snapshot (fast)
    Ephemeral,
    /// Everything that was synced
    Durable,
}

impl Properties {
    pub(super) fn into_spec(self, id: String) -> VolumeSpec {
        let spec = VolumeSpec::new(id, self.template.unwrap_or_default())
            .source(self.snapshot.map(VolumeSource::Snapshot))
            .chunk_size(self.chunk_size);
        self.common.apply(spec)
    }
}

impl Common {
    /// Gives the properties to a volume.
    pub(super) fn apply(&self, spec: VolumeSpec) -> VolumeSpec {
        spec.size(self.size)
            .cow_limit(self.cow_limit)
            .durability(match self.durability {
                DurabilityArg::Ephemeral => Durability::Ephemeral,
                DurabilityArg::Durable => Durability::Durable,
            })
            .owner(NodeOwner { uid: self.uid, gid: self.gid, mode: self.mode })
            .reserve(if self.reserve_space { Reserve::Full } else { Reserve::None })
            .ttl(self.ttl)
            .kata_direct(self.kata_direct)
    }
}

pub(super) fn create(context: &Context, args: CreateArgs) -> Result<()> {
    let spec = args.properties.into_spec(args.id);
    let pool = context.existing_pool()?;
    let volume = pool.create_volume(&spec)?;
    if args.activate {
        let device = volume.activate()?;
        let view = volume.status()?;
        return context.output.result(&View::new(&pool, &view), [volume.id()], || {
            device.path().display().to_string()
        });
    }
    let volume = volume.status()?;
    context.output.done(&View::new(&pool, &volume), [&spec.id], || {
        let record = &volume.record;
        let size = format_size(record.size);
        let start = match &record.source {
            None => format!("template {}", record.template),
            source => start(source.as_ref()),
        };
        format!("created volume {} ({size}, {start})", record.id)
    })
}

/// Parses permission bits.
fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "permissions are an octal number up to 777, such as 0660".into())
}
