//! NodeGetVolumeStats and NodeExpandVolume, which both act on a volume at the path where it is in
//! use.

use std::path::PathBuf;

use crate::csi::capability::Capability;
use crate::csi::capacity::{Range, to_wire};
use crate::csi::driver::Service;
use crate::csi::request::{required, volume_id};
use crate::csi::v1::volume_usage::Unit;
use crate::csi::volume_health::Ailment;
use crate::csi::{v1, volume_health};
use crate::error::{ErrorKind, Result};
use crate::model::cancel::Cancel;
use crate::sys::FileSystemUsage;
use crate::volume::status::{VolumeStatistics, VolumeStatus};

const PATH: &str = "volume_path";

impl Service {
    /// An invalid device is reported first, since it explains what its file system does.
    pub(super) fn statistics(
        &self,
        request: &v1::NodeGetVolumeStatsRequest,
    ) -> Result<v1::NodeGetVolumeStatsResponse> {
        let id = volume_id("volume_id", &request.volume_id)?;
        let path = self.place_of(id, required(PATH, &request.volume_path)?)?;
        let VolumeStatistics { volume, file_system, file_system_failed } =
            self.pool.volume(id)?.statistics(&path)?;
        Ok(v1::NodeGetVolumeStatsResponse {
            usage: match file_system {
                Some(usage) => file_system_usage(&usage),
                None => vec![block_usage(&volume)],
            },
            volume_condition: Some(match volume_health::condition(volume.state) {
                well if !well.abnormal && file_system_failed => {
                    Ailment::failed_file_system().into_condition()
                }
                condition => condition,
            }),
        })
    }

    /// What is wrong with a volume, and with the file system at the path where it is published or staged.
    pub(super) fn node_volume_health(
        &self,
        request: &v1::NodeGetVolumeHealthRequest,
    ) -> Result<v1::NodeGetVolumeHealthResponse> {
        let id = volume_id("volume_id", &request.volume_id)?;
        let mut ailments: Vec<Ailment> = Ailment::of(&self.pool, id)?.into_iter().collect();
        let places = [
            ("volume_publish_path", &request.volume_publish_path),
            ("staging_target_path", &request.staging_target_path),
        ];
        for (field, path) in places {
            if path.is_empty() {
                continue;
            }
            let path = self.path_of(id, field, path)?;
            // It may not be there: kubelet also asks of volumes that it could not publish.
            let Ok(found) = self.pool.volume(id)?.statistics(&path) else { continue };
            if found.file_system_failed {
                ailments.push(Ailment::failed_file_system());
                break;
            }
        }
        Ok(v1::NodeGetVolumeHealthResponse {
            volume_health: Some(volume_health::of_volume(id, ailments)),
        })
    }

    pub(super) fn storage_health(&self) -> v1::NodeGetStorageHealthResponse {
        v1::NodeGetStorageHealthResponse { backend_health: volume_health::of_pool(&self.pool) }
    }

    pub(super) fn node_expand_volume(
        &self,
        request: &v1::NodeExpandVolumeRequest,
        cancel: &Cancel,
    ) -> Result<v1::NodeExpandVolumeResponse> {
        let id = volume_id("volume_id", &request.volume_id)?;
        let path = required(PATH, &request.volume_path)?;
        let range = Range::parse(request.capacity_range.as_ref())?;
        let capability = match &request.volume_capability {
            None => None,
            some => Some(Capability::one("volume_capability", some.as_ref())?),
        };
        let path = self.place_of(id, path)?;
        let found = self.pool.volume(id)?.statistics(&path)?;
        let record = &found.volume.record;
        // The engine is called even if the volume is large enough: after an interrupted call, the
        // record may have the new size while the device does not.
        let size = range.choose(record.size, &format!("volume {id}"))?;
        let volume = self.pool.volume(id)?.expand(size)?;
        let mounted =
            capability.map_or(found.file_system.is_some(), |capability| !capability.is_block());
        if mounted {
            self.pool.volume(id)?.expand_file_system_until(&path, cancel)?;
        }
        Ok(v1::NodeExpandVolumeResponse { capacity_bytes: to_wire(volume.record.size) })
    }

    /// Checks a path at which volume `id` is said to be. An invalid path is NOT_FOUND here, since
    /// CSI asks about the pair of volume and path, and no volume is at an invalid path.
    fn place_of(&self, id: &str, path: &str) -> Result<PathBuf> {
        self.path_of(id, PATH, path).map_err(|error| error.with_kind(ErrorKind::NotFound))
    }
}

fn file_system_usage(usage: &FileSystemUsage) -> Vec<v1::VolumeUsage> {
    let bytes = v1::VolumeUsage {
        available: to_wire(usage.available),
        total: to_wire(usage.total),
        used: to_wire(usage.used),
        unit: Unit::Bytes.into(),
    };
    let inodes = (usage.inodes > 0).then(|| v1::VolumeUsage {
        available: to_wire(usage.inodes_free),
        total: to_wire(usage.inodes),
        used: to_wire(usage.inodes_used),
        unit: Unit::Inodes.into(),
    });
    std::iter::once(bytes).chain(inodes).collect()
}

/// For a raw device, the data in the COW store counts: only its user knows how much is free inside
/// the volume.
fn block_usage(volume: &VolumeStatus) -> v1::VolumeUsage {
    let total = volume.record.size;
    let used = volume.cow.map_or(volume.allocated, |(used, _)| used);
    v1::VolumeUsage {
        available: to_wire(total.saturating_sub(used)),
        total: to_wire(total),
        used: to_wire(used),
        unit: Unit::Bytes.into(),
    }
}
