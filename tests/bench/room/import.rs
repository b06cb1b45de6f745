//! How fast is an import, compared with its limits: the disk and SHA-256?

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::time::Instant;

use calf::{ImportSpec, Pool};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::run;

use super::since;
use crate::series::emit;
use crate::world::{World, text, write_random};

const ROOM: &str = "import";
const CALF: &str = "calf";

pub(super) fn import() {
    let world = World::new();
    let pool = Pool::open(world.path().join("pool")).expect("a pool");
    let megabytes = world.scale.template as f64 / 1e6;
    let rate = |case, contender, time: f64| {
        emit(ROOM, case, contender, ("rate", "MB/s"), &[megabytes * 1000.0 / time]);
    };
    for round in 0..world.scale.rounds.min(3) {
        let image = text(&world.image);
        let case = "image on the pool's file system";
        rate(case, "sha256sum", timed(&|| drop(run("sha256sum", &[image], &[]))));
        rate(
            case,
            "cp --reflink=never",
            timed(&|| {
                let copy = world.path().join("copy.img");
                run("cp", &["--reflink=never", image], &[&copy]);
                run("sync", &["--file-system"], &[&copy]);
            }),
        );
        fs::remove_file(world.path().join("copy.img")).expect("unlink");
        let name = format!("here-{round}");
        rate(case, CALF, timed(&|| import_once(&pool, &world.image, &name)));
    }
    // Another file system: no blocks can be shared, so everything must be read and written.
    let elsewhere = kernel::pool_dir(kernel::Fs::Ext4);
    let case = "image on another file system";
    for round in 0..world.scale.rounds.min(3) {
        let image = elsewhere.path().join("other.img");
        write_random(&image, world.scale.template);
        rate(case, "sha256sum", timed(&|| drop(run("sha256sum", &[], &[&image]))));
        rate(
            case,
            "cp and sync",
            timed(&|| {
                let copy = world.path().join("copy.img");
                run("cp", &[text(&image), text(&copy)], &[]);
                run("sync", &["--file-system"], &[&copy]);
            }),
        );
        fs::remove_file(world.path().join("copy.img")).expect("unlink");
        let name = format!("other-{round}");
        rate(case, CALF, timed(&|| import_once(&pool, &image, &name)));
        fs::remove_file(&image).expect("unlink");
    }
    // Holes are hashed, but never read.
    let sparse = world.path().join("sparse.img");
    let file = File::create(&sparse).expect("a file");
    file.set_len(world.scale.template * 4).expect("a length");
    file.write_all_at(&[1; 4096], world.scale.template * 2).expect("write");
    let case = "holes, 4 times the template's size";
    let before = bytes_read();
    let time = timed(&|| import_once(&pool, &sparse, "sparse"));
    let read = (bytes_read() - before) as f64 / f64::from(1 << 20);
    emit(ROOM, case, CALF, ("time", "ms"), &[time]);
    emit(ROOM, case, CALF, ("read", "MiB"), &[read]);
}

/// Bytes that this process has read by system calls, including holes.
fn bytes_read() -> u64 {
    let text = fs::read_to_string("/proc/self/io").expect("the kernel's I/O accounting");
    let line = text.lines().find_map(|line| line.strip_prefix("rchar: ")).expect("rchar");
    line.parse().expect("a number")
}

fn timed(work: &dyn Fn()) -> f64 {
    let start = Instant::now();
    work();
    since(start)
}

fn import_once(pool: &Pool, source: &Path, name: &str) {
    let spec = ImportSpec::new(source, name);
    pool.import_template(&spec, &mut |_| ()).expect("an import");
    // The next round must not find the content.
    pool.template(name).expect("a template name").remove().expect("remove");
}
