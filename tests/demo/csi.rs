//! The calls of an orchestrator, in the order of their use. Each ends within a minute.

use std::collections::HashMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use calf::csi::v1;
use calf::csi::v1::controller_client::ControllerClient;
use calf::csi::v1::identity_client::IdentityClient;
use calf::csi::v1::node_client::NodeClient;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::csi::v1::volume_capability::{AccessMode, AccessType, BlockVolume};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use crate::Result;

const LIMIT: Duration = Duration::from_secs(60);

/// A client of the driver.
pub(crate) struct Csi {
    runtime: Runtime,
    identity: IdentityClient<Channel>,
    controller: ControllerClient<Channel>,
    node: NodeClient<Channel>,
}

impl Csi {
    pub(crate) fn connect(socket: &Path) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot start a client: {error}"))?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()));
        let channel = endpoint.map(|endpoint| runtime.block_on(endpoint.connect()));
        let failed = |error| format!("cannot connect to {}: {error}", socket.display());
        let channel = channel.map_err(failed)?.map_err(failed)?;
        Ok(Self {
            runtime,
            identity: IdentityClient::new(channel.clone()),
            controller: ControllerClient::new(channel.clone()),
            node: NodeClient::new(channel),
        })
    }

    /// Name and version of the driver.
    pub(crate) fn driver(&mut self) -> Result<(String, String)> {
        let call = self.identity.get_plugin_info(v1::GetPluginInfoRequest {});
        let info = wait(&self.runtime, "GetPluginInfo", call)?;
        Ok((info.name, info.vendor_version))
    }

    /// The new volume's id and size in bytes.
    pub(crate) fn create(&mut self, name: &str, template: &str) -> Result<(String, u64)> {
        let call = self.controller.create_volume(v1::CreateVolumeRequest {
            name: name.into(),
            volume_capabilities: vec![block()],
            parameters: HashMap::from([("template".into(), template.into())]),
            ..Default::default()
        });
        let made = wait(&self.runtime, "CreateVolume", call)?.volume;
        let volume = made.ok_or("CreateVolume returned no volume")?;
        Ok((volume.volume_id, bytes(volume.capacity_bytes)))
    }

    pub(crate) fn stage(&mut self, id: &str, staging: &Path) -> Result<()> {
        let call = self.node.node_stage_volume(v1::NodeStageVolumeRequest {
            volume_id: id.into(),
            staging_target_path: text(staging),
            volume_capability: Some(block()),
            ..Default::default()
        });
        wait(&self.runtime, "NodeStageVolume", call).map(drop)
    }

    pub(crate) fn publish(&mut self, id: &str, staging: &Path, target: &Path) -> Result<()> {
        let call = self.node.node_publish_volume(v1::NodePublishVolumeRequest {
            volume_id: id.into(),
            staging_target_path: text(staging),
            target_path: text(target),
            volume_capability: Some(block()),
            ..Default::default()
        });
        wait(&self.runtime, "NodePublishVolume", call).map(drop)
    }

    /// Bytes that the volume occupies, including its metadata.
    pub(crate) fn used(&mut self, id: &str, target: &Path) -> Result<u64> {
        let call = self.node.node_get_volume_stats(v1::NodeGetVolumeStatsRequest {
            volume_id: id.into(),
            volume_path: text(target),
            ..Default::default()
        });
        let usage = wait(&self.runtime, "NodeGetVolumeStats", call)?.usage;
        let usage = usage.first().ok_or("NodeGetVolumeStats returned no usage")?;
        Ok(bytes(usage.used))
    }

    pub(crate) fn unpublish(&mut self, id: &str, target: &Path) -> Result<()> {
        let call = self.node.node_unpublish_volume(v1::NodeUnpublishVolumeRequest {
            volume_id: id.into(),
            target_path: text(target),
        });
        wait(&self.runtime, "NodeUnpublishVolume", call).map(drop)
    }

    pub(crate) fn unstage(&mut self, id: &str, staging: &Path) -> Result<()> {
        let call = self.node.node_unstage_volume(v1::NodeUnstageVolumeRequest {
            volume_id: id.into(),
            staging_target_path: text(staging),
        });
        wait(&self.runtime, "NodeUnstageVolume", call).map(drop)
    }

    pub(crate) fn delete(&mut self, id: &str) -> Result<()> {
        let call = self
            .controller
            .delete_volume(v1::DeleteVolumeRequest { volume_id: id.into(), ..Default::default() });
        wait(&self.runtime, "DeleteVolume", call).map(drop)
    }

    /// The ids of all volumes.
    pub(crate) fn volumes(&mut self) -> Result<Vec<String>> {
        let call = self.controller.list_volumes(v1::ListVolumesRequest::default());
        let listed = wait(&self.runtime, "ListVolumes", call)?;
        Ok(listed
            .entries
            .into_iter()
            .filter_map(|entry| entry.volume)
            .map(|v| v.volume_id)
            .collect())
    }
}

fn wait<T>(
    runtime: &Runtime,
    name: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T> {
    match runtime.block_on(async { tokio::time::timeout(LIMIT, call).await }) {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(format!("{name}: {:?}: {}", status.code(), status.message())),
        Err(_) => Err(format!("{name}: no answer within {} s", LIMIT.as_secs())),
    }
}

fn block() -> v1::VolumeCapability {
    v1::VolumeCapability {
        access_type: Some(AccessType::Block(BlockVolume {})),
        access_mode: Some(AccessMode { mode: Mode::SingleNodeWriter.into() }),
    }
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn bytes(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}
