//! `calf status`

use std::collections::BTreeMap;

use calf::units::format_size;
use calf::{Backing, OvercommitRatio, Pool, Result, VolumeState, VolumeStatus};
use serde::Serialize;

use super::context::Context;
use super::output::{Outcome, fields, table};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View {
    pool: PoolView,
    backing: BackingView,
    templates: Vec<TemplateView>,
    /// Volumes by state; states without volumes are 0.
    volumes: BTreeMap<&'static str, usize>,
    snapshots: SnapshotsView,
    /// Volumes that need attention.
    unhealthy: Vec<UnhealthyView>,
    /// Descriptions of damaged records.
    damage: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PoolView {
    path: String,
    id: String,
    total: u64,
    available: u64,
    reserve: u64,
    /// Bytes that all volumes occupy.
    volumes_allocated: u64,
    /// Bytes that volumes and spares may still write.
    committed: u64,
    /// What `committed` may be, in relation to `available`; null if it is not bounded.
    overcommit_ratio: Option<f64>,
    /// Bytes of kernel memory that volumes and spares may come to take for what they write.
    kernel_memory_committed: u64,
    /// The bound of that; null if it is not bounded.
    max_kernel_memory: Option<u64>,
}

/// How new volumes are made on this kernel.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BackingView {
    kind: Option<Backing>,
    fallback: bool,
    /// Why volumes cannot be made.
    problem: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TemplateView {
    name: String,
    size: u64,
    volumes: usize,
}

#[derive(Serialize)]
struct SnapshotsView {
    count: usize,
    /// Bytes that they occupy, shared ones included.
    allocated: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UnhealthyView {
    id: String,
    state: &'static str,
}

pub(super) fn run(context: &Context) -> Result<Outcome> {
    let pool = context.existing_pool()?;
    let view = view(&pool)?;
    let unhealthy = view.unhealthy.iter().map(|volume| &volume.id);
    context.output.result(&view, unhealthy, || human(&view))?;
    Ok(Outcome::Success)
}

fn pool_view(pool: &Pool, volumes: &[VolumeStatus]) -> Result<PoolView> {
    let (capacity, commitment) = (pool.capacity()?, pool.commitment()?);
    Ok(PoolView {
        path: pool.root().display().to_string(),
        id: pool.id().to_string(),
        total: capacity.total,
        available: capacity.available,
        reserve: capacity.reserve,
        volumes_allocated: volumes.iter().map(|v| v.allocated).sum(),
        committed: commitment.space,
        overcommit_ratio: pool.overcommit_ratio().map(OvercommitRatio::get),
        kernel_memory_committed: commitment.kernel_memory,
        max_kernel_memory: pool.max_kernel_memory(),
    })
}

fn view(pool: &Pool) -> Result<View> {
    let volumes = pool.volumes()?;
    let snapshots = pool.snapshots()?;
    let count = |state| volumes.iter().filter(|v| v.state == state).count();
    let healthy = [VolumeState::Active, VolumeState::Inactive];
    Ok(View {
        pool: pool_view(pool, &volumes)?,
        backing: backing(pool),
        templates: pool
            .templates()?
            .into_iter()
            .map(|t| TemplateView {
                volumes: volumes.iter().filter(|v| v.record.digest == t.digest).count(),
                name: t.name,
                size: t.size,
            })
            .collect(),
        volumes: VolumeState::ALL.into_iter().map(|state| (state.as_str(), count(state))).collect(),
        damage: pool.damage()?.iter().map(calf::Error::report).collect(),
        snapshots: SnapshotsView {
            count: snapshots.len(),
            allocated: snapshots.iter().map(|snapshot| snapshot.allocated).sum(),
        },
        unhealthy: volumes
            .iter()
            .filter(|v| !healthy.contains(&v.state))
            .map(|v| UnhealthyView { id: v.record.id.clone(), state: v.state.as_str() })
            .collect(),
    })
}

fn backing(pool: &Pool) -> BackingView {
    match pool.backing() {
        Ok(kind) => {
            BackingView { kind: Some(kind), fallback: kind != Backing::Snapshot, problem: None }
        }
        Err(e) => BackingView { kind: None, fallback: false, problem: Some(e.report()) },
    }
}

/// What volumes may come to take.
fn committed(pool: &PoolView) -> String {
    let times = pool.committed as f64 / pool.available.max(1) as f64;
    let mut text = format!("{} that volumes may still write", format_size(pool.committed));
    if pool.committed > 0 && pool.available > 0 {
        text.push_str(&format!(", {times:.1} times what is available"));
    }
    if let Some(ratio) = pool.overcommit_ratio {
        text.push_str(&format!(" (at most {ratio})"));
    }
    text.push_str(&format!("; {} of kernel memory", format_size(pool.kernel_memory_committed)));
    if let Some(most) = pool.max_kernel_memory {
        text.push_str(&format!(" (at most {})", format_size(most)));
    }
    text
}

fn human(view: &View) -> String {
    let backing = match view.backing.kind {
        Some(Backing::Snapshot) => "dm-snapshot".to_owned(),
        Some(Backing::Reflink) => "FALLBACK: reflink copies, no dm-snapshot".to_owned(),
        Some(Backing::Copy) => "FALLBACK: full copies, no dm-snapshot".to_owned(),
        None => "NONE: volumes cannot be made here; `calf doctor` says why".to_owned(),
    };
    let volumes: Vec<String> = view
        .volumes
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(state, count)| format!("{count} {state}"))
        .collect();
    let volumes = if volumes.is_empty() { "none".into() } else { volumes.join(", ") };
    let pool = &view.pool;
    let mut text = fields(&[
        ("Pool", format!("{} (id {})", pool.path, pool.id)),
        (
            "Space",
            format!(
                "{} of {} available, {} kept in reserve",
                format_size(pool.available),
                format_size(pool.total),
                format_size(pool.reserve)
            ),
        ),
        ("Backing", backing),
        ("Volumes", format!("{volumes}; {} written", format_size(pool.volumes_allocated))),
        (
            "Snapshots",
            match view.snapshots.count {
                0 => "none".to_owned(),
                count => format!(
                    "{count}; {}, of which they may share some",
                    format_size(view.snapshots.allocated)
                ),
            },
        ),
        ("Committed", committed(pool)),
    ]);
    if !view.templates.is_empty() {
        let rows = view
            .templates
            .iter()
            .map(|t| [t.name.clone(), format_size(t.size), t.volumes.to_string()])
            .collect();
        text.push_str(&format!("\n{}\n", table(["TEMPLATE", "SIZE", "VOLUMES"], rows)));
    }
    if !view.unhealthy.is_empty() {
        let rows = view.unhealthy.iter().map(|v| [v.id.clone(), v.state.to_owned()]).collect();
        text.push_str(&format!("\n{}\n", table(["NEEDS A LOOK", "STATE"], rows)));
    }
    for damage in &view.damage {
        text.push_str(&format!("\nDAMAGED  {damage}\n"));
    }
    text
}
