use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use tempfile::TempDir;

use super::*;
use crate::api::PoolOptions;
use crate::error::ErrorKind;
use crate::model::key::Key;
use crate::pool::layout::{IMPORT_PREFIX, Layout};
use crate::pool::record::VolumeRecord;
use crate::pool::{PoolDir, index, record, sample};
use crate::reconcile::content::sweep as sweep_content;
use crate::reconcile::report::ReconcileReport;
use crate::template::import::{hash, source, state};
use crate::volume::reclaim::release_image;

struct TestPool {
    pool: Pool,
    directory: TempDir,
}

impl TestPool {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let pool = PoolOptions::default().reserve(0).open(directory.path().join("pool")).unwrap();
        Self { pool, directory }
    }

    /// An image of 1 MiB, old enough for its identity to be trusted.
    fn image(&self, name: &str, fill: u8) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::write(&path, vec![fill; 1 << 20]).unwrap();
        std::thread::sleep(Duration::from_millis(150));
        path
    }

    fn import(&self, source: &Path, name: &str) -> Result<TemplateRecord> {
        let spec = ImportSpec::new(source, name);
        self.pool.import_template(&spec, &mut |_| ())
    }

    fn images(&self) -> Vec<String> {
        index::names_in(&self.pool.0, &self.pool.0.layout().images()).unwrap()
    }

    /// Writes the record of a volume of `template`, as creating the volume does.
    fn add_volume(&self, id: &str, template: &TemplateRecord) {
        let record = VolumeRecord {
            id: id.into(),
            template: template.name.clone(),
            digest: template.digest.clone(),
            template_size: template.size,
            size: template.size,
            created: Timestamp::now(),
            ..sample::volume()
        };
        let path = self.pool.0.layout().volume_record(&Key::of(id));
        self.pool.0.host().write_record(&path, &record::to_bytes(&record)).unwrap();
    }

    fn remove_volume(&self, id: &str) {
        let path = self.pool.0.layout().volume_directory(&Key::of(id));
        self.pool.0.host().remove_directory(&path).unwrap();
    }
}

/// What a sweep removes, in words; a dry run before it must report the same and remove nothing.
fn swept(pool: &PoolDir) -> Vec<String> {
    let sweep = |dry_run| {
        let mut report = ReconcileReport::default();
        sweep_content(pool, dry_run, &mut report);
        assert!(report.failed.is_empty(), "{report:?}");
        report.removed.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let told = sweep(true);
    assert_eq!(told, sweep(true), "a dry run changes nothing");
    let removed = sweep(false);
    assert_eq!(told, removed);
    removed
}

#[test]
fn an_import_is_found_again_by_name() {
    let t = TestPool::new();
    let source = t.image("a.img", 7);
    let record = t.import(&source, "a").unwrap();
    assert_eq!(t.pool.template("a").and_then(|template| template.record()).unwrap(), record);
    assert_eq!(t.pool.templates().unwrap(), std::slice::from_ref(&record));
    assert_eq!(record.size, 1 << 20);
    let image = t.pool.0.layout().image(&record.digest);
    assert_eq!(fs::read(&image).unwrap(), fs::read(&source).unwrap());
    assert_eq!(image.metadata().unwrap().permissions().mode() & 0o777, 0o400);
    let inspected = t.pool.template("a").and_then(|template| template.status()).unwrap();
    assert!(inspected.allocated >= 1 << 20 && inspected.volumes.is_empty());
}

#[test]
fn the_same_content_is_stored_once() {
    let t = TestPool::new();
    let (one, two) = (t.image("1.img", 7), t.image("2.img", 7));
    let first = t.import(&one, "one").unwrap();
    let second = t.import(&two, "two").unwrap();
    assert_eq!(first.digest, second.digest);
    assert_eq!(t.images(), [first.digest.as_str()]);
    assert_eq!(t.import(&one, "one").unwrap(), first, "repeated");
    t.pool.template("one").and_then(|template| template.remove()).unwrap();
    assert_eq!(t.images(), [first.digest.as_str()]);
    t.pool.template("two").and_then(|template| template.remove()).unwrap();
    assert!(t.images().is_empty());
}

#[test]
fn an_unchanged_source_is_not_read_twice() {
    let t = TestPool::new();
    let source = t.image("a.img", 7);
    t.import(&source, "a").unwrap();
    let spec = ImportSpec::new(source, "b");
    let mut seen = Vec::new();
    t.pool.import_template(&spec, &mut |p| seen.push(p.done)).unwrap();
    assert_eq!(seen, [1 << 20], "only the end is reported");
}

#[test]
fn a_name_moves_and_its_old_content_goes_with_the_last_user() {
    let t = TestPool::new();
    let old = t.import(&t.image("old.img", 1), "a").unwrap();
    t.add_volume("v1", &old);
    let new = t.import(&t.image("new.img", 2), "a").unwrap();
    assert_eq!(
        t.pool.template("a").and_then(|template| template.record()).unwrap().digest,
        new.digest
    );
    assert_eq!(t.images().len(), 2, "the volume keeps what it started from");
    assert!(!release_image(&t.pool.0, &old.digest).unwrap());
    t.add_volume("of-the-new", &new);
    t.remove_volume("v1");
    assert!(release_image(&t.pool.0, &old.digest).unwrap());
    t.remove_volume("of-the-new");
    assert!(!release_image(&t.pool.0, &new.digest).unwrap());
    assert_eq!(t.images(), [new.digest.as_str()]);
    t.import(&t.image("newer.img", 3), "a").unwrap();
    assert!(!t.images().contains(&new.digest.to_string()), "nothing refers to it");
}

#[test]
fn content_stays_while_a_volume_cannot_be_read() {
    let t = TestPool::new();
    let old = t.import(&t.image("old.img", 1), "a").unwrap();
    t.add_volume("v1", &old);
    t.import(&t.image("new.img", 2), "a").unwrap();
    let record = t.pool.0.layout().volume_record(&Key::of("v1"));
    fs::write(&record, "{").unwrap();
    assert_eq!(release_image(&t.pool.0, &old.digest).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(t.images().contains(&old.digest.to_string()));
}

#[test]
fn a_blank_record_of_a_creation_that_was_cut_short_holds_no_template() {
    let t = TestPool::new();
    let record = t.import(&t.image("a.img", 1), "a").unwrap();
    t.add_volume("v1", &record);
    fs::write(t.pool.0.layout().volume_record(&Key::of("v1")), "").unwrap();
    t.pool.template("a").and_then(|template| template.remove()).unwrap();
    assert_eq!(t.images(), Vec::<String>::new());
}

#[test]
fn a_template_in_use_is_not_removed() {
    let t = TestPool::new();
    let record = t.import(&t.image("a.img", 1), "a").unwrap();
    for i in 0..7 {
        t.add_volume(&format!("v{i}"), &record);
    }
    let error = t.pool.template("a").and_then(|template| template.remove()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InUse);
    let report = error.report();
    assert!(report.contains("7 volumes use it: v0, v1, v2, v3, v4 and 2 more"), "{report}");
    t.import(&t.image("b.img", 1), "b").unwrap();
    t.pool.template("a").and_then(|template| template.remove()).unwrap();
    assert_eq!(
        t.pool.template("b").and_then(|template| template.status()).unwrap().volumes.len(),
        7
    );
    assert_eq!(
        t.pool.template("a").and_then(|template| template.remove()).unwrap_err().kind(),
        ErrorKind::NotFound
    );
}

#[test]
fn an_unknown_template_is_answered_with_those_that_exist() {
    let t = TestPool::new();
    let report = t.pool.template("x").and_then(|template| template.record()).unwrap_err().report();
    assert!(report.contains("calf template import"), "{report}");
    t.import(&t.image("a.img", 1), "debian").unwrap();
    let report =
        t.pool.template("debain").and_then(|template| template.record()).unwrap_err().report();
    assert!(report.contains("the pool has debian"), "{report}");
}

#[test]
fn an_interrupted_import_goes_on_where_it_stopped() {
    let t = TestPool::new();
    let source = t.image("a.img", 7);
    let whole = t.import(&source, "whole").unwrap();
    t.pool.template("whole").and_then(|template| template.remove()).unwrap();
    // The state that a kill leaves after a checkpoint at half, with more written than recorded.
    let identity = source::Identity::of(t.pool.0.host(), &source).unwrap().unwrap();
    let directory = t.pool.0.layout().import_directory(&identity.id());
    let mut hash = hash::ContentHash::default();
    hash.update(&[7; 512 << 10]);
    let left = state::ImportRecord {
        source: source.display().to_string(),
        identity: state::Origin::File(identity),
        started: Timestamp::now(),
        state: state::State::Reading { offset: 512 << 10, hash: hash.save(), cloned: false },
    };
    let path = Layout::import_record(&directory);
    t.pool.0.host().write_record(&path, &record::to_bytes(&left)).unwrap();
    let mut content = vec![7; 512 << 10];
    content.extend([9; 4096]);
    fs::write(Layout::import_image(&directory), content).unwrap();

    let spec = ImportSpec::new(source.clone(), "a");
    let mut seen = Vec::new();
    let record = t.pool.import_template(&spec, &mut |p| seen.push(p.done)).unwrap();
    assert_eq!(seen.first(), Some(&(512 << 10)));
    assert_eq!(record.digest, whole.digest);
    let image = t.pool.0.layout().image(&record.digest);
    assert!(fs::read(image).unwrap() == fs::read(&source).unwrap());
    assert_eq!(t.images(), [record.digest.as_str()]);
}

#[test]
fn a_source_that_changes_under_the_import_is_refused() {
    let t = TestPool::new();
    let source = t.directory.path().join("a.img");
    fs::write(&source, vec![1; 40 << 20]).unwrap();
    std::thread::sleep(Duration::from_millis(50));
    let spec = ImportSpec::new(source.clone(), "a");
    let mut changed = false;
    let outcome = t.pool.import_template(&spec, &mut |_| {
        if !std::mem::replace(&mut changed, true) {
            let file = OpenOptions::new().write(true).open(&source).unwrap();
            file.write_all_at(&[2; 512], 39 << 20).unwrap();
        }
    });
    // A clone is taken in one instant, before the change.
    if let Err(error) = outcome {
        assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
        assert!(t.images().is_empty());
        assert_eq!(
            t.pool.template("a").and_then(|template| template.record()).unwrap_err().kind(),
            ErrorKind::NotFound
        );
    }
}

#[test]
fn a_pool_without_room_refuses_and_keeps_nothing() {
    let t = TestPool::new();
    let source = t.image("a.img", 1);
    let pool = PoolOptions::default().reserve(u64::MAX).open(t.pool.root()).unwrap();
    let spec = ImportSpec::new(source, "a");
    let error = pool.import_template(&spec, &mut |_| ()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.report().contains("above its reserve"), "{error:?}");
    assert!(t.images().is_empty());
}

#[test]
fn a_sweep_takes_what_nothing_refers_to_and_nothing_else() {
    let t = TestPool::new();
    let kept = t.import(&t.image("kept.img", 1), "kept").unwrap();
    let used = t.import(&t.image("used.img", 2), "used").unwrap();
    t.add_volume("v", &used);
    let orphan = t.import(&t.image("orphan.img", 3), "orphan").unwrap();
    for name in ["used", "orphan"] {
        fs::remove_file(t.pool.0.layout().template_record(name)).unwrap();
    }
    let running = t.pool.0.layout().import_directory("aaaa");
    let abandoned = t.pool.0.layout().import_directory("bbbb");
    fs::create_dir(&running).unwrap();
    fs::create_dir(&abandoned).unwrap();
    let lock = t.pool.0.try_lock_import("aaaa").unwrap().unwrap();
    let torn = ["a.json.tmp-1", "a.json.tmp-2"].map(|n| t.pool.0.layout().templates().join(n));
    for path in &torn {
        fs::write(path, "{").unwrap();
    }
    let yesterday = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    fs::File::open(&torn[0]).unwrap().set_modified(yesterday).unwrap();
    let removed = swept(&t.pool.0);
    assert_eq!(removed.len(), 2, "{removed:?}");
    let mut images = t.images();
    images.sort();
    let mut expected = vec![format!("{IMPORT_PREFIX}aaaa"), kept.digest.into(), used.digest.into()];
    expected.sort();
    assert_eq!(images, expected);
    assert!(!images.contains(&orphan.digest.to_string()));
    assert_eq!(torn.map(|path| path.exists()), [false, true], "the young one may be in use");
    drop(lock);
    assert_eq!(swept(&t.pool.0).len(), 1);
}
