//! The floor: the time that the kernel takes for a snapshot, without records, locks or checks.
//!
//! The device is the one that calf makes by default: an autoclear loop with flushes dropped, a
//! persistent store with overflow, a chunk of 4 KiB or the default size.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use calf::VolumeSpec;

use super::{Caller, Contender, Disk, Weight};
use crate::raw::Controls;
use crate::world::World;

const SECTOR: u64 = 512;

pub(crate) struct Floor {
    name: &'static str,
    /// `PO`, as calf's, or another kind of store.
    store: &'static str,
    controls: Controls,
    directory: PathBuf,
    size: u64,
    /// Size of the disks that the stores could hold.
    stores_of: u64,
    /// Bytes of each store; `None` for a store that can hold the whole disk.
    limit: Option<u64>,
    /// Holds the template's loop device.
    _origin: File,
    origin: u32,
}

impl Floor {
    pub(crate) fn new(world: &World) -> Self {
        Self::with_store(world, "floor", "PO")
    }

    /// The same with another kind of store under another name.
    pub(crate) fn with_store(world: &World, name: &'static str, store: &'static str) -> Self {
        let controls = Controls::open().expect("the control devices");
        let image = File::open(&world.image).expect("the image");
        let (origin, device) = controls.attach(&image, true).expect("a loop device");
        let directory = world.directory(&format!("floor-{store}"));
        let size = world.scale.template;
        Self {
            name,
            store,
            controls,
            directory,
            size,
            stores_of: size,
            limit: None,
            _origin: device,
            origin,
        }
    }

    /// What device-mapper calls a disk.
    pub(crate) fn device_name(&self, id: &str) -> String {
        format!("floor-{}-{id}", self.store)
    }

    /// Milliseconds that each ioctl has taken since the last question, by its name.
    pub(crate) fn times(&self) -> BTreeMap<&'static str, Vec<f64>> {
        self.controls.times()
    }

    /// With disks of `size` bytes over another image.
    pub(crate) fn over(mut self, image: &Path, size: u64) -> Self {
        let image = File::open(image).expect("the image");
        (self.origin, self._origin) = self.controls.attach(&image, true).expect("a loop device");
        Self { size, stores_of: size, ..self }
    }

    /// With stores that could hold disks of `size` bytes.
    pub(crate) fn with_stores_of(self, size: u64) -> Self {
        Self { stores_of: size, ..self }
    }

    /// With stores that take `limit` bytes of data.
    pub(crate) fn store_for(self, limit: u64) -> Self {
        Self { limit: Some(limit), ..self }
    }
}

impl Contender for Floor {
    fn name(&self) -> &str {
        self.name
    }

    fn weight(&self) -> Weight {
        Weight::Light
    }

    fn caller(&self) -> Box<dyn Caller + '_> {
        Box::new(FloorCaller(self))
    }
}

struct FloorCaller<'a>(&'a Floor);

impl Caller for FloorCaller<'_> {
    fn create(&mut self, id: &str) -> Disk {
        let floor = self.0;
        let chunk = VolumeSpec::DEFAULT_CHUNK_SIZE;
        let store = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .open(floor.directory.join(id))
            .expect("a store");
        store
            .set_len(calf::internal::store_size(floor.stores_of, floor.limit, chunk))
            .expect("a length");
        let (cow, _device) = floor.controls.attach(&store, false).expect("a loop device");
        set_write_cache(cow, "write through");
        let name = floor.device_name(id);
        let parameters = format!(
            "/dev/loop{} /dev/loop{cow} {} {} 1 discard_zeroes_cow",
            floor.origin,
            floor.store,
            chunk / SECTOR
        );
        let device = floor
            .controls
            .create(&name, floor.size / SECTOR, "snapshot", &parameters)
            .expect("a device");
        Disk { id: id.to_owned(), device, below: cow.to_string() }
    }

    fn delete(&mut self, disk: Disk) {
        // Newer kernels keep the setting for the next user of the device, for instance another
        // contender.
        set_write_cache(&disk.below, "write back");
        self.0.controls.remove(&self.0.device_name(&disk.id)).expect("remove");
        fs::remove_file(self.0.directory.join(&disk.id)).expect("unlink");
    }
}

/// Whether a loop device drops flushes.
fn set_write_cache(index: impl Display, mode: &str) {
    let cache = format!("/sys/block/loop{index}/queue/write_cache");
    fs::write(cache, mode).expect("set the write cache");
}
