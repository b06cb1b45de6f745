//! The GroupController service: snapshots of several volumes of this node as of one instant.

use std::collections::BTreeSet;

use tonic::{Request, Response, Status, async_trait};

use crate::csi::driver::{Driver, Service};
use crate::csi::request::{invalid, missing, volume_id};
use crate::csi::snapshot_id::{self, Place};
use crate::csi::v1::group_controller_service_capability::{Rpc, Type, rpc};
use crate::csi::{snapshot, v1};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Cutting;
use crate::model::snapshot::GroupSnapshotSpec;
use crate::pool::groups::GroupRecord;
use crate::pool::snapshots::SnapshotRecord;

#[async_trait]
impl v1::group_controller_server::GroupController for Driver {
    async fn group_controller_get_capabilities(
        &self,
        _: Request<v1::GroupControllerGetCapabilitiesRequest>,
    ) -> Result<Response<v1::GroupControllerGetCapabilitiesResponse>, Status> {
        self.call("GroupControllerGetCapabilities", "", |service| {
            Ok(capabilities(service.has_snapshots()))
        })
        .await
    }

    async fn create_volume_group_snapshot(
        &self,
        request: Request<v1::CreateVolumeGroupSnapshotRequest>,
    ) -> Result<Response<v1::CreateVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        let name = request.name.clone();
        self.call("CreateVolumeGroupSnapshot", &name, move |service| {
            service.create_group_snapshot(&request)
        })
        .await
    }

    async fn delete_volume_group_snapshot(
        &self,
        request: Request<v1::DeleteVolumeGroupSnapshotRequest>,
    ) -> Result<Response<v1::DeleteVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        let id = request.group_snapshot_id.clone();
        self.call("DeleteVolumeGroupSnapshot", &id, move |service| {
            service.delete_group_snapshot(&request)
        })
        .await
    }

    async fn get_volume_group_snapshot(
        &self,
        request: Request<v1::GetVolumeGroupSnapshotRequest>,
    ) -> Result<Response<v1::GetVolumeGroupSnapshotResponse>, Status> {
        let request = request.into_inner();
        let id = request.group_snapshot_id.clone();
        self.call("GetVolumeGroupSnapshot", &id, move |service| {
            service.get_group_snapshot(&request)
        })
        .await
    }
}

fn capabilities(snapshots: bool) -> v1::GroupControllerGetCapabilitiesResponse {
    let kind = rpc::Type::CreateDeleteGetVolumeGroupSnapshot;
    let capability = v1::GroupControllerServiceCapability {
        r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
    };
    let capabilities = snapshots.then_some(capability).into_iter().collect();
    v1::GroupControllerGetCapabilitiesResponse { capabilities }
}

impl Service {
    /// A repeated call finds the group by its name, even if its volumes are gone.
    fn create_group_snapshot(
        &self,
        request: &v1::CreateVolumeGroupSnapshotRequest,
    ) -> Result<v1::CreateVolumeGroupSnapshotResponse> {
        let name = volume_id("name", &request.name)?;
        if request.source_volume_ids.is_empty() {
            return Err(missing("source_volume_ids"));
        }
        for id in &request.source_volume_ids {
            volume_id("source_volume_ids", id)?;
        }
        let consistency = snapshot::consistency(&request.parameters)?;
        let spec =
            GroupSnapshotSpec::new(name, &request.source_volume_ids).consistency(consistency);
        let taken = self.pool.take_group_snapshot(&spec)?;
        if let Some(waited) = taken.waited {
            self.metrics.writers_waited(Cutting::Group, waited);
        }
        let records = taken.snapshots.iter().map(|snapshot| &snapshot.record);
        let group = self.described_group(name, taken.created, records);
        Ok(v1::CreateVolumeGroupSnapshotResponse { group_snapshot: Some(group) })
    }

    /// What this node never had is as good as deleted. What another node has is not.
    fn delete_group_snapshot(
        &self,
        request: &v1::DeleteVolumeGroupSnapshotRequest,
    ) -> Result<v1::DeleteVolumeGroupSnapshotResponse> {
        let id = volume_id("group_snapshot_id", &request.group_snapshot_id)?;
        match snapshot_id::find(self.topology.node(), id) {
            Place::Here(key) => {
                if let Some(group) = self.pool.group_record(&key)? {
                    self.require_members(&group, &request.snapshot_ids)?;
                    self.pool.group_snapshot(&group.name)?.delete()?;
                }
            }
            Place::Nowhere => {}
            Place::Elsewhere(node) => {
                return Err(self.deleted_elsewhere("delete group snapshot", id, node));
            }
        }
        Ok(v1::DeleteVolumeGroupSnapshotResponse {})
    }

    fn get_group_snapshot(
        &self,
        request: &v1::GetVolumeGroupSnapshotRequest,
    ) -> Result<v1::GetVolumeGroupSnapshotResponse> {
        let id = volume_id("group_snapshot_id", &request.group_snapshot_id)?;
        let group = match snapshot_id::find(self.topology.node(), id) {
            Place::Here(key) => self.pool.group_record(&key)?,
            Place::Elsewhere(_) | Place::Nowhere => None,
        };
        let group = group.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "find group snapshot", id, "no such group on this node")
                .remedy("list the groups with `calf snapshot group list`")
        })?;
        self.require_members(&group, &request.snapshot_ids)?;
        let snapshots = self.pool.group_snapshot(&group.name)?.snapshots()?;
        let records = snapshots.iter().map(|snapshot| &snapshot.record);
        let group = self.described_group(&group.name, group.created, records);
        Ok(v1::GetVolumeGroupSnapshotResponse { group_snapshot: Some(group) })
    }

    /// Refuses ids that are not those of the snapshots of the group. None mean all.
    fn require_members(&self, group: &GroupRecord, ids: &[String]) -> Result<()> {
        let of = |name: &str| snapshot_id::of(self.topology.node(), name);
        let has: BTreeSet<String> =
            group.members.iter().map(|member| of(&member.snapshot)).collect();
        if ids.is_empty() || has.iter().eq(ids.iter().collect::<BTreeSet<_>>()) {
            return Ok(());
        }
        let why = format!("the snapshots of group {} are others", group.name);
        Err(invalid("snapshot_ids", ids, why)
            .remedy("give the ids of all of its snapshots, or none"))
    }

    fn described_group<'a>(
        &self,
        name: &str,
        created: jiff::Timestamp,
        records: impl Iterator<Item = &'a SnapshotRecord>,
    ) -> v1::VolumeGroupSnapshot {
        v1::VolumeGroupSnapshot {
            group_snapshot_id: snapshot_id::of(self.topology.node(), name),
            snapshots: records.map(|record| snapshot::to_wire(record, &self.topology)).collect(),
            creation_time: Some(snapshot::moment(created)),
            ready_to_use: true,
        }
    }
}
