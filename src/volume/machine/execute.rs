//! Runs a plan's steps on the machine.
//!
//! An [`Executor`] lives for one call. It holds the loop devices that it attached until a
//! device-mapper table holds them too; if the call ends early, dropping it lets them vanish.

use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::model::policy::{Backing, Durability, Reserve};
use crate::pool::locks::VolumeGuard;
use crate::pool::record::VolumeRecord;
use crate::pool::{PoolDir, record};
use crate::sys::{Busy, CopyMode, DeviceNumber, Flush, LoopHandle, LoopSpec, Table};
use crate::template::{content, origin};
use crate::volume::machine::{duplicate, store, teardown};
use crate::volume::plan::step::{
    Below, Commit, CopyAccess, Load, Loops, Step, StoreFile, first_length,
};

/// Executes steps for one volume.
pub(crate) struct Executor<'a> {
    pool: &'a PoolDir,
    key: &'a Key,
    origin: Option<LoopHandle>,
    store: Option<LoopHandle>,
    /// The snapshot device that a step made.
    made: Option<DeviceNumber>,
}

impl<'a> Executor<'a> {
    /// Returns an executor for the volume of `guard`.
    pub(crate) fn new(pool: &'a PoolDir, guard: &'a VolumeGuard) -> Self {
        Self { pool, key: guard.key(), origin: None, store: None, made: None }
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
            Step::WriteRecord { record, commit } => self.write_record(record, *commit),
            Step::CreateStore(record) => self.create_store(record),
            Step::CreateSeed { from } => duplicate::seed(self.pool, self.key, from),
            Step::CopyStore { record, from } => {
                duplicate::store(self.pool, self.key, record, from.as_deref())
            }
            Step::ShortenStore { least, after_content } => {
                let path = layout.store(self.key, Backing::Snapshot);
                host.shorten_file(&path, *least, *after_content)
            }
            Step::ExtendStore { of, length } => {
                host.extend_file(&layout.store(self.key, *of), *length)
            }
            Step::AllocateStore { of, length } => {
                host.allocate_file(&layout.store(self.key, *of), *length)
            }
            Step::ReplaceStore { by } => {
                host.rename(by, &layout.store(self.key, Backing::Snapshot))?;
                host.sync_directory(&layout.volume_directory(self.key))
            }
            Step::ForgetLostWrites => {
                let mark = layout.lost_writes(self.key);
                if host.file(&mark)?.is_none() {
                    return Ok(());
                }
                host.remove_file(&mark)?;
                host.sync_directory(&layout.volume_directory(self.key))
            }
            Step::RemoveStore { of } => {
                if *of == Backing::Snapshot {
                    host.remove_file(&layout.overlay(self.key))?;
                }
                host.remove_file(&layout.store(self.key, *of))
            }
            Step::AttachOrigin(record) => {
                let VolumeRecord { digest, template_size, size, .. } = &**record;
                self.origin = Some(origin::acquire(self.pool, digest, *template_size, *size)?);
                Ok(())
            }
            Step::GrowOrigin { digest, origin, size } => {
                origin::grow(self.pool, digest, *origin, *size)
            }
            Step::AttachStore(record) => {
                self.store = Some(self.attach(record, CopyAccess::ReadWrite)?);
                Ok(())
            }
            Step::AttachCopy { record, access } => self.attach(record, *access).map(drop),
            Step::RefreshLoop(number) => host.refresh_loop(*number),
            Step::RefreshStore => match &self.store {
                Some(store) => host.refresh_attached(store),
                None => Err(self.out_of_order("its store was not attached before")),
            },
            Step::DetachCopy { of, number } => {
                let path = layout.store(self.key, *of);
                let busy = Busy::Device(*number);
                teardown::while_busy(host, busy, || host.detach_loop(*number, &path))
            }
            Step::CreateDevice(role) => {
                let number = host.create_device(&self.id(*role))?;
                if *role == Role::Snapshot {
                    self.made = Some(number);
                }
                Ok(())
            }
            Step::LoadTable(load) => host.load_table(&self.id(load.role()), &self.table(load)?),
            Step::ClearTable(role) => host.clear_table(&self.id(*role)),
            Step::ReviveStore => store::revive(host, &layout.store(self.key, Backing::Snapshot)),
            Step::Suspend(role, quiesce) => host.suspend(&self.id(*role), *quiesce),
            Step::Resume(role) => host.resume(&self.id(*role)),
            Step::RemoveDevice(role) => teardown::remove_device(host, &self.id(*role)),
            Step::AwaitRelease { of, number } => {
                let path = match of {
                    StoreFile::Own => layout.store(self.key, Backing::Snapshot),
                    StoreFile::Overlay => layout.overlay(self.key),
                };
                teardown::await_release(host, *number, &path)
            }
            Step::RemoveRecord => host.remove_file(&layout.volume_record(self.key)),
            Step::RemoveDirectory => host.remove_directory(&layout.volume_directory(self.key)),
        }
    }

    fn create_store(&self, record: &VolumeRecord) -> Result<()> {
        let host = self.pool.host();
        let path = self.pool.layout().store(self.key, record.backing);
        let length = first_length(record);
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

    fn write_record(&self, record: &VolumeRecord, commit: Commit) -> Result<()> {
        self.pool.require_format(record.format())?;
        let (host, path) = (self.pool.host(), self.pool.layout().volume_record(self.key));
        match commit {
            Commit::First => host.write_first_record(&path, &record::to_bytes(record)),
            Commit::Replacement => host.write_record(&path, &record::to_bytes(record)),
        }
    }

    fn attach(&self, record: &VolumeRecord, access: CopyAccess) -> Result<LoopHandle> {
        let file = self.pool.layout().store(self.key, record.backing);
        let read_only = access == CopyAccess::ReadOnly;
        self.pool.host().attach_loop(&store_loop(file, record, read_only))
    }

    fn table(&self, load: &Load) -> Result<Table> {
        match load {
            Load::Snapshot { record, over: Loops::Live(stack) } => {
                Ok(snapshot_table(record, stack.origin, stack.store))
            }
            Load::Snapshot { record, over: Loops::Attached } => match (&self.origin, &self.store) {
                (Some(origin), Some(store)) => {
                    Ok(snapshot_table(record, origin.number, store.number))
                }
                _ => Err(self.out_of_order("no earlier step attached its loop devices")),
            },
            Load::Snapshot { record, over: Loops::Renewed { origin } } => match &self.store {
                Some(store) => Ok(snapshot_table(record, *origin, store.number)),
                None => Err(self.out_of_order("its store was not attached before")),
            },
            Load::View { size, over } => {
                let device = match over {
                    Below::Live(number) => Some(*number),
                    Below::Made => self.made,
                };
                let device =
                    device.ok_or_else(|| self.out_of_order("no earlier step made its snapshot"))?;
                Ok(Table::ReadOnly { device, size: *size })
            }
        }
    }

    /// The error for a plan whose steps do not follow each other.
    fn out_of_order(&self, what: &'static str) -> Error {
        Error::new(ErrorKind::Internal, "make the device of volume", self.key, what)
    }

    fn id(&self, role: Role) -> DeviceId {
        DeviceId::new(self.pool.id(), self.key, role)
    }
}

/// Returns how to attach the store of `record`, which is at `file`.
pub(crate) fn store_loop(file: PathBuf, record: &VolumeRecord, read_only: bool) -> LoopSpec {
    LoopSpec {
        file,
        read_only,
        // A device-mapper device keeps the loop device attached, but a private copy has none.
        autoclear: record.backing == Backing::Snapshot,
        elide_flushes: record.durability == Durability::Ephemeral,
    }
}

/// Returns the table of the snapshot device of `record`.
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
        // A discard would punch a hole into reserved space.
        discard: record.reserve == Reserve::None,
    }
}
