//! ValidateVolumeCapabilities, ListVolumes, GetCapacity, ControllerGetVolume.

use crate::api::VolumeKind;
use crate::csi::capability::Capability;
use crate::csi::capacity::to_wire;
use crate::csi::driver::Service;
use crate::csi::paging::Page;
use crate::csi::parameters::{Origin, Parameters};
use crate::csi::request::volume_id;
use crate::csi::v1::validate_volume_capabilities_response::Confirmed;
use crate::csi::volume_health::Ailment;
use crate::csi::{v1, volume, volume_health};
use crate::error::{ErrorKind, Result};
use crate::model::key::Key;
use crate::model::volume::VolumeSpec;
use crate::pool::record::VolumeRecord;
use crate::volume::mountable::Content;
use crate::volume::status::Listed;

impl Service {
    pub(super) fn validate_volume_capabilities(
        &self,
        request: v1::ValidateVolumeCapabilitiesRequest,
    ) -> Result<v1::ValidateVolumeCapabilitiesResponse> {
        let id = volume_id("volume_id", &request.volume_id)?;
        let capabilities = Capability::all("volume_capabilities", &request.volume_capabilities)?;
        let record = self.pool.volume(id)?.status()?.record;
        Ok(match self.unsupported(&record, &request, &capabilities) {
            Some(message) => v1::ValidateVolumeCapabilitiesResponse { confirmed: None, message },
            None => v1::ValidateVolumeCapabilitiesResponse {
                confirmed: Some(Confirmed {
                    volume_context: request.volume_context,
                    volume_capabilities: request.volume_capabilities,
                    parameters: request.parameters,
                    mutable_parameters: request.mutable_parameters,
                }),
                message: String::new(),
            },
        })
    }

    pub(super) fn list_volumes(
        &self,
        request: &v1::ListVolumesRequest,
    ) -> Result<v1::ListVolumesResponse> {
        let page = Page::parse(request.max_entries, &request.starting_token)?;
        let (entries, next_token) =
            page.fill(self.pool.volume_keys()?, |key| self.list_entry(key))?;
        Ok(v1::ListVolumesResponse { entries, next_token })
    }

    /// One volume; `None` if it was deleted, or its record is damaged.
    fn listed(&self, key: &Key) -> Result<Option<Listed>> {
        match self.pool.list_entry(key) {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            listed => listed,
        }
    }

    /// The entry of one volume. A volume that cannot be looked at is listed with the reason, so that it does
    /// not hide the others.
    fn list_entry(&self, key: &Key) -> Result<Option<v1::list_volumes_response::Entry>> {
        let Some(Listed { record, state }) = self.listed(key)? else { return Ok(None) };
        let condition = match state {
            Ok(state) => volume_health::condition(state),
            Err(error) => Ailment::unknown(&error).into_condition(),
        };
        Ok(Some(v1::list_volumes_response::Entry {
            volume: Some(volume::to_wire(&record, &self.topology)),
            status: Some(v1::list_volumes_response::VolumeStatus {
                published_node_ids: Vec::new(),
                volume_condition: Some(condition),
            }),
        }))
    }

    /// The volumes with which something is wrong.
    pub(super) fn list_volume_health(
        &self,
        request: &v1::ControllerListVolumeHealthRequest,
    ) -> Result<v1::ControllerListVolumeHealthResponse> {
        let page = Page::parse(request.max_entries, &request.starting_token)?;
        let (entries, next_token) = page.fill(self.pool.volume_keys()?, |key| {
            let Some(Listed { record, state }) = self.listed(key)? else { return Ok(None) };
            let ailment = Ailment::found(state);
            Ok(ailment.map(|ailment| volume_health::of_volume(&record.id, [ailment])))
        })?;
        Ok(v1::ControllerListVolumeHealthResponse { entries, next_token })
    }

    pub(super) fn controller_volume_health(
        &self,
        id: &str,
    ) -> Result<v1::ControllerGetVolumeHealthResponse> {
        let id = volume_id("volume_id", id)?;
        let ailment = Ailment::of(&self.pool, id)?;
        Ok(v1::ControllerGetVolumeHealthResponse {
            volume_health: Some(volume_health::of_volume(id, ailment)),
        })
    }

    pub(super) fn controller_get_volume(
        &self,
        id: &str,
    ) -> Result<v1::ControllerGetVolumeResponse> {
        let volume = self.pool.volume(volume_id("volume_id", id)?)?.status()?;
        Ok(v1::ControllerGetVolumeResponse {
            volume: Some(volume::to_wire(&volume.record, &self.topology)),
            status: Some(v1::controller_get_volume_response::VolumeStatus {
                published_node_ids: Vec::new(),
                volume_condition: Some(volume_health::condition(volume.state)),
            }),
        })
    }

    /// The capacity for volumes of these parameters on this node. Schedulers check the maximum
    /// volume size first, so that is 0 too if no volume can be made.
    pub(super) fn get_capacity(
        &self,
        request: &v1::GetCapacityRequest,
    ) -> Result<v1::GetCapacityResponse> {
        let none = v1::GetCapacityResponse {
            available_capacity: 0,
            maximum_volume_size: Some(0),
            minimum_volume_size: None,
        };
        let parameters = Parameters::parse(Origin::Parameters, &request.parameters)?;
        let capabilities = match request.volume_capabilities.as_slice() {
            [] => Vec::new(),
            given => Capability::all("volume_capabilities", given)?,
        };
        let elsewhere = request
            .accessible_topology
            .as_ref()
            .is_some_and(|topology| !self.topology.is_within(topology));
        if elsewhere || capabilities.iter().any(|c| c.require_support().is_err()) {
            return Ok(none);
        }
        let kind = parameters
            .template
            .as_deref()
            .map_or_else(VolumeKind::default, VolumeKind::of)
            .cow_limit(parameters.cow_limit)
            .chunk_size(parameters.chunk_size.unwrap_or(VolumeSpec::DEFAULT_CHUNK_SIZE))
            .reserve(parameters.reserve.unwrap_or_default())
            .kata_direct(parameters.is_kata_direct())
            .grown(!parameters.is_kata_direct() && capabilities.iter().any(Capability::is_grown))
            .access(capabilities.iter().map(|c| c.access().clone()));
        let admission = match self.pool.admission(&kind) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(name) = &parameters.template {
                    self.events.template_missing(name);
                }
                None
            }
            admission => admission?,
        };
        Ok(admission.map_or(none, |admission| v1::GetCapacityResponse {
            available_capacity: to_wire(admission.available),
            maximum_volume_size: Some(to_wire(admission.largest)),
            minimum_volume_size: admission.smallest.map(to_wire),
        }))
    }

    /// Why the volume is not what the request describes, if it is not.
    fn unsupported(
        &self,
        record: &VolumeRecord,
        request: &v1::ValidateVolumeCapabilitiesRequest,
        capabilities: &[Capability],
    ) -> Option<String> {
        let what = format!("volume {}", record.id);
        let content = Content::of_volume(record);
        for capability in capabilities {
            let checked = capability.require_support().and_then(|()| {
                self.pool.check_access(&content, capability.access(), record.kata_direct, &what)
            });
            if let Err(error) = checked {
                return Some(error.report());
            }
        }
        let maps =
            [(Origin::Context, &request.volume_context), (Origin::Parameters, &request.parameters)];
        for (origin, map) in maps {
            match Parameters::parse(origin, map).map(|parameters| parameters.mismatch(record)) {
                Ok(None) => {}
                Ok(Some(key)) => return Some(format!("{what} has another {key}")),
                Err(error) => return Some(error.report()),
            }
        }
        (!request.mutable_parameters.is_empty())
            .then(|| format!("{what} has no mutable parameters"))
    }
}
