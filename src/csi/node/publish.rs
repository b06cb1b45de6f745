//! NodeStageVolume, NodePublishVolume and their reverses.

use std::path::PathBuf;

use crate::csi::capability::Capability;
use crate::csi::driver::Service;
use crate::csi::parameters::{EPHEMERAL, Origin, Parameters};
use crate::csi::request::{required, volume_id};
use crate::csi::{request, v1};
use crate::error::{Error, ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::model::publication::{Publish, Stage};

const STAGING: &str = "staging_target_path";
const TARGET: &str = "target_path";
const CAPABILITY: &str = "volume_capability";

impl Service {
    pub(super) fn stage(
        &self,
        request: &v1::NodeStageVolumeRequest,
        cancel: Cancel,
    ) -> Result<v1::NodeStageVolumeResponse> {
        let id = volume_id("volume_id", &request.volume_id)?;
        let path = required(STAGING, &request.staging_target_path)?;
        let capability = Capability::one(CAPABILITY, request.volume_capability.as_ref())?;
        let path = self.path_of(id, STAGING, path)?;
        self.pool.volume(id)?.stage(&stage(path, &capability, cancel))?;
        Ok(v1::NodeStageVolumeResponse {})
    }

    pub(super) fn unstage(
        &self,
        request: &v1::NodeUnstageVolumeRequest,
    ) -> Result<v1::NodeUnstageVolumeResponse> {
        let id = volume_id("volume_id", &request.volume_id)?;
        let path = required(STAGING, &request.staging_target_path)?;
        self.pool.volume(id)?.unstage(&request::path(STAGING, path)?)?;
        Ok(v1::NodeUnstageVolumeResponse {})
    }

    pub(super) fn publish(
        &self,
        request: &v1::NodePublishVolumeRequest,
        cancel: Cancel,
    ) -> Result<v1::NodePublishVolumeResponse> {
        let id = volume_id("volume_id", &request.volume_id)?;
        let target = required(TARGET, &request.target_path)?;
        let capability = Capability::one(CAPABILITY, request.volume_capability.as_ref())?;
        let publish = |staging, target| Publish {
            target,
            stage: stage(staging, &capability, cancel.clone()),
            read_only: request.readonly || capability.read_only(),
            exclusive: capability.exclusive(),
        };
        if request.volume_context.get(EPHEMERAL).is_some_and(|value| value == "true") {
            let spec = Parameters::parse(Origin::Inline, &request.volume_context)?.into_spec(
                Origin::Inline,
                id,
                None,
            )?;
            let target = request::path(TARGET, target)?;
            let spec = self.inline.admit(&self.pool, spec)?;
            let _place = self.inline.place(&self.pool, id, self.max_volumes_per_node)?;
            self.pool.publish_inline(&spec, &publish(PathBuf::new(), target))?;
        } else {
            let staging = staging(&request.staging_target_path)?;
            let target = self.path_of(id, TARGET, target)?;
            let staging = self.path_of(id, STAGING, staging)?;
            self.pool.volume(id)?.publish(&publish(staging, target))?;
        }
        Ok(v1::NodePublishVolumeResponse {})
    }

    pub(super) fn unpublish(
        &self,
        request: &v1::NodeUnpublishVolumeRequest,
    ) -> Result<v1::NodeUnpublishVolumeResponse> {
        let id = volume_id("volume_id", &request.volume_id)?;
        let target = required(TARGET, &request.target_path)?;
        self.pool.volume(id)?.unpublish(&request::path(TARGET, target)?)?;
        Ok(v1::NodeUnpublishVolumeResponse {})
    }
}

fn stage(path: PathBuf, capability: &Capability, cancel: Cancel) -> Stage {
    Stage { path, access: capability.access().clone(), read_only: capability.read_only(), cancel }
}

/// CSI requires a specific code (FAILED_PRECONDITION) for a publication without staging.
fn staging(path: &str) -> Result<&str> {
    if !path.is_empty() {
        return Ok(path);
    }
    Err(Error::new(
        ErrorKind::Unprepared,
        "publish a volume without",
        STAGING,
        "only inline volumes have none",
    )
    .remedy("call NodeStageVolume first and give its staging_target_path"))
}
