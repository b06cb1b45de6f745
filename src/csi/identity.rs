//! The Identity service: the driver's name, its capabilities, its health.

use std::collections::HashMap;

use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, async_trait};

use crate::csi::driver::{Driver, Service};
use crate::csi::v1;
use crate::csi::v1::plugin_capability;
use crate::csi::v1::plugin_capability::{service, volume_expansion};
use crate::error::Result;
use crate::model::policy::Backing;

/// Name of the response metadata of Probe that says how volumes are made.
const MODE_METADATA: &str = "calf-mode";

/// How volumes are made on this node, as reported by Probe, GetPluginInfo and the log.
pub(super) fn mode(backing: Backing) -> &'static str {
    match backing {
        Backing::Snapshot => "snapshot",
        Backing::Reflink => "fallback-reflink",
        Backing::Copy => "fallback-copy",
    }
}

#[async_trait]
impl v1::identity_server::Identity for Driver {
    async fn get_plugin_info(
        &self,
        _: Request<v1::GetPluginInfoRequest>,
    ) -> Result<Response<v1::GetPluginInfoResponse>, Status> {
        self.call("GetPluginInfo", "", |service| Ok(service.plugin_info())).await
    }

    async fn get_plugin_capabilities(
        &self,
        _: Request<v1::GetPluginCapabilitiesRequest>,
    ) -> Result<Response<v1::GetPluginCapabilitiesResponse>, Status> {
        self.call("GetPluginCapabilities", "", |service| Ok(capabilities(service.has_snapshots())))
            .await
    }

    async fn probe(
        &self,
        _: Request<v1::ProbeRequest>,
    ) -> Result<Response<v1::ProbeResponse>, Status> {
        // Not the pool's file system, unlike readiness: an orchestrator restarts a driver that fails
        // here, which mends no disk.
        let backing = self.call("Probe", "", |service| service.pool.backing()).await?.into_inner();
        let mut response = Response::new(v1::ProbeResponse { ready: Some(true) });
        let mode = MetadataValue::from_static(mode(backing));
        response.metadata_mut().insert(MODE_METADATA, mode);
        Ok(response)
    }
}

impl Service {
    fn plugin_info(&self) -> v1::GetPluginInfoResponse {
        // Registration calls this once and must not fail because of a missing kernel module: Probe
        // reports that.
        let mode = self.pool.backing().map_or("unavailable", mode);
        v1::GetPluginInfoResponse {
            name: self.driver_name.clone(),
            vendor_version: env!("CARGO_PKG_VERSION").to_owned(),
            manifest: HashMap::from([("mode".to_owned(), mode.to_owned())]),
        }
    }

    /// Whether volumes of this node can have snapshots and clones: private copies cannot.
    pub(super) fn has_snapshots(&self) -> bool {
        self.pool.backing().is_ok_and(|backing| backing == Backing::Snapshot)
    }
}

fn capabilities(snapshots: bool) -> v1::GetPluginCapabilitiesResponse {
    let service = |kind: service::Type| {
        plugin_capability::Type::Service(plugin_capability::Service { r#type: kind.into() })
    };
    let capabilities = [
        service(service::Type::ControllerService),
        service(service::Type::VolumeAccessibilityConstraints),
        plugin_capability::Type::VolumeExpansion(plugin_capability::VolumeExpansion {
            r#type: volume_expansion::Type::Online.into(),
        }),
    ]
    .into_iter()
    .chain(
        snapshots
            .then_some([
                service::Type::SnapshotAccessibilityConstraints,
                service::Type::GroupControllerService,
                service::Type::SnapshotMetadataService,
            ])
            .into_iter()
            .flatten()
            .map(service),
    )
    .map(|kind| v1::PluginCapability { r#type: Some(kind) })
    .collect();
    v1::GetPluginCapabilitiesResponse { capabilities }
}
