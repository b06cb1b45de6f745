//! Plans the steps for one volume: a pure function from a goal and an observed state to steps.
//!
//! Each step is one change, and a crash may follow it. The order of the steps keeps three promises.
//! A volume exists from the moment that its record is on disk, and then has its store, so a record
//! without a store means a loss. After any prefix of the steps, planning again ends in the same
//! place. A store is never removed before the devices over it are gone.
//!
//! ```text
//! CreateStore ─ WriteRecord ─┐   (CreateSeed, CopyStore: a volume that starts from a snapshot)
//!                            ├─ AttachOrigin ─ AttachStore ─ CreateDevice ─ LoadTable ─┐
//!            (ShortenStore) ─┘                                                         │
//!                                           ┌─ Resume ─ RefreshStore ─ ExtendStore ◂────┘
//! RemoveDirectory ◂─ RemoveRecord ◂─ AwaitRelease ◂─ RemoveDevice
//! ```
//!
//! The kernel sizes a table by the store's length at the time when it is loaded. Therefore a store is made
//! short, or cut down to what it holds, and gets its length between the load and the first use.

pub(crate) mod health;
mod recovery;
pub(crate) mod stack;
pub(crate) mod state;
pub(crate) mod step;

use std::cmp::Ordering;
use std::path::Path;

use crate::cow;
use crate::cow::header::StoreHeader;
use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::Role;
use crate::model::policy::{Backing, Durability, Reserve};
use crate::pool::record::VolumeRecord;
use crate::sys::{Device, Quiesce};
use crate::volume::plan::health::{Health, Loss};
use crate::volume::plan::stack::Stack;
use crate::volume::plan::state::{Observed, Store};
use crate::volume::plan::step::{
    Below, Commit, CopyAccess, Load, Loops, Step, StoreFile, first_length, store_length,
};

/// The wanted state of a volume.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal<'a> {
    /// Record and store exist; devices stay as they are.
    Stored(&'a VolumeRecord),
    /// The same for a new volume, with the content of the COW store at a path.
    Copied {
        /// The intent.
        record: &'a VolumeRecord,
        /// The COW store.
        from: &'a Path,
    },
    /// The volume's device works and has the record's size. With `view`, so does its read-only
    /// view.
    Active {
        /// The intent.
        record: &'a VolumeRecord,
        /// Whether readers need the read-only view.
        view: bool,
    },
    /// The store of an inactive volume is the file at a path in the pool, instead of what it was.
    RolledBack {
        /// The volume.
        record: &'a VolumeRecord,
        /// The file, whose content the caller has checked.
        store: &'a Path,
    },
    /// The kernel reads the store anew, after it stopped the volume. The caller has checked the store.
    Recovered(&'a VolumeRecord),
    /// The device of a volume answers, even if the kernel stopped the volume: no I/O waits.
    Answering,
    /// I/O waits.
    Held,
    /// No device exists; record and store stay.
    Inactive,
    /// Nothing exists.
    Absent,
}

/// Plans the steps from `observed` to `goal`; none if the goal is reached.
///
/// # Errors
///
/// `Corrupt` if the volume's content is lost: its store is gone or replaced. `NoSpace` if the kernel
/// stopped the volume, or a guard keeps it suspended.
pub(crate) fn plan(goal: Goal<'_>, observed: &Observed) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    match goal {
        Goal::Stored(record) if observed.record.is_none() => {
            // Leftovers of an interrupted deletion or creation are not content of this volume.
            remove(observed, &mut steps);
            create_store(record, &mut steps);
            write_record(record, observed, &mut steps);
        }
        Goal::Copied { record, from } if observed.record.is_none() => {
            remove(observed, &mut steps);
            copy_store(record, from, &mut steps);
            write_record(record, observed, &mut steps);
        }
        // The next activation makes a new store, so only the record is written.
        Goal::Stored(record) | Goal::Copied { record, .. } if observed.is_stale(record) => {
            write_record(record, observed, &mut steps)
        }
        Goal::Stored(record) | Goal::Copied { record, .. } => {
            keep_store(record, observed, &mut steps)?
        }
        Goal::Active { record, .. } if is_unmerged(record, observed) => {
            return Err(unmerged(record));
        }
        Goal::Active { record, view } => {
            let (record, made) = &prepare_store(record, observed, &mut steps)?;
            match record.backing {
                Backing::Snapshot => {
                    let length =
                        if *made { None } else { observed.store.map(|store| store.length) };
                    activate_snapshot(record, view, observed, length, &mut steps)?;
                }
                Backing::Reflink | Backing::Copy => {
                    activate_copy(record, view, observed, &mut steps);
                }
            }
        }
        Goal::RolledBack { record, store } => roll_back(record, store, observed, &mut steps),
        Goal::Recovered(record) => recovery::recover(record, observed, &mut steps),
        Goal::Answering => recovery::release(observed, &mut steps),
        Goal::Held => hold(observed, &mut steps),
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

/// What tells of the former content goes after it: until then, that content must not be trusted more than it was.
fn roll_back(record: &VolumeRecord, store: &Path, observed: &Observed, steps: &mut Vec<Step>) {
    steps.push(Step::ReplaceStore { by: store.to_owned() });
    steps.push(Step::ForgetLostWrites);
    let mut record = record.clone();
    if observed.is_stale(&record) {
        record.boot.clone_from(&observed.boot);
    }
    write_record(&record, observed, steps);
}

/// An ephemeral volume keeps what it starts from, since it starts anew after a reboot.
fn copy_store(record: &VolumeRecord, from: &Path, steps: &mut Vec<Step>) {
    let source = match record.durability {
        Durability::Ephemeral => {
            steps.push(Step::CreateSeed { from: from.to_owned() });
            None
        }
        Durability::Durable => Some(from.to_owned()),
    };
    steps.push(Step::CopyStore { record: Box::new(record.clone()), from: source });
}

fn create_store(record: &VolumeRecord, steps: &mut Vec<Step>) {
    let boxed = Box::new(record.clone());
    if record.source.is_some() {
        steps.push(Step::CopyStore { record: boxed, from: None });
        return;
    }
    steps.push(Step::CreateStore(boxed));
    if record.reserve == Reserve::Full {
        steps.push(Step::AllocateStore { of: record.backing, length: store_length(record) });
    }
}

/// Brings record and store up to date: makes a new store after a reboot, and extends a store in use
/// after growth. Returns the record, and whether the store is new.
fn prepare_store(
    record: &VolumeRecord,
    observed: &Observed,
    steps: &mut Vec<Step>,
) -> Result<(VolumeRecord, bool)> {
    let mut record = record.clone();
    if observed.is_stale(&record) {
        if observed.store.is_some() {
            steps.push(Step::RemoveStore { of: record.backing });
        }
        record.boot.clone_from(&observed.boot);
        create_store(&record, steps);
        // It told of the former store.
        steps.push(Step::ForgetLostWrites);
        write_record(&record, observed, steps);
        return Ok((record, true));
    }
    keep_store(&record, observed, steps)?;
    if observed.is_marked() {
        return Err(invalid(&record));
    }
    let length = store_length(&record);
    let later = record.backing == Backing::Snapshot && !observed.is_live();
    let reserved = record.reserve == Reserve::Full;
    if !later && !reserved && observed.store.is_some_and(|store| store.length < length) {
        steps.push(Step::ExtendStore { of: record.backing, length });
    }
    Ok((record, false))
}

/// Writes the record over the existing store. Reserved space is allocated first, so that a lack of
/// space changes nothing.
fn keep_store(record: &VolumeRecord, observed: &Observed, steps: &mut Vec<Step>) -> Result<()> {
    let Some(store) = observed.store else {
        return Err(Error::new(
            ErrorKind::Corrupt,
            "use volume",
            &record.id,
            "its store is missing from the pool",
        )
        .remedy("its content is lost; delete the volume"));
    };
    check_store(record, store)?;
    let length = store_length(record);
    if record.reserve == Reserve::Full && store.allocated < length {
        steps.push(Step::AllocateStore { of: record.backing, length });
    }
    write_record(record, observed, steps);
    Ok(())
}

fn write_record(record: &VolumeRecord, observed: &Observed, steps: &mut Vec<Step>) {
    let commit = match &observed.record {
        Some(same) if same == record => return,
        // Nothing shows whether a private copy was used, or a copied store.
        None if record.backing == Backing::Snapshot && record.source.is_none() => Commit::First,
        _ => Commit::Replacement,
    };
    steps.push(Step::WriteRecord { record: Box::new(record.clone()), commit });
}

/// Refuses a store that is not the one that calf made for the volume.
fn check_store(record: &VolumeRecord, store: Store) -> Result<()> {
    let why = match (store.damage, store.header) {
        (Some(damage), _) => format!("its store was replaced: {damage}"),
        (None, Some(StoreHeader::Foreign)) => {
            "its store was replaced: it does not start with the header of a COW store".to_owned()
        }
        (None, Some(StoreHeader::Valid { chunk_size })) if chunk_size != record.chunk_size => {
            format!(
                "its store has chunks of {chunk_size} bytes, but its record has {}",
                record.chunk_size
            )
        }
        _ => return Ok(()),
    };
    Err(Error::new(ErrorKind::Corrupt, "use volume", &record.id, why)
        .remedy("put its own store back, or delete the volume"))
}

/// `stored` is the length of the store, unless an earlier step makes it.
fn activate_snapshot(
    record: &VolumeRecord,
    view: bool,
    observed: &Observed,
    stored: Option<u64>,
    steps: &mut Vec<Step>,
) -> Result<()> {
    match observed.snapshot.as_ref() {
        Some(device) if device.table.is_some() => {
            check_usage(record, device)?;
            require_running(record, observed)?;
            keep_snapshot(record, device, steps);
        }
        half_made => {
            if half_made.is_some() {
                // Left by a crash between create and resume. It cannot have been used: start again.
                steps.push(Step::RemoveDevice(Role::Snapshot));
            }
            make_snapshot(record, stored.unwrap_or_else(|| length_when_made(record)), steps);
        }
    }
    let below = match observed.snapshot.as_ref() {
        Some(device) if device.table.is_some() => Below::Live(device.number),
        _ => Below::Made,
    };
    let load = || Load::View { size: record.size, over: below };
    match observed.view.as_ref() {
        Some(device) if device.table.is_some() => keep(record, load(), device, steps),
        Some(_) => {
            steps.push(Step::RemoveDevice(Role::ReadOnlyView));
            if view {
                bring_up(load(), steps);
            }
        }
        None if view => bring_up(load(), steps),
        None => {}
    }
    Ok(())
}

/// Whether the volume cannot be activated, or grow, before its overlay is merged.
fn is_unmerged(record: &VolumeRecord, observed: &Observed) -> bool {
    let is_short = |device| Health::of(device, record).short;
    let waits = !observed.is_live() || observed.snapshot.as_ref().is_some_and(is_short);
    observed.overlay.is_some() && waits && !observed.is_stale(record)
}

/// The error for a volume whose own store does not have all that was written.
pub(crate) fn unmerged(record: &VolumeRecord) -> Error {
    let why = "what was written while a snapshot was made of it is not merged into its store yet";
    Error::new(ErrorKind::Unprepared, "use volume", &record.id, why)
        .remedy("activate (or stage) the volume, which merges it, then repeat the call")
}

/// How long a store is after the step that made it. What a copied one holds may reach to its end.
fn length_when_made(record: &VolumeRecord) -> u64 {
    match record.source {
        Some(_) => store_length(record),
        None => first_length(record),
    }
}

/// Makes the device over a store of `stored` bytes. Until the store has its full length, nobody can use it.
fn make_snapshot(record: &VolumeRecord, stored: u64, steps: &mut Vec<Step>) {
    let (first, length) = (first_length(record), store_length(record));
    // A reserved store is allocated in full: to cut it would free its blocks.
    if record.reserve == Reserve::None {
        match stored.cmp(&first) {
            Ordering::Less => steps.push(Step::ExtendStore { of: record.backing, length: first }),
            Ordering::Equal => {}
            Ordering::Greater => steps.push(Step::ShortenStore {
                least: first,
                after_content: cow::space_after_content(record.chunk_size),
            }),
        }
    }
    steps.push(Step::AttachOrigin(Box::new(record.clone())));
    steps.push(Step::AttachStore(Box::new(record.clone())));
    steps.push(Step::CreateDevice(Role::Snapshot));
    let over = Loops::Attached;
    steps.push(Step::LoadTable(Load::Snapshot { record: Box::new(record.clone()), over }));
    if first < length {
        steps.push(Step::ExtendStore { of: record.backing, length });
        steps.push(Step::RefreshStore);
    }
    steps.push(Step::Resume(Role::Snapshot));
}

/// Grows a live snapshot to the record's size, and the loop devices below it.
fn keep_snapshot(record: &VolumeRecord, device: &Device, steps: &mut Vec<Step>) {
    let Some(stack) = Stack::below(device) else { return };
    let load = Load::Snapshot { record: Box::new(record.clone()), over: Loops::Live(stack) };
    keep(record, load, device, steps);
}

/// Grows a live device to the record's size, and resumes I/O if a crash during growth stopped it.
fn keep(record: &VolumeRecord, load: Load, device: &Device, steps: &mut Vec<Step>) {
    let role = load.role();
    if device.inactive_table {
        steps.push(Step::ClearTable(role));
    }
    let health = Health::of(device, record);
    let stack = match &load {
        Load::Snapshot { over: Loops::Live(stack), .. } => Some(*stack),
        _ => None,
    };
    if let Some(stack) = stack
        && health.short
    {
        let digest = record.digest.clone();
        steps.push(Step::GrowOrigin { digest, origin: stack.origin, size: record.size });
    }
    if health.short {
        // The kernel sizes tables by the store's length.
        steps.push(Step::LoadTable(load));
    }
    if let Some(stack) = stack
        && (health.short || health.store_short)
    {
        steps.push(Step::RefreshLoop(stack.store));
    }
    if !health.short {
        if device.suspended {
            steps.push(Step::Resume(role));
        }
        return;
    }
    if !device.suspended {
        steps.push(Step::Suspend(role, Quiesce::FileSystem));
    }
    steps.push(Step::Resume(role));
}

fn bring_up(load: Load, steps: &mut Vec<Step>) {
    let role = load.role();
    steps.extend([Step::CreateDevice(role), Step::LoadTable(load), Step::Resume(role)]);
}

fn check_usage(record: &VolumeRecord, device: &Device) -> Result<()> {
    let health = Health::of(device, record);
    match health.loss {
        Some(Loss::Invalid) => Err(invalid(record)),
        Some(Loss::Overflow) if health.short => Err(Error::new(
            ErrorKind::NoSpace,
            "use volume",
            &record.id,
            "what it may write is used up, and a larger size does not change that",
        )
        .remedy(format!(
            "give it a higher limit first: `calf volume recover {} --cow-limit SIZE`",
            record.id
        ))),
        _ => Ok(()),
    }
}

/// Refuses a volume that a guard keeps suspended. Whoever reads or writes it now would wait with it.
pub(crate) fn require_running(record: &VolumeRecord, observed: &Observed) -> Result<()> {
    if !observed.held {
        return Ok(());
    }
    let why = "the pool is nearly full, so its guard suspended the volume until there is room";
    Err(Error::new(ErrorKind::NoSpace, "use volume", &record.id, why).remedy(
        "delete volumes or templates that are not needed, or enlarge the pool's file system; the volume then \
         goes on by itself",
    ))
}

fn hold(observed: &Observed, steps: &mut Vec<Step>) {
    if observed.snapshot.as_ref().is_some_and(|device| device.table.is_some() && !device.suspended)
    {
        steps.push(Step::Suspend(Role::Snapshot, Quiesce::Device));
    }
}

/// The error for a volume that the kernel stopped at a failed write.
pub(crate) fn invalid(record: &VolumeRecord) -> Error {
    let why = "a write to its COW store failed, most often since the pool was full";
    Error::new(ErrorKind::NoSpace, "use volume", &record.id, why).remedy(format!(
        "free space in the pool, then stage the volume again or run `calf volume recover {}`",
        record.id
    ))
}

fn activate_copy(record: &VolumeRecord, view: bool, observed: &Observed, steps: &mut Vec<Step>) {
    for access in [CopyAccess::ReadWrite, CopyAccess::ReadOnly] {
        let read_only = access == CopyAccess::ReadOnly;
        match observed.copies.iter().find(|copy| copy.read_only == read_only) {
            Some(copy) if copy.size < record.size => steps.push(Step::RefreshLoop(copy.number)),
            Some(_) => {}
            None if !read_only || view => {
                steps.push(Step::AttachCopy { record: Box::new(record.clone()), access });
            }
            None => {}
        }
    }
}

fn deactivate(observed: &Observed, steps: &mut Vec<Step>) {
    if observed.snapshot.as_ref().is_some_and(|device| device.suspended && device.open_count > 0) {
        // Whoever has it open may be waiting for it, and cannot end before.
        steps.push(Step::Resume(Role::Snapshot));
    }
    if observed.view.is_some() {
        steps.push(Step::RemoveDevice(Role::ReadOnlyView));
    }
    if let Some(device) = &observed.snapshot {
        steps.push(Step::RemoveDevice(Role::Snapshot));
        if let Some(stack) = Stack::below(device) {
            let of = if observed.is_over_base() { StoreFile::Overlay } else { StoreFile::Own };
            steps.push(Step::AwaitRelease { of, number: stack.store });
        }
    }
    if let Some(base) = observed.base() {
        steps.push(Step::RemoveDevice(Role::Base));
        if let Some(stack) = Stack::below(base) {
            steps.push(Step::AwaitRelease { of: StoreFile::Own, number: stack.store });
        }
    }
    let backing = observed.record.as_ref().map_or(Backing::Copy, |record| record.backing);
    let detach = |number| Step::DetachCopy { of: backing, number };
    steps.extend(observed.copies.iter().map(|copy| detach(copy.number)));
}

#[cfg(test)]
mod tests;
