//! Typed wrappers of the ioctls and system calls that no crate offers. All `unsafe` code of calf
//! is in this file.
//!
//! Structures and numbers are the kernel's user interface: `linux/loop.h`, `linux/dm-ioctl.h`,
//! `linux/mount.h`, `linux/fs.h`, and XFS's `xfs_fs.h`.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsRawFd as _, BorrowedFd};

use devicemapper::DmFlags;
use devicemapper_sys::dm_ioctl;
use loopdev::{LoopControl, LoopDevice};
use nix::libc;
use rustix::ioctl::{Opcode, opcode};

/// Issues an ioctl whose argument is a pointer to `argument`.
///
/// # Safety
///
/// `request` must read or write at most a `T` behind the pointer, and must leave a valid `T` there.
unsafe fn ioctl<T>(fd: BorrowedFd<'_>, request: Opcode, argument: &mut T) -> io::Result<u32> {
    // SAFETY: the pointer is valid for a `T`, exclusively borrowed; the rest is the caller's.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, std::ptr::from_mut(argument)) })
}

/// Issues an ioctl that takes no argument.
///
/// # Safety
///
/// `request` must ignore its argument or accept zero as a number.
unsafe fn ioctl_plain(fd: BorrowedFd<'_>, request: Opcode) -> io::Result<u32> {
    // SAFETY: no pointer is passed; the rest is the caller's.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request as _, 0) })
}

fn check(result: libc::c_int) -> io::Result<u32> {
    u32::try_from(result).map_err(|_| io::Error::last_os_error())
}

// === loop devices ===

const LOOP_CLR_FD: Opcode = 0x4C01;
const LOOP_SET_STATUS64: Opcode = 0x4C04;
const LOOP_GET_STATUS64: Opcode = 0x4C05;
const LOOP_SET_CAPACITY: Opcode = 0x4C07;
const LOOP_CONFIGURE: Opcode = 0x4C0A;
const LOOP_CTL_GET_FREE: Opcode = 0x4C82;

/// `LO_FLAGS_READ_ONLY`
pub(super) const LOOP_READ_ONLY: u32 = 1;
/// `LO_FLAGS_AUTOCLEAR`
pub(super) const LOOP_AUTOCLEAR: u32 = 4;

/// `struct loop_info64`
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct LoopInfo {
    /// Device of the backing file, in the kernel's encoding: see [`decode_dev`].
    pub(super) device: u64,
    /// Inode of the backing file.
    pub(super) inode: u64,
    /// The device number of the backing file, if it is a device node.
    pub(super) rdevice: u64,
    pub(super) offset: u64,
    pub(super) size_limit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    pub(super) flags: u32,
    /// Free text.
    pub(super) file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl Default for LoopInfo {
    fn default() -> Self {
        Self {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            size_limit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: 0,
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// `struct loop_config`
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo,
    reserved: [u64; 8],
}

const _: () = assert!(size_of::<LoopInfo>() == 232 && size_of::<LoopConfig>() == 304);

/// A device number as loop devices and device-mapper encode it (the kernel's `huge_encode_dev`).
fn encode_dev(major: u32, minor: u32) -> u64 {
    u64::from((minor & 0xff) | (major << 8)) | (u64::from(minor & !0xff) << 12)
}

/// Splits a device number in that encoding.
pub(super) fn decode_dev(dev: u64) -> (u32, u32) {
    let major = (dev & 0xf_ff00) >> 8;
    let minor = (dev & 0xff) | ((dev >> 12) & 0xf_ff00);
    (major as u32, minor as u32)
}

/// The file descriptor of a loop device of `loopdev`, which shows only its number.
pub(super) fn loop_fd(device: &LoopDevice) -> BorrowedFd<'_> {
    // SAFETY: `device` has this file open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(device.as_raw_fd()) }
}

/// The same for the control device.
pub(super) fn control_fd(control: &LoopControl) -> BorrowedFd<'_> {
    // SAFETY: `control` has this file open for as long as it is borrowed.
    unsafe { BorrowedFd::borrow_raw(control.as_raw_fd()) }
}

/// The number of a loop device that was free at the time of the call.
pub(super) fn loop_get_free(control: BorrowedFd<'_>) -> io::Result<u32> {
    // SAFETY: LOOP_CTL_GET_FREE takes no argument.
    unsafe { ioctl_plain(control, LOOP_CTL_GET_FREE) }
}

/// Attaches `file` to a loop device in one step.
pub(super) fn loop_configure(
    device: BorrowedFd<'_>,
    file: BorrowedFd<'_>,
    info: &LoopInfo,
) -> io::Result<()> {
    let fd = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
    let mut config = LoopConfig { fd, block_size: 512, info: *info, reserved: [0; 8] };
    // SAFETY: LOOP_CONFIGURE reads a `struct loop_config`.
    unsafe { ioctl(device, LOOP_CONFIGURE, &mut config) }.map(drop)
}

/// The status of a loop device; `ENXIO` if it is not attached.
pub(super) fn loop_status(device: BorrowedFd<'_>) -> io::Result<LoopInfo> {
    let mut info = LoopInfo::default();
    // SAFETY: LOOP_GET_STATUS64 writes a `struct loop_info64`, valid with any bits.
    unsafe { ioctl(device, LOOP_GET_STATUS64, &mut info) }?;
    Ok(info)
}

/// Changes the flags of an attached loop device, given its status.
pub(super) fn loop_set_status(device: BorrowedFd<'_>, info: &LoopInfo) -> io::Result<()> {
    let mut info = *info;
    // SAFETY: LOOP_SET_STATUS64 reads a `struct loop_info64`.
    unsafe { ioctl(device, LOOP_SET_STATUS64, &mut info) }.map(drop)
}

/// Detaches a loop device, at its last close at the latest.
pub(super) fn loop_clear(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: LOOP_CLR_FD takes no argument.
    unsafe { ioctl_plain(device, LOOP_CLR_FD) }.map(drop)
}

/// Makes a loop device adopt the present size of the backing file.
pub(super) fn loop_set_capacity(device: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: LOOP_SET_CAPACITY takes no argument.
    unsafe { ioctl_plain(device, LOOP_SET_CAPACITY) }.map(drop)
}

// === device-mapper ===

const DM_IOCTL: u8 = 0xfd;
/// Space for the answer to `DM_GET_TARGET_VERSION`: one target.
const DM_DATA: usize = 512;

/// A device-mapper request with a header and little data.
#[repr(C)]
pub(super) struct DmRequest {
    header: dm_ioctl,
    data: [u8; DM_DATA],
}

impl DmRequest {
    pub(super) fn new() -> Self {
        let header = dm_ioctl {
            version: [4, 0, 0],
            data_size: size_of::<Self>() as u32,
            data_start: offset_of!(Self, data) as u32,
            ..Default::default()
        };
        Self { header, data: [0; DM_DATA] }
    }

    /// Addresses the device by its UUID. A UUID that is too long is cut, and finds no device.
    pub(super) fn uuid(mut self, uuid: &str) -> Self {
        copy_string(&mut self.header.uuid, uuid);
        self
    }

    /// Addresses a device, or names a target, by its name.
    pub(super) fn name(mut self, name: &str) -> Self {
        copy_string(&mut self.header.name, name);
        self
    }

    /// Sets the cookie that commands with a uevent pass on to udev.
    pub(super) fn cookie(mut self, cookie: u32) -> Self {
        self.header.event_nr = cookie;
        self
    }

    /// Sets flags, such as the kind of name that [`rename_to`](Self::rename_to) gives.
    pub(super) fn flags(mut self, flags: DmFlags) -> Self {
        self.header.flags = flags.bits();
        self
    }

    /// Sets the minor number that `DM_DEV_CREATE` gives to the device, which needs `DM_PERSISTENT_DEV`.
    pub(super) fn minor(mut self, minor: u32) -> Self {
        self.header.dev = encode_dev(0, minor);
        self
    }

    /// The number of the device in the answer.
    pub(super) fn device(&self) -> (u32, u32) {
        decode_dev(self.header.dev)
    }

    /// Sets the new name for `DM_DEV_RENAME`, cut if it is too long for any device.
    pub(super) fn rename_to(mut self, text: &str) -> Self {
        let room = DM_DATA - 1;
        let text = &text.as_bytes()[..text.len().min(room)];
        self.data[..text.len()].copy_from_slice(text);
        self
    }

    /// Issues the request on the open device-mapper control device.
    pub(super) fn send(&mut self, control: &File, command: u32) -> io::Result<()> {
        use std::os::fd::AsFd as _;
        let command = u8::try_from(command).map_err(io::Error::other)?;
        let request = opcode::read_write::<dm_ioctl>(DM_IOCTL, command);
        // SAFETY: every device-mapper ioctl reads and writes at most `data_size` bytes, which is
        // the size of `self`; integers and bytes are valid with any bits.
        unsafe { ioctl(control.as_fd(), request, self) }.map(drop)
    }

    /// The version in the answer to `DM_GET_TARGET_VERSION`: a `struct dm_target_versions`.
    pub(super) fn target_version(&self) -> (u32, u32, u32) {
        let word = |index: usize| {
            let at = 4 * index;
            let mut bytes = [0; 4];
            bytes.copy_from_slice(&self.data[at..at + 4]);
            u32::from_ne_bytes(bytes)
        };
        (word(1), word(2), word(3))
    }
}

fn copy_string(field: &mut [libc::c_char], text: &str) {
    let room = field.len() - 1;
    for (to, from) in field[..room].iter_mut().zip(text.bytes()) {
        *to = from as libc::c_char;
    }
}

// === file systems ===

const FITHAW: Opcode = 0xC004_5878;

/// Thaws the file system that holds the file. `EINVAL` if it is not frozen.
pub(super) fn thaw(file: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: FITHAW takes no argument.
    unsafe { ioctl_plain(file, FITHAW) }.map(drop)
}

/// `struct xfs_fsop_geom_v1`
#[repr(C)]
#[derive(Default)]
pub(super) struct XfsGeometry {
    /// Bytes per block.
    pub(super) block_size: u32,
    before: [u32; 6],
    /// Maximum percentage of space that inodes may take.
    pub(super) inode_percent: u32,
    /// Blocks of the data section.
    pub(super) data_blocks: u64,
    rest: [u64; 9],
}

/// `struct xfs_growfs_data`
#[repr(C)]
struct XfsGrow {
    blocks: u64,
    inode_percent: u32,
}

const _: () = assert!(size_of::<XfsGeometry>() == 112 && size_of::<XfsGrow>() == 16);

/// Sizes of the mounted XFS that holds the file.
pub(super) fn xfs_geometry(file: BorrowedFd<'_>) -> io::Result<XfsGeometry> {
    let mut geometry = XfsGeometry::default();
    let request = opcode::read::<XfsGeometry>(b'X', 100);
    // SAFETY: XFS_IOC_FSGEOMETRY_V1 writes a `struct xfs_fsop_geom_v1`.
    unsafe { ioctl(file, request, &mut geometry) }?;
    Ok(geometry)
}

/// Grows the data section of the mounted XFS that holds the file.
pub(super) fn xfs_grow(file: BorrowedFd<'_>, blocks: u64, inode_percent: u32) -> io::Result<()> {
    let mut grow = XfsGrow { blocks, inode_percent };
    let request = opcode::write::<XfsGrow>(b'X', 110);
    // SAFETY: XFS_IOC_FSGROWFSDATA reads a `struct xfs_growfs_data`.
    unsafe { ioctl(file, request, &mut grow) }.map(drop)
}

/// `struct file_clone_range`
#[repr(C)]
struct CloneRange {
    from: i64,
    offset: u64,
    length: u64,
    to: u64,
}

const _: () = assert!(size_of::<CloneRange>() == 32);

/// Has `target` share the blocks of a part of `source` from the offset `to` on.
pub(super) fn clone_range(
    source: BorrowedFd<'_>,
    offset: u64,
    length: u64,
    target: BorrowedFd<'_>,
    to: u64,
) -> io::Result<()> {
    let mut range = CloneRange { from: source.as_raw_fd().into(), offset, length, to };
    let request = opcode::write::<CloneRange>(0x94, 13);
    // SAFETY: FICLONERANGE reads a `struct file_clone_range`.
    unsafe { ioctl(target, request, &mut range) }.map(drop)
}

/// `struct fiemap`
#[repr(C)]
struct FileMapHeader {
    start: u64,
    length: u64,
    flags: u32,
    mapped: u32,
    count: u32,
    reserved: u32,
}

/// `struct fiemap_extent`
#[repr(C)]
#[derive(Clone, Copy, Default)]
pub(super) struct FileMapExtent {
    /// In the file, in bytes.
    pub(super) logical: u64,
    /// On the disk, in bytes.
    pub(super) physical: u64,
    /// In bytes.
    pub(super) length: u64,
    reserved: [u64; 2],
    /// `FIEMAP_EXTENT_*`
    pub(super) flags: u32,
    reserved_too: [u32; 3],
}

/// A `struct fiemap` with room for the extents of one answer.
#[repr(C)]
pub(super) struct FileMap {
    header: FileMapHeader,
    extents: [FileMapExtent; FILE_MAP_EXTENTS],
}

/// 28 KiB at a time.
const FILE_MAP_EXTENTS: usize = 512;

const _: () = assert!(size_of::<FileMapHeader>() == 32 && size_of::<FileMapExtent>() == 56);
const _: () = assert!(offset_of!(FileMap, extents) == 32);

impl FileMap {
    pub(super) fn new() -> Box<Self> {
        let header =
            FileMapHeader { start: 0, length: 0, flags: 0, mapped: 0, count: 0, reserved: 0 };
        Box::new(Self { header, extents: [FileMapExtent::default(); FILE_MAP_EXTENTS] })
    }

    /// The next extents of a file, from the offset `start` on. Writes back what is dirty before.
    pub(super) fn read(
        &mut self,
        file: BorrowedFd<'_>,
        start: u64,
    ) -> io::Result<&[FileMapExtent]> {
        const SYNC: u32 = 1;
        let count = FILE_MAP_EXTENTS as u32;
        let length = u64::MAX - start;
        self.header = FileMapHeader { start, length, flags: SYNC, mapped: 0, count, reserved: 0 };
        let request = opcode::read_write::<FileMapHeader>(b'f', 11);
        // SAFETY: FS_IOC_FIEMAP reads a `struct fiemap`, and writes it and at most as many extents behind it as it
        // says there is room for; integers are valid with any bits.
        unsafe { ioctl(file, request, self) }?;
        Ok(&self.extents[..(self.header.mapped as usize).min(FILE_MAP_EXTENTS)])
    }
}

/// `struct fsxattr`
#[repr(C)]
#[derive(Default)]
struct FileAttributes {
    flags: u32,
    more: [u32; 6],
}

const _: () = assert!(size_of::<FileAttributes>() == 28);

/// The `FS_XFLAG_*` flags of a file.
pub(super) fn file_flags(file: BorrowedFd<'_>) -> io::Result<u32> {
    let mut attributes = FileAttributes::default();
    let request = opcode::read::<FileAttributes>(b'X', 31);
    // SAFETY: FS_IOC_FSGETXATTR writes a `struct fsxattr`.
    unsafe { ioctl(file, request, &mut attributes) }?;
    Ok(attributes.flags)
}

// === mounts ===

/// `struct mount_attr`
#[repr(C)]
#[derive(Default)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Sets and clears `MOUNT_ATTR_*` flags of the mount whose root is open as `mount`.
pub(super) fn mount_setattr(mount: BorrowedFd<'_>, set: u32, clear: u32) -> io::Result<()> {
    let attributes = MountAttributes { set: set.into(), clear: clear.into(), ..Default::default() };
    // SAFETY: the path is a C string; the kernel reads a `struct mount_attr` of the given size.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_decode_as_the_kernel_encodes_them() {
        for (major, minor) in [(0, 45), (7, 0), (7, 255), (253, 256), (259, 70_000), (4095, 1)] {
            assert_eq!(decode_dev(encode_dev(major, minor)), (major, minor));
        }
        assert_eq!(encode_dev(253, 0xf_ff01), 0xfff0_fd01);
    }

    #[test]
    fn strings_keep_their_final_zero() {
        let mut field = [1; 4];
        field[3] = 0;
        copy_string(&mut field, "abcdef");
        assert_eq!(field.map(|c| c as u8), *b"abc\0");
    }
}
