//! Takes everything down over CSI, and proves that nothing is left.

use std::fs;
use std::path::Path;

use calf::internal::layout::Layout;
use calf_test_kit::kernel::leak::{self, KernelObjects};

use crate::csi::Csi;
use crate::driver::Driver;
use crate::place::{Stage, remove_directory, remove_file};
use crate::{Result, driver, fork, ui};

/// Takes down all volumes of the driver.
pub(crate) fn volumes(stage: &Stage, csi: &mut Csi) -> Result<usize> {
    let ids = csi.volumes()?;
    for id in &ids {
        let (staging, target) = (stage.staging(id), stage.target(id));
        csi.unpublish(id, &target)?;
        csi.unstage(id, &staging)?;
        csi.delete(id)?;
        // This is kubelet's part, as was creating it.
        let _ = fs::remove_dir(&staging);
    }
    Ok(ids.len())
}

/// Describes what the kernel has now and did not have `before`.
pub(crate) fn held(before: &KernelObjects) -> String {
    let new = KernelObjects::take().beyond(before);
    let count = |kind: &str| new.iter().filter(|line| line.starts_with(kind)).count();
    format!(
        "{} device-mapper devices, {} loop devices, {} mounts",
        count("device-mapper device"),
        count("loop device"),
        count("mount of"),
    )
}

/// Fails if the kernel or the pool has anything that did not exist `before`.
pub(crate) fn prove_nothing_left(stage: &Stage, before: &KernelObjects) -> Result<()> {
    let mut left = leak::left_beyond(before);
    for dir in [&stage.pool, &stage.runtime] {
        files_below(dir, &mut left)?;
    }
    // A pool's own two files exist as long as the pool.
    let layout = Layout::new(&stage.pool);
    let own = [layout.pool_record(), layout.lock_file()].map(|file| in_words(&file));
    left.retain(|line| !own.contains(line));
    if !left.is_empty() {
        return Err(format!("these are left over:\n     {}", left.join("\n     ")));
    }
    ui::good(&format!("in the kernel: {}", held(before)));
    ui::good("in the pool: no volume, no template, no other file");
    Ok(())
}

fn files_below(dir: &Path, found: &mut Vec<String>) -> Result<()> {
    let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    for entry in entries {
        let entry = entry.map_err(|error| format!("{}: {error}", dir.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files_below(&entry.path(), found)?;
        } else {
            found.push(in_words(&entry.path()));
        }
    }
    Ok(())
}

fn in_words(file: &Path) -> String {
    format!("file {}", file.display())
}

/// Removes the directories of the pool and of the run.
pub(crate) fn directories(stage: &Stage) -> Result<()> {
    remove_directory(&stage.pool)?;
    remove_file(&stage.full_copy())?;
    remove_directory(&stage.runtime)
}

/// Takes down the leftovers of an interrupted run, if any.
pub(crate) fn sweep(stage: &Stage) -> Result<()> {
    if Layout::new(&stage.pool).pool_record().exists() {
        let (driver, mut csi) = Driver::start(stage)?;
        volumes(stage, &mut csi)?;
        drop(csi);
        driver.stop()?;
        // The templates may not exist yet. If their removal fails, so does that of the directory
        // below.
        let _ = driver::remove_template(stage, fork::WARM);
        let _ = driver::remove_template(stage, driver::TEMPLATE);
    }
    directories(stage)
}
