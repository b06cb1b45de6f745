//! The bare ioctls of the floor, and of setting up contenders.
//!
//! No driver can be faster than the floor, so the floor must not use calf's own wrappers, which
//! check the kernel's results. Structures and numbers are those of `linux/loop.h` and
//! `linux/dm-ioctl.h`. Apart from `src/sys/linux/raw.rs`, only this file has `unsafe` code.
#![allow(unsafe_code)]

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::{size_of, take};
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use devicemapper_sys::{
    DM_DEV_CREATE_CMD, DM_DEV_REMOVE_CMD, DM_DEV_SUSPEND_CMD, DM_TABLE_LOAD_CMD,
    DM_TABLE_STATUS_CMD, dm_ioctl,
};
use nix::libc;

const LOOP_CONFIGURE: libc::c_ulong = 0x4C0A;
const LOOP_CTL_ADD: libc::c_ulong = 0x4C80;
const LOOP_CTL_REMOVE: libc::c_ulong = 0x4C81;
const LOOP_CTL_GET_FREE: libc::c_ulong = 0x4C82;
const LOOP_READ_ONLY: u32 = 1;
const LOOP_AUTOCLEAR: u32 = 4;
/// `LOOP_CONFIGURE` reads a `struct loop_config` of 304 bytes: the file, the block size, and a
/// `struct loop_info64` in which only the flags are set.
const LOOP_CONFIG: usize = 304 / 4;
const FLAGS_AT: usize = (8 + 52) / 4;

/// `_IOWR(0xfd, command, struct dm_ioctl)` less the command.
const DM: libc::c_ulong =
    (3 << 30) | ((size_of::<dm_ioctl>() as libc::c_ulong) << 16) | (0xfd << 8);
/// Bytes of a request: the header and one target with its parameters.
const DM_ROOM: usize = 512;

/// `/dev/loop-control` and `/dev/mapper/control`, open.
pub(crate) struct Controls {
    loops: File,
    mapper: File,
    /// Milliseconds that each ioctl took, by its name.
    times: Mutex<BTreeMap<&'static str, Vec<f64>>>,
}

/// A device-mapper request.
#[repr(C)]
struct Request {
    header: dm_ioctl,
    data: [u8; DM_ROOM],
}

/// Loop devices that are removed when this is dropped.
pub(crate) struct Loops {
    control: File,
    made: Vec<u32>,
}

impl Drop for Loops {
    /// A device that is in use stays.
    fn drop(&mut self) {
        for index in &self.made {
            // SAFETY: LOOP_CTL_REMOVE takes a number, and no pointer.
            unsafe { libc::ioctl(self.control.as_raw_fd(), LOOP_CTL_REMOVE, *index) };
        }
    }
}

impl Controls {
    pub(crate) fn open() -> io::Result<Self> {
        let open = |path| OpenOptions::new().read(true).write(true).open(path);
        let (loops, mapper) = (open("/dev/loop-control")?, open("/dev/mapper/control")?);
        Ok(Self { loops, mapper, times: Mutex::default() })
    }

    /// Milliseconds that each ioctl has taken since the last question, by its name.
    pub(crate) fn times(&self) -> BTreeMap<&'static str, Vec<f64>> {
        take(&mut *self.times.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn timed<T>(&self, name: &'static str, ioctl: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = ioctl();
        let time = start.elapsed().as_secs_f64() * 1000.0;
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.entry(name).or_default().push(time);
        result
    }

    /// Makes the kernel create loop devices up to `count`.
    pub(crate) fn make_loops(self, count: u32) -> io::Result<Loops> {
        let mut made = Vec::new();
        for index in 0..count {
            // SAFETY: LOOP_CTL_ADD takes a number, and no pointer.
            match unsafe { libc::ioctl(self.loops.as_raw_fd(), LOOP_CTL_ADD, index) } {
                -1 if io::Error::last_os_error().kind() == io::ErrorKind::AlreadyExists => {}
                -1 => return Err(io::Error::last_os_error()),
                _ => made.push(index),
            }
        }
        Ok(Loops { control: self.loops, made })
    }

    /// Attaches a free loop device that detaches automatically at its last close; returns it with
    /// its index.
    pub(crate) fn attach(&self, file: &File, read_only: bool) -> io::Result<(u32, File)> {
        loop {
            // SAFETY: LOOP_CTL_GET_FREE takes no argument.
            let index = unsafe { libc::ioctl(self.loops.as_raw_fd(), LOOP_CTL_GET_FREE, 0) };
            let index = u32::try_from(index).map_err(|_| io::Error::last_os_error())?;
            let path = format!("/dev/loop{index}");
            let device = OpenOptions::new().read(true).write(!read_only).open(path)?;
            let mut config = [0_u32; LOOP_CONFIG];
            config[0] = u32::try_from(file.as_raw_fd()).map_err(io::Error::other)?;
            config[FLAGS_AT] = LOOP_AUTOCLEAR | if read_only { LOOP_READ_ONLY } else { 0 };
            let result = self.timed("LOOP_CONFIGURE", || {
                // SAFETY: LOOP_CONFIGURE reads 304 bytes, which the array has.
                unsafe { libc::ioctl(device.as_raw_fd(), LOOP_CONFIGURE, config.as_ptr()) }
            });
            match result {
                0 => return Ok((index, device)),
                _ if io::Error::last_os_error().raw_os_error() == Some(libc::EBUSY) => {}
                _ => return Err(io::Error::last_os_error()),
            }
        }
    }

    /// Makes a device of one target and lets I/O flow.
    pub(crate) fn create(
        &self,
        name: &str,
        sectors: u64,
        target: &str,
        parameters: &str,
    ) -> io::Result<PathBuf> {
        let created = self.send(DM_DEV_CREATE_CMD, name, None)?;
        self.send(DM_TABLE_LOAD_CMD, name, Some((sectors, target, parameters)))?;
        self.send(DM_DEV_SUSPEND_CMD, name, None)?;
        Ok(PathBuf::from(format!("/dev/dm-{}", rustix::fs::minor(created.header.dev))))
    }

    /// Removes a device.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        self.send(DM_DEV_REMOVE_CMD, name, None).map(drop)
    }

    /// Reads a device's state: one ioctl.
    pub(crate) fn status(&self, name: &str) -> io::Result<()> {
        self.send(DM_TABLE_STATUS_CMD, name, None).map(drop)
    }

    fn send(
        &self,
        command: u32,
        name: &str,
        target: Option<(u64, &str, &str)>,
    ) -> io::Result<Box<Request>> {
        let mut request = Box::new(Request { header: dm_ioctl::default(), data: [0; DM_ROOM] });
        let header = &mut request.header;
        header.version = [4, 0, 0];
        header.data_size = size_of::<Request>() as u32;
        header.data_start = size_of::<dm_ioctl>() as u32;
        for (to, from) in header.name.iter_mut().zip(name.bytes()) {
            *to = from as libc::c_char;
        }
        if let Some((sectors, target, parameters)) = target {
            header.target_count = 1;
            // `struct dm_target_spec`: start, length, status, next, type; then the parameters.
            request.data[8..16].copy_from_slice(&sectors.to_ne_bytes());
            request.data[24..24 + target.len()].copy_from_slice(target.as_bytes());
            request.data[40..40 + parameters.len()].copy_from_slice(parameters.as_bytes());
        }
        let number = DM | libc::c_ulong::from(command);
        let result = self.timed(name_of(command), || {
            let request = std::ptr::from_mut(&mut *request);
            // SAFETY: a device-mapper ioctl reads and writes at most `data_size` bytes, which is the
            // size of the request; integers and bytes are valid with any bits.
            unsafe { libc::ioctl(self.mapper.as_raw_fd(), number, request) }
        });
        if result == 0 { Ok(request) } else { Err(io::Error::last_os_error()) }
    }
}

/// The name of a device-mapper command that makes, removes or shows a device.
fn name_of(command: u32) -> &'static str {
    match command {
        DM_DEV_CREATE_CMD => "DM_DEV_CREATE",
        DM_TABLE_LOAD_CMD => "DM_TABLE_LOAD",
        DM_DEV_SUSPEND_CMD => "DM_DEV_SUSPEND (resume)",
        DM_DEV_REMOVE_CMD => "DM_DEV_REMOVE",
        DM_TABLE_STATUS_CMD => "DM_TABLE_STATUS",
        other => unreachable!("nobody sends {other}"),
    }
}
