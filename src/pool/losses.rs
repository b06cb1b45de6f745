//! Tells, once, of a volume that the kernel gave up.
//!
//! Statistics, lists and reconciliation all see the same state again and again; what is worth a line
//! in the log and a count is the moment in which it changes. The kernel stays the truth: what is
//! remembered here only keeps from telling it twice, and a new process tells it once more.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::key::Key;
use crate::model::volume::VolumeState;
use crate::pool::record::VolumeRecord;

/// How many volumes were seen to be given up since the pool was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// Volumes that turned [`Invalid`](VolumeState::Invalid).
    pub invalid: u64,
    /// Volumes that turned [`Overflow`](VolumeState::Overflow).
    pub overflow: u64,
}

/// What was told.
#[derive(Debug, Default)]
pub(crate) struct LossLog(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    losses: Losses,
    told: BTreeMap<Key, VolumeState>,
}

impl LossLog {
    /// Takes note of a volume's state; tells it if it is a loss that was not told.
    pub(crate) fn notice(&self, key: &Key, record: &VolumeRecord, now: VolumeState) {
        let mut state = self.state();
        if !now.is_lost() {
            state.told.remove(key);
            return;
        }
        if state.told.insert(key.clone(), now) == Some(now) {
            return;
        }
        let what = match now {
            VolumeState::Invalid => {
                state.losses.invalid += 1;
                "an I/O error on its COW store made it invalid: its content is lost; delete it"
            }
            _ => {
                state.losses.overflow += 1;
                "its COW store is full: reads go on, writes fail; save what is needed, then delete it"
            }
        };
        drop(state);
        tracing::warn!(volume = record.id, template = record.template, what);
    }

    /// The volume is gone.
    pub(crate) fn forget(&self, key: &Key) {
        self.state().told.remove(key);
    }

    /// What was told so far.
    pub(crate) fn count(&self) -> Losses {
        self.state().losses
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
