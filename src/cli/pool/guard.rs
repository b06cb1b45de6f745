//! `calf pool guard`

use calf::units::format_size;
use calf::{Error, GuardOptions, Look, Result, Watermark};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::super::context::{Context, parsed};

#[derive(clap::Args)]
pub(in super::super) struct Args {
    /// Free space below which volumes that write are suspended: a size, or a part of the pool's file
    /// system such as 5%; by default half of --reserve
    #[arg(long, value_name = "SIZE|PERCENT", value_parser = parsed::<Watermark>)]
    low: Option<Watermark>,
    /// Free space above which they go on; by default half of --reserve more than --low, or a sixteenth more
    /// if that is more
    #[arg(long, value_name = "SIZE|PERCENT", value_parser = parsed::<Watermark>)]
    resume: Option<Watermark>,
}

pub(in super::super) fn run(context: &Context, args: &Args) -> Result<()> {
    let options = GuardOptions::default().low(args.low).resume(args.resume);
    let mut guard = context.existing_pool()?.guard(&options);
    let failed = |e| Error::io("start", "the guard", e);
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        loop {
            let look = guard.look()?;
            tell(context, &look)?;
            tokio::select! {
                () = tokio::time::sleep(look.next) => {}
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
            }
        }
    })
}

/// Prints each volume that was suspended or went on.
fn tell(context: &Context, look: &Look) -> Result<()> {
    for (volumes, what) in [(&look.suspended, "suspended"), (&look.resumed, "resumed")] {
        for volume in volumes {
            let result = json!({ "volume": volume, "what": what, "free": look.free });
            let text = || format!("{what} volume {volume}: {} free", format_size(look.free));
            context.output.done(&result, [volume], text)?;
        }
    }
    for error in &look.failed {
        tracing::warn!(error, "the guard failed; will retry");
    }
    Ok(())
}
