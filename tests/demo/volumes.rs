//! Makes five volumes, and compares their cost with a full copy.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use calf::internal::layout::Layout;
use calf::units::format_size;

use crate::csi::Csi;
use crate::driver::TEMPLATE;
use crate::place::{Stage, make_directory, remove_file};
use crate::{Result, command, stop, ui};

const COUNT: u32 = 5;
const COPY_LIMIT: Duration = Duration::from_secs(120);

/// A volume that is published as a block device.
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) size: u64,
    /// The block device.
    pub(crate) target: PathBuf,
    times: [Duration; 3],
}

impl Volume {
    fn ready_in(&self) -> Duration {
        self.times.iter().sum()
    }
}

/// Does what an orchestrator does for a pod, five times.
pub(crate) fn create(stage: &Stage, csi: &mut Csi) -> Result<Vec<Volume>> {
    (1..=COUNT).map(|number| create_one(stage, csi, &format!("vm-{number}"))).collect()
}

fn create_one(stage: &Stage, csi: &mut Csi, name: &str) -> Result<Volume> {
    stop::check()?;
    let (staging, target) = (stage.staging(name), stage.target(name));
    // kubelet makes these directories.
    make_directory(&staging)?;
    make_directory(target.parent().unwrap_or(Path::new("/")))?;
    let started = Instant::now();
    let (id, size) = csi.create(name, TEMPLATE)?;
    let created = Instant::now();
    csi.stage(&id, &staging)?;
    let staged = Instant::now();
    csi.publish(&id, &staging, &target)?;
    let times = [created - started, staged - created, staged.elapsed()];
    Ok(Volume { id, size, target, times })
}

/// Makes a full copy of the template's content on the same file system; returns the time, and the
/// bytes on disk.
fn full_copy(stage: &Stage, digest: &calf::Digest) -> Result<(Duration, u64)> {
    let copy = stage.full_copy();
    let mut cp = Command::new("cp");
    cp.args(["--reflink=never", "--sparse=auto"]);
    cp.arg(Layout::new(&stage.pool).image(digest)).arg(&copy);
    let started = Instant::now();
    command::run(cp, COPY_LIMIT, &mut |_| {})?;
    let time = started.elapsed();
    let metadata = fs::metadata(&copy).map_err(|error| format!("{}: {error}", copy.display()))?;
    remove_file(&copy)?;
    Ok((time, metadata.blocks() * 512))
}

/// Prints the cost of each volume, and of a full copy.
pub(crate) fn compare(
    stage: &Stage,
    csi: &mut Csi,
    volumes: &[Volume],
    digest: &calf::Digest,
) -> Result<()> {
    row(["VOLUME", "SIZE", "CREATE", "STAGE", "PUBLISH", "READY IN", "DISK USED"].map(String::from));
    let mut used_by_all = 0;
    for volume in volumes {
        let used = csi.used(&volume.id, &volume.target)?;
        used_by_all += used;
        let [created, staged, published] = volume.times.map(ui::milliseconds);
        let size = format_size(volume.size);
        let ready = ui::milliseconds(volume.ready_in());
        row([volume.id.clone(), size, created, staged, published, ready, format_size(used)]);
    }
    let (copy_time, copy_bytes) = full_copy(stage, digest)?;
    let size = format_size(volumes.first().map_or(0, |volume| volume.size));
    let none = || "-".to_owned();
    let ready = ui::milliseconds(copy_time);
    row(["full copy".into(), size, none(), none(), none(), ready, format_size(copy_bytes)]);
    ui::aside(
        "full copy: `cp` of the template's data from the page cache, same file system, not synced",
    );
    let count = u32::try_from(volumes.len()).unwrap_or(COUNT);
    let total: Duration = volumes.iter().map(Volume::ready_in).sum();
    ui::good(&format!(
        "all {count} volumes: {} and {}; {count} full copies: {} and {}",
        ui::milliseconds(total),
        format_size(used_by_all),
        ui::milliseconds(copy_time * count),
        format_size(copy_bytes * u64::from(count)),
    ));
    Ok(())
}

fn row(cells: [String; 7]) {
    let [name, size, rest @ ..] = cells;
    let mut line = format!("{name:<10} {size:>6}");
    for cell in rest {
        line.push_str(&format!(" {cell:>10}"));
    }
    ui::say(&line);
}
