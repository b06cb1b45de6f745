//! Operations on pools and templates, failing or dying at each call to the machine in turn: a
//! repeated call must reach the state of an undisturbed one, and nothing may be left behind.

use std::fs;
use std::path::PathBuf;

#[cfg(feature = "formats")]
use calf::EmptyFileSystem;
use calf::sys::fake::Failure;
use calf::{ErrorKind, ImportSpec, Pool, Publish, Volume};
use calf_test_kit::simulated_pool::{
    Environment, FAILURES, block, publication, spec, unless_crashed,
};

/// The operations on a machine, and the check that they succeeded.
struct Scenario {
    prepare: fn(&Environment),
    run: fn(&Environment) -> calf::Result<()>,
    check: fn(&Environment, &str),
    /// Fewer calls than this mean that the scenario did not run.
    least: u64,
}

impl Scenario {
    fn check_all(&self) {
        for failure in FAILURES {
            let mut n = 1;
            while self.fails_well(n, failure) {
                n += 1;
            }
            assert!(n > self.least, "{failure:?}: only {n} calls, so it did not run");
        }
    }

    /// Makes the `n`-th call fail, then repeats everything; returns whether there are that many
    /// calls.
    fn fails_well(&self, n: u64, failure: Failure) -> bool {
        let context = format!("{failure:?} at call {n}");
        let environment = Environment::new();
        (self.prepare)(&environment);
        environment.host.fail_at(n, failure);
        // What a failure does to the outcome, the repetition shows.
        let _ = unless_crashed(|| (self.run)(&environment));
        let reached = environment.host.heal();
        (self.run)(&environment).unwrap_or_else(|error| panic!("{context}: {error:?}"));
        (self.check)(&environment, &context);
        let report = environment.pool().reconcile().expect("reconcile");
        assert_eq!(report.failed, Vec::<String>::new(), "{context}");
        assert_eq!(left_of_imports(&environment), Vec::<PathBuf>::new(), "{context}");
        reached
    }
}

/// Directories of imports that were not completed.
fn left_of_imports(environment: &Environment) -> Vec<PathBuf> {
    let images = fs::read_dir(environment.directory.path().join("pool/images")).expect("images");
    images
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.')))
        .collect()
}

/// Digests of the content in the pool.
fn contents(environment: &Environment) -> usize {
    fs::read_dir(environment.directory.path().join("pool/images")).expect("images").count()
}

/// Data, a hole, and data again, so that an import reads, seeks and writes more than once.
fn image_with_a_hole(environment: &Environment) -> PathBuf {
    use std::os::unix::fs::FileExt as _;
    let path = environment.directory.path().join("holes.img");
    if !path.exists() {
        let file = fs::File::create(&path).expect("a file");
        file.write_all_at(&[1; 8192], 0).expect("data");
        file.write_all_at(&[2; 8192], (3 << 20) - 8192).expect("data");
    }
    path
}

fn import(environment: &Environment, name: &str) -> calf::Result<()> {
    let spec = ImportSpec::new(image_with_a_hole(environment), name);
    open(environment)?.import_template(&spec, &mut |_| ()).map(drop)
}

/// A volume that is shown as a block device.
fn published_volume(environment: &Environment) -> (Volume, Publish) {
    let publish = publication(environment, "volume", block());
    let volume = environment.pool().create_volume(&spec("volume")).expect("create");
    volume.publish(&publish).expect("publish");
    (volume, publish)
}

fn open(environment: &Environment) -> calf::Result<Pool> {
    environment.options().open(environment.directory.path().join("pool"))
}

#[test]
fn a_pool_is_born_once_whatever_call_fails() {
    Scenario {
        prepare: |_| (),
        run: |environment| {
            environment.options().open(environment.directory.path().join("new")).map(drop)
        },
        check: |environment, context| {
            use std::os::unix::fs::PermissionsExt as _;
            let root = environment.directory.path().join("new");
            let born = environment.options().open(&root).expect("a pool");
            let again = environment.options().open(&root).expect("a pool");
            assert_eq!(born.id(), again.id(), "{context}");
            let mode = fs::metadata(&root).expect("a directory").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{context}");
        },
        least: 5,
    }
    .check_all();
}

/// Checks that the template has the content of the image with a hole.
fn is_whole(environment: &Environment, context: &str) {
    let pool = environment.pool();
    let template =
        pool.template("holes").and_then(|template| template.record()).expect("a template");
    let image = environment.directory.path().join("pool/images").join(template.digest.as_str());
    let [made, given] = [image.join("image"), image_with_a_hole(environment)].map(fs::read);
    assert!(made.expect("content") == given.expect("an image"), "{context}");
    assert_eq!(contents(environment), 2, "{context}");
}

#[test]
fn a_template_is_imported_whole_whatever_call_fails() {
    Scenario {
        prepare: |_| (),
        run: |environment| import(environment, "holes"),
        check: is_whole,
        least: 30,
    }
    .check_all();
}

/// The same image, compressed.
#[cfg(feature = "formats")]
fn compressed_image(environment: &Environment) -> PathBuf {
    let image = image_with_a_hole(environment);
    let path = image.with_extension("img.zst");
    if !path.exists() {
        let status = std::process::Command::new("zstd").arg("-q").arg(&image).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "zstd (tests/deps.sh test installs it)"
        );
    }
    path
}

#[test]
#[cfg(feature = "formats")]
fn a_compressed_image_is_imported_whole_whatever_call_fails() {
    Scenario {
        prepare: |_| (),
        run: |environment| {
            let spec = ImportSpec::new(compressed_image(environment), "holes");
            open(environment)?.import_template(&spec, &mut |_| ()).map(drop)
        },
        check: is_whole,
        least: 20,
    }
    .check_all();
}

/// The same image as a qcow2 image, as it is or compressed once more, so that it is copied first.
#[cfg(feature = "formats")]
fn disk_image(environment: &Environment, compressed: bool) -> PathBuf {
    let (image, path) =
        (image_with_a_hole(environment), environment.directory.path().join("holes.qcow2"));
    let done = |program: &str, arguments: &[&str], file: &std::path::Path| {
        let status = std::process::Command::new(program).args(arguments).arg(file).status();
        let done = status.is_ok_and(|status| status.success());
        assert!(done, "{program} (tests/deps.sh test installs it)");
    };
    if !path.exists() {
        let image = image.to_str().expect("a path");
        done("qemu-img", &["convert", "-c", "-f", "raw", "-O", "qcow2", image], &path);
        done("zstd", &["-q", "-k"], &path);
    }
    if compressed { path.with_extension("qcow2.zst") } else { path }
}

#[test]
#[cfg(feature = "formats")]
fn the_disk_of_an_image_is_imported_whole_whatever_call_fails() {
    fn import(environment: &Environment, compressed: bool) -> calf::Result<()> {
        let spec = ImportSpec::new(disk_image(environment, compressed), "holes");
        open(environment)?.import_template(&spec, &mut |_| ()).map(drop)
    }
    let plain: fn(&Environment) -> calf::Result<()> = |environment| import(environment, false);
    for run in [plain, |environment| import(environment, true)] {
        Scenario { prepare: |_| (), run, check: is_whole, least: 30 }.check_all();
    }
}

#[test]
#[cfg(feature = "formats")]
fn an_empty_file_system_is_made_whole_whatever_call_fails() {
    Scenario {
        prepare: |_| (),
        run: |environment| {
            let spec = ImportSpec::new(EmptyFileSystem::Ext4, "scratch").size(16 << 20);
            open(environment)?.import_template(&spec, &mut |_| ()).map(drop)
        },
        check: |environment, context| {
            let template = environment.pool().template("scratch").expect("a name");
            let record = template.record().expect("a template");
            assert_eq!(record.fs_type.as_deref(), Some("ext4"), "{context}");
            let images = environment.directory.path().join("pool/images");
            let content =
                fs::read(images.join(record.digest.as_str()).join("image")).expect("content");
            assert_eq!(content.len(), 16 << 20, "{context}");
            assert_eq!(
                calf_test_kit::programs::hex_of(&content),
                record.digest.as_str(),
                "{context}"
            );
        },
        least: 20,
    }
    .check_all();
}

#[test]
fn a_name_moves_to_new_content_whatever_call_fails() {
    Scenario {
        prepare: |environment| {
            // The volume leaves the hint of a loop device.
            let (volume, publish) = published_volume(environment);
            volume.unpublish(&publish.target).expect("unpublish");
            volume.unstage(&publish.stage.path).expect("unstage");
            volume.delete().expect("delete");
        },
        run: |environment| import(environment, "debian"),
        check: |environment, context| {
            let pool = environment.pool();
            assert_eq!(
                pool.template("debian")
                    .and_then(|template| template.record())
                    .expect("a template")
                    .size,
                3 << 20,
                "{context}"
            );
            pool.reconcile().expect("reconcile");
            assert_eq!(contents(environment), 1, "{context}: the former content goes");
        },
        least: 30,
    }
    .check_all();
}

#[test]
fn a_template_is_removed_whatever_call_fails() {
    Scenario {
        prepare: |_| (),
        run: |environment| match open(environment)?.template("debian")?.remove() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        },
        check: |environment, context| {
            environment.pool().reconcile().expect("reconcile");
            assert_eq!(contents(environment), 0, "{context}");
        },
        least: 10,
    }
    .check_all();
}

#[test]
fn a_reconciliation_takes_nothing_that_is_used_whatever_call_fails() {
    Scenario {
        prepare: |environment| drop(published_volume(environment)),
        run: |environment| match open(environment)?.reconcile()?.failed.as_slice() {
            [] => Ok(()),
            failed => {
                assert!(failed.iter().all(|story| story.contains("the test made")), "{failed:?}");
                Ok(())
            }
        },
        check: |environment, context| {
            let volume = environment
                .pool()
                .volume("volume")
                .and_then(|volume| volume.status())
                .expect("it lives");
            assert!(volume.device.is_some(), "{context}");
            assert_eq!(contents(environment), 1, "{context}");
        },
        least: 15,
    }
    .check_all();
}
