//! The simulated kernel's loop devices, device-mapper devices and mounts.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::DeviceId;
use crate::sys::fake::{files, merge};
use crate::sys::{
    Device, DeviceNumber, FileStatus, LoopDevice, LoopSpec, MountSpec, MountedAt, SnapshotGlance,
    SnapshotUsage, Table, Target,
};

const LOOP_MAJOR: u32 = 7;
const MAPPER_MAJOR: u32 = 253;

pub(super) struct Kernel {
    boots: u32,
    loops: BTreeMap<u32, Loop>,
    mapped: BTreeMap<u32, Mapped>,
    /// No minor is used twice in a boot.
    next_minor: u32,
    mounts: Vec<Mount>,
    /// Devices whose file systems the kernel still initialises.
    initializing: HashSet<DeviceNumber>,
    /// Devices whose file systems are frozen. The kernel keeps these, mounted or not.
    pub(super) frozen: HashSet<DeviceNumber>,
    /// Mount points that a process works in.
    pub(super) occupied: HashSet<PathBuf>,
    pub(super) nodes: HashMap<PathBuf, DeviceNumber>,
    /// What a guest wrote to the start of a device.
    starts: HashMap<DeviceNumber, Vec<u8>>,
    /// How large file systems have grown, in bytes.
    grown: HashMap<DeviceNumber, u64>,
    /// Open files on devices, one entry each.
    pub(super) opened: Vec<DeviceNumber>,
}

struct Loop {
    file: PathBuf,
    size: u64,
    read_only: bool,
    autoclear: bool,
    unmerged: bool,
}

struct Mapped {
    id: DeviceId,
    live: Option<Loaded>,
    inactive: Option<Loaded>,
    suspended: bool,
}

struct Loaded {
    table: Table,
    /// When it becomes live, it takes over the exceptions of the live table over the same loop device.
    takes_over: bool,
    exceptions: Exceptions,
}

/// What the kernel keeps in memory of a COW store.
#[derive(Clone, Copy)]
struct Exceptions {
    /// Length of the store's loop device when the kernel made the tables for them.
    sized_by: u64,
    /// Bytes of the store in use.
    used: u64,
    /// Why the kernel gave up the store, as a test or a full store has it, or since another table took over.
    loss: Option<SnapshotUsage>,
}

/// Bytes of a store in use that the kernel has just read.
const BLANK: u64 = 8192;

impl Mapped {
    /// Whether it is the device of `id`: a UUID identifies it, whatever its name. A spare has none.
    fn is(&self, id: &DeviceId) -> bool {
        self.id.uuid == id.uuid && (!id.uuid.is_empty() || self.id.name == id.name)
    }

    fn table(&self) -> Option<&Table> {
        self.live.as_ref().map(|live| &live.table)
    }
}

/// Where the first bytes of a device are.
pub(super) enum Start<'a> {
    Written(&'a [u8]),
    File(&'a Path),
}

struct Mount {
    target: PathBuf,
    device: DeviceNumber,
    node: bool,
    read_only: bool,
    failed: bool,
    /// Of a sealed target.
    owner: Option<String>,
}

/// The device number of the file system of a sealed target.
const SEALED: DeviceNumber = DeviceNumber { major: 0, minor: 1 };

impl Kernel {
    pub(super) fn new() -> Self {
        Self {
            boots: 1,
            loops: BTreeMap::new(),
            mapped: BTreeMap::new(),
            next_minor: 0,
            mounts: Vec::new(),
            initializing: HashSet::new(),
            frozen: HashSet::new(),
            occupied: HashSet::new(),
            nodes: HashMap::new(),
            starts: HashMap::new(),
            grown: HashMap::new(),
            opened: Vec::new(),
        }
    }

    pub(super) fn reboot(&mut self) {
        *self = Self { boots: self.boots + 1, ..Self::new() };
    }

    pub(super) fn boot_id(&self) -> String {
        format!("boot-{}", self.boots)
    }

    pub(super) fn leftovers(&self) -> Vec<String> {
        let loops = self.loops.iter().map(|(n, l)| format!("loop{n} on {}", l.file.display()));
        let mapped = self.mapped.values().map(|device| format!("device {}", device.id.name));
        let mounts = self.mounts.iter().map(|mount| format!("mount {}", mount.target.display()));
        let frozen = self.frozen.iter().map(|number| format!("frozen file system on {number}"));
        loops.chain(mapped).chain(mounts).chain(frozen).collect()
    }

    pub(super) fn sizes(&self) -> Vec<(String, u64)> {
        let size = |device: &Mapped| Some((device.id.name.clone(), device.table()?.size()));
        self.mapped.values().filter_map(size).collect()
    }

    /// How long the COW store of a device was when the kernel sized the tables over it.
    pub(super) fn sized_by(&self, number: DeviceNumber) -> Option<u64> {
        let live = self.mapped.get(&number.minor)?.live.as_ref()?;
        Some(live.exceptions.sized_by)
    }

    // --- loop devices ---

    pub(super) fn attach_loop(&mut self, spec: &LoopSpec) -> Result<DeviceNumber> {
        let size = file_length(&spec.file)?;
        let minor = (0..).find(|n| !self.loops.contains_key(n)).unwrap_or_default();
        self.loops.insert(
            minor,
            Loop {
                file: spec.file.clone(),
                size,
                read_only: spec.read_only,
                autoclear: spec.autoclear,
                unmerged: false,
            },
        );
        Ok(DeviceNumber { major: LOOP_MAJOR, minor })
    }

    pub(super) fn loop_file(&self, number: DeviceNumber) -> Option<&Path> {
        self.loops.get(&number.minor).map(|device| device.file.as_path())
    }

    /// The backing file as the kernel shows it.
    pub(super) fn shown_file(&self, number: DeviceNumber) -> Option<PathBuf> {
        let file = self.loop_file(number)?;
        Some(match file.exists() {
            true => file.to_owned(),
            false => PathBuf::from(format!("{} (deleted)", file.display())),
        })
    }

    pub(super) fn find_loops(&self, path: &Path) -> Vec<LoopDevice> {
        let found = self.loops.iter().filter(|(_, device)| device.file == path);
        found
            .map(|(minor, device)| LoopDevice {
                number: DeviceNumber { major: LOOP_MAJOR, minor: *minor },
                size: device.size,
                read_only: device.read_only,
            })
            .collect()
    }

    pub(super) fn loops_below(&self, directory: &Path) -> u64 {
        self.loops.values().filter(|device| device.file.starts_with(directory)).count() as u64
    }

    pub(super) fn refresh_loop(&mut self, number: DeviceNumber) -> Result<()> {
        let device = self.loops.get_mut(&number.minor).ok_or_else(|| no_device(number))?;
        device.size = file_length(&device.file)?;
        Ok(())
    }

    pub(super) fn merge_requests(&mut self, number: DeviceNumber, merge: bool) {
        if let Some(device) = self.loops.get_mut(&number.minor) {
            device.unmerged = !merge;
        }
    }

    pub(super) fn unmerged(&self) -> Vec<PathBuf> {
        let unmerged = self.loops.values().filter(|device| device.unmerged);
        unmerged.map(|device| device.file.clone()).collect()
    }

    pub(super) fn detach_loop(&mut self, number: DeviceNumber, path: &Path) -> Result<()> {
        if self.loop_file(number) != Some(path) {
            return Ok(());
        }
        if self.open_count(number) > 0 {
            return Err(busy(number));
        }
        self.loops.remove(&number.minor);
        Ok(())
    }

    /// Notes that a file, or a directory above it, was renamed.
    pub(super) fn follow(&mut self, from: &Path, to: &Path) {
        for device in self.loops.values_mut() {
            if let Ok(rest) = device.file.strip_prefix(from) {
                let moved = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
                device.file = moved;
            }
        }
    }

    /// Detaches the loop devices that wait for their last close.
    pub(super) fn autoclear(&mut self) {
        let unused: Vec<u32> = self
            .loops
            .iter()
            .filter(|(_, device)| device.autoclear)
            .map(|(minor, _)| *minor)
            .filter(|minor| self.open_count(DeviceNumber { major: LOOP_MAJOR, minor: *minor }) == 0)
            .collect();
        for minor in unused {
            self.loops.remove(&minor);
        }
    }

    /// # Panics
    ///
    /// If a loop device is attached to `path` or to a file below it.
    pub(super) fn check_unused(&self, path: &Path) {
        for (minor, device) in &self.loops {
            assert!(
                !device.file.starts_with(path),
                "{} is removed while loop{minor} is attached to it",
                device.file.display()
            );
        }
    }

    /// # Panics
    ///
    /// If a live table is over the file at `path`.
    pub(super) fn check_no_device_over(&self, path: &Path) {
        for device in self.mapped.values() {
            let file = store_of(device.table()).and_then(|store| self.loop_file(store));
            assert!(file != Some(path), "the store of {} is cut", device.id.name);
        }
    }

    // --- device-mapper ---

    pub(super) fn device(&self, id: &DeviceId) -> Option<Device> {
        let (minor, device) = self.mapped.iter().find(|(_, device)| device.is(id))?;
        let number = DeviceNumber { major: MAPPER_MAJOR, minor: *minor };
        let snapshot = is_writable_snapshot(device.table());
        if !device.suspended {
            self.go_on_merging(device);
        }
        Some(Device {
            number,
            open_count: self.open_count(number),
            suspended: device.suspended,
            inactive_table: device.inactive.is_some(),
            table: device.table().cloned(),
            usage: snapshot.then(|| self.usage(device)),
        })
    }

    /// The kernel asks for the store's length each time.
    fn usage(&self, device: &Mapped) -> SnapshotUsage {
        let store = store_of(device.table()).and_then(|store| self.loops.get(&store.minor));
        let total = store.map_or(0, |store| store.size);
        let Some(Loaded { table, exceptions: Exceptions { used, loss, .. }, .. }) = &device.live
        else {
            return SnapshotUsage::Invalid;
        };
        let used = match (table, store) {
            (Table::Merge { .. }, Some(store)) => BLANK + merge::left(&store.file),
            _ => *used,
        };
        loss.unwrap_or(SnapshotUsage::Valid { used, total, metadata: BLANK })
    }

    /// Moves one chunk of a snapshot that is being merged. Here the kernel works whenever somebody looks.
    fn go_on_merging(&self, device: &Mapped) {
        let Some(Table::Merge { origin, cow, .. }) = device.table() else { return };
        let below = self.mapped.get(&origin.minor).and_then(Mapped::table);
        let [from, to] =
            [Some(*cow), store_of(below)].map(|it| it.and_then(|it| self.loop_file(it)));
        if let (Some(from), Some(to)) = (from, to) {
            merge::one_chunk(from, to);
        }
    }

    /// Writes to chunks of a snapshot that were not written before, whose copies take so many bytes of the
    /// COW store. Returns whether that succeeds: it does not behind the end of the store's loop device.
    pub(super) fn write_new(&mut self, number: DeviceNumber, bytes: u64) -> bool {
        self.check_answers(number, "a write");
        let Some(device) = self.mapped.get(&number.minor) else { return false };
        let SnapshotUsage::Valid { used, total, .. } = self.usage(device) else { return false };
        let Some(device) = self.mapped.get_mut(&number.minor) else { return false };
        let Some(Loaded { exceptions, .. }) = &mut device.live else { return false };
        match used + bytes <= total {
            true => exceptions.used = used + bytes,
            false => exceptions.loss = Some(SnapshotUsage::Overflow),
        }
        exceptions.loss.is_none()
    }

    pub(super) fn glance(&self, id: &DeviceId) -> Option<SnapshotGlance> {
        let Device { suspended, inactive_table, table, usage, .. } = self.device(id)?;
        Some(SnapshotGlance { size: table?.size(), suspended, inactive_table, usage: usage? })
    }

    pub(super) fn device_names(&self) -> BTreeSet<String> {
        self.mapped.values().map(|device| device.id.name.clone()).collect()
    }

    pub(super) fn device_id(&self, name: &str) -> Option<DeviceId> {
        let mut ids = self.mapped.values().map(|device| &device.id);
        ids.find(|id| id.name == name && !id.uuid.is_empty()).cloned()
    }

    pub(super) fn uuid(&self, number: DeviceNumber) -> Option<String> {
        let device = (number.major == MAPPER_MAJOR).then(|| self.mapped.get(&number.minor));
        device.flatten().map(|device| device.id.uuid.clone())
    }

    pub(super) fn create_device(&mut self, id: &DeviceId) -> Result<DeviceNumber> {
        let taken = |device: &Mapped| {
            device.id.name == id.name || !id.uuid.is_empty() && device.id.uuid == id.uuid
        };
        if self.mapped.values().any(taken) {
            return Err(Error::new(ErrorKind::AlreadyExists, "create", &id.name, "name taken"));
        }
        let minor = self.next_minor;
        self.next_minor += 1;
        let id = id.clone();
        let (live, inactive, suspended) = (None, None, false);
        let device = Mapped { id, live, inactive, suspended };
        self.mapped.insert(minor, device);
        Ok(DeviceNumber { major: MAPPER_MAJOR, minor })
    }

    pub(super) fn give_uuid(&mut self, name: &str, uuid: &str) -> Result<()> {
        let taken = self.mapped.values().any(|device| device.id.uuid == uuid);
        let device = self.named_mut(name)?;
        if device.id.uuid == uuid {
            return Ok(());
        }
        if taken || !device.id.uuid.is_empty() {
            return Err(Error::new(ErrorKind::AlreadyExists, "adopt", name, "UUID taken"));
        }
        device.id.uuid = uuid.to_owned();
        Ok(())
    }

    pub(super) fn give_name(&mut self, name: &str, to: &str) -> Result<()> {
        if self.mapped.values().any(|device| device.id.name == to) {
            return Err(Error::new(ErrorKind::AlreadyExists, "adopt", name, "name taken"));
        }
        self.named_mut(name)?.id.name = to.to_owned();
        Ok(())
    }

    pub(super) fn load_table(&mut self, id: &DeviceId, table: &Table) -> Result<()> {
        let below = match table {
            Table::Snapshot { origin, cow, .. }
            | Table::Frozen { origin, cow, .. }
            | Table::Merge { origin, cow, .. } => vec![*origin, *cow],
            Table::ReadOnly { device, .. } => vec![*device],
        };
        let mut sized_by = 0;
        for number in below {
            let size = self.size(number)?;
            if store_of(Some(table)) == Some(number) {
                sized_by = size;
            }
            let whole = store_of(Some(table)) == Some(number);
            assert!(
                whole || size >= table.size(),
                "the table of {} reaches past {number}",
                id.name
            );
        }
        let takes_over = self.source_of(table).is_some();
        let waiting = self.mapped.values().filter_map(|device| device.inactive.as_ref());
        let third =
            waiting.filter(|other| other.takes_over).any(|other| share(&other.table, table));
        let used = self.used_by_former(id, table);
        let device = self.mapped_mut(id)?;
        if third || device.inactive.is_some() && is_writable_snapshot(Some(table)) {
            // As in the kernel, a third snapshot over one COW store cannot take over exceptions.
            return Err(Error::new(ErrorKind::Internal, "load table", &id.name, "EINVAL"));
        }
        let exceptions = Exceptions { sized_by, used, loss: None };
        device.inactive = Some(Loaded { table: table.clone(), takes_over, exceptions });
        self.autoclear();
        Ok(())
    }

    /// The device whose live table has the exceptions that another one over the same loop device would take over.
    ///
    /// # Panics
    ///
    /// If the origins differ: the kernel would not see that the two share a store, and ruin it.
    fn source_of(&self, table: &Table) -> Option<u32> {
        if !is_writable_snapshot(Some(table)) {
            return None;
        }
        let shares = |device: &&Mapped| device.table().is_some_and(|live| share(live, table));
        let (minor, device) = self.mapped.iter().find(|(_, device)| shares(device))?;
        let same = origin_of(device.table()) == origin_of(Some(table));
        assert!(same, "a table over the store of {} has another origin", device.id.name);
        Some(*minor)
    }

    /// How much of its store a device has used so far, if its new table is over the same file.
    fn used_by_former(&self, id: &DeviceId, table: &Table) -> u64 {
        let file = |table| store_of(table).and_then(|store| self.loop_file(store));
        let device = self.mapped.values().find(|device| device.is(id));
        let same = device.filter(|device| file(device.table()) == file(Some(table)));
        same.and_then(|device| device.live.as_ref()).map_or(BLANK, |live| live.exceptions.used)
    }

    pub(super) fn clear_table(&mut self, id: &DeviceId) -> Result<()> {
        self.mapped_mut(id)?.inactive = None;
        self.autoclear();
        Ok(())
    }

    pub(super) fn suspend(&mut self, id: &DeviceId) -> Result<()> {
        self.mapped_mut(id)?.suspended = true;
        Ok(())
    }

    /// The devices that are suspended.
    pub(super) fn suspended(&self) -> Vec<DeviceNumber> {
        let suspended = self.mapped.iter().filter(|(_, device)| device.suspended);
        suspended.map(|(minor, _)| DeviceNumber { major: MAPPER_MAJOR, minor: *minor }).collect()
    }

    /// Writes back what is dirty of a device.
    ///
    /// # Panics
    ///
    /// If the device is suspended.
    pub(super) fn sync(&self, number: DeviceNumber) -> Result<()> {
        self.check_answers(number, "a sync");
        self.size(number).map(drop)
    }

    /// # Panics
    ///
    /// If a table takes over exceptions from another device that is not suspended.
    pub(super) fn resume(&mut self, id: &DeviceId) -> Result<()> {
        let minor = self.minor(id)?;
        if self.is_awaited(minor) {
            // As in the kernel.
            let why = "it cannot be resumed until its exceptions are handed over";
            return Err(Error::new(ErrorKind::Internal, "resume device", &id.name, why));
        }
        if let Some(mut loaded) = self.mapped_mut(id)?.inactive.take() {
            if loaded.takes_over
                && let Some(source) = self.source_of(&loaded.table)
                && let Some(from) = self.mapped.get_mut(&source)
                && let Some(live) = &mut from.live
            {
                assert!(source == minor || from.suspended, "{} hands over in use", from.id.name);
                loaded.exceptions = live.exceptions;
                live.exceptions.loss = Some(SnapshotUsage::Invalid);
            }
            loaded.takes_over = false;
            self.mapped_mut(id)?.live = Some(loaded);
        }
        self.mapped_mut(id)?.suspended = false;
        self.autoclear();
        Ok(())
    }

    /// Whether a table of another device waits for the exceptions of the live one of this device.
    fn is_awaited(&self, minor: u32) -> bool {
        let Some(live) = self.mapped.get(&minor).and_then(Mapped::table) else { return false };
        let others = self.mapped.iter().filter(|(other, _)| **other != minor);
        let mut waiting = others.filter_map(|(_, other)| other.inactive.as_ref());
        waiting.any(|other| other.takes_over && share(&other.table, live))
    }

    pub(super) fn remove_device(&mut self, id: &DeviceId) -> Result<()> {
        let minor = self.minor(id)?;
        assert!(!self.is_awaited(minor), "{} is removed before it hands over", id.name);
        let number = DeviceNumber { major: MAPPER_MAJOR, minor };
        if self.open_count(number) > 0 {
            return Err(busy(number));
        }
        self.mapped.remove(&minor);
        self.starts.remove(&number);
        self.grown.remove(&number);
        self.autoclear();
        Ok(())
    }

    pub(super) fn set_usage(&mut self, number: DeviceNumber, usage: SnapshotUsage) {
        let device = self.mapped.get_mut(&number.minor);
        if let Some(Loaded { exceptions, .. }) = device.and_then(|device| device.live.as_mut()) {
            match usage {
                SnapshotUsage::Valid { used, .. } => {
                    (exceptions.loss, exceptions.used) = (None, used);
                }
                lost => exceptions.loss = Some(lost),
            }
        }
    }

    pub(super) fn size(&self, number: DeviceNumber) -> Result<u64> {
        let size = match number.major {
            LOOP_MAJOR => self.loops.get(&number.minor).map(|device| device.size),
            _ => self.mapped.get(&number.minor).map(|device| device.table().map_or(0, Table::size)),
        };
        size.ok_or_else(|| no_device(number))
    }

    pub(super) fn write_start(&mut self, number: DeviceNumber, bytes: &[u8]) {
        self.starts.insert(number, bytes.to_owned());
    }

    /// What a guest wrote to the start of the device, or else the file behind the device.
    pub(super) fn start(&self, number: DeviceNumber) -> Result<Start<'_>> {
        self.check_answers(number, "a read");
        if let Some(bytes) = self.starts.get(&number) {
            return Ok(Start::Written(bytes));
        }
        if number.major == LOOP_MAJOR {
            return self.loop_file(number).map(Start::File).ok_or_else(|| no_device(number));
        }
        match self.mapped.get(&number.minor).and_then(Mapped::table) {
            Some(
                Table::Snapshot { origin, .. }
                | Table::Frozen { origin, .. }
                | Table::Merge { origin, .. },
            ) => self.start(*origin),
            Some(Table::ReadOnly { device, .. }) => self.start(*device),
            None => Err(no_device(number)),
        }
    }

    /// # Panics
    ///
    /// If the device is suspended: then `what` would wait, perhaps for ever.
    fn check_answers(&self, number: DeviceNumber, what: &str) {
        let device = (number.major == MAPPER_MAJOR).then(|| self.mapped.get(&number.minor));
        if let Some(device) = device.flatten() {
            assert!(!device.suspended, "{what} waits for {}, which is suspended", device.id.name);
        }
    }

    fn minor(&self, id: &DeviceId) -> Result<u32> {
        let found = self.mapped.iter().find(|(_, device)| device.is(id));
        found.map(|(minor, _)| *minor).ok_or_else(|| no_such(id))
    }

    fn mapped_mut(&mut self, id: &DeviceId) -> Result<&mut Mapped> {
        self.mapped.values_mut().find(|device| device.is(id)).ok_or_else(|| no_such(id))
    }

    fn named_mut(&mut self, name: &str) -> Result<&mut Mapped> {
        let found = self.mapped.values_mut().find(|device| device.id.name == name);
        found.ok_or_else(|| Error::new(ErrorKind::NotFound, "find device", name, "no such device"))
    }

    fn open_count(&self, number: DeviceNumber) -> u32 {
        let files = self.opened.iter().filter(|opened| **opened == number).count();
        let mounts = self.mounts.iter().filter(|m| !m.node && m.device == number).count();
        let frozen = usize::from(self.frozen.contains(&number));
        let tables = self.mapped.values().flat_map(|device| [&device.live, &device.inactive]);
        let tables = tables.flatten().filter(|loaded| match &loaded.table {
            Table::Snapshot { origin, cow, .. }
            | Table::Frozen { origin, cow, .. }
            | Table::Merge { origin, cow, .. } => *origin == number || *cow == number,
            Table::ReadOnly { device, .. } => *device == number,
        });
        u32::try_from(files + mounts + frozen + tables.count()).unwrap_or(u32::MAX)
    }

    // --- mounts ---

    pub(super) fn mounted(&self, path: &Path) -> Option<Target> {
        let mount = self.mounts.iter().rev().find(|mount| mount.target == path)?;
        Some(if let Some(owner) = &mount.owner {
            Target::Sealed { device: mount.device, owner: owner.clone() }
        } else if mount.node {
            Target::Node { device: mount.device }
        } else {
            Target::FileSystem {
                device: mount.device,
                read_only: mount.read_only,
                failed: mount.failed,
            }
        })
    }

    /// # Panics
    ///
    /// If something is mounted on `path`.
    pub(super) fn check_not_mounted(&self, path: &Path) {
        assert!(self.mounted(path).is_none(), "{} is removed while mounted", path.display());
    }

    pub(super) fn mount(&mut self, spec: &MountSpec) -> Result<()> {
        self.size(spec.device)?;
        check_options(&spec.fs_type, &spec.options)?;
        self.mounts.push(Mount {
            target: files::resolve(&spec.target),
            device: spec.device,
            node: false,
            read_only: spec.read_only || spec.options.iter().any(|option| option == "ro"),
            failed: false,
            owner: None,
        });
        self.set_background_writes(&files::resolve(&spec.target), true);
        Ok(())
    }

    /// Starts or ends the initialisation of what is mounted for writing at `path`.
    pub(super) fn set_background_writes(&mut self, path: &Path, on: bool) {
        match self.mounted(path) {
            Some(Target::FileSystem { device, read_only: false, .. }) if on => {
                self.initializing.insert(device);
            }
            Some(Target::FileSystem { device, .. }) if !on => {
                self.initializing.remove(&device);
            }
            _ => {}
        }
    }

    /// Grows the file system that is mounted for writing at `path`, as far as its device goes.
    pub(super) fn grow(&mut self, path: &Path, size: u64) -> Result<()> {
        if let Some(Target::FileSystem { device, read_only: false, .. }) = self.mounted(path) {
            let size = size.min(self.size(device)?);
            let grown = self.grown.entry(device).or_default();
            *grown = size.max(*grown);
        }
        self.set_background_writes(path, true);
        Ok(())
    }

    /// The size in bytes to which the file system of a device has grown.
    pub(super) fn grown(&self, number: DeviceNumber) -> Option<u64> {
        self.grown.get(&number).copied()
    }

    pub(super) fn background_writes(&self) -> Vec<PathBuf> {
        let mounts =
            self.mounts.iter().filter(|m| !m.node && self.initializing.contains(&m.device));
        mounts.map(|mount| mount.target.clone()).collect()
    }

    pub(super) fn bind(&mut self, source: &Path, target: &Path, read_only: bool) -> Result<()> {
        let found = self.mounts.iter().rev().find(|mount| mount.target == source);
        let (device, node, failed) = match (self.nodes.get(source), found) {
            (Some(number), _) => (*number, true, false),
            (None, Some(mount)) => (mount.device, mount.node, mount.failed),
            (None, None) => {
                return Err(Error::new(ErrorKind::NotFound, "bind", source.display(), "nothing"));
            }
        };
        FileStatus::at(target)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "bind on", target.display(), "no such file")
        })?;
        let target = target.to_owned();
        self.mounts.push(Mount { target, device, node, read_only, failed, owner: None });
        Ok(())
    }

    pub(super) fn seal(&mut self, target: &Path, owner: &str) -> Result<()> {
        FileStatus::at(target)?.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "seal", target.display(), "no such file")
        })?;
        self.mounts.push(Mount {
            target: target.to_owned(),
            device: SEALED,
            node: false,
            read_only: true,
            failed: false,
            owner: Some(owner.to_owned()),
        });
        Ok(())
    }

    pub(super) fn unmount(&mut self, path: &Path) -> Result<()> {
        let at = self.mounts.iter().rposition(|mount| mount.target == path);
        let at = at.ok_or_else(|| {
            Error::new(ErrorKind::NotFound, "unmount", path.display(), "not a mount point")
        })?;
        if self.is_occupied(path) {
            return Err(Error::new(ErrorKind::InUse, "unmount", path.display(), "target is busy"));
        }
        let Mount { device, node, .. } = self.mounts[at];
        let others = self.mounts.iter().filter(|mount| !mount.node && mount.device == device);
        if !node && others.count() == 1 {
            self.check_answers(device, "the last unmount");
        }
        self.mounts.remove(at);
        Ok(())
    }

    pub(super) fn is_occupied(&self, path: &Path) -> bool {
        self.occupied.contains(path)
    }

    pub(super) fn check_not_frozen(&self, path: &Path) -> Result<()> {
        match self.mounted(path) {
            Some(Target::FileSystem { device, .. }) if self.frozen.contains(&device) => Err(
                Error::new(ErrorKind::InUse, "use the file system at", path.display(), "frozen"),
            ),
            _ => Ok(()),
        }
    }

    pub(super) fn thaw_abandoned(&mut self, number: DeviceNumber) -> bool {
        let mounted = self.mounts.iter().any(|mount| !mount.node && mount.device == number);
        !mounted && self.frozen.remove(&number)
    }

    pub(super) fn fail_file_system(&mut self, number: DeviceNumber) {
        let mounts = self.mounts.iter_mut().filter(|mount| mount.device == number && !mount.node);
        mounts.for_each(|mount| mount.failed = !mount.read_only);
    }

    pub(super) fn mounts_of(&self, number: DeviceNumber) -> Vec<MountedAt> {
        let ours = self.mounts.iter().filter(|mount| mount.device == number);
        ours.map(|mount| MountedAt {
            path: mount.target.clone(),
            node: mount.node,
            read_only: mount.read_only,
        })
        .collect()
    }
}

/// An option that no file system knows.
const UNKNOWN_OPTION: &str = "nonsense";

/// Refuses the one option that the simulated file systems do not know.
pub(super) fn check_options(fs_type: &str, options: &[String]) -> Result<()> {
    if !options.iter().any(|option| option == UNKNOWN_OPTION) {
        return Ok(());
    }
    let why = "unknown parameter";
    Err(Error::new(ErrorKind::InvalidArgument, "use mount options of", fs_type, why))
}

/// The loop device of the COW store in a table.
fn store_of(table: Option<&Table>) -> Option<DeviceNumber> {
    match table {
        Some(
            Table::Snapshot { cow, .. } | Table::Frozen { cow, .. } | Table::Merge { cow, .. },
        ) => Some(*cow),
        _ => None,
    }
}

fn origin_of(table: Option<&Table>) -> Option<DeviceNumber> {
    match table {
        Some(Table::Snapshot { origin, .. } | Table::Merge { origin, .. }) => Some(*origin),
        _ => None,
    }
}

/// Whether it has exceptions that another table can take over.
fn is_writable_snapshot(table: Option<&Table>) -> bool {
    matches!(table, Some(Table::Snapshot { .. } | Table::Merge { .. }))
}

/// Whether two tables are over one loop device of a COW store.
fn share(one: &Table, other: &Table) -> bool {
    is_writable_snapshot(Some(one))
        && is_writable_snapshot(Some(other))
        && store_of(Some(one)) == store_of(Some(other))
}

fn file_length(path: &Path) -> Result<u64> {
    let extent = FileStatus::at(path)?;
    extent
        .map(|file| file.length)
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "attach", path.display(), "no such file"))
}

fn no_device(number: DeviceNumber) -> Error {
    Error::new(ErrorKind::NotFound, "find device", number, "no such device")
}

fn no_such(id: &DeviceId) -> Error {
    Error::new(ErrorKind::NotFound, "find device", &id.name, "no such device")
}

fn busy(number: DeviceNumber) -> Error {
    Error::new(ErrorKind::InUse, "release device", number, "Device or resource busy")
}
