//! A full pool: space runs out during imports, creation, writes and growth.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;

use calf::{Access, ErrorKind, Pool, PoolOptions, VolumeSpec, VolumeState};
use calf_test_kit::driver_process::{Driver, Usage};
use calf_test_kit::fault_run::{Filler, Inventory, Tally, count, seed};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{
    Page, Random, Rig, TEMPLATE_SIZE, first_difference, open, read_page,
};
use tonic::Code;

/// The default reserve of `serve`.
const RESERVE: u64 = PoolOptions::DEFAULT_RESERVE;

/// Below the reserve nothing new is admitted, and running volumes continue to write.
pub(crate) fn reserve() {
    let tally = Tally::new("full pool: below the reserve", seed());
    for _ in 0..count(1, 5) {
        let rig = Rig::new(kernel::Fs::Xfs);
        let mut content = rig.import_random("random", 7);
        rig.import_file_system("root", "ext4");
        let driver = Driver::start(rig.pool.root(), &kernel::work_dir(), &[]);
        let client = driver.client();
        let usages: Vec<Usage> =
            (0..4).map(|n| Usage::new(&format!("volume-{n}"), &rig.path(""), true)).collect();
        for usage in &usages {
            fs::create_dir_all(&usage.staging).expect("as kubelet does");
            client.create(&usage.volume, "random").expect("create");
            client.publish(usage).expect("publish");
        }
        let before = Inventory::take(rig.pool.root());
        let filler = Filler::leaving(rig.disk.path(), RESERVE - (8 << 20));
        refuses(&tally, &rig, &driver);
        tally.tried();
        for left in before.left(rig.pool.root()) {
            tally.leaked(left);
        }
        // Write three volumes completely, within the reserve.
        let page = Page::random(&mut Random(11));
        for usage in &usages[..3] {
            let device = open(&usage.target);
            for block in 0..TEMPLATE_SIZE / 4096 {
                if let Err(error) = device.write_all_at(&page.0, block * 4096) {
                    tally.lost(format!("{}, block {block}: {error}", usage.volume));
                    break;
                }
            }
        }
        content.chunks_mut(4096).for_each(|chunk| chunk.copy_from_slice(&page.0));
        for usage in &usages[..3] {
            let difference = first_difference(&open(&usage.target), &content);
            if let Some(offset) = difference {
                tally.lost(format!("{} differs at {offset}", usage.volume));
            }
        }
        drop(filler);
        tally.expect(client.create("next", "random"), || "create once there is room".into());
        tally.expect(client.delete("next"), || "delete".into());
        for usage in &usages {
            let ended = client.end(usage);
            tally.expect(ended, || format!("the end of {}", usage.volume));
        }
        assert!(driver.stop().success());
    }
    tally.finish();
}

/// Requests for new space fail with the right error.
fn refuses(tally: &Tally, rig: &Rig, driver: &Driver) {
    match driver.client().create("one-more", "random") {
        Err(status) if status.code() == Code::ResourceExhausted => {}
        other => tally.found(format!("create: {other:?}")),
    }
    let source = rig.disk.path().join("large.img");
    File::create(&source).and_then(|mut file| file.write_all(&[1; 1 << 20])).expect("an image");
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_calf"))
        .args(["template", "import", "--name", "large"])
        .arg(&source)
        .env("CALF_POOL", rig.pool.root())
        .output()
        .expect("start calf");
    // A reflink needs no space, so this may also succeed.
    let code = output.status.code();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    tally.promise(matches!(code, Some(0 | 7)), || format!("import: {code:?}: {said}"));
    if code == Some(0) {
        rig.pool.template("large").expect("a template name").remove().expect("remove");
    }
    fs::remove_file(source).expect("remove the source");
}

/// A volume never takes more than its `cowLimit` allows, and reports that it is full.
pub(crate) fn cow_limit() {
    let seed = seed();
    let tally = Tally::new("full store: random cowLimits", seed);
    let mut random = Random(seed);
    let rig = Rig::new(kernel::Fs::Xfs);
    let content = rig.import_random("random", 15);
    for n in 0..count(6, 100) {
        let mut spec = VolumeSpec::new(format!("volume-{n}"), "random");
        spec.chunk_size = 4096 << random.below(5);
        let limit = spec.chunk_size * (1 + random.below((8 << 20) / spec.chunk_size));
        spec.cow_limit = Some(limit);
        overflow(&tally, &rig, &spec, &content, &mut random);
        tally.tried();
    }
    tally.finish();
}

fn overflow(tally: &Tally, rig: &Rig, spec: &VolumeSpec, content: &[u8], random: &mut Random) {
    let id = &spec.id;
    let publish = rig.publication(id, Access::Block);
    rig.pool.create_volume(spec).expect("create");
    rig.pool.volume(id).expect("a volume id").publish(&publish).expect("publish");
    let device = open(&publish.target);
    let page = Page::random(random);
    let mut written = std::collections::BTreeSet::new();
    // A direct write of less than a chunk copies the rest of it from the template.
    let failed = (0..100_000).any(|_| {
        let block = random.below(TEMPLATE_SIZE / 4096);
        let result = device.write_all_at(&page.0, block * 4096);
        if result.is_ok() {
            written.insert(block);
        }
        result.is_err()
    });
    let limit = spec.cow_limit.unwrap_or(0);
    tally.promise(failed, || format!("{id} never overflowed at {limit}"));
    for block in &written {
        if read_page(&device, block * 4096).0 != page.0 {
            tally.lost(format!("{id}: block {block} of {} blocks written", written.len()));
        }
    }
    let untouched = (0..TEMPLATE_SIZE / 4096).find(|block| {
        let first = block * 4096 / spec.chunk_size * spec.chunk_size / 4096;
        !(first..first + spec.chunk_size / 4096).any(|block| written.contains(&block))
    });
    if let Some(block) = untouched {
        let read = read_page(&device, block * 4096);
        let same = read.0 == content[block as usize * 4096..][..4096];
        tally.promise(same, || format!("{id}: block {block} is not the template's"));
    }
    let statistics =
        rig.pool.volume(id).expect("a volume id").statistics(&publish.target).expect("statistics");
    let state = statistics.volume.state;
    tally.promise(state == VolumeState::Overflow, || format!("{id} is {state:?}"));
    let most = calf::internal::store_size(TEMPLATE_SIZE, spec.cow_limit, spec.chunk_size);
    let allocated = statistics.volume.allocated;
    tally.promise(allocated <= most, || format!("{id} takes {allocated}, {most} is the most"));
    drop(device);
    rig.tear_down(&publish, id);
}

/// Not a byte is left: the kernel invalidates volumes that write to a fresh chunk, other volumes
/// are not affected, calf reports the state, and everything can be taken down.
pub(crate) fn exhausted() {
    let seed = seed();
    let tally = Tally::new("full pool: not a byte left", seed);
    let mut random = Random(seed);
    let kinds = [kernel::Fs::Xfs, kernel::Fs::Ext4];
    for n in 0..count(2, 20) {
        exhaust(&tally, kinds[n as usize % 2], &mut random);
        tally.tried();
    }
    tally.finish();
}

fn exhaust(tally: &Tally, fs: kernel::Fs, random: &mut Random) {
    let rig = Rig::new(fs);
    let pool = PoolOptions::default().reserve(0).open(rig.pool.root()).expect("the pool");
    let content = rig.import_random("random", 19);
    let driver = Driver::start(rig.pool.root(), &kernel::work_dir(), &["--reserve", "0"]);
    let client = driver.client();
    let usage = |name: &str| Usage::new(name, &rig.path(""), true);
    let (greedy, quiet) = (usage("greedy"), usage("quiet"));
    for usage in [&greedy, &quiet] {
        fs::create_dir_all(&usage.staging).expect("as kubelet does");
        client.create(&usage.volume, "random").expect("create");
        client.publish(usage).expect("publish");
    }
    client.create("idle", "random").expect("create");
    let page = Page::random(random);
    let device = open(&quiet.target);
    device.write_all_at(&page.0, 8192).and_then(|()| device.sync_all()).expect("write");
    let at_rest = Inventory::take(rig.pool.root());

    let rest = rig.disk.path().join("rest");
    // While there is still room for an inode.
    let mut last = File::create(&rest).expect("a file");
    let filler = Filler::leaving(rig.disk.path(), random.below(4 << 20));
    let writer = open(&greedy.target);
    let written =
        (0..TEMPLATE_SIZE / 4096).find(|n| writer.write_all_at(&page.0, n * 4096).is_err());
    tally.promise(written.is_some(), || "the pool was not full".into());
    drop(writer);
    let state =
        pool.volume("greedy").and_then(|volume| volume.status()).expect("it is there").state;
    tally.promise(state == VolumeState::Invalid, || format!("{fs:?}: greedy is {state:?}"));
    match client.condition(&greedy) {
        Ok((true, message)) => println!("{fs:?}: {message}"),
        other => tally.found(format!("{fs:?}: the condition of greedy is {other:?}")),
    }
    let condition = client.condition(&quiet);
    tally.promise(matches!(condition, Ok((false, _))), || format!("quiet: {condition:?}"));
    // Volumes that do not write, or only rewrite, are not affected.
    let page_2 = Page::random(random);
    let rewritten = device.write_all_at(&page_2.0, 8192).and_then(|()| device.sync_all());
    if let Err(error) = rewritten {
        tally.lost(format!("{fs:?}: a chunk that has its place: {error}"));
    }
    if read_page(&device, 8192).0 != page_2.0 {
        tally.lost(format!("{fs:?}: a chunk that has its place"));
    }
    let same = read_page(&device, 1 << 20).0 == content[1 << 20..][..4096];
    tally.promise(same, || "the template cannot be read".into());
    drop(device);

    // Operations that need space are refused, and leave nothing behind.
    take_the_last(&mut last);
    starved(tally, &pool);
    for left in at_rest.left(rig.pool.root()) {
        tally.leaked(format!("{fs:?}: {left}"));
    }
    // Operations that free space need none.
    for usage in [&greedy, &quiet] {
        let ended = client.end(usage);
        tally.expect(ended, || format!("{fs:?}: the end of {} in a full pool", usage.volume));
    }
    tally.expect(client.delete("idle"), || format!("{fs:?}: delete in a full pool"));
    drop(filler);
    drop(last);
    fs::remove_file(rest).expect("remove");
    tally.expect(client.create("next", "random"), || "create once there is room".into());
    tally.expect(client.delete("next"), || "delete".into());
    assert!(driver.stop().success());
}

fn starved(tally: &Tally, pool: &Pool) {
    for n in 0..3 {
        let id = format!("starved-{n}");
        match pool.create_volume(&VolumeSpec::new(&id, "random")) {
            Err(error) if error.kind() == ErrorKind::NoSpace => {}
            other => tally.found(format!("create in a full pool: {other:?}")),
        }
    }
    match pool.volume("idle").and_then(|volume| volume.expand(2 * TEMPLATE_SIZE)) {
        Err(error) if error.kind() == ErrorKind::NoSpace => {
            let size = pool
                .volume("idle")
                .and_then(|volume| volume.status())
                .map(|volume| volume.record.size);
            tally.promise(size.as_ref().is_ok_and(|size| *size == TEMPLATE_SIZE), || {
                format!("a refused expansion left {size:?}")
            });
        }
        // A record is as large as the one that it replaces, so there may be room for it.
        Ok(_) => {}
        Err(error) => tally.found(format!("expand in a full pool: {error:?}")),
    }
}

/// Fills the file system to the last block.
fn take_the_last(file: &mut File) {
    while file.write_all(&[1; 65536]).and_then(|()| file.sync_data()).is_ok() {}
    while file.write_all(&[1; 512]).and_then(|()| file.sync_data()).is_ok() {}
}
