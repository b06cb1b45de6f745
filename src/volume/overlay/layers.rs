//! The layers of a volume with an overlay, and each change to them.

use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::model::policy::{Backing, Durability};
use crate::pool::PoolDir;
use crate::pool::record::VolumeRecord;
use crate::sys::{Device, DeviceNumber, Flush, Host, LoopHandle, Quiesce, Table};
use crate::volume::machine::execute::{snapshot_table, store_loop};
use crate::volume::machine::teardown;
use crate::volume::plan::stack::Stack;
use crate::volume::plan::step::{first_length, store_length};

/// A volume whose lock the caller holds.
#[derive(Clone, Copy)]
pub(super) struct Layers<'a> {
    pub(super) pool: &'a PoolDir,
    pub(super) key: &'a Key,
    pub(super) record: &'a VolumeRecord,
}

impl<'a> Layers<'a> {
    pub(super) fn host(&self) -> &'a dyn Host {
        self.pool.host()
    }

    /// The volume's own device.
    pub(super) fn volume(&self) -> DeviceId {
        DeviceId::new(self.pool.id(), self.key, Role::Snapshot)
    }

    pub(super) fn base(&self) -> DeviceId {
        DeviceId::new(self.pool.id(), self.key, Role::Base)
    }

    /// The file of the overlay.
    pub(super) fn overlay(&self) -> PathBuf {
        self.pool.layout().overlay(self.key)
    }

    /// The volume's own store.
    pub(super) fn store(&self) -> PathBuf {
        self.pool.layout().store(self.key, Backing::Snapshot)
    }

    pub(super) fn attach(&self, file: PathBuf) -> Result<LoopHandle> {
        self.host().attach_loop(&store_loop(file, self.record, false))
    }

    /// Makes the file of the overlay, as short as that of a new volume.
    pub(super) fn make_overlay(&self) -> Result<LoopHandle> {
        let (host, path) = (self.host(), self.overlay());
        let flush = match self.record.durability {
            Durability::Durable => Flush::Now,
            Durability::Ephemeral => Flush::Later,
        };
        host.create_file(&path, first_length(self.record), flush)?;
        if self.record.durability == Durability::Durable {
            // What the guest syncs is in it from the cut on.
            host.sync_directory(&self.pool.layout().volume_directory(self.key))?;
        }
        self.attach(path)
    }

    /// Makes the base, with a table that is not live yet.
    pub(super) fn make_base(&self, stack: Stack) -> Result<DeviceNumber> {
        let number = self.host().create_device(&self.base())?;
        let table = snapshot_table(self.record, stack.origin, stack.store);
        self.host().load_table(&self.base(), &table)?;
        Ok(number)
    }

    /// Has the suspended volume go on over the overlay. As with a new volume, the kernel sizes the table by a short
    /// store.
    pub(super) fn stack(&self, base: DeviceNumber, overlay: &LoopHandle) -> Result<()> {
        let (host, id) = (self.host(), self.volume());
        host.load_table(&id, &snapshot_table(self.record, base, overlay.number))?;
        host.extend_file(&self.overlay(), store_length(self.record))?;
        host.refresh_attached(overlay)?;
        host.resume(&id)
    }

    /// The table with which the kernel merges the overlay.
    pub(super) fn merging(&self, base: DeviceNumber, overlay: DeviceNumber) -> Table {
        let VolumeRecord { size, chunk_size, .. } = *self.record;
        Table::Merge { origin: base, cow: overlay, size, chunk_size }
    }

    /// Has the kernel begin to merge.
    pub(super) fn begin_merge(&self, stack: Stack) -> Result<()> {
        let (host, id) = (self.host(), self.volume());
        host.load_table(&id, &self.merging(stack.origin, stack.store))?;
        host.suspend(&id, Quiesce::Device)?;
        host.resume(&id)
    }

    /// Has the volume, whose overlay is merged, go on over its own store alone.
    pub(super) fn bring_back(&self, base: &Device, overlay: DeviceNumber) -> Result<()> {
        let (host, id) = (self.host(), self.volume());
        let stack = Stack::below(base).ok_or_else(|| {
            let why = "the device below its overlay has no table of calf's";
            Error::new(ErrorKind::Internal, "merge the overlay of volume", &self.record.id, why)
        })?;
        host.load_table(&id, &snapshot_table(self.record, stack.origin, stack.store))?;
        host.hand_back_loop(overlay);
        host.suspend(&id, Quiesce::Device)?;
        host.suspend(&self.base(), Quiesce::Device)?;
        host.resume(&id)
    }

    /// Removes the file of an overlay that nothing is in.
    pub(super) fn remove_overlay(&self) -> Result<()> {
        let (host, path) = (self.host(), self.overlay());
        for attached in host.find_loops(&path)? {
            teardown::await_release(host, attached.number, &path)?;
        }
        host.remove_file(&path)
    }
}
