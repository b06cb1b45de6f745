//! Isolation: no tenant ever sees another's data, and a template never changes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use calf::{Key, VolumeSpec};
use calf_test_kit::fault_run::{Filler, Tally, count, seed};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, TEMPLATE_SIZE, open, read_page, run};
use sha2::{Digest as _, Sha256};

/// Free space of the pool in which volumes follow each other: hardly more than one store takes, so
/// that each volume gets the blocks of the previous one.
const ROOM: u64 = TEMPLATE_SIZE + (12 << 20);

/// The prefix of every 64 bytes of a secret.
const SECRET: &[u8; 16] = b"a tenant's bytes";

/// A deleted volume's bytes never show in a new volume, nor in the raw file of its store.
pub(crate) fn remanence() {
    let seed = seed();
    let tally = Tally::new("isolation: blocks of deleted volumes reused", seed);
    let mut random = Random(seed);
    let kinds = [kernel::Fs::Xfs, kernel::Fs::Ext4, kernel::Fs::Btrfs];
    for n in 0..count(2, 12) as usize {
        let rig = Rig::new(kinds[n % 3]);
        if kinds[n % 3] == kernel::Fs::Ext4 {
            // calf counts blocks reserved for root as used, but its stores could use them.
            run("tune2fs", &["-m", "0", &kernel::disk(0)], &[]);
        }
        let content = rig.import_random("random", seed);
        let pool = calf::PoolOptions::default().reserve(0).open(rig.pool.root()).expect("a pool");
        let filler = Filler::leaving(rig.disk.path(), ROOM);
        for turn in 0..count(2, 6) {
            let mut spec = VolumeSpec::new(format!("volume-{turn}"), "random");
            spec.chunk_size = 4096 << random.below(5);
            pool.create_volume(&spec).expect("create");
            let device =
                pool.volume(&spec.id).and_then(|volume| volume.activate()).expect("activate");
            let device = open(device.path());
            is_clean(&tally, &spec.id, &device, &content);
            // Write a few blocks: the other parts of their chunks must come from the template.
            for _ in 0..32 {
                let block = random.below(TEMPLATE_SIZE / 4096);
                let known = Page([0x5a; 4096]);
                device.write_all_at(&known.0, block * 4096).expect("write");
            }
            rustix::fs::sync();
            let store = pool.root().join("volumes").join(Key::of(&spec.id).as_str()).join("cow");
            no_secret(&tally, &spec.id, &store);
            fill(&device);
            drop(device);
            // The secret must be on the disk before its blocks are freed.
            rustix::fs::sync();
            pool.volume(&spec.id).expect("a volume id").delete().expect("delete");
            rustix::fs::sync();
            tally.tried();
        }
        drop(filler);
    }
    tally.finish();
}

fn is_clean(tally: &Tally, id: &str, device: &File, content: &[u8]) {
    for (block, expected) in content.chunks(4096).enumerate() {
        if read_page(device, block as u64 * 4096).0 != *expected {
            tally.found(format!("{id}: block {block} is not the template's"));
            return;
        }
    }
}

/// Writes secrets everywhere, as far as there is room.
fn fill(device: &File) {
    let mut page = Page([0; 4096]);
    for chunk in page.0.chunks_mut(64) {
        chunk[..16].copy_from_slice(SECRET);
    }
    let written = (0..TEMPLATE_SIZE / 4096)
        .take_while(|block| device.write_all_at(&page.0, block * 4096).is_ok())
        .count();
    assert!(written as u64 > TEMPLATE_SIZE / 4096 / 2, "only {written} blocks of secrets");
}

/// The store as root can read it, including chunks that were never written.
fn no_secret(tally: &Tally, id: &str, store: &Path) {
    let raw = File::open(store).expect("the store");
    let length = raw.metadata().expect("the store").len();
    let mut piece = vec![0; 1 << 20];
    for offset in (0..length).step_by(piece.len()) {
        let read = raw.read_at(&mut piece, offset).expect("read the store");
        if piece[..read].chunks(64).any(|chunk| chunk.starts_with(SECRET)) {
            tally.found(format!("{id}: another's bytes in its store near {offset}"));
        }
    }
}

/// The template is the same, byte for byte, after writes all over its volumes.
pub(crate) fn template() {
    let seed = seed();
    let tally = Tally::new("isolation: random writes to volumes of a template", seed);
    let mut random = Random(seed);
    let rig = Rig::new(kernel::Fs::Xfs);
    rig.import_random("random", seed);
    let digest = rig
        .pool
        .template("random")
        .and_then(|template| template.record())
        .expect("the template")
        .digest
        .to_string();
    let image = rig.pool.root().join("images").join(&digest).join("image");
    let volumes: Vec<File> = (0..8)
        .map(|n| {
            let mut spec = VolumeSpec::new(format!("volume-{n}"), "random");
            spec.chunk_size = 4096 << (n % 4);
            rig.open(&spec)
        })
        .collect();
    for n in 0..count(2_000, 10_000) {
        let device = &volumes[random.below(volumes.len() as u64) as usize];
        let offset = random.below(TEMPLATE_SIZE / 4096) * 4096;
        device.write_all_at(&Page::random(&mut random).0, offset).expect("write");
        tally.tried();
        if n % 1000 == 999 {
            is_intact(&tally, &image, &digest);
        }
    }
    drop(volumes);
    for n in 0..8 {
        rig.pool.volume(&format!("volume-{n}")).expect("a volume id").delete().expect("delete");
    }
    // From the disk, not from the page cache.
    rustix::fs::sync();
    fs::write("/proc/sys/vm/drop_caches", "3").expect("drop caches");
    is_intact(&tally, &image, &digest);
    tally.finish();
}

fn is_intact(tally: &Tally, image: &Path, digest: &str) {
    let file = File::open(image).expect("the image");
    let mut hash = Sha256::new();
    let mut piece = vec![0; 1 << 20];
    for n in 0..TEMPLATE_SIZE >> 20 {
        file.read_exact_at(&mut piece, n << 20).expect("read the image");
        hash.update(&piece);
    }
    if hex::encode(hash.finalize()) != digest {
        tally.lost("the template's content");
    }
}
