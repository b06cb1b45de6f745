//! A pool that was edited by hand: calf reports what cannot be right, separately for each volume
//! and template, touches nothing outside the pool, and everything else continues to work.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use calf::{Durability, ErrorKind, Key, Pool};
use calf_test_kit::simulated_pool::{Environment, TEMPLATE_SIZE, block, publication, spec};

/// A pool with a healthy volume and a volume to damage, and a directory outside the pool that must
/// stay unchanged.
struct Damaged {
    environment: Environment,
    pool: Pool,
    precious: PathBuf,
}

impl Damaged {
    fn new() -> Self {
        let environment = Environment::new();
        let pool = environment.pool();
        for id in ["healthy", "victim"] {
            let spec = spec(id).durability(Durability::Durable);
            pool.create_volume(&spec).expect("create");
        }
        let precious = environment.directory.path().join("precious");
        fs::create_dir(&precious).expect("a directory");
        fs::write(precious.join("image"), vec![7; TEMPLATE_SIZE as usize / 2]).expect("a file");
        fs::write(precious.join("cow"), b"precious").expect("a file");
        Self { environment, pool, precious }
    }

    fn root(&self) -> PathBuf {
        self.environment.directory.path().join("pool")
    }

    fn directory(&self, id: &str) -> PathBuf {
        self.root().join("volumes").join(Key::of(id).as_str())
    }

    fn edit(&self, path: &Path, from: &str, to: &str) {
        let text = fs::read_to_string(path).expect("a record");
        assert!(text.contains(from), "{from} is not in {text}");
        fs::write(path, text.replace(from, to)).expect("an edit");
    }

    fn digest(&self) -> String {
        self.pool
            .template("debian")
            .and_then(|template| template.record())
            .expect("the template")
            .digest
            .to_string()
    }

    /// Checks that the healthy volume works, is listed and reconciled, and that the directory
    /// outside is unchanged.
    fn everything_else_is_well(&self, context: &str) {
        let ids: Vec<String> =
            self.pool.volumes().expect("a list").into_iter().map(|v| v.record.id).collect();
        assert!(ids.contains(&"healthy".to_owned()), "{context}: {ids:?}");
        let publish = publication(&self.environment, "healthy", block());
        self.pool.volume("healthy").expect("a volume id").publish(&publish).expect("publish");
        self.pool.reconcile().expect("it goes on with the rest");
        assert_eq!(self.pool.reconcile().expect("reconcile").live, 1, "{context}");
        self.pool
            .volume("healthy")
            .expect("a volume id")
            .unpublish(&publish.target)
            .expect("unpublish");
        self.pool
            .volume("healthy")
            .expect("a volume id")
            .unstage(&publish.stage.path)
            .expect("unstage");
        let image = fs::read(self.precious.join("image")).expect("it is there");
        assert!(image == vec![7; TEMPLATE_SIZE as usize / 2], "{context}");
        assert_eq!(fs::read(self.precious.join("cow")).expect("it is there"), b"precious");
        assert_eq!(fs::read_dir(&self.precious).expect("it is there").count(), 2, "{context}");
    }
}

fn corrupt<T: std::fmt::Debug>(result: calf::Result<T>, context: &str) -> String {
    let error = result.expect_err(context);
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{context}: {error:?}");
    assert!(!error.remedies().is_empty(), "{context}: {error:?}");
    error.report()
}

/// A text to replace in a record, and its replacement.
type Edit = fn(&Damaged) -> (String, String);
/// Puts another kind of file at a path; the other argument is a directory outside the pool, with
/// files of its own.
type Replacement = fn(&Path, &Path);

#[test]
fn an_edited_volume_record_is_reported_and_harms_no_other() {
    let edits: [(&str, Edit); 7] = [
        ("digest", |d| (d.digest(), "../../../precious".into())),
        ("digest", |d| (d.digest(), "0".repeat(63))),
        ("chunkSize", |_| ("\"chunkSize\": 4096".into(), "\"chunkSize\": 0".into())),
        ("size", |_| ("\"size\": 1048576".into(), "\"size\": 7".into())),
        ("volume other", |_| ("\"id\": \"victim\"".into(), "\"id\": \"other\"".into())),
        ("unknown field", |_| ("\"id\"".into(), "\"new\": 1, \"id\"".into())),
        ("line", |_| ("}".into(), "".into())),
    ];
    for (told, edit) in edits {
        let damaged = Damaged::new();
        let path = damaged.directory("victim").join("volume.json");
        let (from, to) = edit(&damaged);
        damaged.edit(&path, &from, &to);
        let publish = publication(&damaged.environment, "victim", block());
        for (call, report) in [
            (
                "look",
                corrupt(damaged.pool.volume("victim").and_then(|volume| volume.status()), told),
            ),
            (
                "publish",
                corrupt(
                    damaged.pool.volume("victim").and_then(|volume| volume.publish(&publish)),
                    told,
                ),
            ),
            (
                "delete",
                corrupt(damaged.pool.volume("victim").and_then(|volume| volume.delete()), told),
            ),
        ] {
            assert!(report.contains("volume.json") && report.contains(told), "{call}: {report}");
        }
        let damage = damaged.pool.damage().expect("a list");
        assert_eq!(damage.len(), 1, "{told}: {damage:?}");
        let reconciled = damaged.pool.reconcile().expect("it goes on with the rest");
        assert_eq!(reconciled.failed.len(), 1, "{told}: {reconciled:?}");
        damaged.everything_else_is_well(told);
        assert!(path.exists(), "{told}: what is not understood is not deleted");
    }
}

#[test]
fn a_blank_record_is_a_creation_cut_short_unless_the_volume_was_used() {
    for blank in [&b""[..], &[0; 300]] {
        let damaged = Damaged::new();
        let path = damaged.directory("victim").join("volume.json");
        damaged.pool.volume("victim").expect("a volume id").activate().expect("activate");
        fs::write(&path, blank).expect("a blank record");
        corrupt(
            damaged.pool.volume("victim").and_then(|volume| volume.status()),
            "while it is active",
        );
        assert_eq!(damaged.pool.reconcile().expect("reconcile").failed.len(), 1);
        assert!(path.exists(), "what is used is not deleted");

        let damaged = Damaged::new();
        let directory = damaged.directory("victim");
        let header = [&b"SnAp\x01\0\0\0\x01\0\0\0\x08\0\0\0"[..], &[0; 4080]].concat();
        fs::write(directory.join("cow"), header).expect("as the kernel leaves it");
        fs::write(directory.join("volume.json"), blank).expect("a blank record");
        corrupt(
            damaged.pool.volume("victim").and_then(|volume| volume.status()),
            "after it was active",
        );
        damaged.everything_else_is_well("after it was active");
        assert!(directory.join("volume.json").exists(), "what was used is not deleted");

        let damaged = Damaged::new();
        let directory = damaged.directory("victim");
        fs::write(directory.join("volume.json"), blank).expect("a blank record");
        let unknown = damaged
            .pool
            .volume("victim")
            .and_then(|volume| volume.status())
            .expect_err("it was never made");
        assert_eq!(unknown.kind(), ErrorKind::NotFound);
        assert!(damaged.pool.damage().expect("a list").is_empty());
        damaged.pool.reconcile().expect("reconcile");
        assert!(!directory.exists(), "remains are removed");
        damaged.pool.create_volume(&spec("victim")).expect("create again");
        damaged.everything_else_is_well("never used");

        fs::write(directory.join("volume.json"), blank).expect("a blank record");
        damaged.pool.create_volume(&spec("victim")).expect("a repeated call creates it");
        fs::write(directory.join("volume.json"), blank).expect("a blank record");
        fs::rename(directory.join("cow"), directory.join("disk")).expect("as in fallback");
        corrupt(
            damaged.pool.volume("victim").and_then(|volume| volume.status()),
            "nothing tells whether a copy was used",
        );
    }
}

#[test]
fn a_record_that_is_not_a_regular_file_is_reported_at_once() {
    let replacements: [(&str, Replacement); 3] = [
        ("symbolic link", |path, precious| symlink(precious.join("cow"), path).expect("a link")),
        ("regular file", |path, _| fs::create_dir(path).expect("a directory")),
        ("regular file", |path, _| {
            use rustix::fs::{CWD, FileType, Mode, mknodat};
            mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).expect("a pipe");
        }),
    ];
    for (told, replace) in replacements {
        let damaged = Damaged::new();
        let path = damaged.directory("victim").join("volume.json");
        fs::remove_file(&path).expect("a record");
        replace(&path, &damaged.precious);
        let report =
            corrupt(damaged.pool.volume("victim").and_then(|volume| volume.status()), told);
        assert!(report.contains(told), "{report}");
        damaged.everything_else_is_well(told);
    }
}

#[test]
fn a_replaced_store_is_reported_and_the_volume_can_be_deleted() {
    let replacements: [(&str, Replacement); 5] = [
        ("symbolic link", |path, precious| symlink(precious.join("cow"), path).expect("a link")),
        ("directory", |path, _| fs::create_dir(path).expect("a directory")),
        ("hard links", |path, precious| {
            fs::hard_link(precious.join("cow"), path).expect("a hard link");
        }),
        ("does not start", |path, _| fs::write(path, b"not a COW store at all").expect("a file")),
        ("does not start", |path, _| fs::write(path, b"x").expect("a file")),
    ];
    for (told, replace) in replacements {
        let damaged = Damaged::new();
        let path = damaged.directory("victim").join("cow");
        fs::remove_file(&path).expect("a store");
        replace(&path, &damaged.precious);
        let report =
            corrupt(damaged.pool.volume("victim").and_then(|volume| volume.activate()), told);
        assert!(report.contains(told), "{report}");
        damaged.everything_else_is_well(told);
        damaged.pool.volume("victim").expect("a volume id").delete().expect("delete");
        damaged.everything_else_is_well(told);
        assert_eq!(damaged.environment.host.leftovers(), Vec::<String>::new());
    }
}

#[test]
fn a_store_that_was_deleted_is_not_made_anew_by_a_repeated_create() {
    let damaged = Damaged::new();
    fs::remove_file(damaged.directory("victim").join("cow")).expect("a store");
    let spec = spec("victim").durability(Durability::Durable);
    let report = corrupt(damaged.pool.create_volume(&spec), "create");
    assert!(report.contains("missing"), "{report}");
    damaged.pool.volume("victim").expect("a volume id").delete().expect("delete");
    damaged.pool.create_volume(&spec).expect("create");
    damaged.pool.volume("victim").expect("a volume id").activate().expect("activate");
}

#[test]
fn a_volume_directory_that_leads_elsewhere_is_not_followed() {
    let damaged = Damaged::new();
    let directory = damaged.directory("victim");
    let elsewhere = damaged.environment.directory.path().join("elsewhere");
    fs::rename(&directory, &elsewhere).expect("a move");
    symlink(&elsewhere, &directory).expect("a link");
    let publish = publication(&damaged.environment, "victim", block());
    corrupt(damaged.pool.volume("victim").and_then(|volume| volume.publish(&publish)), "publish");
    corrupt(damaged.pool.volume("victim").and_then(|volume| volume.delete()), "delete");
    assert_eq!(damaged.pool.damage().expect("a list").len(), 1);
    damaged.everything_else_is_well("a linked directory");
    assert_eq!(fs::read_dir(&elsewhere).expect("it is there").count(), 2, "record and store");
}

#[test]
fn replaced_template_content_is_reported_and_not_extended() {
    let replacements: [(&str, Replacement); 4] = [
        ("missing", |_, _| ()),
        ("truncated", |path, _| fs::write(path, b"short").expect("a file")),
        ("replaced", |path, precious| symlink(precious.join("image"), path).expect("a link")),
        ("replaced", |path, _| fs::create_dir(path).expect("a directory")),
    ];
    for (told, replace) in replacements {
        let damaged = Damaged::new();
        let image = damaged.root().join("images").join(damaged.digest()).join("image");
        fs::remove_file(&image).expect("the content");
        replace(&image, &damaged.precious);
        for report in [
            corrupt(damaged.pool.volume("victim").and_then(|volume| volume.activate()), told),
            corrupt(damaged.pool.create_volume(&spec("new")), told),
        ] {
            assert!(report.contains(told), "{report}");
        }
        let precious = fs::read(damaged.precious.join("image")).expect("it is there");
        assert_eq!(precious.len() as u64, TEMPLATE_SIZE / 2, "it was not extended");
    }
}

/// The remedy in the message about damaged content.
#[test]
fn damaged_content_is_mended_by_a_new_import_of_the_same_file() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 3] = [
        ("truncated", |path| fs::write(path, b"short").expect("a file")),
        ("deleted", |path| fs::remove_file(path).expect("removed")),
        ("a directory", |path| {
            fs::remove_file(path).expect("removed");
            fs::create_dir(path).expect("a directory");
        }),
    ];
    for (name, damage) in damages {
        let damaged = Damaged::new();
        let image = damaged.root().join("images").join(damaged.digest()).join("image");
        let good = fs::read(&image).expect("content");
        fs::set_permissions(&image, fs::Permissions::from_mode(0o600)).expect("writable");
        damage(&image);
        let error =
            damaged.pool.volume("victim").and_then(|volume| volume.activate()).expect_err(name);
        assert!(error.report().contains("import the template again"), "{name}: {error:?}");
        damaged.environment.import("debian", 0xca);
        assert!(fs::read(&image).expect("content") == good, "{name}");
        damaged.pool.volume("victim").expect("a volume id").activate().expect(name);
    }
}

#[test]
fn damaged_content_is_not_replaced_under_a_live_volume() {
    let damaged = Damaged::new();
    damaged.pool.volume("victim").expect("a volume id").activate().expect("activate");
    let image = damaged.root().join("images").join(damaged.digest()).join("image");
    let length = fs::metadata(&image).expect("content").len();
    let file = fs::OpenOptions::new().write(true).open(&image).expect("root may write");
    file.set_len(512).expect("truncated");
    let error = damaged.environment.try_import("debian", 0xca).expect_err("it is in use");
    assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
    damaged.pool.volume("victim").expect("a volume id").deactivate().expect("as the message says");
    damaged.environment.import("debian", 0xca);
    assert!(fs::metadata(&image).expect("content").len() >= length.min(TEMPLATE_SIZE));
    damaged.pool.volume("victim").expect("a volume id").activate().expect("activate");
}

#[test]
fn an_edited_template_record_is_reported_and_a_new_import_replaces_it() {
    let edits: [(&str, Edit); 3] = [
        ("digest", |d| (d.digest(), "../../../precious".into())),
        ("template other", |_| ("\"name\": \"debian\"".into(), "\"name\": \"other\"".into())),
        ("size", |_| ("\"size\": 1048576".into(), "\"size\": 0".into())),
    ];
    for (told, edit) in edits {
        let damaged = Damaged::new();
        damaged.environment.import("alpine", 9);
        let path = damaged.root().join("templates/debian.json");
        let (from, to) = edit(&damaged);
        damaged.edit(&path, &from, &to);
        assert!(
            corrupt(damaged.pool.template("debian").and_then(|template| template.record()), told)
                .contains(told)
        );
        assert!(corrupt(damaged.pool.create_volume(&spec("new")), told).contains(told));
        let names: Vec<String> =
            damaged.pool.templates().expect("a list").into_iter().map(|t| t.name).collect();
        assert_eq!(names, ["alpine"], "{told}");
        assert_eq!(damaged.pool.damage().expect("a list").len(), 1, "{told}");
        damaged.everything_else_is_well(told);
        // While its volumes exist, its content must stay.
        damaged.environment.import("debian", 0xca);
        damaged.pool.create_volume(&spec("new")).expect("create");
    }
}
