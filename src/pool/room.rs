//! Space that running imports have still to write.
//!
//! Imports run side by side, and each looks at the free space before it begins: without a sum of what
//! is still to come, several would be given the same space. The sum is that of this process. An import
//! of another process is bounded by the look that each import takes again while it writes.

use std::sync::{Mutex, MutexGuard};

use crate::error::Result;

/// The sum of what running imports have still to write, in bytes.
#[derive(Debug, Default)]
pub(crate) struct Room(Mutex<u64>);

/// The part of one import, which is given back when this is dropped.
#[derive(Debug)]
pub(crate) struct RoomClaim<'a> {
    room: &'a Room,
    left: u64,
}

impl Room {
    /// Claims `needed` bytes for an import that begins, if `check` admits them beside what is claimed
    /// already.
    pub(super) fn claim(
        &self,
        needed: u64,
        check: impl FnOnce(u64) -> Result<()>,
    ) -> Result<RoomClaim<'_>> {
        let mut claimed = self.lock();
        check(*claimed)?;
        *claimed += needed;
        Ok(RoomClaim { room: self, left: needed })
    }

    /// Claims `needed` bytes for an import that goes on: it had room when it began.
    pub(crate) fn reclaim(&self, needed: u64) -> RoomClaim<'_> {
        *self.lock() += needed;
        RoomClaim { room: self, left: needed }
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

impl RoomClaim<'_> {
    /// Takes note that at most `left` bytes are still to be written.
    pub(crate) fn shrink_to(&mut self, left: u64) {
        let written = self.left.saturating_sub(left);
        self.left -= written;
        *self.room.lock() -= written;
    }
}

impl Drop for RoomClaim<'_> {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}
