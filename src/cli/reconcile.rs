//! `calf reconcile`

use std::time::Duration;

use calf::{ReconcileOptions, ReconcileReport, Result};
use serde_json::json;

use super::context::Context;
use super::output::Outcome;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Change nothing; show what would be done
    #[arg(long)]
    dry_run: bool,
    /// How long the directory of an inline volume's pod must be gone before calf deletes the volume
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = humantime::parse_duration)]
    grace: Duration,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<Outcome> {
    let options = ReconcileOptions::default().dry_run(args.dry_run).grace(args.grace);
    let report = context.existing_pool()?.reconcile_with(&options)?;
    let value = json!({
        "dryRun": args.dry_run,
        "live": report.live,
        "repaired": report.repaired.iter().map(|r| &r.volume).collect::<Vec<_>>(),
        "removed": report.removed.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "failed": report.failed,
        "actions": actions(&report),
    });
    let changed = report.repaired.iter().map(|repair| &repair.volume);
    let changed = changed.chain(report.removed.iter().map(|removal| &removal.what));
    let sentence = || human(&report, args.dry_run);
    if args.dry_run || !report.failed.is_empty() {
        context.output.result(&value, changed, sentence)?;
    } else {
        context.output.done(&value, changed, sentence)?;
    }
    Ok(if report.failed.is_empty() { Outcome::Success } else { Outcome::Failure })
}

/// The list of actions, for programs.
fn actions(report: &ReconcileReport) -> Vec<serde_json::Value> {
    let repaired = report.repaired.iter().map(
        |repair| json!({ "action": "repair", "subject": repair.volume, "steps": repair.steps }),
    );
    let removed = report.removed.iter().map(|removal| {
        json!({ "action": "remove", "subject": removal.what, "kind": removal.kind.as_str() })
    });
    repaired.chain(removed).collect()
}

fn human(report: &ReconcileReport, dry_run: bool) -> String {
    let volumes = if report.live == 1 { "volume" } else { "volumes" };
    let (left, repaired, removed) = match dry_run {
        true => ("to be left alone", "would repair", "would remove"),
        false => ("left alone", "repaired", "removed"),
    };
    let mut lines = vec![format!("{} live {volumes} {left}", report.live)];
    lines.extend(
        report.repaired.iter().map(|r| format!("{repaired}: {r} ({})", r.steps.join(", "))),
    );
    lines.extend(report.removed.iter().map(|what| format!("{removed}: {what}")));
    lines.extend(report.failed.iter().map(|what| format!("FAILED: {what}")));
    if lines.len() == 1 {
        lines.push("nothing to do".into());
    }
    lines.join("\n")
}
