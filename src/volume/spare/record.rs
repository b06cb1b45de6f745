//! The record of a spare.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::model::digest::Digest;
use crate::model::key::Key;
use crate::model::policy::Backing;
use crate::model::volume::VolumeSpec;
use crate::pool::layout::Layout;
use crate::pool::record::{Record, TemplateRecord, VolumeRecord};
use crate::pool::{PoolDir, record};
use crate::sys::{Device, Table};
use crate::volume::plan::health::Health;
use crate::volume::plan::step::store_length;
use crate::volume::provision;

/// The record of a spare. On disk, it is the record of a volume with the spare's token as its id
/// and every other property at its default.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "VolumeRecord", into = "VolumeRecord")]
pub(crate) struct SpareRecord {
    token: Key,
    /// The volume whose properties determine the spare's device and store.
    model: VolumeRecord,
}

impl Record for SpareRecord {
    fn check(&self) -> Result<(), String> {
        self.model.check()
    }
}

impl TryFrom<VolumeRecord> for SpareRecord {
    type Error = String;

    fn try_from(model: VolumeRecord) -> Result<Self, String> {
        let token = Key::parse(&model.id).ok_or_else(|| format!("id cannot be {:?}", model.id))?;
        Ok(Self { token, model })
    }
}

impl From<SpareRecord> for VolumeRecord {
    fn from(spare: SpareRecord) -> Self {
        spare.model
    }
}

impl SpareRecord {
    pub(super) fn new(pool: &PoolDir, token: &Key, template: &TemplateRecord) -> Result<Self> {
        let backing = pool.backing()?;
        if backing != Backing::Snapshot {
            let why = "volumes are private copies here, and each copy is made for one volume";
            return Err(Error::new(ErrorKind::Unsupported, "make a spare of", &template.name, why)
                .remedy("load dm-snapshot, or set `warm` to 0"));
        }
        let default = VolumeSpec::new(token.as_str(), &template.name);
        let model = provision::record(&default, template, backing, pool.incarnation()?)?;
        Ok(Self { token: token.clone(), model })
    }

    /// Reads the record in a spare's directory; `None` if there is none, or if it cannot be used.
    pub(super) fn read_in(pool: &PoolDir, directory: &Path) -> Result<Option<Self>> {
        record::read_usable(pool.host(), &Layout::spare_record(directory))
    }

    pub(super) fn token(&self) -> &Key {
        &self.token
    }

    pub(crate) fn template(&self) -> &str {
        &self.model.template
    }

    pub(crate) fn digest(&self) -> &Digest {
        &self.model.digest
    }

    /// The id of the boot in which the spare was made.
    pub(crate) fn boot(&self) -> &str {
        &self.model.boot
    }

    pub(super) fn model(&self) -> &VolumeRecord {
        &self.model
    }

    /// Whether the spare's device is the device that the volume of `wanted` would get. A limit that is not
    /// below the volume's size makes no difference.
    pub(super) fn fits(&self, wanted: &VolumeRecord) -> bool {
        let [spare, wanted] = [&self.model, wanted].map(|record| {
            let VolumeRecord { digest, size, chunk_size, durability, .. } = record;
            let VolumeRecord { backing, boot, reserve, .. } = record;
            let store = store_length(record);
            (digest, size, store, chunk_size, durability, backing, boot, reserve)
        });
        spare == wanted
    }

    /// Whether `device` works, and has the properties of this record.
    pub(super) fn is_sound(&self, device: &Device) -> bool {
        let shape = match device.table {
            Some(Table::Snapshot { size, chunk_size, .. }) => Some((size, chunk_size)),
            _ => None,
        };
        let well = device.usage.is_some() && Health::of(device, &self.model).is_well();
        well && shape == Some((self.model.size, self.model.chunk_size))
    }
}
