//! `calf volume fork`

use std::time::Duration;

use calf::{Consistency, Forked, Pool, Result, Volume, VolumeSource, VolumeStatus};
use clap::Args;
use serde::Serialize;

use super::create::Common;
use super::view::View;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::snapshot::{ConsistencyArg, milliseconds};

#[derive(Args)]
pub(in crate::cli) struct ForkArgs {
    /// The volume to start from
    #[arg(value_name = "VOLUME", add = complete::volume())]
    source: String,
    /// Ids of the new volumes; without them, --count says how many
    #[arg(value_name = "ID", required_unless_present = "count", conflicts_with = "count")]
    ids: Vec<String>,
    /// Make so many volumes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: Option<u32>,
    /// What their ids start with, before 1, 2, … [default: the volume's id and a hyphen]
    #[arg(long, value_name = "TEXT", requires = "count")]
    id_prefix: Option<String>,
    /// The state in which their content must be [default: file-system if a file system of the volume is
    /// mounted on this machine, else crash]
    #[arg(long, value_enum)]
    consistency: Option<ConsistencyArg>,
    #[command(flatten)]
    common: Common,
    /// Also bring their devices up, and print only the paths
    #[arg(long)]
    activate: bool,
}

impl ForkArgs {
    fn ids(&self) -> Vec<String> {
        let Some(count) = self.count else { return self.ids.clone() };
        let own = || format!("{}-", self.source);
        let prefix = self.id_prefix.clone().unwrap_or_else(own);
        (1..=count).map(|number| format!("{prefix}{number}")).collect()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ForkedView<'a> {
    volumes: Vec<View<'a>>,
    /// For how long writers of the source waited at most; null if the volumes existed.
    writers_waited_ms: Option<f64>,
}

pub(super) fn fork(context: &Context, args: ForkArgs) -> Result<()> {
    let ids = args.ids();
    let source = VolumeSource::Volume(args.source.clone());
    let common = &args.common;
    let specs: Vec<_> = ids
        .iter()
        .map(|id| common.apply(calf::VolumeSpec::from_source(id, source.clone())))
        .collect();
    let pool = context.existing_pool()?;
    let consistency = args.consistency.map(Consistency::from);
    let forked = pool.volume(&args.source)?.fork(&specs, consistency)?;
    let devices = match args.activate {
        true => activate(&forked.volumes)?,
        false => Vec::new(),
    };
    let statuses = statuses(&forked.volumes)?;
    let view = view(&pool, &statuses, forked.waited);
    if args.activate {
        return context.output.result(&view, &ids, || devices.join("\n"));
    }
    context.output.done(&view, &ids, || sentence(&args.source, &forked))
}

fn activate(volumes: &[Volume]) -> Result<Vec<String>> {
    volumes.iter().map(|volume| Ok(volume.activate()?.path().display().to_string())).collect()
}

fn statuses(volumes: &[Volume]) -> Result<Vec<VolumeStatus>> {
    volumes.iter().map(Volume::status).collect()
}

fn view<'a>(pool: &Pool, volumes: &'a [VolumeStatus], waited: Option<Duration>) -> ForkedView<'a> {
    ForkedView {
        volumes: volumes.iter().map(|volume| View::new(pool, volume)).collect(),
        writers_waited_ms: waited.map(milliseconds),
    }
}

fn sentence(source: &str, forked: &Forked) -> String {
    let made = |volume: &Volume| format!("created volume {} (volume {source})\n", volume.id());
    let mut text: String = forked.volumes.iter().map(made).collect();
    match forked.waited {
        Some(Duration::ZERO) => {}
        Some(waited) => {
            let waited = milliseconds(waited);
            text.push_str(&format!("writers of volume {source} waited {waited:.1} ms at most\n"));
        }
        None => text = format!("the volumes exist, made of volume {source}\n"),
    }
    text
}
