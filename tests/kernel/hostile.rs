//! Hostile paths and edited pools in a real kernel, and what they must not achieve.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, chown, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use calf::{Access, Durability, ErrorKind, Key, Publish, Reserve, VolumeSpec, VolumeState};
use calf_test_kit::fault_run::Filler;
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{self, Page, Random, Rig, TEMPLATE_SIZE};
use rustix::fs::{CWD, RenameFlags};

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("a_swapped_parent_never_redirects_a_publication", swapped_parent),
        kernel::test("a_link_that_a_tenant_made_is_refused_by_name", tenants_link),
        kernel::test("a_volume_is_used_as_disk_or_as_file_system_not_both", one_use_at_a_time),
        kernel::test("a_replaced_store_is_refused_before_the_kernel_sees_it", replaced_store),
        kernel::test("a_reserved_volume_writes_on_in_a_full_pool", reserved_in_a_full_pool),
        kernel::test("a_reserved_volume_takes_no_discards", reserved_discards),
    ])
}

/// The user of the pod.
const TENANT: u32 = 1000;
/// Number of publications tried while the tenant swaps.
const ROUNDS: u32 = 200;

/// A directory of a tenant, and a directory that the tenant must not reach.
struct Place {
    tenant: PathBuf,
    victim: PathBuf,
}

impl Place {
    fn new(rig: &Rig) -> Self {
        let (tenant, victim) = (rig.path("tenant"), rig.path("victim"));
        for directory in [&tenant, &victim, &victim.join("target"), &victim.join("staging")] {
            fs::create_dir(directory).expect("a directory");
        }
        fs::write(victim.join("disk"), b"").expect("a file");
        chown(&tenant, Some(TENANT), Some(TENANT)).expect("chown");
        Self { tenant, victim }
    }

    /// Checks that nothing was mounted on, made in or removed from other directories than the
    /// tenant's.
    fn check(&self) {
        let device = fs::metadata(&self.victim).expect("it is there").dev();
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.victim).expect("it is there") {
            let entry = entry.expect("an entry");
            let found = fs::symlink_metadata(entry.path()).expect("it is there");
            assert_eq!(found.dev(), device, "{} was mounted on", entry.path().display());
            names.push(entry.file_name().into_string().expect("a name"));
        }
        names.sort();
        assert_eq!(names, ["disk", "staging", "target"]);
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("the mount table");
        assert!(!mounts.contains("/victim"), "{mounts}");
    }
}

fn exchange(a: &Path, b: &Path) -> bool {
    rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE).is_ok()
}

/// Publishes and unpublishes while `a` and `b` are continuously exchanged. A call may be refused,
/// but must not publish elsewhere.
fn race(rig: &Rig, place: &Place, publish: &Publish, (a, b): (&Path, &Path)) {
    let stop = AtomicBool::new(false);
    let (mut shown, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            let mut swaps = 0_u64;
            while !stop.load(Ordering::Acquire) {
                swaps += u64::from(exchange(a, b));
                // There is one CPU: let the other side make progress, and occasionally finish.
                if swaps.is_multiple_of(50) {
                    std::thread::sleep(Duration::from_millis(1));
                } else if swaps.is_multiple_of(3) {
                    std::thread::yield_now();
                }
            }
            swaps
        });
        for _ in 0..ROUNDS {
            match rig.pool.volume("volume").and_then(|volume| volume.publish(publish)) {
                Ok(()) => shown += 1,
                Err(error) => {
                    refused += 1;
                    assert!(error.report().contains("volume") || !error.remedies().is_empty());
                }
            }
            place.check();
            // Whatever state this leaves can be removed once the path is stable again.
            let mut tries = 0;
            while let Err(error) =
                rig.pool.volume("volume").and_then(|volume| volume.unpublish(&publish.target))
            {
                tries += 1;
                assert!(tries < 100_000, "{error:?}");
            }
            place.check();
        }
        stop.store(true, Ordering::Release);
        assert!(swapper.join().expect("the swapper") > 0, "nothing was swapped");
    });
    println!("{shown} published, {refused} refused");
    assert!(shown > 0, "every publication was refused");
}

/// The publication to take back when the race is over, wherever the names ended.
fn settle(rig: &Rig, publish: &Publish) {
    rig.pool.volume("volume").expect("a volume id").unpublish(&publish.target).expect("unpublish");
    rig.pool.volume("volume").expect("a volume id").unstage(&publish.stage.path).expect("unstage");
    rig.pool.volume("volume").expect("a volume id").delete().expect("delete");
}

fn swapped_parent() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("root", "ext4");
    let place = Place::new(&rig);
    let (pod, link) = (place.tenant.join("pod"), place.tenant.join("link"));
    for access in [Access::Block, real_pool::mount()] {
        fs::create_dir(&pod).expect("a directory");
        chown(&pod, Some(TENANT), Some(TENANT)).expect("chown");
        symlink(&place.victim, &link).expect("a link");
        lchown(&link, Some(TENANT), Some(TENANT)).expect("chown");
        let mut publish = rig.publication("volume", access.clone());
        publish.target = pod.join(if access == Access::Block { "disk" } else { "target" });
        rig.pool.create_volume(&VolumeSpec::new("volume", "root")).expect("create");
        rig.pool.volume("volume").expect("a volume id").stage(&publish.stage).expect("stage");
        race(&rig, &place, &publish, (&pod, &link));
        if pod.is_symlink() {
            assert!(exchange(&pod, &link));
        }
        settle(&rig, &publish);
        fs::remove_dir_all(&pod).expect("a directory");
        fs::remove_file(&link).expect("a link");
    }
}

fn tenants_link() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    let place = Place::new(&rig);
    let link = place.tenant.join("link");
    symlink(&place.victim, &link).expect("a link");
    rig.pool.create_volume(&VolumeSpec::new("volume", "root")).expect("create");
    for access in [Access::Block, real_pool::mount()] {
        let mut publish = rig.publication("volume", access);
        publish.stage.path = link.join("staging");
        publish.target = link.join("target");
        let results = [
            rig.pool.volume("volume").and_then(|volume| volume.publish(&publish)),
            rig.pool.volume("volume").and_then(|volume| volume.unpublish(&publish.target)),
            rig.pool
                .volume("volume")
                .and_then(|volume| volume.statistics(&publish.target))
                .map(drop),
            rig.pool.volume("volume").and_then(|volume| volume.expand_file_system(&publish.target)),
        ];
        for result in results {
            let error = result.expect_err("the link is not root's alone");
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
            assert!(error.report().contains("tenant/link is a symbolic link"), "{error:?}");
        }
        place.check();
    }
    rig.pool.volume("volume").expect("a volume id").deactivate().expect("deactivate");
    rig.pool.volume("volume").expect("a volume id").delete().expect("delete");
}

fn one_use_at_a_time() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    rig.pool.create_volume(&VolumeSpec::new("volume", "root")).expect("create");
    let block = rig.publication("volume", Access::Block);
    let mut mounted = rig.publication("volume", real_pool::mount());
    mounted.target = rig.path("mounted");
    for (first, second) in [(&block, &mounted), (&mounted, &block)] {
        rig.pool.volume("volume").expect("a volume id").publish(first).expect("publish");
        let error = rig
            .pool
            .volume("volume")
            .and_then(|volume| volume.publish(second))
            .expect_err("it is in use");
        assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
        assert!(error.report().contains("in use as"), "{error:?}");
        rig.pool
            .volume("volume")
            .expect("a volume id")
            .unpublish(&second.target)
            .expect("nothing to undo");
        rig.pool.volume("volume").expect("a volume id").publish(first).expect("it is as it was");
        rig.pool
            .volume("volume")
            .expect("a volume id")
            .unpublish(&first.target)
            .expect("unpublish");
        rig.pool
            .volume("volume")
            .expect("a volume id")
            .unstage(&first.stage.path)
            .expect("unstage");
    }
    rig.pool.volume("volume").expect("a volume id").delete().expect("delete");
}

fn replaced_store() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_random("random", 3);
    let spec = |id: &str, chunk_size| {
        VolumeSpec::new(id, "random").chunk_size(chunk_size).durability(Durability::Durable)
    };
    for (id, chunk) in [("small", 4096), ("large", 16384)] {
        let device = rig.open(&spec(id, chunk));
        device.write_all_at(&Page::random(&mut Random(5)).0, 0).expect("write");
        drop(device);
        rig.pool.volume(id).expect("a volume id").deactivate().expect("deactivate");
    }
    let store = |id: &str| rig.pool.root().join("volumes").join(Key::of(id).as_str()).join("cow");
    let kept = rig.path("kept");
    fs::rename(store("small"), &kept).expect("a move");
    let refused = |what: &str| {
        let error = rig.pool.volume("small").and_then(|volume| volume.activate()).expect_err(what);
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{what}: {error:?}");
        error.report()
    };
    fs::copy(store("large"), store("small")).expect("a copy");
    assert!(refused("another chunk size").contains("16384"));
    fs::remove_file(store("small")).expect("a store");
    symlink(&kept, store("small")).expect("a link");
    assert!(refused("a link").contains("symbolic link"));
    fs::remove_file(store("small")).expect("a link");
    fs::copy("/bin/true", store("small")).expect("a copy");
    assert!(refused("a program").contains("does not start"));
    fs::remove_file(store("small")).expect("a store");
    fs::rename(&kept, store("small")).expect("a move");
    drop(rig.activate("small"));
    for id in ["small", "large"] {
        rig.pool.volume(id).expect("a volume id").delete().expect("delete");
    }
}

/// Takes the last block of the file system of `directory`, until the filler is dropped.
fn fill(directory: &Path) -> Filler {
    let filler = Filler::leaving(directory, 0);
    let mut rest = File::create(directory.join("rest")).expect("a file");
    while rest.write_all(&[0xff; 512]).and_then(|()| rest.sync_data()).is_ok() {}
    filler
}

fn reserved_in_a_full_pool() {
    for disk in [kernel::Fs::Xfs, kernel::Fs::Ext4] {
        let rig = Rig::new(disk);
        rig.import_random("random", 9);
        let spec = |id: &str, reserve| {
            VolumeSpec::new(id, "random").reserve(reserve).durability(Durability::Durable)
        };
        let reserved = rig.open(&spec("reserved", Reserve::Full));
        let other = rig.open(&spec("other", Reserve::None));
        let _filler = fill(&rig.path(""));
        let error = rig.pool.create_volume(&spec("new", Reserve::None)).expect_err("no space");
        assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");

        let mut random = Random(17);
        for offset in (0..TEMPLATE_SIZE).step_by(4096) {
            let page = Page::random(&mut random);
            reserved.write_all_at(&page.0, offset).expect("every block can be written");
        }
        reserved.sync_all().expect("sync");
        assert_eq!(
            rig.pool.volume("reserved").and_then(|volume| volume.status()).expect("there").state,
            VolumeState::Active
        );
        drop(reserved);
        let mut random = Random(17);
        let reserved = rig.activate("reserved");
        for offset in (0..TEMPLATE_SIZE).step_by(4096) {
            let page = Page::random(&mut random);
            assert!(real_pool::read_page(&reserved, offset).0 == page.0, "block at {offset}");
        }

        // The volume without a reservation finds no space, is reported as lost, and can be deleted.
        let mut lost = false;
        for offset in (0..TEMPLATE_SIZE).step_by(4096) {
            lost |= other.write_all_at(&Page::random(&mut random).0, offset).is_err();
        }
        lost |= other.sync_all().is_err();
        assert!(lost, "the pool was not full");
        assert_eq!(
            rig.pool.volume("other").and_then(|volume| volume.status()).expect("there").state,
            VolumeState::Invalid
        );
        assert_eq!(rig.pool.losses().invalid, 1);
        drop((reserved, other));
        for id in ["reserved", "other"] {
            rig.pool.volume(id).expect("a volume id").delete().expect("delete");
        }
    }
}

fn reserved_discards() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 13);
    let spec = VolumeSpec::new("volume", "random").reserve(Reserve::Full);
    let device = rig.open(&spec);
    let page = Page::random(&mut Random(19));
    device.write_all_at(&page.0, 4096).expect("write");
    let allocated =
        rig.pool.volume("volume").and_then(|volume| volume.status()).expect("there").allocated;
    assert!(allocated >= TEMPLATE_SIZE, "{allocated}");
    let node = rig.node("volume");
    let output = std::process::Command::new("blkdiscard").arg("-f").arg(&node).output();
    let output = output.expect("run blkdiscard");
    assert!(!output.status.success(), "a discard would give the reserve away");
    assert_eq!(
        rig.pool.volume("volume").and_then(|volume| volume.status()).expect("there").allocated,
        allocated
    );
    assert!(real_pool::read_page(&device, 4096).0 == page.0);
    drop(device);
    rig.pool.volume("volume").expect("a volume id").delete().expect("delete");
}
