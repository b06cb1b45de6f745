//! A volume in CSI's form.

use crate::csi::capacity::to_wire as bytes;
use crate::csi::topology::Topology;
use crate::csi::{parameters, v1};
use crate::model::volume::VolumeState;
use crate::pool::record::VolumeRecord;

/// The volume's description.
pub(super) fn to_wire(record: &VolumeRecord, topology: &Topology) -> v1::Volume {
    v1::Volume {
        capacity_bytes: bytes(record.size),
        volume_id: record.id.clone(),
        volume_context: parameters::context(record),
        content_source: None,
        accessible_topology: vec![topology.to_wire()],
    }
}

/// Whether the volume is abnormal, with a text for people who find the event in the log.
pub(super) fn condition(state: VolumeState) -> v1::VolumeCondition {
    let (abnormal, message) = match state {
        VolumeState::Inactive => (false, "healthy; not in use on this node"),
        VolumeState::Active => (false, "in order"),
        VolumeState::Interrupted => {
            (false, "an operation was interrupted; the next call for the volume completes it")
        }
        VolumeState::Suspended => (
            true,
            "the pool is nearly full, so the guard suspended it: its reads and writes wait, nothing is \
             lost, and it goes on by itself once there is room; delete volumes or enlarge the pool",
        ),
        VolumeState::Invalid => (
            true,
            "a write to the COW store failed, most often since the pool was full, and the volume can \
             be neither read nor written: free space in the pool, then stage the volume again or run \
             `calf volume recover` on the node",
        ),
        VolumeState::Overflow => (
            true,
            "the COW store is full: reads still work, writes fail; raise the limit on the node with \
             `calf volume recover --cow-limit`",
        ),
    };
    v1::VolumeCondition { abnormal, message: message.to_owned() }
}

/// The condition of a healthy volume whose mounted file system is not healthy.
pub(super) fn failed_file_system() -> v1::VolumeCondition {
    let message = "an error turned its file system read-only: see the kernel log for the reason; unpublish \
                   and unstage the volume, then publish it again";
    v1::VolumeCondition { abnormal: true, message: message.to_owned() }
}
