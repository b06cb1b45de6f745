//! `helm test`: the chart's own check that a pod gets a disk.

use crate::Result;
use crate::namespace::Namespace;
use crate::world::World;

pub(crate) fn run(world: &World, _: &Namespace) -> Result<()> {
    let said = world.release.test()?;
    if said.contains("the disk holds what was written") {
        return Ok(());
    }
    Err(format!("helm test succeeds, yet its pod did not say so:\n{said}"))
}
