//! `calf template commit`

use calf::units::format_size;
use calf::{CommitSpec, Committed, Consistency, Result, VolumeSource};
use clap::Args;
use serde::Serialize;

use super::View;
use crate::cli::complete;
use crate::cli::context::Context;
use crate::cli::interrupt;
use crate::cli::progress::Display;
use crate::cli::snapshot::{ConsistencyArg, milliseconds};

#[derive(Args)]
pub(in crate::cli) struct CommitArgs {
    /// Make the template of this snapshot
    #[arg(long, value_name = "NAME", add = complete::snapshot())]
    snapshot: Option<String>,
    /// Make the template of what this volume holds at this moment, while it may be in use
    #[arg(long, value_name = "ID", add = complete::volume())]
    #[arg(required_unless_present = "snapshot", conflicts_with = "snapshot")]
    volume: Option<String>,
    /// The template's name: letters, digits, '.', '_' and '-'
    #[arg(long, short)]
    name: String,
    /// The state in which the volume's content must be [default: file-system if a file system of the volume
    /// is mounted on this machine, else crash]
    #[arg(long, value_enum, conflicts_with = "snapshot")]
    consistency: Option<ConsistencyArg>,
    /// Also read all of the content, and identify it by its SHA-256
    #[arg(long)]
    digest: bool,
}

impl CommitArgs {
    fn source(&self) -> VolumeSource {
        let snapshot = self.snapshot.clone().map(VolumeSource::Snapshot);
        let volume = || VolumeSource::Volume(self.volume.clone().unwrap_or_default());
        snapshot.unwrap_or_else(volume)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CommitView<'a> {
    #[serde(flatten)]
    template: View<'a>,
    /// Bytes that share blocks with what the template was made of.
    shared: u64,
    /// Bytes that were copied, since their blocks cannot be shared.
    copied: u64,
    /// For how long writers of the volume waited at most; null if it was made of a snapshot.
    writers_waited_ms: Option<f64>,
}

pub(super) fn commit(context: &Context, args: &CommitArgs) -> Result<()> {
    let spec = CommitSpec::new(args.source(), &args.name)
        .consistency(args.consistency.map(Consistency::from))
        .digest(args.digest)
        .cancel(interrupt::cancel()?);
    let pool = context.existing_pool()?;
    let mut display = Display::new(context.output);
    let committed = pool.commit_template(&spec, &mut |progress| display.update(progress))?;
    drop(display);
    let view = CommitView {
        template: View::from(&committed.template),
        shared: committed.shared,
        copied: committed.copied,
        writers_waited_ms: committed.waited.map(milliseconds),
    };
    context.output.done(&view, [&args.name], || sentence(&committed))
}

fn sentence(committed: &Committed) -> String {
    let record = &committed.template;
    let content = record.fs_type.as_deref().unwrap_or("no known file system");
    let mut text = format!(
        "committed {} as template {} ({}, {content}, {})",
        record.source,
        record.name,
        format_size(record.size),
        record.digest.qualified()
    );
    if committed.copied > 0 {
        let copied = format_size(committed.copied);
        text.push_str(&format!("; {copied} were copied, since their blocks cannot be shared"));
    }
    if let Some(waited) = committed.waited.filter(|waited| !waited.is_zero()) {
        let waited = milliseconds(waited);
        text.push_str(&format!("; writers waited {waited:.1} ms at most"));
    }
    text
}
