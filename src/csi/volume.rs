//! A volume in CSI's form.

use crate::csi::capacity::to_wire as bytes;
use crate::csi::topology::Topology;
use crate::csi::{parameters, source, v1};
use crate::pool::record::VolumeRecord;

/// The volume's description.
pub(super) fn to_wire(record: &VolumeRecord, topology: &Topology) -> v1::Volume {
    v1::Volume {
        capacity_bytes: bytes(record.size),
        volume_id: record.id.clone(),
        volume_context: parameters::context(record),
        content_source: record.source.as_ref().map(|it| source::to_wire(it, topology)),
        accessible_topology: vec![topology.to_wire()],
    }
}
