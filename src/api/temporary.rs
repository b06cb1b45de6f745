//! A volume that goes with its guard.

use std::ops::Deref;

use crate::api::Volume;
use crate::error::Result;

/// Deletes its volume when it is dropped: on every way out of a function, a panic included.
///
/// A drop cannot return an error. Where the volume cannot be deleted, because a VMM still has it open
/// for instance, a warning with the reason and the remedy is logged through `tracing`, and the volume
/// stays. So does that of a process that is killed. Either is found again by its id, and a
/// [`ttl`](crate::VolumeSpec::ttl) lets reconciliation delete it. To learn of a failure, call
/// [`delete`](Self::delete).
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
    /// Lets the volume stay.
    pub fn keep(mut self) -> Volume {
        self.kept = true;
        self.volume.clone()
    }

    /// Deletes the volume now. After a failure it is not tried again: the volume stays.
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
            tracing::warn!(volume = id, error = error.report(), "a temporary volume is left");
        }
    }
}
