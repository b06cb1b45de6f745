//! calf, as a driver and as a library.

use std::path::{Path, PathBuf};

use calf::{Access, Pool, Publish, SnapshotSpec, Stage, VolumeSource, VolumeSpec};
use calf_test_kit::driver_process::{Client, Driver, Usage};
use calf_test_kit::kernel;

use super::{Caller, Contender, Disk, Snapshots, Weight};
use crate::world::{TEMPLATE, World};

/// `calf serve` in a process of its own.
pub(crate) struct Grpc {
    driver: Driver,
    paths: PathBuf,
}

impl Grpc {
    pub(crate) fn new(world: &World, pool: &Pool, options: &[&str]) -> Self {
        Self {
            driver: Driver::start(pool.root(), &kernel::work_dir(), options),
            // On a disk, as with a kubelet.
            paths: world.directory("kubelet"),
        }
    }

    pub(crate) fn driver(&self) -> &Driver {
        &self.driver
    }

    /// Kills the driver, as a crash would; its volumes stay.
    pub(crate) fn kill(self) {
        self.driver.kill();
    }
}

impl Contender for Grpc {
    fn name(&self) -> &str {
        "calf (gRPC)"
    }

    fn weight(&self) -> Weight {
        Weight::Light
    }

    fn caller(&self) -> Box<dyn Caller + '_> {
        let client = self.driver.client();
        // A sidecar is connected before the first request.
        client.probe().expect("probe");
        Box::new(GrpcCaller { client, paths: &self.paths })
    }
}

struct GrpcCaller<'a> {
    client: Client,
    paths: &'a Path,
}

impl Caller for GrpcCaller<'_> {
    fn create(&mut self, id: &str) -> Disk {
        let usage = Usage::new(id, self.paths, true);
        self.client.create(id, TEMPLATE).expect("create");
        self.client.stage(&usage).expect("stage");
        self.client.publish(&usage).expect("publish");
        Disk { id: id.to_owned(), device: usage.target, below: String::new() }
    }

    fn delete(&mut self, disk: Disk) {
        let usage = Usage::new(&disk.id, self.paths, true);
        self.client.unpublish(&usage).expect("unpublish");
        self.client.unstage(&usage).expect("unstage");
        self.client.delete(&disk.id).expect("delete");
    }
}

type Shape = Box<dyn Fn(VolumeSpec) -> VolumeSpec + Send + Sync>;

/// The engine in this process.
pub(crate) struct Library {
    pool: Pool,
    name: String,
    shape: Shape,
}

impl Library {
    /// With volumes that have all defaults.
    pub(crate) fn new(pool: Pool) -> Self {
        Self::with_shape(pool, "calf (library)".to_owned(), |spec| spec)
    }

    /// With volumes whose specs `shape` makes from the default, under another name.
    pub(crate) fn with_shape(
        pool: Pool,
        name: String,
        shape: impl Fn(VolumeSpec) -> VolumeSpec + Send + Sync + 'static,
    ) -> Self {
        Self { pool, name, shape: Box::new(shape) }
    }
}

impl Contender for Library {
    fn name(&self) -> &str {
        &self.name
    }

    fn weight(&self) -> Weight {
        Weight::Light
    }

    fn caller(&self) -> Box<dyn Caller + '_> {
        Box::new(LibraryCaller(self))
    }

    fn snapshots(&self) -> Option<&dyn Snapshots> {
        Some(self)
    }
}

impl Library {
    /// Attaches the devices of a volume.
    fn activated(&self, id: String) -> Disk {
        let device = self.pool.volume(&id).and_then(|volume| volume.activate()).expect("activate");
        let device = device.path().to_owned();
        Disk { id, device, below: String::new() }
    }
}

impl Snapshots for Library {
    fn take(&self, disk: &Disk, name: &str) -> String {
        let volume = self.pool.volume(&disk.id).expect("a volume id");
        volume.take_snapshot(&SnapshotSpec::new(name)).expect("a snapshot");
        name.to_owned()
    }

    fn start(&self, snapshot: &str, id: &str) -> Disk {
        let source = VolumeSource::Snapshot(snapshot.to_owned());
        self.pool.create_volume(&VolumeSpec::from_source(id, source)).expect("create");
        self.activated(id.to_owned())
    }

    fn forget(&self, snapshot: &str) {
        self.pool.snapshot(snapshot).expect("a name").delete().expect("delete");
    }

    fn fork(&self, disk: &Disk, ids: &[String]) -> Vec<Disk> {
        let source = || VolumeSource::Volume(disk.id.clone());
        let specs: Vec<VolumeSpec> =
            ids.iter().map(|id| VolumeSpec::from_source(id, source())).collect();
        let volume = self.pool.volume(&disk.id).expect("a volume id");
        volume.fork(&specs, None).expect("a fork");
        ids.iter().map(|id| self.activated(id.clone())).collect()
    }
}

struct LibraryCaller<'a>(&'a Library);

impl Caller for LibraryCaller<'_> {
    fn create(&mut self, id: &str) -> Disk {
        let Library { pool, name, shape } = self.0;
        // The driver serves the same pool: the names must differ.
        let id = format!("{name}-{id}");
        pool.create_volume(&shape(VolumeSpec::new(&id, TEMPLATE))).expect("create");
        self.0.activated(id)
    }

    fn delete(&mut self, disk: Disk) {
        self.0.pool.volume(&disk.id).expect("a volume id").delete().expect("delete");
    }
}

/// The engine's part of a volume's life in CSI, without the driver: create, stage, publish.
pub(crate) struct Published {
    pool: Pool,
    paths: PathBuf,
    shape: Shape,
}

impl Published {
    pub(crate) fn new(
        world: &World,
        pool: Pool,
        shape: impl Fn(VolumeSpec) -> VolumeSpec + Send + Sync + 'static,
    ) -> Self {
        Self { pool, paths: world.directory("kubelet"), shape: Box::new(shape) }
    }
}

impl Contender for Published {
    fn name(&self) -> &str {
        "calf (engine, published)"
    }

    fn weight(&self) -> Weight {
        Weight::Light
    }

    fn caller(&self) -> Box<dyn Caller + '_> {
        Box::new(PublishedCaller(self))
    }
}

struct PublishedCaller<'a>(&'a Published);

impl Caller for PublishedCaller<'_> {
    fn create(&mut self, id: &str) -> Disk {
        let Published { pool, paths, shape } = self.0;
        let target = paths.join(format!("{id}-target"));
        let stage = Stage::new(paths.join(format!("{id}-staging")), Access::Block);
        let volume = pool.create_volume(&shape(VolumeSpec::new(id, TEMPLATE))).expect("create");
        volume.stage(&stage).expect("stage");
        let publish = Publish::new(&target, stage).exclusive(true);
        volume.publish(&publish).expect("publish");
        Disk { id: id.to_owned(), device: target, below: String::new() }
    }

    fn delete(&mut self, disk: Disk) {
        let Published { pool, paths, .. } = self.0;
        pool.volume(&disk.id).expect("a volume id").unpublish(&disk.device).expect("unpublish");
        pool.volume(&disk.id)
            .expect("a volume id")
            .unstage(&paths.join(format!("{}-staging", disk.id)))
            .expect("unstage");
        pool.volume(&disk.id).expect("a volume id").delete_inactive().expect("delete");
    }
}
