//! CreateSnapshot, DeleteSnapshot, ListSnapshots, GetSnapshot.

use crate::csi::driver::Service;
use crate::csi::paging::Page;
use crate::csi::request::volume_id;
use crate::csi::snapshot_id::{self, Place};
use crate::csi::source::no_such_snapshot;
use crate::csi::{snapshot, v1};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Cutting;
use crate::model::key::Key;
use crate::model::snapshot::SnapshotSpec;
use crate::pool::snapshots::SnapshotRecord;

impl Service {
    /// A repeated call finds the snapshot by its name, even if its volume is gone.
    pub(super) fn create_snapshot(
        &self,
        request: &v1::CreateSnapshotRequest,
    ) -> Result<v1::CreateSnapshotResponse> {
        let name = volume_id("name", &request.name)?;
        let volume = volume_id("source_volume_id", &request.source_volume_id)?;
        let consistency = snapshot::consistency(&request.parameters)?;
        self.topology.require("make a snapshot", request.accessibility_requirements.as_ref())?;
        let spec = SnapshotSpec::new(name).consistency(consistency);
        let taken = self.pool.volume(volume)?.take_snapshot(&spec)?;
        if let Some(waited) = taken.waited {
            self.metrics.writers_waited(Cutting::Snapshot, waited);
        }
        Ok(v1::CreateSnapshotResponse { snapshot: Some(self.described(&taken.snapshot.record)) })
    }

    /// What this node never had is as good as deleted. What another node has is not.
    pub(super) fn delete_snapshot(&self, id: &str) -> Result<v1::DeleteSnapshotResponse> {
        let id = volume_id("snapshot_id", id)?;
        match snapshot_id::find(self.topology.node(), id) {
            Place::Here(key) => {
                if let Some(record) = self.pool.snapshot_record(&key)? {
                    self.pool.snapshot(&record.name)?.delete()?;
                }
            }
            Place::Nowhere => {}
            Place::Elsewhere(node) => {
                return Err(self.deleted_elsewhere("delete snapshot", id, node));
            }
        }
        Ok(v1::DeleteSnapshotResponse {})
    }

    /// The error for a deletion of what another node has.
    pub(in crate::csi) fn deleted_elsewhere(
        &self,
        operation: &'static str,
        id: &str,
        node: &str,
    ) -> Error {
        let why = format!("it is on node {node}, and this is {}", self.topology.node());
        Error::new(ErrorKind::Unprepared, operation, id, why).remedy(
            "send the request to the driver on its node; external-snapshotter does with --node-deployment, \
             and --enable-distributed-snapshotting on the snapshot-controller",
        )
    }

    pub(super) fn list_snapshots(
        &self,
        request: &v1::ListSnapshotsRequest,
    ) -> Result<v1::ListSnapshotsResponse> {
        let page = Page::parse(request.max_entries, &request.starting_token)?;
        let keys = match request.snapshot_id.as_str() {
            "" => self.pool.snapshot_keys()?,
            id => match snapshot_id::find(self.topology.node(), id) {
                Place::Here(key) => vec![key],
                Place::Elsewhere(_) | Place::Nowhere => Vec::new(),
            },
        };
        let volume = request.source_volume_id.as_str();
        let (entries, next_token) = page.fill(keys, |key| {
            let record = self.listed_snapshot(key)?;
            let wanted = record.filter(|record| volume.is_empty() || record.volume == volume);
            Ok(wanted.map(|record| v1::list_snapshots_response::Entry {
                snapshot: Some(self.described(&record)),
            }))
        })?;
        Ok(v1::ListSnapshotsResponse { entries, next_token })
    }

    pub(super) fn get_snapshot(&self, id: &str) -> Result<v1::GetSnapshotResponse> {
        let id = volume_id("snapshot_id", id)?;
        let record = match snapshot_id::find(self.topology.node(), id) {
            Place::Here(key) => self.pool.snapshot_record(&key)?,
            Place::Elsewhere(_) | Place::Nowhere => None,
        };
        let record = record.ok_or_else(|| no_such_snapshot(id))?;
        Ok(v1::GetSnapshotResponse { snapshot: Some(self.described(&record)) })
    }

    /// One snapshot; `None` if there is none, or its record is damaged, which must not hide the others.
    fn listed_snapshot(&self, key: &Key) -> Result<Option<SnapshotRecord>> {
        match self.pool.snapshot_record(key) {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            record => record,
        }
    }

    fn described(&self, record: &SnapshotRecord) -> v1::Snapshot {
        snapshot::to_wire(record, &self.topology)
    }
}
