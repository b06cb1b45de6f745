//! Power loss: the kernel dies under load, and the content of the disk's write cache is lost.
//!
//! The pool is on dm-log-writes over a real (virtual) disk. After a reset of the machine, the test
//! checks the disk as the crash of the kernel left it. It then checks the disk as it would be if
//! the power had failed at each of many instants of the load, with all writes lost that were not
//! flushed by then. The log also has marks, which show the answers that callers had got by that
//! instant.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::log_writes::Log;
use calf::{Durability, ImportSpec, Pool, PoolOptions, VolumeSpec};
use calf_test_kit::fault_run::{Tally, count, seed};
use calf_test_kit::kernel;
use calf_test_kit::mapped_disk::{self, Disk};
use calf_test_kit::real_pool::{self, Page, Random, run};
use devicemapper::{DM, DevId, DmName};
use sha2::{Digest as _, Sha256};

const FAULT: &str = "power loss: kernel killed, unflushed writes lost";

/// Size of the pool's disk; XFS wants at least 300 MiB.
const DISK_SIZE: u64 = 512 << 20;

/// Size of the template: small, since ephemeral volumes are read as a whole.
const TEMPLATE_SIZE: u64 = 1 << 20;
const BLOCKS: u64 = TEMPLATE_SIZE / 4096;

/// The place on a disk, beyond the pool, for what the test must remember across a reboot.
const MEMORY: u64 = kernel::DISK_BYTES - 4096;

pub(crate) fn loss() {
    let rounds = count(2, 10);
    let round = u64::from(kernel::boot_count());
    let memory = OpenOptions::new().read(true).write(true).open(kernel::disk(0)).expect("a disk");
    let (seed, tries) = if round == 0 { (seed(), 0) } else { recall(&memory) };
    let tally = Tally::resume(FAULT, seed, tries);
    if round > 0 {
        check(&tally, &mut Random(seed.wrapping_mul(round).max(1)), fs_of(round - 1));
        if tally.hopeless() {
            return tally.finish();
        }
    }
    if round == rounds {
        return tally.finish();
    }
    remember(&memory, seed, tally.tries());
    tally.stop_here();
    load(Random(seed.wrapping_mul(round + 17).max(1)), fs_of(round));
    kernel::crash_and_reboot();
}

fn fs_of(round: u64) -> kernel::Fs {
    if round.is_multiple_of(2) { kernel::Fs::Xfs } else { kernel::Fs::Ext4 }
}

fn remember(memory: &File, seed: u64, tries: u64) {
    let mut block = [0; 4096];
    block[..8].copy_from_slice(&seed.to_le_bytes());
    block[8..16].copy_from_slice(&tries.to_le_bytes());
    memory.write_all_at(&block, MEMORY).and_then(|()| memory.sync_all()).expect("remember");
}

fn recall(memory: &File) -> (u64, u64) {
    let mut block = [0; 16];
    memory.read_exact_at(&mut block, MEMORY).expect("recall");
    let word = |n: usize| u64::from_le_bytes(block[n..][..8].try_into().expect("eight bytes"));
    (word(0), word(8))
}

// === the load ===

/// Works on the pool until the machine dies.
fn load(mut random: Random, fs: kernel::Fs) {
    let log = format!("log-writes {{}} {}", kernel::disk(1));
    let disk = Disk::new("power", 0, DISK_SIZE, fs, &log);
    let pool = open(disk.path()).expect("a pool");
    let mut content = vec![0; TEMPLATE_SIZE as usize];
    Random(TEMPLATE_SEED).fill(&mut content);
    import(&pool, disk.path(), "base", &content);
    mark("ready");
    let end = Instant::now() + Duration::from_secs(count(6, 15));
    let seeds: Vec<u64> = (0..6).map(|_| random.next()).collect();
    std::thread::scope(|scope| {
        for (n, seed) in seeds.into_iter().enumerate() {
            let (pool, disk) = (&pool, &disk);
            scope.spawn(move || {
                let mut random = Random(seed.max(1));
                let mut serial = 0;
                while Instant::now() < end {
                    serial += 1;
                    match n {
                        0 => import_and_remove(pool, disk.path(), &mut random),
                        _ => live(pool, &format!("volume-{n}-{serial}"), &mut random, end),
                    }
                }
            });
        }
    });
    // The disk stays as it is: this is where the power fails.
    std::mem::forget(disk);
}

const TEMPLATE_SEED: u64 = 97;

/// A pool that admits volumes on a small disk.
fn open(disk: &Path) -> calf::Result<Pool> {
    PoolOptions::default().reserve(0).open(disk.join("pool"))
}

/// Writes what a caller knows to the log.
fn mark(text: &str) {
    let dm = DM::new().expect("device-mapper");
    let name = DmName::new("power").expect("a name");
    let message = format!("mark {}", text.replace(' ', "_"));
    dm.target_msg(&DevId::Name(name), Some(0), &message).expect("a mark");
}

fn import(pool: &Pool, disk: &Path, name: &str, content: &[u8]) {
    let source = disk.join(format!("{name}.img"));
    fs::write(&source, content).expect("an image");
    let spec = ImportSpec::new(source.clone(), name);
    pool.import_template(&spec, &mut |_| ()).expect("import");
    fs::remove_file(source).expect("remove the source");
}

fn import_and_remove(pool: &Pool, disk: &Path, random: &mut Random) {
    let mut content = vec![0; 256 << 10];
    random.fill(&mut content);
    mark("importing");
    import(pool, disk, "other", &content);
    mark(&format!("imported {}", hex::encode(Sha256::digest(&content))));
    std::thread::sleep(Duration::from_millis(random.below(100)));
    mark("removing");
    pool.template("other").expect("a template name").remove().expect("remove");
    mark("removed");
}

/// A volume's life, recorded in marks: the first word says whether the rest was in progress or
/// done.
fn live(pool: &Pool, id: &str, random: &mut Random, end: Instant) {
    let durable = random.below(3) != 0;
    let mut spec = VolumeSpec::new(id, "base");
    spec.durability = if durable { Durability::Durable } else { Durability::Ephemeral };
    mark(&format!("creating {id}"));
    pool.create_volume(&spec).expect("create");
    let device = pool.volume(id).and_then(|volume| volume.activate()).expect("activate");
    let device = real_pool::open(device.path());
    mark(&format!("created {id} {}", if durable { "durable" } else { "ephemeral" }));
    for version in 1..=random.below(40) {
        if Instant::now() > end {
            return;
        }
        let blocks: Vec<u64> = (0..=random.below(6)).map(|_| random.below(BLOCKS)).collect();
        for block in &blocks {
            device.write_all_at(&page(id, *block, version).0, block * 4096).expect("write");
        }
        device.sync_all().expect("fsync");
        let blocks: Vec<String> = blocks.iter().map(u64::to_string).collect();
        mark(&format!("synced {id} {version} {}", blocks.join(",")));
    }
    drop(device);
    if random.below(4) == 0 {
        pool.volume(id).expect("a volume id").deactivate().expect("deactivate");
    }
    if random.below(2) == 0 {
        mark(&format!("deleting {id}"));
        pool.volume(id).expect("a volume id").delete().expect("delete");
        mark(&format!("deleted {id}"));
    }
}

/// The content of a block in a version: it names block and version, and the rest follows from them.
fn page(id: &str, block: u64, version: u64) -> Box<Page> {
    let digest = Sha256::digest(format!("{id} {block} {version}"));
    let seed = u64::from_le_bytes(digest[..8].try_into().expect("eight bytes"));
    let mut page = Page::random(&mut Random(seed.max(1)));
    page.0[..8].copy_from_slice(&version.to_le_bytes());
    page
}

// === the check ===

/// The knowledge of callers at one instant.
#[derive(Clone, Debug, Default)]
struct Known {
    ready: bool,
    volumes: BTreeMap<String, Volume>,
    /// Digest of the template that is repeatedly imported and removed: `Some(None)` if it must not
    /// exist, `None` while that is not known.
    template: Option<Option<String>>,
}

#[derive(Clone, Debug, Default)]
struct Volume {
    /// Whether it must exist; `None` while a call is in progress.
    exists: Option<bool>,
    durable: bool,
    /// The minimum version that each block must have.
    versions: BTreeMap<u64, u64>,
}

impl Known {
    fn learn(&mut self, mark: &str) {
        let words: Vec<&str> = mark.split('_').collect();
        match words[..] {
            ["ready"] => (self.ready, self.template) = (true, Some(None)),
            ["importing" | "removing"] => self.template = None,
            ["imported", digest] => self.template = Some(Some(digest.to_owned())),
            ["removed"] => self.template = Some(None),
            ["creating" | "deleting", id] => self.volume(id).exists = None,
            ["created", id, durability] => {
                let volume = self.volume(id);
                volume.exists = Some(true);
                volume.durable = durability == "durable";
            }
            ["deleted", id] => self.volume(id).exists = Some(false),
            ["synced", id, version, blocks] => {
                let version: u64 = version.parse().expect("a version");
                let blocks = blocks.split(',').map(|block| block.parse().expect("a block"));
                self.volume(id).versions.extend(blocks.map(|block| (block, version)));
            }
            _ => panic!("not a mark: {mark}"),
        }
    }

    fn volume(&mut self, id: &str) -> &mut Volume {
        self.volumes.entry(id.to_owned()).or_default()
    }
}

fn check(tally: &Tally, random: &mut Random, fs: kernel::Fs) {
    let log = Log::read(Path::new(&kernel::disk(1)));
    let marks = log.entries.iter().filter_map(|entry| entry.mark.as_deref());
    let mut known = Known::default();
    marks.for_each(|mark| known.learn(mark));
    assert!(known.ready, "the machine died before the load began");
    println!("{} entries in the log, {} volumes in it", log.entries.len(), known.volumes.len());
    // After the crash of the kernel, the disk has everything that the kernel wrote.
    on_a_copy(fs, |pool| look(tally, "the crash", pool, &known));

    // Power failures: the same disk, from its beginning.
    let ready = log.entries.iter().position(|entry| entry.mark.as_deref() == Some("ready"));
    let (ready, end) = (ready.expect("it was found before"), log.entries.len());
    let mut cuts: Vec<usize> = (0..count(12, 60))
        .map(|_| ready + 1 + random.below((end - ready) as u64) as usize)
        .collect();
    cuts.sort_unstable();
    let disk = OpenOptions::new().write(true).open(kernel::disk(0)).expect("a disk");
    wipe(&disk);
    let (mut known, mut done) = (Known::default(), 0);
    for cut in cuts {
        for n in done..cut {
            log.replay(n, &disk);
            if let Some(mark) = &log.entries[n].mark {
                known.learn(mark);
            }
        }
        done = cut;
        disk.sync_all().expect("sync");
        on_a_copy(fs, |pool| look(tally, &format!("{fs:?}, cut at {cut} of {end}"), pool, &known));
        if tally.hopeless() {
            return;
        }
    }
}

/// The disk as it was before the log: empty, as far as a file system checks.
fn wipe(disk: &File) {
    let zeros = vec![0; 1 << 20];
    for n in 0..DISK_SIZE >> 20 {
        disk.write_all_at(&zeros, n << 20).expect("wipe the disk");
    }
}

/// Runs `action` on the pool on the disk. All its changes are discarded: it works on a snapshot of
/// the disk, which writes to memory.
fn on_a_copy(fs: kernel::Fs, action: impl FnOnce(&Path)) {
    let changes = kernel::work_dir().join("changes");
    File::create(&changes).and_then(|file| file.set_len(DISK_SIZE)).expect("a file");
    let device = run("losetup", &["--find", "--show"], &[&changes]);
    let table = format!("0 {} snapshot {} {device} N 8", DISK_SIZE / 512, kernel::disk(0));
    run("dmsetup", &["create", "copy", "--table", &table], &[]);
    let path = kernel::work_dir().join("copy");
    mapped_disk::mount(&mapped_disk::node("copy"), &path, fs)
        .expect("mount the disk after the power loss");
    action(&path);
    mapped_disk::unmount(&path);
    mapped_disk::remove("copy");
    run("losetup", &["--detach", &device], &[]);
    fs::remove_file(changes).expect("remove the changes");
}

/// Checks that the pool holds what callers know, and nothing incomplete.
fn look(tally: &Tally, when: &str, disk: &Path, known: &Known) {
    tally.tried();
    let Some(pool) = tally.expect(open(disk), || format!("{when}: the pool")) else { return };
    let Some(report) = tally.expect(pool.reconcile(), || format!("{when}: reconcile")) else {
        return;
    };
    tally.promise(report.failed.is_empty(), || format!("{when}: {report:?}"));
    let Some(records) = tally.expect(pool.volume_records(), || format!("{when}: records")) else {
        return;
    };
    for record in &records {
        let known = known.volumes.get(&record.id).cloned().unwrap_or_default();
        if known.exists == Some(false) {
            tally.leaked(format!("{when}: {} was deleted", record.id));
        }
        read(tally, when, &pool, &record.id, record.durability, &known);
        let deleted = pool.volume(&record.id).and_then(|volume| volume.delete());
        tally.expect(deleted, || format!("{when}: delete {}", record.id));
    }
    for (id, volume) in &known.volumes {
        let there = records.iter().any(|record| record.id == *id);
        if volume.exists == Some(true) && !there {
            tally.lost(format!("{when}: {id}"));
        }
    }
    template(tally, when, &pool, known);
}

fn read(tally: &Tally, when: &str, pool: &Pool, id: &str, durability: Durability, known: &Volume) {
    let device = match pool.volume(id).and_then(|volume| volume.activate()) {
        Ok(device) => device,
        // Its creation was in progress, and no caller had got an answer.
        Err(error) if known.exists.is_none() && error.kind() == calf::ErrorKind::Corrupt => return,
        Err(error) => return tally.lost(format!("{when}: {id}: {error:?}")),
    };
    let device = real_pool::open(device.path());
    let mut template = vec![0; TEMPLATE_SIZE as usize];
    Random(TEMPLATE_SEED).fill(&mut template);
    for block in 0..BLOCKS {
        let found = real_pool::read_page(&device, block * 4096);
        let version = match found.0 == template[block as usize * 4096..][..4096] {
            true => Some(0),
            false => Some(u64::from_le_bytes(found.0[..8].try_into().expect("eight bytes")))
                .filter(|version| page(id, block, *version).0 == found.0),
        };
        let least = known.versions.get(&block).copied().unwrap_or(0);
        match (durability, version) {
            (_, None) => tally.lost(format!("{when}: {id}: block {block} is neither old nor new")),
            (Durability::Ephemeral, Some(0)) => {}
            (Durability::Ephemeral, Some(_)) => {
                tally.found(format!("{when}: {id}: block {block} of an ephemeral volume survived"));
            }
            (Durability::Durable, Some(version)) if version < least => tally.lost(format!(
                "{when}: {id}: block {block} has version {version}, {least} was synced"
            )),
            (Durability::Durable, Some(_)) => {}
        }
    }
}

/// Checks that the template is complete or does not exist.
fn template(tally: &Tally, when: &str, pool: &Pool, known: &Known) {
    let found = match pool.template("other").and_then(|template| template.record()) {
        Ok(found) => Some(found.digest.to_string()),
        Err(error) if error.kind() == calf::ErrorKind::NotFound => None,
        Err(error) => return tally.found(format!("{when}: {error:?}")),
    };
    if let Some(template) = &known.template
        && *template != found
    {
        tally.lost(format!("{when}: template {found:?}, {template:?} was known"));
    }
    let Some(digest) = found else { return };
    let image: PathBuf = pool.root().join("images").join(&digest).join("image");
    match fs::read(&image) {
        Ok(content) if hex::encode(Sha256::digest(&content)) == digest => {}
        Ok(content) => {
            tally.lost(format!("{when}: template {digest}: {} bytes, others", content.len()));
        }
        Err(error) => tally.lost(format!("{when}: {}: {error}", image.display())),
    }
}
