//! The Controller service: creates, lists and deletes the volumes and snapshots of this node. Volumes grow
//! through the Node service (docs/adr/0015-nodes-grow-volumes.md).

mod provision;
mod query;
mod snapshots;

use tonic::{Request, Response, Status, async_trait};

use crate::csi::driver::{Driver, unimplemented};
use crate::csi::v1;
use crate::csi::v1::controller_service_capability::{Rpc, Type, rpc};

const NO_ATTACH: &str = "volumes live on the node that uses them and need no attachment; \
                         set attachRequired: false in the CSIDriver object";
const NO_EXPANSION: &str = "volumes are grown where they are used: call NodeExpandVolume on the \
                            volume's node";

#[async_trait]
impl v1::controller_server::Controller for Driver {
    async fn create_volume(
        &self,
        request: Request<v1::CreateVolumeRequest>,
    ) -> Result<Response<v1::CreateVolumeResponse>, Status> {
        let request = request.into_inner();
        let name = request.name.clone();
        self.call("CreateVolume", &name, move |service| service.create_volume(&request)).await
    }

    async fn delete_volume(
        &self,
        request: Request<v1::DeleteVolumeRequest>,
    ) -> Result<Response<v1::DeleteVolumeResponse>, Status> {
        let id = request.into_inner().volume_id;
        self.call("DeleteVolume", &id.clone(), move |service| service.delete_volume(&id)).await
    }

    async fn validate_volume_capabilities(
        &self,
        request: Request<v1::ValidateVolumeCapabilitiesRequest>,
    ) -> Result<Response<v1::ValidateVolumeCapabilitiesResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        self.call("ValidateVolumeCapabilities", &id, move |service| {
            service.validate_volume_capabilities(request)
        })
        .await
    }

    async fn list_volumes(
        &self,
        request: Request<v1::ListVolumesRequest>,
    ) -> Result<Response<v1::ListVolumesResponse>, Status> {
        let request = request.into_inner();
        self.call("ListVolumes", "", move |service| service.list_volumes(&request)).await
    }

    async fn controller_list_volume_health(
        &self,
        request: Request<v1::ControllerListVolumeHealthRequest>,
    ) -> Result<Response<v1::ControllerListVolumeHealthResponse>, Status> {
        let request = request.into_inner();
        self.call("ControllerListVolumeHealth", "", move |service| {
            service.list_volume_health(&request)
        })
        .await
    }

    async fn controller_get_volume_health(
        &self,
        request: Request<v1::ControllerGetVolumeHealthRequest>,
    ) -> Result<Response<v1::ControllerGetVolumeHealthResponse>, Status> {
        let id = request.into_inner().volume_id;
        self.call("ControllerGetVolumeHealth", &id.clone(), move |service| {
            service.controller_volume_health(&id)
        })
        .await
    }

    async fn get_capacity(
        &self,
        request: Request<v1::GetCapacityRequest>,
    ) -> Result<Response<v1::GetCapacityResponse>, Status> {
        let request = request.into_inner();
        self.call("GetCapacity", "", move |service| service.get_capacity(&request)).await
    }

    async fn controller_get_volume(
        &self,
        request: Request<v1::ControllerGetVolumeRequest>,
    ) -> Result<Response<v1::ControllerGetVolumeResponse>, Status> {
        let id = request.into_inner().volume_id;
        self.call("ControllerGetVolume", &id.clone(), move |service| {
            service.controller_get_volume(&id)
        })
        .await
    }

    async fn controller_get_capabilities(
        &self,
        _: Request<v1::ControllerGetCapabilitiesRequest>,
    ) -> Result<Response<v1::ControllerGetCapabilitiesResponse>, Status> {
        self.call("ControllerGetCapabilities", "", |service| {
            Ok(capabilities(service.has_snapshots()))
        })
        .await
    }

    async fn controller_publish_volume(
        &self,
        _: Request<v1::ControllerPublishVolumeRequest>,
    ) -> Result<Response<v1::ControllerPublishVolumeResponse>, Status> {
        unimplemented("ControllerPublishVolume", NO_ATTACH)
    }

    async fn controller_unpublish_volume(
        &self,
        _: Request<v1::ControllerUnpublishVolumeRequest>,
    ) -> Result<Response<v1::ControllerUnpublishVolumeResponse>, Status> {
        unimplemented("ControllerUnpublishVolume", NO_ATTACH)
    }

    async fn controller_expand_volume(
        &self,
        _: Request<v1::ControllerExpandVolumeRequest>,
    ) -> Result<Response<v1::ControllerExpandVolumeResponse>, Status> {
        unimplemented("ControllerExpandVolume", NO_EXPANSION)
    }

    async fn create_snapshot(
        &self,
        request: Request<v1::CreateSnapshotRequest>,
    ) -> Result<Response<v1::CreateSnapshotResponse>, Status> {
        let request = request.into_inner();
        let volume = request.source_volume_id.clone();
        self.call("CreateSnapshot", &volume, move |service| service.create_snapshot(&request)).await
    }

    async fn delete_snapshot(
        &self,
        request: Request<v1::DeleteSnapshotRequest>,
    ) -> Result<Response<v1::DeleteSnapshotResponse>, Status> {
        let id = request.into_inner().snapshot_id;
        self.call("DeleteSnapshot", &id.clone(), move |service| service.delete_snapshot(&id)).await
    }

    async fn list_snapshots(
        &self,
        request: Request<v1::ListSnapshotsRequest>,
    ) -> Result<Response<v1::ListSnapshotsResponse>, Status> {
        let request = request.into_inner();
        let id = request.snapshot_id.clone();
        self.call("ListSnapshots", &id, move |service| service.list_snapshots(&request)).await
    }

    async fn get_snapshot(
        &self,
        request: Request<v1::GetSnapshotRequest>,
    ) -> Result<Response<v1::GetSnapshotResponse>, Status> {
        let id = request.into_inner().snapshot_id;
        self.call("GetSnapshot", &id.clone(), move |service| service.get_snapshot(&id)).await
    }

    async fn controller_modify_volume(
        &self,
        _: Request<v1::ControllerModifyVolumeRequest>,
    ) -> Result<Response<v1::ControllerModifyVolumeResponse>, Status> {
        unimplemented("ControllerModifyVolume", "volumes have no parameters that can be changed")
    }
}

fn capabilities(snapshots: bool) -> v1::ControllerGetCapabilitiesResponse {
    let always = [
        rpc::Type::CreateDeleteVolume,
        rpc::Type::ListVolumes,
        rpc::Type::GetCapacity,
        rpc::Type::GetVolume,
        rpc::Type::VolumeCondition,
        rpc::Type::SingleNodeMultiWriter,
        rpc::Type::GetVolumeHealth,
        rpc::Type::ListVolumeHealth,
    ];
    let of_snapshots = [
        rpc::Type::CreateDeleteSnapshot,
        rpc::Type::ListSnapshots,
        rpc::Type::GetSnapshot,
        rpc::Type::CloneVolume,
    ];
    let capabilities = always
        .into_iter()
        .chain(of_snapshots.into_iter().filter(|_| snapshots))
        .map(|kind| v1::ControllerServiceCapability {
            r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })),
        })
        .collect();
    v1::ControllerGetCapabilitiesResponse { capabilities }
}
