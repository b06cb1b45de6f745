//! A copy of the image on a loop device: shared blocks (reflink) or all of it.

use std::path::{Path, PathBuf};

use calf_test_kit::real_pool::run;

use super::{Caller, Contender, Disk, Snapshots, Weight};
use crate::world::{World, text};

pub(crate) struct Copy {
    reflink: bool,
    image: PathBuf,
    directory: PathBuf,
}

impl Copy {
    pub(crate) fn new(world: &World, reflink: bool) -> Self {
        let directory = world.directory(if reflink { "reflink" } else { "copy" });
        Self { reflink, image: world.image.clone(), directory }
    }
}

impl Contender for Copy {
    fn name(&self) -> &str {
        if self.reflink { "reflink+loop" } else { "copy+loop" }
    }

    fn weight(&self) -> Weight {
        if self.reflink { Weight::Middle } else { Weight::Copy }
    }

    fn caller(&self) -> Box<dyn Caller + '_> {
        Box::new(CopyCaller(self))
    }

    /// The copy of a file that is written to shows one instant only with shared blocks.
    fn snapshots(&self) -> Option<&dyn Snapshots> {
        self.reflink.then_some(self as &dyn Snapshots)
    }
}

impl Copy {
    fn copy(&self, from: &Path, to: &Path) {
        let how: &[&str] = match self.reflink {
            true => &["--reflink=always"],
            false => &["--reflink=never", "--sparse=never"],
        };
        run("cp", &[how, &[text(from), text(to)]].concat(), &[]);
    }

    /// Makes a disk of a copy of `image`.
    fn disk(&self, image: &Path, id: &str) -> Disk {
        let file = self.directory.join(id);
        self.copy(image, &file);
        let device = run("losetup", &["--find", "--show"], &[&file]);
        Disk { id: id.to_owned(), device: device.clone().into(), below: device }
    }
}

impl Snapshots for Copy {
    fn take(&self, disk: &Disk, name: &str) -> String {
        let copy = self.directory.join(name);
        self.copy(&self.directory.join(&disk.id), &copy);
        text(&copy).to_owned()
    }

    fn start(&self, snapshot: &str, id: &str) -> Disk {
        self.disk(Path::new(snapshot), id)
    }

    fn forget(&self, snapshot: &str) {
        run("rm", &[], &[Path::new(snapshot)]);
    }
}

struct CopyCaller<'a>(&'a Copy);

impl Caller for CopyCaller<'_> {
    fn create(&mut self, id: &str) -> Disk {
        self.0.disk(&self.0.image, id)
    }

    fn delete(&mut self, disk: Disk) {
        run("losetup", &["--detach", &disk.below], &[]);
        run("rm", &[], &[&self.0.directory.join(&disk.id)]);
    }
}
