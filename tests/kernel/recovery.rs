//! Volumes that the kernel stopped come back: with every byte that it had acknowledged, and never with
//! anything else.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use calf::{
    Backing, Durability, ErrorKind, Key, Pool, PoolOptions, RecoverOptions, VolumeSpec, VolumeState,
};
use calf_test_kit::fault_run::Filler;
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{
    Page, Random, Rig, TEMPLATE_SIZE, first_difference, open, read_page,
};

const PAGES: u64 = TEMPLATE_SIZE / 4096;

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("a_full_pool_stops_a_volume_in_use_and_recovery_brings_it_back", || {
            full_pool(kernel::Fs::Xfs, Durability::Durable);
            full_pool(kernel::Fs::Ext4, Durability::Ephemeral);
        }),
        kernel::test("activation_recovers_a_volume_that_a_full_pool_stopped", || {
            next_activation(kernel::Fs::Xfs, Durability::Ephemeral);
            next_activation(kernel::Fs::Ext4, Durability::Durable);
        }),
        kernel::test("a_volume_at_its_limit_goes_on_with_a_higher_one", limit),
        kernel::test("a_volume_at_its_limit_goes_on_after_a_deactivation", limit_inactive),
        kernel::test("a_mark_of_the_kernel_is_cleared_and_the_content_is_there", marked),
        kernel::test("a_damaged_store_is_not_touched", damaged),
        kernel::test("a_mounted_volume_comes_back_under_its_mount", mounted),
    ])
}

/// What was acknowledged as written to a device: the pages by their number.
struct Written {
    pages: BTreeMap<u64, Box<Page>>,
    random: Random,
    durability: Durability,
}

impl Written {
    fn new(durability: Durability) -> Self {
        Self { pages: BTreeMap::new(), random: Random(97), durability }
    }

    /// Writes pages all over the device until one fails.
    fn fill(&mut self, device: &File) -> io::Error {
        loop {
            let number = self.random.below(PAGES);
            let page = Page::random(&mut self.random);
            let synced = |device: &File| match self.durability {
                Durability::Durable => device.sync_data(),
                Durability::Ephemeral => Ok(()),
            };
            match device.write_all_at(&page.0, number * 4096).and_then(|()| synced(device)) {
                Ok(()) => self.pages.insert(number, page),
                Err(error) => {
                    // Nobody can tell what such a page has.
                    self.pages.remove(&number);
                    return error;
                }
            };
        }
    }

    fn check(&self, device: &File) {
        for (number, page) in &self.pages {
            assert!(read_page(device, number * 4096).0 == page.0, "page {number} was acknowledged");
        }
    }
}

fn spec(durability: Durability) -> VolumeSpec {
    VolumeSpec::new("volume", "random").durability(durability)
}

fn state(pool: &Pool) -> VolumeState {
    pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").state
}

fn recover(pool: &Pool, options: &RecoverOptions) -> calf::Result<calf::Recovery> {
    pool.volume("volume")?.recover(options)
}

/// A pool without a reserve, so that the pool can be filled.
fn unreserved(rig: &Rig) -> Pool {
    PoolOptions::default().reserve(0).open(rig.pool.root()).expect("the pool")
}

/// Has a full pool stop the volume, and returns its open device and what was written.
fn stop(rig: &Rig, pool: &Pool, durability: Durability) -> (File, Written, Filler) {
    let device = rig.open(&spec(durability));
    let filler = Filler::leaving(rig.disk.path(), 4 << 20);
    let mut written = Written::new(durability);
    let error = written.fill(&device);
    assert!(written.pages.len() > 100, "{} pages, then {error}", written.pages.len());
    assert_eq!(state(pool), VolumeState::Invalid, "{error}");
    let mut page = Page([0; 4096]);
    device.read_exact_at(&mut page.0, 0).expect_err("the kernel serves nothing of it");
    (device, written, filler)
}

/// Removes the filler, and waits for its space: XFS frees it in the background.
fn make_room(pool: &Pool, filler: Filler) {
    drop(filler);
    for _ in 0..100 {
        if pool.capacity().expect("the capacity").available > 64 << 20 {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    panic!("the space of the filler did not come back");
}

fn full_pool(fs: kernel::Fs, durability: Durability) {
    let rig = Rig::new(fs);
    let content = rig.import_random("random", 41);
    let pool = unreserved(&rig);
    let (device, mut written, filler) = stop(&rig, &pool, durability);

    let error = recover(&pool, &RecoverOptions::default()).expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert_eq!(state(&pool), VolumeState::Invalid);
    pool.reconcile().expect("reconcile");
    assert_eq!(state(&pool), VolumeState::Invalid, "nobody asked for it");

    make_room(&pool, filler);
    let recovery = recover(&pool, &RecoverOptions::default()).expect("recovered");
    assert_eq!(
        (recovery.from, recovery.volume.state),
        (Some(VolumeState::Invalid), VolumeState::Active)
    );
    assert!(recovery.chunks >= written.pages.len() as u64, "{} chunks", recovery.chunks);
    written.check(&device);
    // The rest is the template's, and new writes go on through the descriptor that was open all along.
    let untouched = (0..PAGES).filter(|number| !written.pages.contains_key(number));
    let same = |number: &u64| {
        let at = (number * 4096) as usize;
        read_page(&device, number * 4096).0 == content[at..at + 4096]
    };
    let changed = untouched.filter(|number| !same(number)).count();
    assert!(changed <= 1, "{changed} pages that nobody was told to be written; one failed");
    for number in 0..PAGES {
        let page = Page::random(&mut written.random);
        device.write_all_at(&page.0, number * 4096).expect("there is room again");
        written.pages.insert(number, page);
    }
    written.check(&device);
    let again = recover(&pool, &RecoverOptions::default()).expect("nothing to do");
    assert_eq!((again.from, again.chunks), (None, 0));
    drop(device);
    let volume = pool.volume("volume").expect("a volume id");
    volume.deactivate().expect("deactivate");
    written.check(&rig.activate("volume"));
    volume.delete().expect("delete");
}

fn next_activation(fs: kernel::Fs, durability: Durability) {
    let rig = Rig::new(fs);
    rig.import_random("random", 43);
    let pool = unreserved(&rig);
    let (device, written, filler) = stop(&rig, &pool, durability);
    drop(device);
    let volume = pool.volume("volume").expect("a volume id");
    volume.deactivate().expect("deactivate");
    assert_eq!(state(&pool), VolumeState::Invalid, "also without a device");
    let error = volume.activate().expect_err("no room");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    make_room(&pool, filler);
    written.check(&open(volume.activate().expect("activate").path()));
    volume.delete().expect("delete");
}

fn limited() -> (Rig, File, Written) {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", 47);
    let device = rig.open(&spec(Durability::Ephemeral).cow_limit(4 << 20));
    let mut written = Written::new(Durability::Ephemeral);
    written.fill(&device);
    assert_eq!(state(&rig.pool), VolumeState::Overflow);
    (rig, device, written)
}

fn limit() {
    let (rig, device, mut written) = limited();
    let error = recover(&rig.pool, &RecoverOptions::default()).expect_err("it is used up");
    assert_eq!(error.kind(), ErrorKind::OutOfRange, "{error:?}");
    let lower = RecoverOptions::default().cow_limit(1 << 20);
    assert_eq!(recover(&rig.pool, &lower).expect_err("lower").kind(), ErrorKind::OutOfRange);
    assert_eq!(state(&rig.pool), VolumeState::Overflow);

    let higher = RecoverOptions::default().cow_limit(8 << 20);
    let recovery = recover(&rig.pool, &higher).expect("recovered");
    assert_eq!(recovery.volume.record.cow_limit, Some(8 << 20));
    assert_eq!(recovery.chunks, 1024, "4 MiB in chunks of 4 KiB");
    assert_eq!(state(&rig.pool), VolumeState::Active);
    written.check(&device);
    written.fill(&device);
    assert!(written.pages.len() > 1800, "{} pages went into 8 MiB", written.pages.len());
    assert_eq!(state(&rig.pool), VolumeState::Overflow, "it is at the new limit");
    written.check(&device);
    drop(device);
    rig.pool.volume("volume").and_then(|volume| volume.delete()).expect("delete");
}

fn limit_inactive() {
    let (rig, device, mut written) = limited();
    drop(device);
    let volume = rig.pool.volume("volume").expect("a volume id");
    volume.deactivate().expect("deactivate");
    volume.recover(&RecoverOptions::default().cow_limit(8 << 20)).expect("a higher limit");
    let device = rig.activate("volume");
    written.check(&device);
    written.fill(&device);
    assert!(written.pages.len() > 1800, "{} pages went into 8 MiB", written.pages.len());
    written.check(&device);
    drop(device);
    volume.delete().expect("delete");
}

/// The COW store of the volume.
fn store(rig: &Rig) -> File {
    let layout = calf::internal::layout::Layout::new(rig.pool.root());
    let path = layout.store(&Key::of("volume"), Backing::Snapshot);
    OpenOptions::new().read(true).write(true).open(path).expect("the store")
}

/// An inactive durable volume with some pages, whose store says that it is invalid.
fn mark(rig: &Rig) -> Written {
    let device = rig.open(&spec(Durability::Durable));
    let mut written = Written::new(Durability::Durable);
    for number in 0..300 {
        let page = Page::random(&mut written.random);
        device.write_all_at(&page.0, number * 8192).expect("write");
        written.pages.insert(2 * number, page);
    }
    device.sync_all().expect("sync");
    drop(device);
    rig.pool.volume("volume").and_then(|volume| volume.deactivate()).expect("deactivate");
    store(rig).write_all_at(&0u32.to_le_bytes(), 4).expect("write `valid`");
    written
}

fn marked() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_random("random", 53);
    let written = mark(&rig);
    assert_eq!(state(&rig.pool), VolumeState::Invalid);
    written.check(&rig.activate("volume"));
    rig.pool.volume("volume").and_then(|volume| volume.delete()).expect("delete");
}

fn damaged() {
    let rig = Rig::new(kernel::Fs::Ext4);
    let content = rig.import_random("random", 59);
    let written = mark(&rig);
    let store = store(&rig);
    let mut area = Page([0; 4096]);
    store.read_exact_at(&mut area.0, 4096).expect("the first area");
    for damage in [
        // The second exception points to the data of the first one, or past the end of the store.
        |area: &mut [u8; 4096]| area.copy_within(8..16, 24),
        |area: &mut [u8; 4096]| area[24..32].copy_from_slice(&(1u64 << 40).to_le_bytes()),
        // A hole in the list.
        |area: &mut [u8; 4096]| area[160..176].fill(0),
    ] {
        let mut damaged = area.0;
        damage(&mut damaged);
        store.write_all_at(&damaged, 4096).expect("damage");
        for _ in 0..2 {
            let error = recover(&rig.pool, &RecoverOptions::default()).expect_err("damaged");
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
            let volume = rig.pool.volume("volume").expect("a volume id");
            assert_eq!(volume.activate().expect_err("damaged").kind(), ErrorKind::Corrupt);
        }
        let mut found = [0; 4096];
        store.read_exact_at(&mut found, 4096).expect("the first area");
        assert!(found == damaged, "nothing was touched");
        assert_eq!(state(&rig.pool), VolumeState::Invalid);
    }
    store.write_all_at(&area.0, 4096).expect("mend");
    let device = rig.activate("volume");
    written.check(&device);
    let first = first_difference(&device, &content);
    assert_eq!(first, Some(0), "page 0 was written");
    drop(device);
    rig.pool.volume("volume").and_then(|volume| volume.delete()).expect("delete");
}

/// The device comes back below a mounted file system, which had turned itself off: it is served again
/// after the volume was staged anew.
fn mounted() {
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_file_system("base", "ext4");
    let pool = unreserved(&rig);
    let publish = rig.publication("volume", calf_test_kit::real_pool::mount());
    let volume = pool.create_volume(&VolumeSpec::new("volume", "base")).expect("create");
    volume.publish(&publish).expect("publish");
    let path = |number: u32| publish.target.join(format!("file-{number}"));
    let filler = Filler::leaving(rig.disk.path(), 4 << 20);
    let synced = |number: u32| {
        let file = File::create(path(number))?;
        file.write_all_at(&[number as u8; 256 << 10], 0)?;
        file.sync_all()
    };
    let files = (0..100).find(|number| synced(*number).is_err()).expect("the pool is full");
    assert!(files > 3, "{files} files");
    assert_eq!(state(&pool), VolumeState::Invalid);
    make_room(&pool, filler);
    volume.recover(&RecoverOptions::default()).expect("recovered");
    volume.unpublish(&publish.target).expect("unpublish");
    volume.unstage(&publish.stage.path).expect("unstage");
    volume.publish(&publish).expect("publish");
    for number in 0..files {
        let found = std::fs::read(path(number)).expect("a file that was synced");
        assert!(found == vec![number as u8; 256 << 10], "file {number}");
    }
    rig.tear_down(&publish, "volume");
}
