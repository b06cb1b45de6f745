//! A volume that is deleted with its guard.

use std::ops::Deref;

use crate::api::Volume;
use crate::error::Result;

/// Deletes its volume when dropped, on every way out of a function, including a panic.
///
/// A drop cannot return an error. If the volume cannot be deleted, for instance because a VMM still
/// has it open, the guard logs a warning with the reason and the remedy through `tracing`, and the
/// volume stays. The volume also stays if the process is killed. In both cases, its id leads to it
/// again, and a [`ttl`](crate::VolumeSpec::ttl) makes reconciliation delete it. To get the error of
/// a failed deletion, call [`delete`](Self::delete).
#[derive(Debug)]
#[must_use = "the volume is deleted when this is dropped"]
pub struct TemporaryVolume {
    volume: Volume,
    kept: bool,
}

impl Volume {
    /// A guard that deletes the volume when it is dropped.
    pub fn delete_on_drop(self) -> TemporaryVolume {
        TemporaryVolume { volume: self, kept: false }
    }
}

impl TemporaryVolume {
    /// Keeps the volume.
    pub fn keep(mut self) -> Volume {
        self.kept = true;
        self.volume.clone()
    }

    /// Deletes the volume now. After a failure, the guard does not try again: the volume stays.
    pub fn delete(mut self) -> Result<()> {
        self.kept = true;
        self.volume.delete()
    }
}

impl Deref for TemporaryVolume {
    type Target = Volume;

    fn deref(&self) -> &Volume {
        &self.volume
    }
}

impl Drop for TemporaryVolume {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = self.volume.delete()
        {
            let id = self.volume.id();
            tracing::warn!(
                volume = id,
                error = error.report(),
                "could not delete a temporary volume"
            );
        }
    }
}
