//! `calf reconcile`

use calf::Result;
use calf::volume::ReconcileReport;
use serde_json::json;

use super::context::Context;
use super::output::Outcome;

pub(super) fn run(context: &Context) -> Result<Outcome> {
    let report = context.existing_pool()?.reconcile()?;
    let ReconcileReport { live, repaired, removed, failed } = &report;
    let value = json!({ "live": live, "repaired": repaired, "removed": removed, "failed": failed });
    context.output.result(&value, || human(&report))?;
    Ok(if failed.is_empty() { Outcome::Success } else { Outcome::Failure })
}

fn human(report: &ReconcileReport) -> String {
    let volumes = if report.live == 1 { "volume" } else { "volumes" };
    let mut lines = vec![format!("{} live {volumes} left alone", report.live)];
    lines.extend(report.repaired.iter().map(|what| format!("repaired: {what}")));
    lines.extend(report.removed.iter().map(|what| format!("removed: {what}")));
    lines.extend(report.failed.iter().map(|what| format!("FAILED: {what}")));
    if lines.len() == 1 {
        lines.push("nothing to do".into());
    }
    lines.join("\n")
}
