//! Reports, once, that the kernel gave up a volume.
//!
//! Statistics, lists and reconciliation all see the same state repeatedly. Only a change of the
//! state is worth a line in the log and a count. The kernel remains the truth: what is remembered
//! here only prevents repeated reports. A new process reports each loss once more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::key::Key;
use crate::model::volume::VolumeState;
use crate::pool::record::VolumeRecord;

/// Counts of the volumes that the kernel gave up, as noticed since the pool was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Volumes that turned [`Invalid`](VolumeState::Invalid).
    pub invalid: u64,
    /// Volumes that turned [`Overflow`](VolumeState::Overflow).
    pub overflow: u64,
}

/// The losses that were reported.
#[derive(Debug, Default)]
pub(crate) struct LossLog(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    losses: Losses,
    reported: BTreeMap<Key, VolumeState>,
}

impl LossLog {
    /// Takes note of a volume's state, and reports a loss that was not yet reported.
    pub(crate) fn notice(&self, key: &Key, record: &VolumeRecord, now: VolumeState) {
        let mut state = self.state();
        if !now.is_stopped() {
            state.reported.remove(key);
            return;
        }
        if state.reported.insert(key.clone(), now) == Some(now) {
            return;
        }
        let what = match now {
            VolumeState::Invalid => {
                state.losses.invalid += 1;
                "a write to its COW store failed, most often since the pool was full: free space, then stage it again or run `calf volume recover`"
            }
            _ => {
                state.losses.overflow += 1;
                "its COW store is full: reads work, writes fail; raise its limit with `calf volume recover`"
            }
        };
        drop(state);
        tracing::warn!(volume = record.id, template = record.template, what);
    }

    /// Forgets a volume that was deleted.
    pub(crate) fn forget(&self, key: &Key) {
        self.state().reported.remove(key);
    }

    /// The counts of losses so far.
    pub(crate) fn count(&self) -> Losses {
        self.state().losses
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
