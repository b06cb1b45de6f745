//! ValidateVolumeCapabilities, ListVolumes, GetCapacity, ControllerGetVolume.

use crate::cow;
use crate::csi::capability::Capability;
use crate::csi::capacity::to_wire;
use crate::csi::driver::Service;
use crate::csi::paging::Page;
use crate::csi::parameters::{Origin, Parameters};
use crate::csi::request::volume_id;
use crate::csi::v1::validate_volume_capabilities_response::Confirmed;
use crate::csi::{v1, volume};
use crate::error::{ErrorKind, Result};
use crate::model::limits::MAX_SIZE;
use crate::model::policy::{Backing, Reserve};
use crate::model::volume::VolumeSpec;
use crate::pool::record::{TemplateRecord, VolumeRecord};

impl Service {
    pub(super) fn validate_volume_capabilities(
        &self,
        request: v1::ValidateVolumeCapabilitiesRequest,
    ) -> Result<v1::ValidateVolumeCapabilitiesResponse> {
        let id = volume_id("volume_id", &request.volume_id)?;
        let capabilities = Capability::all("volume_capabilities", &request.volume_capabilities)?;
        let record = self.pool.volume(id)?.status()?.record;
        Ok(match unsupported(&record, &request, &capabilities) {
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
        let (records, next_token) = page.take(self.pool.volume_records()?, |record| &record.id);
        let entries = records.iter().filter_map(|record| self.list_entry(record)).collect();
        Ok(v1::ListVolumesResponse { entries, next_token })
    }

    /// The entry of one volume; `None` if it has just been deleted. A volume that cannot be
    /// looked at is listed with the reason, so that it does not hide the others.
    fn list_entry(&self, record: &VolumeRecord) -> Option<v1::list_volumes_response::Entry> {
        let condition = match self.pool.volume(&record.id).and_then(|volume| volume.status()) {
            Ok(volume) => volume::condition(&volume),
            Err(error) if error.kind() == ErrorKind::NotFound => return None,
            Err(error) => v1::VolumeCondition { abnormal: true, message: error.report() },
        };
        Some(v1::list_volumes_response::Entry {
            volume: Some(volume::to_wire(record, &self.topology)),
            status: Some(v1::list_volumes_response::VolumeStatus {
                published_node_ids: Vec::new(),
                volume_condition: Some(condition),
            }),
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
                volume_condition: Some(volume::condition(&volume)),
            }),
        })
    }

    /// What a volume of these parameters may have here. Schedulers look at the maximum volume
    /// size first, so where nothing can be made it is 0 as well.
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
        let reserved = parameters.reserve == Some(Reserve::Full);
        let cow_limit = parameters.cow_limit;
        let chunk_size = parameters.chunk_size.unwrap_or(VolumeSpec::DEFAULT_CHUNK_SIZE);
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
        let backing = match self.pool.backing() {
            Ok(backing) => backing,
            Err(error) if error.kind() == ErrorKind::Unsupported => return Ok(none),
            Err(error) => return Err(error),
        };
        let template = match parameters.template.as_deref() {
            None => None,
            Some(name) => match self.pool.template(name).and_then(|template| template.record()) {
                Ok(template) => Some(template),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    self.events.template_missing(name);
                    return Ok(none);
                }
                Err(error) => return Err(error),
            },
        };
        if template.as_ref().is_some_and(|template| !mountable(template, &capabilities)) {
            return Ok(none);
        }
        // A private copy takes up its template's content before anything is written to it.
        let copied = match (&template, backing) {
            (Some(template), Backing::Copy) => {
                self.pool.template(&template.name)?.status()?.allocated
            }
            _ => 0,
        };
        let available = self.pool.capacity()?.available.saturating_sub(copied);
        let maximum = match reserved && cow_limit.is_none() {
            true => cow::largest_volume(available, chunk_size),
            // Not bounded by what is free: a volume takes only what is written to it.
            false => MAX_SIZE,
        };
        let fits = template.as_ref().is_none_or(|template| template.size <= maximum);
        let limit_fits = !reserved || cow_limit.is_none_or(|limit| limit < available);
        if available == 0 || !fits || !limit_fits {
            return Ok(none);
        }
        Ok(v1::GetCapacityResponse {
            available_capacity: to_wire(available),
            maximum_volume_size: Some(to_wire(maximum)),
            minimum_volume_size: template.map(|template| to_wire(template.size)),
        })
    }
}

fn mountable(template: &TemplateRecord, capabilities: &[Capability]) -> bool {
    capabilities
        .iter()
        .all(|c| c.access().check(template.fs_type.as_deref(), "the template").is_ok())
}

/// Why the volume is not what the request describes, if it is not.
fn unsupported(
    record: &VolumeRecord,
    request: &v1::ValidateVolumeCapabilitiesRequest,
    capabilities: &[Capability],
) -> Option<String> {
    let what = format!("volume {}", record.id);
    for capability in capabilities {
        let checked = capability
            .require_support()
            .and_then(|()| capability.access().check(record.fs_type.as_deref(), &what));
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
    (!request.mutable_parameters.is_empty()).then(|| format!("{what} has no mutable parameters"))
}
