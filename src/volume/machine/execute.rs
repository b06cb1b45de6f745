//! Runs a plan's steps on the machine.
//!
//! An [`Executor`] lives for one call. It holds the loop devices that it attached until a
//! device-mapper table holds them too; if the call ends early, dropping it lets them vanish.

use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::model::policy::{Backing, Durability, Reserve};
use crate::pool::PoolDir;
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::sys::{CopyMode, DeviceNumber, Flush, LoopHandle, LoopSpec, Table};
use crate::template::{content, origin};
use crate::volume::machine::{observe, teardown};
use crate::volume::plan::state::Observed;
use crate::volume::plan::step::{Step, store_length};

/// Executes steps for one volume.
pub(crate) struct Executor<'a> {
    pool: &'a PoolDir,
    key: &'a Key,
    record: Option<VolumeRecord>,
    /// A record is on disk.
    recorded: bool,
    snapshot: Option<DeviceNumber>,
    table: Option<Table>,
    origin: Option<LoopHandle>,
    store: Option<LoopHandle>,
}

impl<'a> Executor<'a> {
    /// An executor for the volume of `guard`, which is as `observed`. `record` is what the steps were
    /// planned for.
    pub(crate) fn new(
        pool: &'a PoolDir,
        guard: &'a VolumeGuard,
        record: Option<&VolumeRecord>,
        observed: &Observed,
    ) -> Self {
        Self {
            pool,
            key: guard.key(),
            record: record.or(observed.record.as_ref()).cloned(),
            recorded: observed.record.is_some(),
            snapshot: observed.snapshot.as_ref().map(|device| device.number),
            table: observed.snapshot.as_ref().and_then(|device| device.table.clone()),
            origin: None,
            store: None,
        }
    }

    /// Runs the steps in order and stops at the first that fails.
    pub(crate) fn run(&mut self, steps: &[Step]) -> Result<()> {
        for step in steps {
            tracing::debug!(volume = %self.key, %step, "step");
            self.step(step)?;
        }
        Ok(())
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        let host = self.pool.host();
        let layout = self.pool.layout();
        match step {
            Step::WriteRecord(record) => {
                // Of a private copy, nothing tells whether it was used.
                let first = !self.recorded && record.backing == Backing::Snapshot;
                observe::write_record(self.pool, self.key, record, first)?;
                self.recorded = true;
                self.record = Some((**record).clone());
                Ok(())
            }
            Step::CreateStore(record) => self.create_store(record),
            Step::ExtendStore { length } => {
                host.extend_file(&layout.store(self.key, self.record()?.backing), *length)
            }
            Step::AllocateStore { length } => {
                host.allocate_file(&layout.store(self.key, self.record()?.backing), *length)
            }
            Step::RemoveStore => host.remove_file(&layout.store(self.key, self.record()?.backing)),
            Step::AttachOrigin { size } => {
                self.origin = Some(origin::acquire(self.pool, self.record()?, *size)?);
                Ok(())
            }
            Step::GrowOrigin { origin, size } => {
                origin::grow(self.pool, &self.record()?.digest, *origin, *size)
            }
            Step::AttachStore => {
                self.store = Some(self.attach(false)?);
                Ok(())
            }
            Step::AttachCopy { read_only } => self.attach(*read_only).map(drop),
            Step::RefreshLoop(number) => host.refresh_loop(*number),
            Step::DetachCopy(number) => {
                let path = layout.store(self.key, self.record()?.backing);
                teardown::while_busy(host, *number, || host.detach_loop(*number, &path))
            }
            Step::CreateDevice(role) => {
                let number = host.create_device(&self.id(*role))?;
                if *role == Role::Snapshot {
                    self.snapshot = Some(number);
                }
                Ok(())
            }
            Step::LoadTable(role) => {
                let table = self.table(*role)?;
                host.load_table(&self.id(*role), &table)?;
                if *role == Role::Snapshot {
                    self.table = Some(table);
                }
                Ok(())
            }
            Step::ClearTable(role) => host.clear_table(&self.id(*role)),
            Step::Suspend(role) => host.suspend(&self.id(*role)),
            Step::Resume(role) => host.resume(&self.id(*role)),
            Step::RemoveDevice(role) => self.remove_device(*role),
            Step::AwaitRelease { number } => {
                let path = layout.store(self.key, Backing::Snapshot);
                teardown::await_release(host, *number, &path)
            }
            Step::RemoveRecord => host.remove_file(&layout.volume_record(self.key)),
            Step::RemoveDirectory => host.remove_directory(&layout.volume_directory(self.key)),
        }
    }

    fn create_store(&self, record: &VolumeRecord) -> Result<()> {
        let host = self.pool.host();
        let path = self.pool.layout().store(self.key, record.backing);
        let length = store_length(record);
        let template = self.pool.layout().image(&record.digest);
        let flush = match record.durability {
            Durability::Durable => Flush::Now,
            Durability::Ephemeral => Flush::Later,
        };
        if record.backing != Backing::Snapshot {
            content::check_content(self.pool, &record.digest, record.template_size)?;
        }
        match record.backing {
            Backing::Snapshot => host.create_file(&path, length, flush),
            Backing::Reflink => host.copy_file(&template, &path, length, CopyMode::Reflink, flush),
            Backing::Copy => host.copy_file(&template, &path, length, CopyMode::Sparse, flush),
        }
    }

    fn attach(&self, read_only: bool) -> Result<LoopHandle> {
        let record = self.record()?;
        let file = self.pool.layout().store(self.key, record.backing);
        self.pool.host().attach_loop(&store_loop(file, record, read_only))
    }

    fn table(&self, role: Role) -> Result<Table> {
        let record = self.record()?;
        let missing = |what: &'static str| {
            Error::new(ErrorKind::Internal, "load the table of volume", &record.id, what)
        };
        if role == Role::ReadOnlyView {
            let device = self.snapshot.ok_or_else(|| missing("it has no snapshot device"))?;
            return Ok(Table::ReadOnly { device, size: record.size });
        }
        let (origin, cow) = match (&self.origin, &self.store, &self.table) {
            (Some(origin), Some(store), _) => (origin.number, store.number),
            (_, _, Some(Table::Snapshot { origin, cow, .. })) => (*origin, *cow),
            _ => return Err(missing("it has no loop devices")),
        };
        Ok(snapshot_table(record, origin, cow))
    }

    fn remove_device(&mut self, role: Role) -> Result<()> {
        teardown::remove_device(self.pool.host(), &self.id(role))?;
        if role == Role::Snapshot {
            self.snapshot = None;
            self.table = None;
        }
        Ok(())
    }

    fn id(&self, role: Role) -> DeviceId {
        DeviceId::new(self.pool.id(), self.key, role)
    }

    fn record(&self) -> Result<&VolumeRecord> {
        self.record.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::Internal, "work on volume", self.key, "it has no record")
        })
    }
}

/// How the store of `record`, the file at `file`, is attached.
pub(crate) fn store_loop(file: PathBuf, record: &VolumeRecord, read_only: bool) -> LoopSpec {
    LoopSpec {
        file,
        read_only,
        // A device over it holds it; a private copy has none.
        autoclear: record.backing == Backing::Snapshot,
        elide_flushes: record.durability == Durability::Ephemeral,
    }
}

/// The table of the device of `record`.
pub(crate) fn snapshot_table(
    record: &VolumeRecord,
    origin: DeviceNumber,
    cow: DeviceNumber,
) -> Table {
    Table::Snapshot {
        origin,
        cow,
        size: record.size,
        chunk_size: record.chunk_size,
        // A discard would punch a hole into what was reserved.
        discard: record.reserve == Reserve::None,
    }
}
