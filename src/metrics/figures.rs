//! The current state of the pool and the kernel, read at each scrape.
//!
//! The cost is that of reading: for each volume its record, the attributes of three files and two
//! or three device-mapper ioctls; for each loop device of the machine two files of sysfs. See
//! `docs/metrics.md` for numbers.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::time::Instant;

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use crate::api::{Pool, Survey};
use crate::cow::EXCEPTION_MEMORY;
use crate::error::{ErrorKind, Result};
use crate::metrics::counters::PREFIX;
use crate::model::ratio::OvercommitRatio;
use crate::model::volume::VolumeState;
use crate::pool::record::TemplateRecord;
use crate::template::required::{RequiredTemplate, RequiredTemplates};
use crate::volume::status::VolumeStatus;

type Bytes = Gauge<u64, AtomicU64>;
type Number = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Template {
    template: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Content {
    template: String,
    digest: String,
    source_digest: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TemplateAndState {
    template: String,
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct State {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Collector {
    collector: &'static str,
}

/// The state under which unreadable volumes are counted.
const UNKNOWN: &str = "unknown";

/// The figures of one template and its volumes.
#[derive(Default)]
struct Figures {
    size: Option<u64>,
    states: BTreeMap<&'static str, u64>,
    allocated: u64,
    cow_used: u64,
    cow_limit: u64,
    kernel_memory: u64,
    fullest: f64,
}

impl Figures {
    fn add(&mut self, volume: &VolumeStatus) {
        *self.states.entry(volume.state.as_str()).or_default() += 1;
        self.allocated += volume.allocated;
        if let Some((used, total)) = volume.cow {
            self.cow_used += used;
            self.cow_limit += total;
            self.kernel_memory += used / volume.record.chunk_size * EXCEPTION_MEMORY;
            self.fullest = self.fullest.max(used as f64 / total.max(1) as f64);
        }
    }
}

/// Appends the figures of the pool in Prometheus' text format. Leaves out what cannot be read,
/// which `calf_scrape_collector_success` shows.
pub(super) fn encode(
    pool: &Pool,
    required: &RequiredTemplates,
    text: &mut String,
) -> std::fmt::Result {
    let start = Instant::now();
    let mut registry = Registry::with_prefix(PREFIX);
    let success = Family::<Collector, Gauge>::default();
    let tell = |collector: &'static str, result: Result<()>| {
        success.get_or_create(&Collector { collector }).set(result.is_ok().into());
        if let Err(error) = result {
            tracing::warn!(
                collector,
                error = error.report(),
                "cannot collect a part of the metrics"
            );
        }
    };
    tell("pool", space(pool, &mut registry));
    tell("commitment", commitment(pool, &mut registry));
    tell("loops", loops(pool, &mut registry));
    tell("volumes", volumes(pool, &mut registry));
    tell("spares", spares(pool, &mut registry));
    tell("snapshots", snapshots(pool, &mut registry));
    losses(pool, &mut registry);
    ready(pool, required, &mut registry);
    registry.register(
        "scrape_collector_success",
        "Whether a part of this scrape (pool, commitment, loops, volumes, spares, snapshots) could be read",
        success.clone(),
    );
    let duration = Number::default();
    duration.set(start.elapsed().as_secs_f64());
    registry.register_with_unit(
        "scrape_duration",
        "Time taken to read the pool and the kernel for this scrape",
        Unit::Seconds,
        duration,
    );
    prometheus_text::encode(text, &registry)
}

/// A template that cannot be read counts as missing.
fn ready(pool: &Pool, required: &RequiredTemplates, registry: &mut Registry) {
    let family = Family::<Template, Gauge>::default();
    let contents = Family::<Content, Gauge>::default();
    for RequiredTemplate { import: spec, .. } in required.templates() {
        let record = pool.template(&spec.name).and_then(|template| template.record()).ok();
        let is_it =
            |record: &TemplateRecord| spec.digest.is_none() || pool.is_template_of(record, spec);
        let found = record.as_ref().is_some_and(is_it);
        let labels = Template { template: spec.name.clone() };
        family.get_or_create(&labels).set(found.into());
        if let Some(TemplateRecord { name, digest, .. }) = record {
            let source = pool.source_digest(&digest).unwrap_or_else(|| digest.clone());
            let (digest, source_digest) = (digest.to_string(), source.to_string());
            contents.get_or_create(&Content { template: name, digest, source_digest }).set(1);
        }
    }
    registry.register(
        "template_ready",
        "Whether a required template is present (1) or not (0)",
        family,
    );
    registry.register(
        "template_info",
        "SHA-256 of the content of a required template, and of the source that it was made of",
        contents,
    );
}

fn space(pool: &Pool, registry: &mut Registry) -> Result<()> {
    let capacity = pool.capacity()?;
    for (name, help, value) in [
        ("pool_size", "Size of the pool's file system", capacity.total),
        ("pool_free", "Free space of the pool's file system, the reserve included", capacity.free),
        (
            "pool_available",
            "Free space for new volumes and imports: beyond the reserve",
            capacity.available,
        ),
        ("pool_reserve", "Space that new volumes and imports leave free", capacity.reserve),
    ] {
        let gauge = Bytes::default();
        gauge.set(value);
        registry.register_with_unit(name, help, Unit::Bytes, gauge);
    }
    Ok(())
}

fn commitment(pool: &Pool, registry: &mut Registry) -> Result<()> {
    let commitment = pool.commitment()?;
    for (name, help, value) in [
        (
            "pool_committed",
            "Space that volumes and spares may still write into, beyond what they occupy",
            commitment.space,
        ),
        (
            "pool_kernel_memory_committed",
            "Kernel memory that volumes and spares may come to take for what they write",
            commitment.kernel_memory,
        ),
        (
            "pool_kernel_memory_max",
            "The bound of that (0: none)",
            pool.max_kernel_memory().unwrap_or_default(),
        ),
    ] {
        let gauge = Bytes::default();
        gauge.set(value);
        registry.register_with_unit(name, help, Unit::Bytes, gauge);
    }
    let ratio = Number::default();
    ratio.set(pool.overcommit_ratio().map_or(0.0, OvercommitRatio::get));
    registry.register(
        "pool_overcommit_ratio",
        "What may be committed for each available byte (0: no bound)",
        ratio,
    );
    Ok(())
}

fn loops(pool: &Pool, registry: &mut Registry) -> Result<()> {
    let gauge = Bytes::default();
    gauge.set(pool.loop_devices()?);
    registry.register("pool_loop_devices", "Loop devices over files of the pool", gauge);
    Ok(())
}

fn snapshots(pool: &Pool, registry: &mut Registry) -> Result<()> {
    let all = pool.snapshots()?;
    let (count, allocated) = (Bytes::default(), Bytes::default());
    count.set(all.len() as u64);
    allocated.set(all.iter().map(|snapshot| snapshot.allocated).sum());
    registry.register("snapshots", "Snapshots", count);
    registry.register_with_unit(
        "snapshots_allocated",
        "Space that snapshots occupy, shared blocks included",
        Unit::Bytes,
        allocated,
    );
    Ok(())
}

fn spares(pool: &Pool, registry: &mut Registry) -> Result<()> {
    let (there, wanted) =
        (Family::<Template, Bytes>::default(), Family::<Template, Bytes>::default());
    let counts = pool.spares()?;
    for record in pool.templates()? {
        let labels = Template { template: record.name };
        there.get_or_create(&labels).set(counts.get(&labels.template).copied().unwrap_or_default());
        wanted.get_or_create(&labels).set(record.warm.into());
    }
    let claims = Counter::<u64>::default();
    claims.inc_by(pool.claimed_spares());
    registry.register("spares", "Spare devices of a template that are ready", there);
    registry.register("spares_wanted", "Spare devices wanted for a template (`warm`)", wanted);
    registry.register("spares_claimed", "Spares that became volumes' devices", claims);
    Ok(())
}

/// Must follow the collection of the volumes, which takes note of losses.
fn losses(pool: &Pool, registry: &mut Registry) {
    let family = Family::<State, Counter>::default();
    let losses = pool.losses();
    for (state, count) in
        [(VolumeState::Invalid, losses.invalid), (VolumeState::Overflow, losses.overflow)]
    {
        family.get_or_create(&State { state: state.as_str() }).inc_by(count);
    }
    registry.register(
        "volumes_lost",
        "Volumes that turned invalid or overflow, each counted once",
        family,
    );
}

fn volumes(pool: &Pool, registry: &mut Registry) -> Result<()> {
    let Survey { templates: known, volumes: records, damage } = pool.survey()?;
    let damaged = Bytes::default();
    damaged.set(u64::try_from(damage.len()).unwrap_or(u64::MAX));
    let mut templates = BTreeMap::<String, Figures>::new();
    for template in known {
        templates.entry(template.name).or_default().size = Some(template.size);
    }
    for record in records {
        let figures = templates.entry(record.template).or_default();
        match pool.volume(&record.id).and_then(|volume| volume.status()) {
            Ok(volume) => figures.add(&volume),
            // Deleted in the meantime.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => {
                *figures.states.entry(UNKNOWN).or_default() += 1;
                tracing::debug!(
                    volume = record.id,
                    error = error.report(),
                    "cannot read the volume"
                );
            }
        }
    }

    let counts = Family::<TemplateAndState, Bytes>::default();
    let sizes = Family::<Template, Bytes>::default();
    let allocated = Family::<Template, Bytes>::default();
    let used = Family::<Template, Bytes>::default();
    let limits = Family::<Template, Bytes>::default();
    let memory = Family::<Template, Bytes>::default();
    let fullest = Family::<Template, Number>::default();
    for (template, figures) in templates {
        for state in VolumeState::ALL.map(VolumeState::as_str).into_iter().chain([UNKNOWN]) {
            let labels = TemplateAndState { template: template.clone(), state };
            let count = figures.states.get(state).copied().unwrap_or_default();
            counts.get_or_create(&labels).set(count);
        }
        let labels = Template { template };
        if let Some(size) = figures.size {
            sizes.get_or_create(&labels).set(size);
        }
        allocated.get_or_create(&labels).set(figures.allocated);
        used.get_or_create(&labels).set(figures.cow_used);
        limits.get_or_create(&labels).set(figures.cow_limit);
        memory.get_or_create(&labels).set(figures.kernel_memory);
        fullest.get_or_create(&labels).set(figures.fullest);
    }
    registry.register(
        "volumes",
        "Volumes, by template and state: inactive, active, interrupted, invalid, overflow, unknown",
        counts,
    );
    registry.register(
        "pool_damaged_records",
        "Damaged records of templates and volumes, which no other metric includes",
        damaged,
    );
    registry.register_with_unit(
        "template_size",
        "Size of a template: the minimum size of its volumes",
        Unit::Bytes,
        sizes,
    );
    registry.register_with_unit(
        "volume_allocated",
        "Space that the volumes of a template occupy in the pool",
        Unit::Bytes,
        allocated,
    );
    registry.register_with_unit(
        "volume_cow_used",
        "Bytes in use in the COW stores of a template's active volumes, metadata included",
        Unit::Bytes,
        used,
    );
    registry.register_with_unit(
        "volume_cow_limit",
        "Bytes that the COW stores of a template's active volumes may hold",
        Unit::Bytes,
        limits,
    );
    registry.register_with_unit(
        "volume_kernel_memory",
        "Kernel memory that what a template's active volumes have written takes at most",
        Unit::Bytes,
        memory,
    );
    registry.register(
        "volume_cow_used_ratio_max",
        "Fill level of the fullest COW store of a template's active volumes, from 0 to 1",
        fullest,
    );
    Ok(())
}
