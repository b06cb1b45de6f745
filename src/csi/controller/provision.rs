//! CreateVolume and DeleteVolume.

use crate::csi::capability::Capability;
use crate::csi::capacity::Range;
use crate::csi::driver::Service;
use crate::csi::parameters::{Origin, Parameters};
use crate::csi::request::{invalid, volume_id};
use crate::csi::{v1, volume};
use crate::error::{Error, ErrorKind, Result};
use crate::metrics::Cutting;
use crate::model::volume::VolumeSpec;
use crate::pool::record::VolumeRecord;
use crate::volume::mountable::Content;

/// The volume that a checked request asks for.
struct Requested<'a> {
    name: &'a str,
    request: &'a v1::CreateVolumeRequest,
    parameters: Parameters,
    range: Range,
    capabilities: Vec<Capability>,
}

impl Service {
    /// The volume's id is its name, so a repeated call finds the volume that an earlier call made.
    pub(super) fn create_volume(
        &self,
        request: &v1::CreateVolumeRequest,
    ) -> Result<v1::CreateVolumeResponse> {
        let name = volume_id("name", &request.name)?;
        let capabilities = Capability::all("volume_capabilities", &request.volume_capabilities)?;
        capabilities.iter().try_for_each(Capability::require_support)?;
        refuse_what_is_not_offered(request)?;
        let range = Range::parse(request.capacity_range.as_ref())?;
        let parameters = Parameters::parse(Origin::Parameters, &request.parameters)?;
        self.topology.require("make a volume", request.accessibility_requirements.as_ref())?;
        let made =
            self.find_or_make(&Requested { name, request, parameters, range, capabilities })?;
        let volume = volume::to_wire(&made, &self.topology);
        Ok(v1::CreateVolumeResponse { volume: Some(volume) })
    }

    /// Makes the volume, or finds it. Another call may make it, or grow it, between the look at it and the
    /// engine's, which then finds a volume of another size: so look again, as long as there is something
    /// new to see.
    fn find_or_make(&self, requested: &Requested<'_>) -> Result<VolumeRecord> {
        let mut seen = self.pool.volume_record(requested.name)?;
        loop {
            match self.find_or_make_as(requested, seen.as_ref()) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    let now = self.pool.volume_record(requested.name)?;
                    if now == seen {
                        return Err(error);
                    }
                    seen = now;
                }
                result => return result,
            }
        }
    }

    /// Does the same, if the volume still is as it was `seen`.
    fn find_or_make_as(
        &self,
        requested: &Requested<'_>,
        seen: Option<&VolumeRecord>,
    ) -> Result<VolumeRecord> {
        let Requested { name, request, parameters, range, capabilities } = requested;
        let source = self.source(request, seen)?;
        let spec = parameters.clone().into_spec(Origin::Parameters, name, source)?;
        let size = match seen {
            Some(existing) => self.compatible_size(existing, *range, capabilities)?,
            None => self.size_of_new(&spec, *range, capabilities)?,
        };
        let made = self.pool.provision(&spec.clone().size(size));
        let (record, waited) = made.map_err(|error| match error.kind() {
            // CSI's code for a source of which no such volume can be made.
            ErrorKind::Unsupported if spec.source.is_some() => {
                error.with_kind(ErrorKind::InvalidArgument)
            }
            _ => error,
        })?;
        if let Some(waited) = waited {
            self.metrics.writers_waited(Cutting::Clone, waited);
        }
        Ok(record)
    }

    fn size_of_new(
        &self,
        spec: &VolumeSpec,
        range: Range,
        capabilities: &[Capability],
    ) -> Result<u64> {
        let basis = self.pool.basis(spec)?;
        let (what, content) = (basis.described(), basis.content());
        for capability in capabilities {
            self.pool.check_access(&content, capability.access(), spec.kata_direct, &what)?;
        }
        let size = range.choose(basis.size(), &what)?;
        if !spec.kata_direct && capabilities.iter().any(Capability::is_grown) {
            self.pool.check_growth(&spec.clone().size(size), &basis, &content)?;
        }
        Ok(size)
    }

    /// The size of an existing volume of that name, if it satisfies the request. The engine compares
    /// the other properties.
    fn compatible_size(
        &self,
        record: &VolumeRecord,
        range: Range,
        capabilities: &[Capability],
    ) -> Result<u64> {
        let what = format!("existing volume {}", record.id);
        let content = Content::of_volume(record);
        for access in capabilities.iter().map(Capability::access) {
            access
                .check(content.fs_type, &what)
                .map_err(|error| error.with_kind(ErrorKind::AlreadyExists))?;
            self.pool.check_mount(&content, access, record.kata_direct, &what)?;
        }
        if range.contains(record.size) {
            return Ok(record.size);
        }
        let why = format!(
            "it exists with {} bytes, outside of the requested capacity_range",
            record.size
        );
        Err(Error::new(ErrorKind::AlreadyExists, "create volume", &record.id, why)
            .remedy("use another name, or expand the volume"))
    }

    pub(super) fn delete_volume(&self, id: &str) -> Result<v1::DeleteVolumeResponse> {
        self.pool.volume(volume_id("volume_id", id)?)?.delete_inactive()?;
        Ok(v1::DeleteVolumeResponse {})
    }
}

fn refuse_what_is_not_offered(request: &v1::CreateVolumeRequest) -> Result<()> {
    if let Some(key) = request.mutable_parameters.keys().next() {
        return Err(invalid("mutable_parameters", key, "there are no mutable parameters")
            .remedy("leave out the VolumeAttributesClass"));
    }
    Ok(())
}
