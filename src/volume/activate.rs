//! A volume as the holder of its lock found it, ready to be activated, staged or published.

use crate::cow::header::StoreHeader;
use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::model::volume::VolumeState;
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::sys::DeviceNumber;
use crate::volume::machine::converge::undo;
use crate::volume::machine::execute::Executor;
use crate::volume::machine::observe;
use crate::volume::plan::state::Observed;
use crate::volume::plan::{Goal, plan};
use crate::volume::{overlay, revive, spare};

/// The volume as it was when the call began. The caller holds its lock, so it need not look again
/// before acting.
pub(crate) struct Found<'a> {
    pub(crate) pool: &'a PoolDir,
    pub(crate) guard: &'a VolumeGuard,
    pub(crate) key: &'a Key,
    pub(crate) record: VolumeRecord,
    pub(crate) before: Observed,
}

impl<'a> Found<'a> {
    /// Looks at the volume `id`. `NotFound` if it does not exist.
    pub(crate) fn look(pool: &'a PoolDir, guard: &'a VolumeGuard, id: &str) -> Result<Self> {
        let key = guard.key();
        let before = observe::observe(pool, key)?;
        match before.record.clone() {
            Some(record) => Ok(Self { pool, guard, key, record, before }),
            None => Err(unknown(id)),
        }
    }

    /// Brings up the volume's device, and with `view` its read-only view, then calls `action` with
    /// the requested one. If either fails for good, takes down the devices of a volume that was
    /// inactive before.
    pub(crate) fn activate<T>(
        &self,
        view: bool,
        action: impl FnOnce(DeviceNumber) -> Result<T>,
    ) -> Result<T> {
        let was_active = self.before.device(false).is_some();
        let result = self.bring_up(view).and_then(action);
        if result.as_ref().is_err_and(Error::is_final) && !was_active {
            undo(self.pool, self.guard, Goal::Inactive);
        }
        result
    }

    fn bring_up(&self, view: bool) -> Result<DeviceNumber> {
        let Self { pool, guard, key, record, before } = self;
        let goal = Goal::Active { record, view };
        // A store of an earlier boot is replaced, which makes room.
        if before.devices().is_empty() && !before.is_stale(record) {
            pool.require_unguarded("activate volume", &record.id)?;
        }
        let revived = self.revive()?;
        let before = revived.as_ref().unwrap_or(before);
        let merged = match overlay::restore(pool, guard, record, before)? {
            true => Some(observe::again(pool, key, before)?),
            false => None,
        };
        let before = merged.as_ref().unwrap_or(before);
        let spare = match self.is_untouched() {
            true => spare::claim(pool, guard, record)?,
            false => None,
        };
        // A claim changes only the device: everything else is as before.
        let claimed = spare.map(|device| Observed { snapshot: Some(device), ..before.clone() });
        let now = claimed.as_ref().unwrap_or(before);
        let steps = plan(goal, now)?;
        let device = if steps.is_empty() {
            now.device(view)
        } else {
            Executor::new(pool, guard).run(&steps)?;
            let after = observe::again(pool, key, now)?;
            // A store that the kernel gave up earlier comes up without an error, but is unreadable.
            plan(goal, &after)?;
            after.device(view)
        };
        device.ok_or_else(|| {
            Error::new(ErrorKind::Internal, "activate volume", &record.id, "its device vanished")
                .remedy("something outside calf removed it; repeat the call")
        })
    }

    /// Brings back a volume that a full pool stopped, and looks again; `None` if it did not. A volume at
    /// its limit can be read, and stays as it is.
    fn revive(&self) -> Result<Option<Observed>> {
        let Self { pool, guard, key, record, before } = self;
        if revive::cause(record, before) != Some(VolumeState::Invalid) {
            return Ok(None);
        }
        let chunks = revive::revive(pool, guard, record, before)?;
        let what = "recovered: the kernel had stopped it at a failed write";
        tracing::info!(volume = record.id, template = record.template, chunks, what);
        observe::observe(pool, key).map(Some)
    }

    /// Whether the volume starts from its template and never had a device. A spare may then become its device, with its own
    /// store.
    fn is_untouched(&self) -> bool {
        let Self { record, before, .. } = self;
        let store = before
            .store
            .is_some_and(|store| store.damage.is_none() && store.header == Some(StoreHeader::New));
        let is_own = record.source.is_none() && before.overlay.is_none();
        store && is_own && before.devices().is_empty() && record.boot == before.boot
    }
}

/// Returns the error for a volume that does not exist.
pub(crate) fn unknown(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, "find volume", id, "no such volume in this pool")
        .remedy("list the volumes with `calf volume list`")
}
