//! Making a volume visible: `calf volume stage`, `publish`, `publish-inline` and their reverses.

use std::path::PathBuf;

use calf::{Access, Publish, Result, Stage};
use clap::{ArgGroup, Args};
use serde_json::json;

use super::absolute;
use super::create::Properties;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::interrupt;

/// How a file system is mounted.
#[derive(Args)]
pub(super) struct MountArgs {
    /// The file system to expect; refuse a template with another one [default: any]
    #[arg(long, value_name = "TYPE")]
    fs_type: Option<String>,
    /// Mount options, such as noatime,discard; with ro, the device refuses writes too
    #[arg(long, value_name = "OPTION", value_delimiter = ',')]
    mount_option: Vec<String>,
}

#[derive(Args)]
pub(in crate::cli) struct StageArgs {
    /// The volume
    #[arg(add = complete::volume())]
    id: String,
    /// Where to mount it: an empty directory, created if it does not exist
    path: PathBuf,
    #[command(flatten)]
    mount: MountArgs,
}

#[derive(Args)]
#[command(group = ArgGroup::new("mounting").args(["fs_type", "mount_option"]).multiple(true).requires("staging"))]
pub(in crate::cli) struct PublishArgs {
    /// The volume
    #[arg(add = complete::volume())]
    id: String,
    /// Where to show it: an empty file, or with --staging an empty directory, created if it does
    /// not exist
    target: PathBuf,
    /// Refuse writes at the target
    #[arg(long)]
    read_only: bool,
    /// Refuse a volume that is already published elsewhere
    #[arg(long)]
    exclusive: bool,
    /// Show the file system that is staged at this directory, instead of the device
    ///
    /// Stages the file system there first if necessary, with the options of `calf volume stage`. A
    /// volume that a Kata guest mounts itself is not staged.
    #[arg(long, value_name = "PATH")]
    staging: Option<PathBuf>,
    #[command(flatten)]
    mount: MountArgs,
}

#[derive(Args)]
#[command(group = ArgGroup::new("mounting").args(["fs_type", "mount_option"]).multiple(true).requires("mount"))]
pub(in crate::cli) struct InlineArgs {
    /// The volume's id: 1 to 128 bytes
    id: String,
    /// Where to show it: an empty file, or with --mount an empty directory, created if it does not
    /// exist
    target: PathBuf,
    /// Mount the file system at the target, instead of showing the device
    #[arg(long)]
    mount: bool,
    /// Refuse writes at the target
    #[arg(long)]
    read_only: bool,
    #[command(flatten)]
    mounting: MountArgs,
    #[command(flatten)]
    properties: Properties,
}

impl MountArgs {
    fn into_access(self) -> Access {
        Access::Mount { fs_type: self.fs_type, options: self.mount_option }
    }
}

pub(super) fn stage(context: &Context, args: StageArgs) -> Result<()> {
    let path = absolute(args.path)?;
    let id = &args.id;
    let stage = Stage::new(path, args.mount.into_access()).cancel(interrupt::cancel()?);
    context.existing_pool()?.volume(id)?.stage(&stage)?;
    let result = json!({ "id": id, "path": stage.path });
    context.output.done(&result, [id], || format!("staged volume {id} at {}", stage.path.display()))
}

pub(super) fn unstage(context: &Context, id: &str, path: PathBuf) -> Result<()> {
    let path = absolute(path)?;
    context.existing_pool()?.volume(id)?.unstage(&path)?;
    let result = json!({ "id": id, "path": path });
    context.output.done(&result, [id], || format!("unstaged volume {id} from {}", path.display()))
}

pub(super) fn publish(context: &Context, args: PublishArgs) -> Result<()> {
    let target = absolute(args.target)?;
    let publish = match args.staging {
        // Others may write to the file system; only this target refuses writes.
        Some(staging) => {
            let stage = Stage::new(absolute(staging)?, args.mount.into_access());
            Publish::new(target, stage.cancel(interrupt::cancel()?))
        }
        None => Publish::block(target),
    };
    let publish = publish.read_only(args.read_only).exclusive(args.exclusive);
    context.existing_pool()?.volume(&args.id)?.publish(&publish)?;
    published(context, &args.id, &publish)
}

pub(super) fn publish_inline(context: &Context, args: InlineArgs) -> Result<()> {
    let target = absolute(args.target)?;
    let access = if args.mount { args.mounting.into_access() } else { Access::Block };
    let stage = Stage::new(&target, access).cancel(interrupt::cancel()?);
    let publish = Publish::new(&target, stage).read_only(args.read_only);
    let spec = args.properties.into_spec(args.id).inline(true);
    context.existing_pool()?.publish_inline(&spec, &publish)?;
    published(context, &spec.id, &publish)
}

fn published(context: &Context, id: &str, publish: &Publish) -> Result<()> {
    let target = &publish.target;
    let result = json!({ "id": id, "target": target, "readOnly": publish.read_only });
    context.output.done(&result, [id], || format!("published volume {id} at {}", target.display()))
}

pub(super) fn unpublish(context: &Context, id: &str, target: PathBuf) -> Result<()> {
    let target = absolute(target)?;
    context.existing_pool()?.volume(id)?.unpublish(&target)?;
    let result = json!({ "id": id, "target": target });
    context
        .output
        .done(&result, [id], || format!("unpublished volume {id} from {}", target.display()))
}
