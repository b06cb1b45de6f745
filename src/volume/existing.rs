//! A volume that exists, as the holder of its lock found it: what is activated, staged and published.

use super::execute::Executor;
use super::lifecycle::undo;
use super::plan::{Goal, Observed, plan};
use super::{observe, spare};
use crate::error::{Error, ErrorKind, Result};
use crate::key::Key;
use crate::pool::Pool;
use crate::pool::record::VolumeRecord;
use crate::sys::{DeviceNumber, StoreHeader};

/// The record, and what else there was when the call began: whoever holds the volume's lock need not
/// look again before acting.
pub(super) struct Existing<'a> {
    pub(super) pool: &'a Pool,
    pub(super) key: Key,
    pub(super) record: VolumeRecord,
    pub(super) before: Observed,
}

impl<'a> Existing<'a> {
    /// Looks at the volume `id`. The caller holds its lock.
    pub(super) fn look(pool: &'a Pool, id: &str) -> Result<Self> {
        let key = Key::of(id);
        let before = observe::observe(pool, &key)?;
        match before.record.clone() {
            Some(record) => Ok(Self { pool, key, record, before }),
            None => Err(unknown(id)),
        }
    }

    /// Brings the device up, and with `view` the read-only one, then uses the one that was asked for.
    /// If either fails, devices that were not there before are gone again.
    pub(super) fn activate<T>(
        &self,
        view: bool,
        action: impl FnOnce(DeviceNumber) -> Result<T>,
    ) -> Result<T> {
        let was_active = self.before.device(false).is_some();
        let result = self.bring_up(view).and_then(action);
        if result.is_err() && !was_active {
            undo(self.pool, &self.key, Goal::Inactive);
        }
        result
    }

    fn bring_up(&self, view: bool) -> Result<DeviceNumber> {
        let Self { pool, key, record, before } = self;
        let goal = Goal::Active { record, view };
        let spare = match self.is_untouched() {
            true => spare::claim(pool, key, record)?,
            false => None,
        };
        // Nothing else of the volume is other than before.
        let claimed = spare.map(|device| Observed { snapshot: Some(device), ..before.clone() });
        let now = claimed.as_ref().unwrap_or(before);
        let steps = plan(goal, now)?;
        let device = if steps.is_empty() {
            now.device(view)
        } else {
            Executor::new(pool, key, Some(record), now).run(&steps)?;
            let after = observe::again(pool, key, now)?;
            // A store that the kernel gave up earlier comes up like any other, and cannot be read.
            plan(goal, &after)?;
            after.device(view)
        };
        device.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "activate volume", &record.id, "its device vanished")
                .remedy("something outside calf removed it; repeat the call")
        })
    }

    /// Whether it never had a device: then a spare may become it, and bring its own store.
    fn is_untouched(&self) -> bool {
        let Self { record, before, .. } = self;
        let store = before
            .store
            .is_some_and(|store| store.damage.is_none() && store.header == Some(StoreHeader::New));
        store && before.devices().is_empty() && record.boot == before.boot
    }
}

/// The record of a volume that must exist. The caller holds its lock.
pub(super) fn record(pool: &Pool, key: &Key, id: &str) -> Result<VolumeRecord> {
    observe::read_record(pool, key)?.ok_or_else(|| unknown(id))
}

/// The error for a volume that does not exist.
pub(super) fn unknown(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, "find volume", id, "no such volume in this pool")
        .remedy("list the volumes with `calf volume list`")
}
