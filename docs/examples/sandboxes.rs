//! A small sandbox manager: makes twenty disks of one image at once, and gives one to a VMM.
//!
//! ```sh
//! cargo run --example sandboxes -- /var/lib/calf debian.img cloud-hypervisor … --disk path={}
//! ```
//!
//! `{}` becomes the path of the disk. Needs root, and a kernel with dm-snapshot.

use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use std::{env, thread};

use calf::{ImportSpec, Pool, PoolOptions, TemporaryVolume, VolumeSpec};

type Failure = Box<dyn Error + Send + Sync>;

/// The number of sandboxes.
pub(crate) const SANDBOXES: usize = 20;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [pool, image, vmm @ ..] = arguments.as_slice() else {
        return Err("give a pool, an image, and the command of a VMM".into());
    };
    let pool = PoolOptions::default().wait(Duration::from_secs(10)).open(pool)?;
    pool.reconcile()?;
    pool.import_template(&ImportSpec::new(Path::new(image), "sandbox"), &mut |_| ())?;

    let disks = disks(&pool, "sandbox")?;
    println!("{} disks are ready", disks.len());
    run(vmm, &disks[0])
    // The disks are deleted here: each guard deletes its volume.
}

/// Makes a disk for each sandbox, all at once. Dropping the returned guards deletes the disks. If
/// the manager is killed, reconciliation deletes them an hour after their creation.
pub(crate) fn disks(pool: &Pool, template: &str) -> Result<Vec<TemporaryVolume>, Failure> {
    let disk = |number| -> calf::Result<TemporaryVolume> {
        let spec = VolumeSpec::new(format!("sandbox-{number}"), template);
        let volume = pool.create_volume(&spec.ttl(Duration::from_secs(3600)))?.delete_on_drop();
        volume.activate()?;
        Ok(volume)
    };
    let disk = &disk;
    thread::scope(|scope| {
        let makers: Vec<_> = (0..SANDBOXES).map(|n| scope.spawn(move || disk(n))).collect();
        makers.into_iter().map(|maker| Ok(maker.join().expect("no panic")?)).collect()
    })
}

/// Runs a VMM on a disk, to its end.
pub(crate) fn run(vmm: &[String], disk: &TemporaryVolume) -> Result<(), Failure> {
    let path = disk.activate()?.path().display().to_string();
    let command: Vec<String> = vmm.iter().map(|word| word.replace("{}", &path)).collect();
    let [program, arguments @ ..] = command.as_slice() else { return Ok(()) };
    let status = Command::new(program).args(arguments).status()?;
    if status.success() { Ok(()) } else { Err(format!("{program}: {status}").into()) }
}
