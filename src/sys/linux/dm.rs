//! Device-mapper devices.
//!
//! The `devicemapper` crate loads and reads tables, suspends and lists. Resume and remove emit uevents,
//! for which the crate waits for udev: forever in a namespace where no udev answers. calf therefore
//! issues these two itself, with flags for udev and without waiting. It makes devices itself, too, since
//! the crate leaves the minor number to the kernel.
//!
//! Every operation that changes a device addresses it by UUID, which names the pool, so it never
//! finds a device of another owner, whatever its name. Only a spare has no UUID until it is
//! adopted: calf makes it and adopts it by its name, and changes it in no other way.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;

use devicemapper::errors::Error as CoreError;
use devicemapper::{
    DM, DevId, DeviceInfo, DmError, DmFlags, DmName, DmOptions, DmUdevFlags, DmUuid,
};
use devicemapper_sys::{
    DM_DEV_CREATE_CMD, DM_DEV_REMOVE_CMD, DM_DEV_RENAME_CMD, DM_DEV_SUSPEND_CMD,
    DM_GET_TARGET_VERSION_CMD,
};
use nix::libc::{EBUSY, EINVAL, ENODEV, ENOTTY, ENXIO};

use crate::error::{Error, ErrorKind, Result};
use crate::model::device_id::DeviceId;
use crate::model::limits::SECTOR;
use crate::sys::linux::minors::Minors;
use crate::sys::linux::raw::DmRequest;
use crate::sys::linux::write_cache::Mode;
use crate::sys::linux::{merging, nodes, sysfs, table, write_cache};
use crate::sys::{Device, DeviceNumber, Quiesce, SnapshotGlance, Table};

const LOAD: &str = "load a table into device";
const CONTROL: &str = "/dev/mapper/control";
/// `MAPPER_CTRL_MINOR`
const CONTROL_MINOR: u32 = 236;

/// How many minor numbers that others have are skipped for one device.
const MOST_TAKEN: u32 = 1 << 12;

/// No links, no probing of content, no stacking by LVM or multipath. These flags also apply to
/// later events of the device.
const UDEV_FLAGS: DmUdevFlags = DmUdevFlags::DM_UDEV_DISABLE_DM_RULES_FLAG
    .union(DmUdevFlags::DM_UDEV_DISABLE_SUBSYSTEM_RULES_FLAG)
    .union(DmUdevFlags::DM_UDEV_DISABLE_DISK_RULES_FLAG)
    .union(DmUdevFlags::DM_UDEV_DISABLE_OTHER_RULES_FLAG)
    .union(DmUdevFlags::DM_UDEV_DISABLE_LIBRARY_FALLBACK)
    .union(DmUdevFlags::DM_UDEV_PRIMARY_SOURCE_FLAG);
/// `DM_UDEV_FLAGS_SHIFT`: the flags are the upper half of the cookie.
const UDEV_FLAGS_SHIFT: u32 = 16;

/// The kernel's device-mapper. One open file serves all threads, since ioctls are independent of
/// each other.
#[derive(Default)]
pub(super) struct DeviceMapper {
    dm: OnceLock<DM>,
    minors: Minors,
}

impl DeviceMapper {
    /// The control device, opened at first use.
    fn control(&self) -> Result<&DM> {
        if let Some(dm) = self.dm.get() {
            return Ok(dm);
        }
        // The crate's error has no errno, and the crate makes no node.
        nodes::open_control(Path::new(CONTROL), CONTROL_MINOR).map_err(|e| {
            Error::io("open", CONTROL, e).remedy(
                "load the `dm_mod` module, and run calf as root, privileged if in a container",
            )
        })?;
        let dm = DM::new().map_err(|e| failed("open", CONTROL, e))?;
        Ok(self.dm.get_or_init(|| dm))
    }

    /// The control device, or `None` if the kernel has no device-mapper: then no device exists
    /// either.
    fn control_if_any(&self) -> Result<Option<&DM>> {
        match self.control() {
            Err(e) if matches!(e.raw_os_error(), Some(ENODEV | ENXIO)) => Ok(None),
            other => other.map(Some),
        }
    }

    /// Version of a target, after loading its module if possible; or why the target is missing.
    pub(super) fn target_version(&self, target: &str) -> Result<(u32, u32, u32), String> {
        let dm = self.control().map_err(|e| e.story())?;
        let mut request = DmRequest::new().name(target);
        match request.send(dm.file(), DM_GET_TARGET_VERSION_CMD) {
            Ok(()) => return Ok(request.target_version()),
            // Since Linux 5.5.
            Err(e) if e.raw_os_error() == Some(ENOTTY) => {}
            Err(e) if e.raw_os_error() == Some(EINVAL) => return Err(no_target(target)),
            Err(e) => return Err(format!("device-mapper target `{target}`: {e}")),
        }
        let versions = dm.list_versions().map_err(|e| e.to_string())?;
        versions
            .into_iter()
            .find(|(name, ..)| name == target)
            .map(|(_, major, minor, patch)| (major, minor, patch))
            .ok_or_else(|| no_target(target))
    }

    pub(super) fn device(&self, id: &DeviceId) -> Result<Option<Device>> {
        const OPERATION: &str = "read state of device";
        let Some(dm) = self.control_if_any()? else { return Ok(None) };
        let name = name(OPERATION, id)?;
        let tables = DmOptions::default().set_flags(DmFlags::DM_STATUS_TABLE);
        let (info, lines) = match dm.table_status(&DevId::Name(name), tables) {
            Ok(status) => status,
            Err(e) if errno(&e) == Some(ENXIO) => return Ok(None),
            Err(e) => return Err(failed(OPERATION, &id.name, e)),
        };
        check_owner(OPERATION, id, &info)?;
        let read_only = info.flags().contains(DmFlags::DM_READONLY);
        let table = match &lines[..] {
            [(0, sectors, target, parameters)] => {
                table::parse(*sectors, target, parameters, read_only)
            }
            _ => None,
        };
        if table.is_none() && !lines.is_empty() {
            tracing::warn!(device = id.name, ?lines, "device has a table that calf does not make");
        }
        let usage = match table {
            Some(Table::Snapshot { .. } | Table::Merge { .. }) => {
                let uuid = uuid(OPERATION, id)?;
                match dm.table_status(&DevId::Uuid(uuid), DmOptions::default()) {
                    Ok((_, lines)) => lines.first().and_then(|line| table::parse_usage(&line.3)),
                    Err(e) if errno(&e) == Some(ENXIO) => return Ok(None),
                    Err(e) => return Err(failed(OPERATION, &id.name, e)),
                }
            }
            _ => None,
        };
        Ok(Some(Device {
            number: number(&info),
            open_count: u32::try_from(info.open_count()).unwrap_or(0),
            suspended: info.flags().contains(DmFlags::DM_SUSPEND),
            inactive_table: info.flags().contains(DmFlags::DM_INACTIVE_PRESENT),
            table,
            usage,
        }))
    }

    pub(super) fn glance(&self, id: &DeviceId) -> Result<Option<SnapshotGlance>> {
        const OPERATION: &str = "inspect device";
        let Some(dm) = self.control_if_any()? else { return Ok(None) };
        let name = name(OPERATION, id)?;
        let (info, lines) = match dm.table_status(&DevId::Name(name), DmOptions::default()) {
            Ok(status) => status,
            Err(e) if errno(&e) == Some(ENXIO) => return Ok(None),
            Err(e) => return Err(failed(OPERATION, &id.name, e)),
        };
        check_owner(OPERATION, id, &info)?;
        let [(0, sectors, target, status)] = &lines[..] else { return Ok(None) };
        let usage = match &**target {
            "snapshot" | table::MERGE => table::parse_usage(status),
            _ => None,
        };
        let size = sectors.checked_mul(SECTOR);
        Ok(usage.zip(size).map(|(usage, size)| SnapshotGlance {
            size,
            suspended: info.flags().contains(DmFlags::DM_SUSPEND),
            inactive_table: info.flags().contains(DmFlags::DM_INACTIVE_PRESENT),
            usage,
        }))
    }

    pub(super) fn names(&self) -> Result<BTreeSet<String>> {
        let Some(dm) = self.control_if_any()? else { return Ok(BTreeSet::new()) };
        let listed = dm.list_devices().map_err(|e| failed("list", "device-mapper devices", e))?;
        Ok(listed.into_iter().map(|(name, ..)| name.to_string()).collect())
    }

    /// Queries the device itself: a device without a table is not in sysfs, and on the oldest
    /// kernels a list of devices has no UUIDs.
    pub(super) fn id(&self, name: &str) -> Result<Option<DeviceId>> {
        const OPERATION: &str = "read UUID of device";
        let Some(dm) = self.control_if_any()? else { return Ok(None) };
        let named = name_of(OPERATION, name)?;
        match dm.device_info(&DevId::Name(named)) {
            Ok(info) => Ok(info
                .uuid()
                .map(|uuid| DeviceId { name: name.to_owned(), uuid: uuid.to_string() })),
            // Removed in the meantime.
            Err(e) if errno(&e) == Some(ENXIO) => Ok(None),
            Err(e) => Err(failed(OPERATION, name, e)),
        }
    }

    pub(super) fn create(&self, id: &DeviceId) -> Result<DeviceNumber> {
        const OPERATION: &str = "create device";
        name(OPERATION, id)?;
        uuid(OPERATION, id)?;
        self.create_with(OPERATION, &id.name, || DmRequest::new().name(&id.name).uuid(&id.uuid))
    }

    /// Makes the device of a request, under the next minor number that is free.
    fn create_with(
        &self,
        operation: &'static str,
        shown: &str,
        request: impl Fn() -> DmRequest,
    ) -> Result<DeviceNumber> {
        let control = self.control()?.file();
        for _ in 0..MOST_TAKEN {
            let minor = self.minors.next();
            let mut request = request().flags(DmFlags::DM_PERSISTENT_DEV).minor(minor);
            match request.send(control, DM_DEV_CREATE_CMD) {
                Ok(()) => {
                    let (major, minor) = request.device();
                    return Ok(DeviceNumber { major, minor });
                }
                // The number is taken.
                Err(e) if e.raw_os_error() == Some(ENXIO) => {}
                // The name is taken, or the UUID.
                Err(e) if e.raw_os_error() == Some(EBUSY) => {
                    let error = io_failed(operation, shown, e);
                    return Err(error.with_kind(ErrorKind::AlreadyExists));
                }
                Err(e) => return Err(io_failed(operation, shown, e)),
            }
        }
        let why = format!("{MOST_TAKEN} minor numbers in a row are taken, or there is no memory");
        Err(Error::new(ErrorKind::InUse, operation, shown, why)
            .remedy("repeat the call, or remove devices that are not needed (`dmsetup ls`)"))
    }

    pub(super) fn load(&self, id: &DeviceId, table: &Table) -> Result<()> {
        self.load_into(&DevId::Uuid(uuid(LOAD, id)?), &id.name, table)
    }

    fn load_into(&self, device: &DevId<'_>, shown: &str, table: &Table) -> Result<()> {
        let line = table::format(table)
            .map_err(|why| Error::new(ErrorKind::InvalidArgument, LOAD, shown, why))?;
        let flags = if line.read_only { DmFlags::DM_READONLY } else { DmFlags::empty() };
        let targets = [(0, line.sectors, line.target.to_owned(), line.parameters)];
        let options = DmOptions::default().set_flags(flags);
        match self.control()?.table_load(device, &targets, options) {
            Ok(_) => Ok(()),
            Err(e) => {
                let subject = format!("{shown} ({} {})", targets[0].2, targets[0].3);
                Err(failed(LOAD, subject, e)
                    .remedy("the kernel log (`dmesg`) has device-mapper's reason"))
            }
        }
    }

    pub(super) fn create_spare(&self, name: &str, table: &Table) -> Result<DeviceNumber> {
        const OPERATION: &str = "create spare device";
        let named = DevId::Name(name_of(OPERATION, name)?);
        let number = self.create_with(OPERATION, name, || DmRequest::new().name(name))?;
        self.load_into(&named, name, table)?;
        Ok(number)
    }

    pub(super) fn start_spare(&self, name: &str) -> Result<()> {
        const OPERATION: &str = "start spare device";
        name_of(OPERATION, name)?;
        let request = DmRequest::new().name(name);
        self.send_with_uevent(OPERATION, DM_DEV_SUSPEND_CMD, name, request)
    }

    /// The kernel sets a UUID only once, and finds the device to rename only by its name.
    pub(super) fn adopt(&self, spare: &str, id: &DeviceId) -> Result<()> {
        const OPERATION: &str = "adopt spare device";
        name_of(OPERATION, spare)?;
        name(OPERATION, id)?;
        uuid(OPERATION, id)?;
        let give = |flags, text: &str| {
            let request = DmRequest::new().name(spare).flags(flags).rename_to(text);
            self.send_with_uevent(OPERATION, DM_DEV_RENAME_CMD, spare, request)
        };
        match give(DmFlags::DM_UUID, &id.uuid) {
            // The UUID is taken, or this device already has a UUID: the same one, if an adoption
            // was interrupted. The kernel looks up the UUID before it looks up the device.
            Err(error) if matches!(error.raw_os_error(), Some(EBUSY | EINVAL)) => {
                let found = self.control()?.device_info(&DevId::Name(name_of(OPERATION, spare)?));
                let found = found.map_err(|e| failed(OPERATION, spare, e))?;
                if found.uuid().is_none_or(|uuid| uuid.to_string() != id.uuid) {
                    return Err(error.with_kind(ErrorKind::AlreadyExists));
                }
            }
            given => given?,
        }
        give(DmFlags::empty(), &id.name).map_err(|error| match error.raw_os_error() {
            Some(EBUSY) => error.with_kind(ErrorKind::AlreadyExists),
            _ => error,
        })
    }

    pub(super) fn clear(&self, id: &DeviceId) -> Result<()> {
        const OPERATION: &str = "clear the inactive table of device";
        self.control()?
            .table_clear(&DevId::Uuid(uuid(OPERATION, id)?))
            .map(drop)
            .map_err(|e| failed(OPERATION, &id.name, e))
    }

    pub(super) fn suspend(&self, id: &DeviceId, quiesce: Quiesce) -> Result<()> {
        const OPERATION: &str = "suspend device";
        let flags = match quiesce {
            Quiesce::FileSystem => DmFlags::DM_SUSPEND,
            Quiesce::Device => DmFlags::DM_SUSPEND | DmFlags::DM_SKIP_LOCKFS | DmFlags::DM_NOFLUSH,
        };
        let options = DmOptions::default().set_flags(flags);
        self.control()?
            .device_suspend(&DevId::Uuid(uuid(OPERATION, id)?), options)
            .map(drop)
            .map_err(|e| failed(OPERATION, &id.name, e))
            .map_err(|error| match error.kind() {
                // The kernel cannot freeze it once more.
                ErrorKind::InUse => error.remedy(
                    "its file system is frozen: thaw it (`fsfreeze --unfreeze`), and repeat the call",
                ),
                _ => error,
            })
    }

    pub(super) fn resume(&self, id: &DeviceId) -> Result<()> {
        self.change_with_uevent("resume device", DM_DEV_SUSPEND_CMD, id)
    }

    /// Loop devices below vanish with the device, so their queue's settings are restored first. The write
    /// cache is turned off again if the device stays; for merging, the guard sees to it.
    pub(super) fn remove(&self, id: &DeviceId) -> Result<()> {
        const OPERATION: &str = "remove device";
        let info = self
            .control()?
            .device_info(&DevId::Uuid(uuid(OPERATION, id)?))
            .map_err(|e| failed(OPERATION, &id.name, e))?;
        if info.open_count() > 0 {
            let busy = std::io::Error::from_raw_os_error(EBUSY);
            return Err(io_failed(OPERATION, &id.name, busy));
        }
        let mut elided: Vec<DeviceNumber> = sysfs::loops_below(number(&info));
        elided.retain(|below| {
            // What another device rests on stays.
            if sysfs::is_shared(*below) {
                return false;
            }
            merging::hand_back(*below);
            write_cache::hand_back(*below)
        });
        self.change_with_uevent(OPERATION, DM_DEV_REMOVE_CMD, id).inspect_err(|_| {
            for below in elided {
                if let Err(error) = write_cache::set(below, Mode::WriteThrough) {
                    tracing::warn!(
                        device = id.name,
                        error = error.report(),
                        "could not restore write-through; flushes are no longer elided"
                    );
                }
            }
        })
    }

    fn change_with_uevent(
        &self,
        operation: &'static str,
        command: u32,
        id: &DeviceId,
    ) -> Result<()> {
        uuid(operation, id)?;
        self.send_with_uevent(operation, command, &id.name, DmRequest::new().uuid(&id.uuid))
    }

    fn send_with_uevent(
        &self,
        operation: &'static str,
        command: u32,
        shown: &str,
        request: DmRequest,
    ) -> Result<()> {
        request
            .cookie(UDEV_FLAGS.bits() << UDEV_FLAGS_SHIFT)
            .send(self.control()?.file(), command)
            .map_err(|e| io_failed(operation, shown, e))
    }
}

fn no_target(target: &str) -> String {
    format!(
        "the kernel has no device-mapper target `{target}`: load `{}`",
        if target == "linear" { "dm_mod" } else { "dm_snapshot" }
    )
}

fn check_owner(operation: &'static str, id: &DeviceId, info: &DeviceInfo) -> Result<()> {
    let found = info.uuid().map(ToString::to_string).unwrap_or_default();
    if found == id.uuid {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::AlreadyExists,
        operation,
        &id.name,
        format!("a device of that name belongs to another owner: its UUID is {found:?}"),
    )
    .remedy("rename or remove that device, or use the pool that made it"))
}

fn number(info: &DeviceInfo) -> DeviceNumber {
    let device = info.device();
    DeviceNumber { major: device.major, minor: device.minor }
}

fn name<'id>(operation: &'static str, id: &'id DeviceId) -> Result<&'id DmName> {
    name_of(operation, &id.name)
}

fn name_of<'a>(operation: &'static str, name: &'a str) -> Result<&'a DmName> {
    DmName::new(name).map_err(|e| failed(operation, name, e))
}

/// An empty UUID would address a device by its empty name, or make a device without an owner.
fn uuid<'id>(operation: &'static str, id: &'id DeviceId) -> Result<&'id DmUuid> {
    if id.uuid.is_empty() {
        let why = "it has no UUID";
        return Err(Error::new(ErrorKind::InvalidArgument, operation, &id.name, why));
    }
    DmUuid::new(&id.uuid).map_err(|e| failed(operation, &id.name, e))
}

fn errno(error: &DmError) -> Option<i32> {
    match error {
        DmError::Core(CoreError::Ioctl(_, _, _, errno)) => Some(**errno as i32),
        _ => None,
    }
}

fn failed(operation: &'static str, subject: impl std::fmt::Display, error: DmError) -> Error {
    match errno(&error) {
        Some(errno) => io_failed(operation, subject, std::io::Error::from_raw_os_error(errno)),
        None => Error::new(ErrorKind::Internal, operation, subject, error),
    }
}

fn io_failed(
    operation: &'static str,
    subject: impl std::fmt::Display,
    error: std::io::Error,
) -> Error {
    let missing = error.raw_os_error() == Some(ENXIO);
    let error = Error::io(operation, subject, error);
    if missing { error.with_kind(ErrorKind::NotFound) } else { error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udev_is_told_to_leave_the_device_alone() {
        assert_eq!(UDEV_FLAGS.bits() << UDEV_FLAGS_SHIFT, 0x006f_0000);
    }

    #[test]
    fn a_device_without_a_uuid_is_never_addressed() {
        let id = DeviceId { name: "calf-x".to_owned(), uuid: String::new() };
        assert_eq!(uuid("remove device", &id).unwrap_err().kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn errors_keep_their_errno() {
        let ioctl = |errno| DmError::Core(CoreError::Ioctl(0, None, None, Box::new(errno)));
        for (errno, kind) in [
            (nix::errno::Errno::ENXIO, ErrorKind::NotFound),
            (nix::errno::Errno::EBUSY, ErrorKind::InUse),
            (nix::errno::Errno::EPERM, ErrorKind::Permission),
        ] {
            let error = failed("remove device", "calf-x", ioctl(errno));
            assert_eq!(error.kind(), kind);
            assert_eq!(error.raw_os_error(), Some(errno as i32));
        }
    }
}
