//! `volume_content_source`: what a new volume is to be a copy of.

use crate::csi::driver::Service;
use crate::csi::request::{missing, volume_id};
use crate::csi::snapshot_id::{self, Place};
use crate::csi::topology::Topology;
use crate::csi::v1;
use crate::csi::v1::volume_content_source::{SnapshotSource, Type, VolumeSource as Volume};
use crate::error::{Error, ErrorKind, Result};
use crate::model::key::Key;
use crate::model::snapshot::VolumeSource;
use crate::pool::record::VolumeRecord;

const FIELD: &str = "volume_content_source";

/// What a volume started from, in CSI's form.
pub(super) fn to_wire(source: &VolumeSource, topology: &Topology) -> v1::VolumeContentSource {
    let kind = match source {
        VolumeSource::Snapshot(name) => {
            let snapshot_id = snapshot_id::of(topology.node(), name);
            Type::Snapshot(SnapshotSource { snapshot_id })
        }
        VolumeSource::Volume(id) => Type::Volume(Volume { volume_id: id.clone() }),
    };
    v1::VolumeContentSource { r#type: Some(kind) }
}

impl Service {
    /// What the volume of the request is to start from; `None` for its template. `existing` is the volume of
    /// that name, if there is one: then its source need not exist any more.
    ///
    /// # Errors
    ///
    /// `NoSpace` for a source on another node, which makes an orchestrator ask another driver; `NotFound`.
    pub(super) fn source(
        &self,
        request: &v1::CreateVolumeRequest,
        existing: Option<&VolumeRecord>,
    ) -> Result<Option<VolumeSource>> {
        let Some(source) = &request.volume_content_source else { return Ok(None) };
        match &source.r#type {
            None => Err(missing(&format!("{FIELD}.type"))),
            Some(Type::Snapshot(SnapshotSource { snapshot_id })) => {
                let field = format!("{FIELD}.snapshot.snapshot_id");
                let name = self.snapshot_name(volume_id(&field, snapshot_id)?, existing)?;
                Ok(Some(VolumeSource::Snapshot(name)))
            }
            Some(Type::Volume(Volume { volume_id: id })) => {
                let id = volume_id(&format!("{FIELD}.volume.volume_id"), id)?;
                if existing.is_none() && self.pool.volume_record(id)?.is_none() {
                    return Err(self.no_such_volume(id, request));
                }
                Ok(Some(VolumeSource::Volume(id.to_owned())))
            }
        }
    }

    fn snapshot_name(&self, id: &str, existing: Option<&VolumeRecord>) -> Result<String> {
        let key = match snapshot_id::find(self.topology.node(), id) {
            Place::Here(key) => key,
            Place::Elsewhere(node) => {
                return Err(self.elsewhere(&format!("snapshot {id}"), &format!("node {node}")));
            }
            Place::Nowhere => return Err(no_such_snapshot(id)),
        };
        if let Some(VolumeSource::Snapshot(name)) = existing.and_then(|it| it.source.as_ref())
            && Key::of(name) == key
        {
            return Ok(name.clone());
        }
        let record = self.pool.snapshot_record(&key)?;
        record.map(|record| record.name).ok_or_else(|| no_such_snapshot(id))
    }

    /// The error for a source volume that is not in this pool. Ids of volumes do not say where the volume is. An
    /// orchestrator that asks for a place knows several nodes, and that the volume exists on one of them.
    fn no_such_volume(&self, id: &str, request: &v1::CreateVolumeRequest) -> Error {
        let requisite = request.accessibility_requirements.as_ref().map(|it| it.requisite.len());
        match requisite.unwrap_or_default() {
            0 => Error::new(ErrorKind::NotFound, "clone volume", id, "no such volume in this pool")
                .remedy("list the volumes with `calf volume list`"),
            _ => self.elsewhere(&format!("volume {id}"), "another node, or nowhere"),
        }
    }

    /// The error for a source that is not on this node. Its code makes external-provisioner give the claim back
    /// to the scheduler.
    fn elsewhere(&self, source: &str, place: &str) -> Error {
        let why = format!("it is on {place}, and this is node {}", self.topology.node());
        Error::new(ErrorKind::NoSpace, "make a volume of", source, why).remedy(
            "send the request to the driver on its node; in Kubernetes, let the pod run there (nodeAffinity, or \
             nodeSelector)",
        )
    }
}

/// The error for a snapshot that does not exist.
pub(super) fn no_such_snapshot(id: &str) -> Error {
    Error::new(ErrorKind::NotFound, "find snapshot", id, "no such snapshot on this node")
        .remedy("list the snapshots with `calf snapshot list`")
}
