//! Snapshots in CSI's form, and the parameters of a VolumeSnapshotClass.

use std::collections::HashMap;

use crate::csi::capacity::to_wire as bytes;
use crate::csi::parameters::KUBERNETES_PREFIX;
use crate::csi::request::invalid;
use crate::csi::topology::Topology;
use crate::csi::{snapshot_id, v1};
use crate::error::Result;
use crate::model::snapshot::Consistency;
use crate::pool::snapshots::SnapshotRecord;

const CONSISTENCY: &str = "consistency";

/// The snapshot's description.
pub(super) fn to_wire(record: &SnapshotRecord, topology: &Topology) -> v1::Snapshot {
    let node = topology.node();
    v1::Snapshot {
        size_bytes: bytes(record.size),
        snapshot_id: snapshot_id::of(node, &record.name),
        source_volume_id: record.volume.clone(),
        creation_time: Some(moment(record.created)),
        // The call that makes a snapshot returns once it is on the disk.
        ready_to_use: true,
        group_snapshot_id: record
            .group
            .as_ref()
            .map_or(String::new(), |group| snapshot_id::of(node, &group.name)),
        accessible_topology: vec![topology.to_wire()],
    }
}

pub(super) fn moment(time: jiff::Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// Checks the parameters of a VolumeSnapshotClass: the consistency that they ask for, if any. Keys that
/// Kubernetes adds are ignored.
pub(super) fn consistency(parameters: &HashMap<String, String>) -> Result<Option<Consistency>> {
    let mut wanted = None;
    for (key, value) in parameters {
        match key.as_str() {
            CONSISTENCY => wanted = Some(parse(value)?),
            key if key.starts_with(KUBERNETES_PREFIX) => {}
            // The value of an unknown key is not shown, since it may be a secret.
            key => {
                return Err(invalid("parameters", key, "the key is unknown").remedy(
                    "a VolumeSnapshotClass, or a VolumeGroupSnapshotClass, may have consistency",
                ));
            }
        }
    }
    Ok(wanted)
}

fn parse(value: &str) -> Result<Consistency> {
    [Consistency::Crash, Consistency::FileSystem]
        .into_iter()
        .find(|consistency| consistency.as_str() == value)
        .ok_or_else(|| {
            let field = format!("parameters.{CONSISTENCY}");
            invalid(&field, value, "it is neither crash nor file-system").remedy(
                "leave it out: a file system that is mounted on the node is then frozen for the moment of \
                 the cut, and a block volume is taken as after a crash",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(key: &str, value: &str) -> Result<Option<Consistency>> {
        consistency(&HashMap::from([(key.to_owned(), value.to_owned())]))
    }

    #[test]
    fn a_class_may_ask_for_a_consistency_and_nothing_else() {
        assert_eq!(consistency(&HashMap::new()).unwrap(), None);
        assert_eq!(parsed("consistency", "crash").unwrap(), Some(Consistency::Crash));
        assert_eq!(parsed("consistency", "file-system").unwrap(), Some(Consistency::FileSystem));
        assert_eq!(parsed("csi.storage.k8s.io/volumesnapshot/name", "x").unwrap(), None);
        for (key, value, word) in [
            ("consistency", "", "neither crash nor file-system"),
            ("consistency", "Crash", "neither crash nor file-system"),
            ("Consistency", "crash", "the key is unknown"),
            ("template", "debian", "the key is unknown"),
        ] {
            let error = parsed(key, value).unwrap_err();
            assert!(error.report().contains(word), "{key}: {}", error.report());
            assert!(!error.remedies().is_empty(), "{key}");
        }
        let secret = parsed("password", "hunter2").unwrap_err();
        assert!(!secret.report().contains("hunter2"), "{}", secret.report());
    }
}
