//! What to do about one volume: a pure function from what is wanted and what is observed to steps.
//!
//! Each step is one change that a crash may follow. The order keeps three promises: the intent
//! is on disk before anything is made; whatever prefix of the steps was run, planning again from
//! there ends in the same place; a store is never removed before the devices over it are gone.
//!
//! ```text
//! WriteRecord ─ CreateStore ─┐
//!                            ├─ AttachOrigin ─ AttachStore ─ CreateDevice ─ LoadTable ─ Resume
//!             (ExtendStore) ─┘                                                │
//! RemoveDirectory ◂─ RemoveRecord ◂─ AwaitRelease ◂─ RemoveDevice ◂───────────┘
//! ```

use super::step::{Step, store_length};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Role;
use crate::pool::record::{Backing, Durability, VolumeRecord};
use crate::sys::{Device, DeviceNumber, LoopDevice, SnapshotUsage, Table};

/// What is there of a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Observed {
    /// The running boot.
    pub boot: String,
    /// Its directory exists.
    pub directory: bool,
    /// Its committed intent.
    pub record: Option<VolumeRecord>,
    /// Length of its store (COW store or private copy), in bytes.
    pub store: Option<u64>,
    /// Its dm-snapshot device.
    pub snapshot: Option<Device>,
    /// Its read-only device over the snapshot.
    pub view: Option<Device>,
    /// The loop devices over its private copy (fallback only).
    pub copies: Vec<LoopDevice>,
}

impl Observed {
    /// The block device to give to a reader and writer, or to a reader only, once it is usable.
    pub(super) fn device(&self, read_only: bool) -> Option<DeviceNumber> {
        let mapped = if read_only { &self.view } else { &self.snapshot };
        let copy = || self.copies.iter().find(|copy| copy.read_only == read_only);
        match mapped {
            Some(device) if device.table.is_some() => Some(device.number),
            _ => copy().map(|copy| copy.number),
        }
    }

    /// The numbers of everything over the store.
    pub(super) fn devices(&self) -> Vec<DeviceNumber> {
        let mapped = self.snapshot.iter().chain(&self.view).map(|device| device.number);
        mapped.chain(self.copies.iter().map(|copy| copy.number)).collect()
    }

    /// Whether the store was made in an earlier boot and may be torn since.
    fn is_stale(&self, record: &VolumeRecord) -> bool {
        record.durability == Durability::Ephemeral
            && record.boot != self.boot
            && self.devices().is_empty()
    }
}

/// What is wanted of a volume.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal<'a> {
    /// Record and store are there; devices stay as they are.
    Stored(&'a VolumeRecord),
    /// Its device works and has the record's size; with `view`, so does the read-only one.
    Active {
        /// The intent.
        record: &'a VolumeRecord,
        /// Whether readers need a device of their own.
        view: bool,
    },
    /// No device; record and store stay.
    Inactive,
    /// Nothing.
    Absent,
}

/// The steps from `observed` to `goal`; none if it is reached.
///
/// # Errors
///
/// `Corrupt` if the volume's content is lost: its store is gone, or the kernel gave it up.
pub(super) fn plan(goal: Goal<'_>, observed: &Observed) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    match goal {
        Goal::Stored(record) => {
            let fresh = observed.record.is_none();
            if fresh {
                // What a half-done deletion left is another volume's content.
                remove(observed, &mut steps);
            }
            if observed.record.as_ref() != Some(record) {
                steps.push(Step::WriteRecord(Box::new(record.clone())));
            }
            if fresh || observed.store.is_none() {
                steps.push(Step::CreateStore(Box::new(record.clone())));
            }
        }
        Goal::Active { record, view } => {
            let record = &prepare_store(record, observed, &mut steps)?;
            match record.backing {
                Backing::Snapshot => activate_snapshot(record, view, observed, &mut steps)?,
                Backing::Reflink | Backing::Copy => {
                    activate_copy(record, view, observed, &mut steps);
                }
            }
        }
        Goal::Inactive => deactivate(observed, &mut steps),
        Goal::Absent => remove(observed, &mut steps),
    }
    Ok(steps)
}

fn remove(observed: &Observed, steps: &mut Vec<Step>) {
    deactivate(observed, steps);
    if observed.record.is_some() {
        steps.push(Step::RemoveRecord);
    }
    if observed.directory {
        steps.push(Step::RemoveDirectory);
    }
}

/// Brings record and store up to date: a fresh store after a reboot, a longer one after growth.
fn prepare_store(
    record: &VolumeRecord,
    observed: &Observed,
    steps: &mut Vec<Step>,
) -> Result<VolumeRecord> {
    let mut record = record.clone();
    if observed.is_stale(&record) {
        if observed.store.is_some() {
            steps.push(Step::RemoveStore);
        }
        record.boot.clone_from(&observed.boot);
        steps.push(Step::CreateStore(Box::new(record.clone())));
        steps.push(Step::WriteRecord(Box::new(record.clone())));
        return Ok(record);
    }
    let Some(length) = observed.store else {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "activate volume",
            &record.id,
            "its store is missing from the pool",
        )
        .remedy("its content is lost; delete the volume"));
    };
    if observed.record.as_ref() != Some(&record) {
        steps.push(Step::WriteRecord(Box::new(record.clone())));
    }
    if length < store_length(&record) {
        steps.push(Step::ExtendStore { length: store_length(&record) });
    }
    Ok(record)
}

fn activate_snapshot(
    record: &VolumeRecord,
    view: bool,
    observed: &Observed,
    steps: &mut Vec<Step>,
) -> Result<()> {
    match observed.snapshot.as_ref() {
        Some(device) if device.table.is_some() => {
            check_usage(record, device)?;
            keep(record, Role::Snapshot, device, steps);
        }
        half_made => {
            if half_made.is_some() {
                // A crash between create and resume. Nobody can have used it: start again.
                steps.push(Step::RemoveDevice(Role::Snapshot));
            }
            steps.push(Step::AttachOrigin { size: record.size });
            steps.push(Step::AttachStore);
            bring_up(Role::Snapshot, steps);
        }
    }
    match observed.view.as_ref() {
        Some(device) if device.table.is_some() => keep(record, Role::ReadOnlyView, device, steps),
        Some(_) if !view => steps.push(Step::RemoveDevice(Role::ReadOnlyView)),
        Some(_) => {
            steps.push(Step::RemoveDevice(Role::ReadOnlyView));
            bring_up(Role::ReadOnlyView, steps);
        }
        None if view => bring_up(Role::ReadOnlyView, steps),
        None => {}
    }
    Ok(())
}

/// Lets a live device grow to the record's size, and lets I/O flow again where a crash in the
/// middle of that stopped it.
fn keep(record: &VolumeRecord, role: Role, device: &Device, steps: &mut Vec<Step>) {
    if device.inactive_table {
        steps.push(Step::ClearTable(role));
    }
    if !is_short(record, device) {
        if device.suspended {
            steps.push(Step::Resume(role));
        }
        return;
    }
    if let Some(Table::Snapshot { origin, cow, .. }) = device.table {
        steps.push(Step::GrowOrigin { origin, size: record.size });
        steps.push(Step::RefreshLoop(cow));
    }
    steps.push(Step::LoadTable(role));
    if !device.suspended {
        steps.push(Step::Suspend(role));
    }
    steps.push(Step::Resume(role));
}

fn is_short(record: &VolumeRecord, device: &Device) -> bool {
    device.table.as_ref().is_some_and(|table| table.size() < record.size)
}

fn bring_up(role: Role, steps: &mut Vec<Step>) {
    steps.extend([Step::CreateDevice(role), Step::LoadTable(role), Step::Resume(role)]);
}

fn check_usage(record: &VolumeRecord, device: &Device) -> Result<()> {
    let lost = |why: &'static str| {
        Error::new(ErrorKind::Corrupt, "use volume", &record.id, why)
            .remedy("its content is lost; delete the volume and create a new one")
    };
    match device.usage {
        Some(SnapshotUsage::Invalid) => Err(lost("an I/O error on its COW store made it invalid")),
        Some(SnapshotUsage::Overflow) if is_short(record, device) => {
            Err(lost("its COW store overflowed; growing it now does not bring it back").remedy(
                "copy what is needed from it, then delete it; give the next one a higher cowLimit",
            ))
        }
        _ => Ok(()),
    }
}

fn activate_copy(record: &VolumeRecord, view: bool, observed: &Observed, steps: &mut Vec<Step>) {
    for read_only in [false, true] {
        match observed.copies.iter().find(|copy| copy.read_only == read_only) {
            Some(copy) if copy.size < record.size => steps.push(Step::RefreshLoop(copy.number)),
            Some(_) => {}
            None if !read_only || view => steps.push(Step::AttachCopy { read_only }),
            None => {}
        }
    }
}

fn deactivate(observed: &Observed, steps: &mut Vec<Step>) {
    if observed.view.is_some() {
        steps.push(Step::RemoveDevice(Role::ReadOnlyView));
    }
    if let Some(device) = &observed.snapshot {
        steps.push(Step::RemoveDevice(Role::Snapshot));
        if let Some(Table::Snapshot { cow, .. }) = device.table {
            steps.push(Step::AwaitRelease { number: cow });
        }
    }
    steps.extend(observed.copies.iter().map(|copy| Step::DetachCopy(copy.number)));
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
