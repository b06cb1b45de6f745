//! Kernel modules: which files to load, in which order.
//!
//! A guest has no `/lib/modules` of its own, so `modprobe` would find nothing; `modules.dep` has
//! the necessary information.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The files to load for `names`, dependencies first, relative to `directory`. A module that
/// is built into the kernel needs none.
pub(crate) fn load_order(directory: &Path, names: &[String]) -> Result<Vec<PathBuf>, String> {
    let read = |name: &str| {
        let path = directory.join(name);
        fs::read_to_string(&path)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    resolve(&read("modules.dep")?, &read("modules.builtin")?, names)
        .map_err(|name| format!("the kernel of {} has no module {name}", directory.display()))
}

/// The modules among `names` that the kernel has.
pub(crate) fn available(directory: &Path, names: &[String]) -> Vec<String> {
    let has = |name: &&String| load_order(directory, std::slice::from_ref(*name)).is_ok();
    names.iter().filter(has).cloned().collect()
}

fn resolve(dep: &str, builtin: &str, names: &[String]) -> Result<Vec<PathBuf>, String> {
    let mut order: Vec<PathBuf> = Vec::new();
    for name in names {
        let entry = dep.lines().find_map(|line| {
            let (file, needs) = line.split_once(':')?;
            (module_name(file) == normal(name)).then_some((file, needs))
        });
        let Some((file, needs)) = entry else {
            if builtin.lines().any(|file| module_name(file) == normal(name)) {
                continue;
            }
            return Err(name.clone());
        };
        // A line lists the dependencies in the reverse of the order to load them in.
        for path in needs.split_whitespace().rev().chain([file]).map(PathBuf::from) {
            if !order.contains(&path) {
                order.push(path);
            }
        }
    }
    Ok(order)
}

/// `kernel/drivers/md/dm-mod.ko` is `dm_mod`.
fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    normal(name.split_once(".ko").map_or(name, |(stem, _)| stem))
}

fn normal(name: &str) -> String {
    name.replace('-', "_")
}

pub(crate) fn load(directory: &Path, names: &[String]) -> Result<(), String> {
    for path in load_order(directory, names)? {
        let path = directory.join(path);
        let failed = |error: std::io::Error| format!("cannot load {}: {error}", path.display());
        let file = File::open(&path).map_err(failed)?;
        match rustix::system::finit_module(&file, c"", 0) {
            Ok(()) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(failed(error.into())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/md/dm-snapshot.ko: kernel/md/dm-bufio.ko kernel/md/dm-mod.ko\n\
                       kernel/md/dm-mod.ko:\nkernel/block/loop.ko:\n";

    #[test]
    fn dependencies_come_first_and_once() {
        let names = ["dm-mod", "dm_snapshot", "ext4"].map(String::from);
        let order = resolve(DEP, "kernel/fs/ext4.ko\n", &names).unwrap();
        let expected = ["kernel/md/dm-mod.ko", "kernel/md/dm-bufio.ko", "kernel/md/dm-snapshot.ko"];
        assert_eq!(order, expected.map(PathBuf::from));
    }

    #[test]
    fn a_missing_module_is_named() {
        assert_eq!(resolve(DEP, "", &["btrfs".into()]).unwrap_err(), "btrfs");
    }
}
