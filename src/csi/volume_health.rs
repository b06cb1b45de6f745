//! What is wrong with a volume, or with the pool: the health of CSI 1.13, and the conditions that CSI had
//! until 1.12.

use crate::api::Pool;
use crate::csi::v1;
use crate::csi::v1::node_get_storage_health_response::StorageBackendHealth;
use crate::csi::v1::volume_health::VolumeHealthEntry;
use crate::csi::v1::{StorageHealthErrorType, VolumeHealthErrorType};
use crate::error::{Error, ErrorKind, Result};
use crate::model::volume::VolumeState;

/// One thing that is wrong with a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ailment {
    status: VolumeHealthErrorType,
    /// For programs, in CamelCase.
    reason: &'static str,
    message: String,
}

impl Ailment {
    fn new(
        status: VolumeHealthErrorType,
        reason: &'static str,
        message: impl Into<String>,
    ) -> Self {
        Self { status, reason, message: message.into() }
    }

    /// What the state of a volume says; `None` if nothing is wrong with it.
    pub(super) fn of_state(state: VolumeState) -> Option<Self> {
        use VolumeHealthErrorType::{Degraded, Inaccessible};
        match state {
            VolumeState::Inactive | VolumeState::Active | VolumeState::Interrupted => None,
            VolumeState::Suspended => Some(Self::new(
                Inaccessible,
                "SuspendedForSpace",
                "the pool is nearly full, so the guard suspended it: its reads and writes wait, nothing is \
                 lost, and it goes on by itself once there is room; delete volumes or enlarge the pool",
            )),
            VolumeState::Invalid => Some(Self::new(
                Inaccessible,
                "StoreWriteFailed",
                "a write to the COW store failed, most often since the pool was full, and the volume can \
                 be neither read nor written: free space in the pool, then stage the volume again or run \
                 `calf volume recover` on the node",
            )),
            VolumeState::Overflow => Some(Self::new(
                Degraded,
                "CowLimitReached",
                "the COW store is full: reads still work, writes fail; raise the limit on the node with \
                 `calf volume recover --cow-limit`",
            )),
        }
    }

    /// What is wrong with a volume whose mounted file system failed.
    pub(super) fn failed_file_system() -> Self {
        Self::new(
            VolumeHealthErrorType::Degraded,
            "FileSystemReadOnly",
            "an error turned its file system read-only: see the kernel log for the reason; unpublish \
             and unstage the volume, then publish it again",
        )
    }

    /// What a look at a volume says: its state, or why it cannot be looked at.
    pub(super) fn found(look: Result<VolumeState>) -> Option<Self> {
        match look {
            Ok(state) => Self::of_state(state),
            Err(error) => Some(Self::unknown(&error)),
        }
    }

    /// What is wrong with the volume `id`. `NotFound` if there is none.
    pub(super) fn of(pool: &Pool, id: &str) -> Result<Option<Self>> {
        match pool.volume(id)?.status() {
            Err(error) if error.kind() == ErrorKind::NotFound => Err(error),
            status => Ok(Self::found(status.map(|status| status.state))),
        }
    }

    /// What is wrong with a volume that cannot be looked at.
    pub(super) fn unknown(error: &Error) -> Self {
        Self::new(VolumeHealthErrorType::Inaccessible, "CannotBeInspected", error.report())
    }

    /// As the condition of CSI 1.12.
    pub(super) fn into_condition(self) -> v1::VolumeCondition {
        v1::VolumeCondition { abnormal: true, message: self.message }
    }
}

/// The health of a volume as CSI 1.13 has it.
pub(super) fn of_volume(id: &str, ailments: impl IntoIterator<Item = Ailment>) -> v1::VolumeHealth {
    let entry = |ailment: Ailment| VolumeHealthEntry {
        status: ailment.status.into(),
        reason: ailment.reason.to_owned(),
        message: ailment.message,
    };
    v1::VolumeHealth {
        volume_id: id.to_owned(),
        health_statuses: ailments.into_iter().map(entry).collect(),
    }
}

/// The condition of CSI 1.12, with a text for people who find the event in the log.
pub(super) fn condition(state: VolumeState) -> v1::VolumeCondition {
    if let Some(ailment) = Ailment::of_state(state) {
        return ailment.into_condition();
    }
    let message = match state {
        VolumeState::Inactive => "healthy; not in use on this node",
        VolumeState::Interrupted => {
            "an operation was interrupted; the next call for the volume completes it"
        }
        _ => "in order",
    };
    v1::VolumeCondition { abnormal: false, message: message.to_owned() }
}

/// What is wrong with the pool of this node, as CSI 1.13 has it.
pub(super) fn of_pool(pool: &Pool) -> Vec<StorageBackendHealth> {
    use StorageHealthErrorType::{StorageDegraded, StorageUnreachable};
    let health = |status: StorageHealthErrorType, reason: &str, message: String| {
        vec![StorageBackendHealth {
            status: status.into(),
            reason: reason.to_owned(),
            message,
            volume_capability: None,
        }]
    };
    if let Err(error) = pool.backing() {
        return health(StorageUnreachable, "KernelCannotMakeVolumes", error.report());
    }
    match pool.capacity() {
        Err(error) => health(StorageUnreachable, "PoolUnreachable", error.report()),
        Ok(capacity) if capacity.available == 0 => {
            let message = format!(
                "the pool at {} has no space beyond its reserve: no volume can be made, and those that \
                 write will be suspended; delete volumes or enlarge the pool",
                pool.root().display()
            );
            health(StorageDegraded, "PoolFull", message)
        }
        Ok(_) => Vec::new(),
    }
}
