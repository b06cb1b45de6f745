//! Starts more disks from where the microVM stopped: forks of its disk, and a template of it.

use std::path::Path;
use std::time::Instant;

use crate::microvm::Written;
use crate::place::Stage;
use crate::volumes::Volume;
use crate::{Result, driver, evidence, ui};

const FORKS: u32 = 3;
/// The template that is made of the disk.
pub(crate) const WARM: &str = "warm";
/// A volume of that template.
const OF_WARM: &str = "vm-warm";

/// Checks that each disk has what the guest wrote.
pub(crate) fn show(stage: &Stage, booted: &Volume, written: &Written) -> Result<()> {
    let id = &booted.id;
    ui::aside(&format!("$ calf volume fork {id} --count {FORKS} --activate"));
    let started = Instant::now();
    let forks = driver::fork(stage, id, FORKS)?;
    let time = ui::milliseconds(started.elapsed());
    for device in &forks {
        has_file(stage, device, written)?;
    }
    ui::good(&format!("{} forks of {id} in {time}: each has the guest's file", forks.len()));
    ui::aside(&format!("$ calf template commit --volume {id} --name {WARM}"));
    let started = Instant::now();
    let committed = driver::commit(stage, id, WARM)?;
    ui::good(&format!("in {}: {committed}", ui::milliseconds(started.elapsed())));
    ui::aside(&format!("$ calf volume create {OF_WARM} --template {WARM} --activate"));
    let device = driver::create(stage, OF_WARM, WARM)?;
    has_file(stage, &device, written)?;
    ui::good(&format!("{OF_WARM} has the guest's file, too"));
    let mut ids: Vec<String> = (1..=FORKS).map(|number| format!("{id}-{number}")).collect();
    ids.push(OF_WARM.to_owned());
    driver::delete(stage, &ids)?;
    driver::remove_template(stage, WARM).map(drop)
}

fn has_file(stage: &Stage, device: &Path, written: &Written) -> Result<()> {
    match evidence::file_sha256(stage, device, &written.path)? {
        Some(sha256) if sha256 == written.sha256 => Ok(()),
        _ => Err(format!(
            "{} on {} differs from what the guest wrote",
            written.path,
            device.display()
        )),
    }
}
