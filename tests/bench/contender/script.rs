//! `losetup` and `dmsetup`, as scripts and sandbox managers call them.

use std::path::PathBuf;

use calf_test_kit::real_pool::run;

use super::{Caller, Contender, Disk, Weight, take_down};
use crate::world::World;

pub(crate) struct Script {
    name: &'static str,
    /// Kind of the store and sectors per chunk, as the table has them.
    store: &'static str,
    directory: PathBuf,
    origin: String,
    size: u64,
}

impl Script {
    pub(crate) fn new(world: &World, name: &'static str, store: &'static str) -> Self {
        let origin = run("losetup", &["--find", "--show", "--read-only"], &[&world.image]);
        let directory = world.directory(&name.replace(['+', ' '], "-"));
        Self { name, store, directory, origin, size: world.scale.template }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        take_down(|| drop(run("losetup", &["--detach", &self.origin], &[])));
    }
}

impl Contender for Script {
    fn name(&self) -> &str {
        self.name
    }

    fn weight(&self) -> Weight {
        Weight::Middle
    }

    fn caller(&self) -> Box<dyn Caller + '_> {
        Box::new(ScriptCaller(self))
    }
}

struct ScriptCaller<'a>(&'a Script);

impl Caller for ScriptCaller<'_> {
    fn create(&mut self, id: &str) -> Disk {
        let script = self.0;
        let store = script.directory.join(id);
        // The store can hold the whole disk, with room for its metadata.
        let length = script.size + script.size / 64 + (1 << 20);
        run("truncate", &["--size", &length.to_string()], &[&store]);
        let cow = run("losetup", &["--find", "--show"], &[&store]);
        let name = format!("script-{id}");
        let table =
            format!("0 {} snapshot {} {cow} {}", script.size / 512, script.origin, script.store);
        run("dmsetup", &["create", &name, "--table", &table], &[]);
        let device = PathBuf::from(format!("/dev/mapper/{name}"));
        Disk { id: id.to_owned(), device, below: cow }
    }

    fn delete(&mut self, disk: Disk) {
        run("dmsetup", &["remove", &format!("script-{}", disk.id)], &[]);
        run("losetup", &["--detach", &disk.below], &[]);
        run("rm", &[], &[&self.0.directory.join(&disk.id)]);
    }
}
