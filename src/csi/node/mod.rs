//! The Node service: brings volumes to the workloads of this node.

mod publish;
mod statistics;

use std::path::PathBuf;

use tonic::{Request, Response, Status, async_trait};

use crate::csi::driver::{Driver, Service};
use crate::csi::v1::node_service_capability::{Rpc, Type, rpc};
use crate::csi::{request, v1};
use crate::error::{Error, Result};

#[async_trait]
impl v1::node_server::Node for Driver {
    async fn node_stage_volume(
        &self,
        request: Request<v1::NodeStageVolumeRequest>,
    ) -> Result<Response<v1::NodeStageVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        self.long_call("NodeStageVolume", &id, move |service, cancel| {
            service.stage(&request, cancel)
        })
        .await
    }

    async fn node_unstage_volume(
        &self,
        request: Request<v1::NodeUnstageVolumeRequest>,
    ) -> Result<Response<v1::NodeUnstageVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        self.call("NodeUnstageVolume", &id, move |service| service.unstage(&request)).await
    }

    async fn node_publish_volume(
        &self,
        request: Request<v1::NodePublishVolumeRequest>,
    ) -> Result<Response<v1::NodePublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        self.long_call("NodePublishVolume", &id, move |service, cancel| {
            service.publish(&request, cancel)
        })
        .await
    }

    async fn node_unpublish_volume(
        &self,
        request: Request<v1::NodeUnpublishVolumeRequest>,
    ) -> Result<Response<v1::NodeUnpublishVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        self.call("NodeUnpublishVolume", &id, move |service| service.unpublish(&request)).await
    }

    async fn node_get_volume_stats(
        &self,
        request: Request<v1::NodeGetVolumeStatsRequest>,
    ) -> Result<Response<v1::NodeGetVolumeStatsResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        self.call("NodeGetVolumeStats", &id, move |service| service.statistics(&request)).await
    }

    async fn node_get_volume_health(
        &self,
        request: Request<v1::NodeGetVolumeHealthRequest>,
    ) -> Result<Response<v1::NodeGetVolumeHealthResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        self.call("NodeGetVolumeHealth", &id, move |service| service.node_volume_health(&request))
            .await
    }

    async fn node_get_storage_health(
        &self,
        _: Request<v1::NodeGetStorageHealthRequest>,
    ) -> Result<Response<v1::NodeGetStorageHealthResponse>, Status> {
        self.call("NodeGetStorageHealth", "", |service| Ok(service.storage_health())).await
    }

    async fn node_expand_volume(
        &self,
        request: Request<v1::NodeExpandVolumeRequest>,
    ) -> Result<Response<v1::NodeExpandVolumeResponse>, Status> {
        let request = request.into_inner();
        let id = request.volume_id.clone();
        self.long_call("NodeExpandVolume", &id, move |service, cancel| {
            service.node_expand_volume(&request, &cancel)
        })
        .await
    }

    async fn node_get_capabilities(
        &self,
        _: Request<v1::NodeGetCapabilitiesRequest>,
    ) -> Result<Response<v1::NodeGetCapabilitiesResponse>, Status> {
        self.call("NodeGetCapabilities", "", |_| Ok(capabilities())).await
    }

    async fn node_get_info(
        &self,
        _: Request<v1::NodeGetInfoRequest>,
    ) -> Result<Response<v1::NodeGetInfoResponse>, Status> {
        self.call("NodeGetInfo", "", |service| Ok(service.info())).await
    }
}

impl Service {
    fn info(&self) -> v1::NodeGetInfoResponse {
        v1::NodeGetInfoResponse {
            node_id: self.topology.node().to_owned(),
            max_volumes_per_node: self.max_volumes_per_node.into(),
            accessible_topology: Some(self.topology.to_wire()),
        }
    }

    /// Checks a path of volume `id`. An unknown volume takes precedence over an invalid path, since
    /// an orchestrator handles NOT_FOUND and INVALID_ARGUMENT differently.
    fn path_of(&self, id: &str, field: &str, path: &str) -> Result<PathBuf> {
        request::path(field, path).or_else(|error: Error| {
            self.pool.volume(id)?.status()?;
            Err(error)
        })
    }
}

fn capabilities() -> v1::NodeGetCapabilitiesResponse {
    let capabilities = [
        rpc::Type::StageUnstageVolume,
        rpc::Type::GetVolumeStats,
        rpc::Type::ExpandVolume,
        rpc::Type::VolumeCondition,
        rpc::Type::SingleNodeMultiWriter,
        rpc::Type::GetVolumeHealth,
        rpc::Type::GetStorageHealth,
    ]
    .map(|kind| v1::NodeServiceCapability { r#type: Some(Type::Rpc(Rpc { r#type: kind.into() })) });
    v1::NodeGetCapabilitiesResponse { capabilities: capabilities.into() }
}
