//! A copy of the image on a loop device: shared blocks (reflink) or all of it.

use std::path::PathBuf;

use calf_test_kit::real_pool::run;

use super::{Caller, Contender, Disk, Weight};
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
}

struct CopyCaller<'a>(&'a Copy);

impl Caller for CopyCaller<'_> {
    fn create(&mut self, id: &str) -> Disk {
        let copy = self.0;
        let file = copy.directory.join(id);
        let how: &[&str] = match copy.reflink {
            true => &["--reflink=always"],
            false => &["--reflink=never", "--sparse=never"],
        };
        run("cp", &[how, &[text(&copy.image), text(&file)]].concat(), &[]);
        let device = run("losetup", &["--find", "--show"], &[&file]);
        Disk { id: id.to_owned(), device: device.clone().into(), below: device }
    }

    fn delete(&mut self, disk: Disk) {
        run("losetup", &["--detach", &disk.below], &[]);
        run("rm", &[], &[&self.0.directory.join(&disk.id)]);
    }
}
