//! Plans how a volume comes back after the kernel gave its device up.

use crate::model::device_id::Role;
use crate::pool::record::VolumeRecord;
use crate::sys::{Device, Quiesce};
use crate::volume::plan::health::{Health, Loss};
use crate::volume::plan::stack::Stack;
use crate::volume::plan::state::Observed;
use crate::volume::plan::step::{Load, Loops, Step, StoreFile, store_length};
use crate::volume::plan::write_record;

/// Lets the kernel read the COW store anew.
pub(super) fn recover(record: &VolumeRecord, observed: &Observed, steps: &mut Vec<Step>) {
    if observed.is_marked() {
        steps.push(Step::ReviveStore);
    }
    if let Some(device) = &observed.snapshot {
        renew(record, device, observed, steps);
    }
    // Until then, its limit says that the kernel stopped it there.
    write_record(record, observed, steps);
}

/// Gives the device a table over a second loop device of the store: over the first one, the kernel would
/// keep the state in which it gave up.
fn renew(record: &VolumeRecord, device: &Device, observed: &Observed, steps: &mut Vec<Step>) {
    let health = Health::of(device, record);
    let (Some(loss), Some(stack)) = (health.loss, Stack::below(device)) else { return };
    if device.inactive_table {
        steps.push(Step::ClearTable(Role::Snapshot));
    }
    let length = store_length(record);
    if observed.store.is_some_and(|store| store.length < length) {
        steps.push(Step::ExtendStore { of: record.backing, length });
    }
    if health.short {
        let digest = record.digest.clone();
        steps.push(Step::GrowOrigin { digest, origin: stack.origin, size: record.size });
    }
    steps.push(Step::AttachStore(Box::new(record.clone())));
    if !device.suspended {
        // The file system on a device that fails cannot be frozen.
        steps.push(Step::Suspend(Role::Snapshot, Quiesce::Device));
    }
    if loss == Loss::Invalid {
        steps.push(Step::ReviveStore);
    }
    let over = Loops::Renewed { origin: stack.origin };
    steps.push(Step::LoadTable(Load::Snapshot { record: Box::new(record.clone()), over }));
    steps.push(Step::Resume(Role::Snapshot));
    steps.push(Step::AwaitRelease { of: StoreFile::Own, number: stack.store });
}

/// Lets I/O flow through a suspended device: after a recovery that was cut short, or that a guard held.
pub(super) fn release(observed: &Observed, steps: &mut Vec<Step>) {
    let Some(device) = &observed.snapshot else { return };
    if device.inactive_table {
        steps.push(Step::ClearTable(Role::Snapshot));
    }
    if device.suspended {
        steps.push(Step::Resume(Role::Snapshot));
    }
}
