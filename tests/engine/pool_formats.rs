//! Pools of older and newer formats. `tests/engine/pool-format-1` is a pool that the first calf
//! wrote: a template, a durable volume, an ephemeral volume and an inline volume.

use std::collections::BTreeMap;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use calf::internal::record::{FORMATS, PoolRecord};
use calf::sys::fake::{Failure, FakeHost};
use calf::{ErrorKind, Pool, PoolOptions, Reserve, VolumeSpec};
use calf_test_kit::simulated_pool;

/// A copy of the old pool on a simulated machine.
struct Old {
    host: FakeHost,
    directory: tempfile::TempDir,
}

impl Old {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/engine/pool-format-1");
        simulated_pool::copy_directory(&fixture, &directory.path().join("pool"));
        Self { host: FakeHost::new(), directory }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("pool")
    }

    fn open(&self) -> calf::Result<Pool> {
        PoolOptions::default().host(Arc::new(self.host.clone())).open(self.root())
    }

    fn format(&self) -> u32 {
        let text = fs::read_to_string(self.root().join("pool.json")).expect("a record");
        let record: PoolRecord = serde_json::from_str(&text).expect("a record");
        assert_eq!(record.id.as_str(), "bad19741c19b5c37", "a pool's identity never changes");
        record.format
    }

    /// Everything in the pool except its locks.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.root(), &mut files);
        files.remove(&self.root().join("lock"));
        files
    }
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => collect(&path, files),
            false => drop(files.insert(path.clone(), fs::read(&path).expect("a file"))),
        }
    }
}

fn new(id: &str) -> VolumeSpec {
    VolumeSpec::new(id, "base").reserve(Reserve::Full)
}

#[test]
fn a_pool_of_format_1_is_used_as_it_is() {
    let old = Old::new();
    let before = old.files();
    let pool = old.open().expect("it is known");
    let ids: Vec<String> =
        pool.volumes().expect("a list").into_iter().map(|v| v.record.id).collect();
    assert_eq!(ids, ["csi-inline", "vm1", "vm2"]);
    assert!(pool.damage().expect("a list").is_empty());
    assert_eq!(
        pool.template("base").and_then(|template| template.record()).expect("it is there").size,
        8192
    );
    assert_eq!(old.files(), before, "a look changes nothing");

    for id in ["vm1", "vm2"] {
        pool.volume(id).expect("a volume id").activate().expect("activate");
        pool.volume(id).expect("a volume id").expand(16384).expect("expand");
    }
    pool.create_volume(&VolumeSpec::new("vm3", "base")).expect("create");
    let report = pool.reconcile().expect("reconcile");
    assert_eq!((report.live, report.failed.len(), report.removed.len()), (2, 0, 0), "{report:?}");
    assert_eq!(old.format(), 1, "nothing needed more: an older calf can be put back");
    for id in ["vm1", "vm2", "vm3", "csi-inline"] {
        pool.volume(id).expect("a volume id").delete().expect("delete");
    }
    assert_eq!(old.host.leftovers(), Vec::<String>::new());
}

#[test]
fn the_format_rises_with_the_first_volume_that_needs_it() {
    let old = Old::new();
    let records = |files: BTreeMap<PathBuf, Vec<u8>>| -> BTreeMap<PathBuf, Vec<u8>> {
        files.into_iter().filter(|(path, _)| path.ends_with("volume.json")).collect()
    };
    let before = records(old.files());
    let pool = old.open().expect("it is known");
    pool.create_volume(&new("vm3")).expect("create");
    assert_eq!(old.format(), 2);
    let after = records(old.files());
    assert!(
        before.iter().all(|(path, text)| after.get(path) == Some(text)),
        "nothing is converted"
    );
    drop(pool);
    let pool = old.open().expect("it is known");
    assert_eq!(pool.volumes().expect("a list").len(), 4);
    let ttl = Some(Duration::from_secs(60));
    pool.create_volume(&VolumeSpec::new("vm4", "base").ttl(ttl)).expect("create");
    assert_eq!(old.format(), 2);
}

#[test]
fn each_thing_that_is_new_raises_the_format() {
    let plain = VolumeSpec::new("vm3", "base");
    for new in [
        plain.clone().reserve(Reserve::Full),
        plain.clone().ttl(Duration::from_secs(60)),
        plain.clone().kata_direct(true),
    ] {
        let old = Old::new();
        let pool = old.open().expect("it is known");
        pool.create_volume(&plain).expect("create");
        assert_eq!(old.format(), 1);
        pool.volume("vm3").expect("a volume id").delete().expect("delete");
        pool.create_volume(&new).expect("create");
        assert_eq!(old.format(), 2, "{new:?}");
    }
}

#[test]
fn a_crash_while_the_format_rises_leaves_a_pool_that_says_what_it_holds() {
    for failure in
        [Failure::ErrorBefore, Failure::ErrorAfter, Failure::CrashBefore, Failure::CrashAfter]
    {
        let mut n = 1;
        loop {
            let old = Old::new();
            let pool = old.open().expect("it is known");
            old.host.fail_at(n, failure);
            let _ = catch_unwind(AssertUnwindSafe(|| pool.create_volume(&new("vm3"))));
            drop(pool);
            let reached = old.host.heal();
            let pool = old.open().expect("it is known");
            let is_new = |v: &calf::VolumeStatus| v.record.reserve == Reserve::Full;
            let holds_new = pool.volumes().expect("a list").iter().any(is_new);
            assert!(!holds_new || old.format() == 2, "{failure:?} at call {n}");
            pool.reconcile().expect("reconcile");
            pool.create_volume(&new("vm3")).expect("the same again");
            assert_eq!(old.format(), 2, "{failure:?} at call {n}");
            if !reached {
                break;
            }
            n += 1;
        }
        assert!(n > 5, "{failure:?}: only {n} calls, so it did not run");
    }
}

#[test]
fn a_pool_of_a_newer_format_is_refused_and_not_changed() {
    let old = Old::new();
    let path = old.root().join("pool.json");
    let text = fs::read_to_string(&path).expect("a record");
    let newer = FORMATS.end() + 1;
    fs::write(&path, text.replace("\"format\": 1", &format!("\"format\": {newer}"))).expect("edit");
    let before = old.files();
    let error = old.open().expect_err("it is not known");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.report().contains(&format!("format {newer}")), "{error:?}");
    assert_eq!(old.files(), before);
}

#[test]
fn a_pool_that_rose_while_it_was_open_is_not_lowered() {
    let old = Old::new();
    let (first, second) = (old.open().expect("open"), old.open().expect("open"));
    first.create_volume(&new("vm3")).expect("create");
    second.create_volume(&new("vm4")).expect("create");
    second.create_volume(&VolumeSpec::new("vm5", "base")).expect("create");
    assert_eq!(old.format(), 2);
}
