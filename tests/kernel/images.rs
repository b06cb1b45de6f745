//! Unusual, damaged and hostile images in a real kernel.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use calf::{
    Access, ErrorKind, ImportSpec, Publish, Result, Stage, TemplateRecord, Volume, VolumeSpec,
};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{self, Rig, run};

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("an_image_that_asks_for_a_panic_does_not_get_one", panic),
        kernel::test("mount_options_in_a_superblock_are_refused", mount_options),
        kernel::test("a_journal_on_another_device_is_refused", external_journal),
        kernel::test("an_xfs_of_two_devices_is_refused", external_log),
        kernel::test("a_volume_is_looked_at_each_time_before_it_is_mounted", rewritten),
        kernel::test("a_volume_that_would_let_a_mount_wait_is_refused", multi_mount),
        kernel::test("an_image_that_was_cut_short_is_refused", cut_short),
        kernel::test("a_file_system_smaller_than_its_image_is_served", smaller),
        kernel::test("an_image_of_a_mounted_file_system_is_served_to_writers", not_unmounted),
        kernel::test("what_does_not_grow_is_named", not_growing),
        kernel::test("what_the_kernel_does_not_mount_is_named", not_mountable),
        kernel::test("what_mkfs_makes_has_nothing_unusual", usual),
        kernel::test("a_file_of_another_file_system_is_not_taken_for_one_before", lookalike),
    ])
}

const MIB: u64 = 1 << 20;

/// An image of `size` bytes, made by `mkfs.ext4` or `mkfs.xfs` with these options.
fn image(rig: &Rig, name: &str, size: u64, mkfs: &str, options: &[&str]) -> PathBuf {
    let path = rig.path(name);
    File::create(&path).and_then(|file| file.set_len(size)).expect("an image");
    let all = [options, if mkfs == "mkfs.xfs" { &["-q", "-f"] } else { &["-q", "-F"] }].concat();
    run(mkfs, &all, &[&path]);
    path
}

/// An ext4 of 64 MiB.
fn ext4(rig: &Rig, name: &str, options: &[&str]) -> PathBuf {
    image(rig, name, 64 * MIB, "mkfs.ext4", &[&["-b", "4096"], options].concat())
}

fn import(rig: &Rig, path: &Path, name: &str) -> Result<TemplateRecord> {
    rig.pool.import_template(&ImportSpec::new(path, name), &mut |_| ())
}

fn assert_refused<T>(outcome: Result<T>, kind: ErrorKind, words: &[&str]) {
    let Err(error) = outcome else { panic!("it was not refused: {words:?}") };
    let report = error.report();
    assert_eq!(error.kind(), kind, "{report}");
    assert!(words.iter().all(|word| report.contains(word)), "{words:?}: {report}");
    assert!(!error.remedies().is_empty(), "{report}");
}

/// A volume of an image, with the paths at which it appears.
struct Shown<'a> {
    rig: &'a Rig,
    volume: Volume,
    publish: Publish,
}

impl<'a> Shown<'a> {
    fn new(rig: &'a Rig, template: &str, size: Option<u64>) -> Self {
        let id = format!("volume-of-{template}");
        let mut spec = VolumeSpec::new(&id, template);
        spec.size = size;
        rig.pool.create_volume(&spec).expect("create");
        let volume = rig.pool.volume(&id).expect("a volume id");
        Self { rig, volume, publish: rig.publication(&id, real_pool::mount()) }
    }

    fn stage(&self) -> Result<()> {
        self.volume.stage(&self.publish.stage)
    }

    fn publish(&self) {
        self.stage().expect("stage");
        self.volume.publish(&self.publish).expect("publish");
    }

    /// Runs `write` on the volume's device, as a guest would.
    fn as_disk(&self, write: impl FnOnce(&Path)) {
        let disk = self.rig.publication(self.volume.id(), Access::Block);
        self.volume.stage(&disk.stage).expect("stage");
        self.volume.publish(&disk).expect("publish");
        write(&disk.target);
        self.volume.unpublish(&disk.target).expect("unpublish");
        self.volume.unstage(&disk.stage.path).expect("unstage");
    }

    fn size(&self) -> u64 {
        let space = rustix::fs::statvfs(&self.publish.target).expect("statvfs");
        space.f_blocks * space.f_frsize
    }

    fn tear_down(self) {
        self.volume.unpublish(&self.publish.target).expect("unpublish");
        self.volume.unstage(&self.publish.stage.path).expect("unstage");
        self.volume.delete().expect("delete");
    }
}

fn panic() {
    let rig = Rig::new(kernel::Fs::Xfs);
    for (fs_type, options) in
        [("ext4", &[][..]), ("ext3", &["-t", "ext3"]), ("ext2", &["-t", "ext2"])]
    {
        let path = ext4(&rig, "image", options);
        run("tune2fs", &["-e", "panic"], &[&path]);
        let record = import(&rig, &path, fs_type).expect("an import");
        assert_eq!(record.fs_type.as_deref(), Some(fs_type));
        let shown = Shown::new(&rig, fs_type, None);
        shown.publish();
        let file = shown.publish.target.join("file");
        fs::write(&file, "before").expect("write");
        let device = shown.volume.activate().expect("activate").number();
        let trigger = format!("/sys/fs/ext4/dm-{}/trigger_fs_error", device.minor);
        fs::write(&trigger, "1").expect("an error in the file system");
        let written = fs::write(shown.publish.target.join("after"), "after");
        // Without a journal to stop it, Debian's 6.1 continues to write.
        assert!(written.is_err() || fs_type == "ext2", "{fs_type}: an error makes it read-only");
        assert_eq!(fs::read(&file).expect("read"), b"before");
        shown.tear_down();
    }
}

fn mount_options() {
    let rig = Rig::new(kernel::Fs::Xfs);
    for (n, options) in ["errors=panic", "journal_path=/dev/loop0", "commit=1"].iter().enumerate() {
        let path = ext4(&rig, "image", &[]);
        run("tune2fs", &["-E", &format!("mount_opts={options}")], &[&path]);
        let name = format!("options-{n}");
        import(&rig, &path, &name).expect("a guest may want these options");
        let shown = Shown::new(&rig, &name, None);
        assert_refused(shown.stage(), ErrorKind::Unsupported, &[options, "tune2fs -E mount_opts="]);
        shown.as_disk(|device| drop(run("tune2fs", &["-E", "mount_opts="], &[device])));
        shown.publish();
        shown.tear_down();
    }
}

/// A loop device over a file of `size` bytes, until it is dropped.
struct Loop(PathBuf);

impl Loop {
    fn new(rig: &Rig, name: &str, size: u64) -> Self {
        let path = rig.path(name);
        File::create(&path).and_then(|file| file.set_len(size)).expect("a file");
        Self(run("losetup", &["--find", "--show"], &[&path]).into())
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        run("losetup", &["--detach"], &[&self.0]);
    }
}

/// A device of the node, formatted as the journal of an ext4.
fn journal(rig: &Rig) -> Loop {
    let device = Loop::new(rig, "journal", 16 * MIB);
    run("mke2fs", &["-q", "-F", "-b", "4096", "-O", "journal_dev"], &[&device.0]);
    device
}

fn external_journal() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let journal = journal(&rig);
    let path = ext4(&rig, "image", &["-J", &format!("device={}", journal.0.display())]);
    let words = ["keeps its journal on another device", "tune2fs -O ^has_journal"];
    assert_refused(import(&rig, &path, "external"), ErrorKind::InvalidArgument, &words);
    let words = ["is the journal of another file system"];
    assert_refused(import(&rig, &journal.0, "journal"), ErrorKind::InvalidArgument, &words);
    // As the remedy says.
    run("tune2fs", &["-f", "-O", "^has_journal"], &[&path]);
    run("tune2fs", &["-j"], &[&path]);
    import(&rig, &path, "internal").expect("an import");
    let shown = Shown::new(&rig, "internal", None);
    shown.publish();
    shown.tear_down();
}

fn external_log() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let other = Loop::new(&rig, "other", 64 * MIB);
    for (option, words) in [("-llogdev", "keeps its log"), ("-rrtdev", "keeps a realtime section")]
    {
        let option = format!("{option}={}", other.0.display());
        // mkfs.xfs allows neither with these features.
        let options = ["-m", "reflink=0,rmapbt=0", &option];
        let path = image(&rig, "image", 320 * MIB, "mkfs.xfs", &options);
        assert_refused(import(&rig, &path, "two"), ErrorKind::InvalidArgument, &[words]);
    }
}

fn rewritten() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let journal = journal(&rig);
    import(&rig, &ext4(&rig, "image", &[]), "plain").expect("an import");
    let shown = Shown::new(&rig, "plain", None);
    shown.publish();
    fs::write(shown.publish.target.join("file"), "precious").expect("write");
    shown.volume.unpublish(&shown.publish.target).expect("unpublish");
    shown.volume.unstage(&shown.publish.stage.path).expect("unstage");

    let device = format!("device={}", journal.0.display());
    shown.as_disk(|disk| {
        run("tune2fs", &["-O", "^has_journal"], &[disk]);
        run("tune2fs", &["-J", &device], &[disk]);
    });
    let words = ["keeps its journal on another device"];
    assert_refused(shown.stage(), ErrorKind::Unsupported, &words);
    let readers = Stage::new(&shown.publish.stage.path, real_pool::mount()).read_only(true);
    assert_refused(shown.volume.stage(&readers), ErrorKind::Unsupported, &words);

    shown.as_disk(|disk| drop(run("tune2fs", &["-f", "-O", "^has_journal"], &[disk])));
    shown.publish();
    assert_eq!(fs::read(shown.publish.target.join("file")).expect("read"), b"precious");
    shown.volume.unpublish(&shown.publish.target).expect("unpublish");
    shown.volume.unstage(&shown.publish.stage.path).expect("unstage");

    shown.as_disk(|disk| {
        let options = ["-q", "-f", "-m", "uuid=4b5a3e6e-0000-4000-8000-000000000001"];
        // The volume is too small for mkfs.xfs, but only its start matters.
        let xfs = image(&rig, "other", 320 * MIB, "mkfs.xfs", &options[2..]);
        let mut start = vec![0; 4096];
        File::open(xfs).and_then(|file| file.read_exact_at(&mut start, 0)).expect("read");
        let disk = OpenOptions::new().write(true).open(disk).expect("the device");
        disk.write_all_at(&start, 0).and_then(|()| disk.sync_all()).expect("write");
    });
    assert_refused(shown.stage(), ErrorKind::Corrupt, &["does not contain ext4"]);
    shown.volume.delete().expect("delete");
}

fn multi_mount() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let path = ext4(&rig, "image", &["-O", "mmp"]);
    import(&rig, &path, "mmp").expect("a guest may want it");
    let shown = Shown::new(&rig, "mmp", None);
    let begun = Instant::now();
    assert_refused(shown.stage(), ErrorKind::Unsupported, &["mmp", "tune2fs -O ^mmp"]);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    shown.as_disk(|disk| drop(run("tune2fs", &["-O", "^mmp"], &[disk])));
    shown.publish();
    shown.tear_down();
}

fn cut_short() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let ext4 = ext4(&rig, "image", &[]);
    let xfs = image(&rig, "xfs", 320 * MIB, "mkfs.xfs", &[]);
    let btrfs = image(&rig, "btrfs", 128 * MIB, "mkfs.ext4", &[]);
    run("mkfs.btrfs", &["-q", "-f"], &[&btrfs]);
    for (path, size) in [(ext4, "64 MiB"), (xfs, "320 MiB"), (btrfs, "128 MiB")] {
        let file = OpenOptions::new().write(true).open(&path).expect("an image");
        file.set_len(40 * MIB).expect("cut");
        let words = [size, "40 MiB", "cut short"];
        assert_refused(import(&rig, &path, "cut"), ErrorKind::InvalidArgument, &words);
    }
}

fn smaller() {
    let rig = Rig::new(kernel::Fs::Xfs);
    for (fs_type, size) in [("ext4", 64 * MIB), ("xfs", 320 * MIB)] {
        let path = image(&rig, "image", size, &format!("mkfs.{fs_type}"), &[]);
        let file = OpenOptions::new().write(true).open(&path).expect("an image");
        file.set_len(2 * size).expect("longer");
        import(&rig, &path, fs_type).expect("an import");
        let shown = Shown::new(&rig, fs_type, None);
        shown.publish();
        assert!(shown.size() <= size, "{fs_type} of the template's size stays as it was");
        shown.tear_down();
        let shown = Shown::new(&rig, fs_type, Some(4 * size));
        shown.publish();
        assert!(shown.size() > 3 * size, "{fs_type} grows to all of a larger volume");
        shown.tear_down();
    }
}

fn not_unmounted() {
    let rig = Rig::new(kernel::Fs::Ext4);
    for (fs_type, size) in [("ext4", 64 * MIB), ("xfs", 320 * MIB)] {
        let path = image(&rig, "image", size, &format!("mkfs.{fs_type}"), &[]);
        let (mounted, copy) = (rig.path("mounted"), rig.path("copy"));
        fs::create_dir_all(&mounted).expect("a directory");
        run("mount", &["-o", "loop"], &[&path, &mounted]);
        let file = File::create(mounted.join("file")).expect("create");
        file.write_all_at(b"synced", 0).and_then(|()| file.sync_all()).expect("write");
        run("sync", &["-f"], &[&path]);
        fs::copy(&path, &copy).expect("a copy of the mounted image");
        drop(file);
        run("umount", &[], &[&mounted]);

        import(&rig, &copy, fs_type).expect("an import");
        let shown = Shown::new(&rig, fs_type, None);
        let readers = Stage::new(&shown.publish.stage.path, real_pool::mount()).read_only(true);
        let words = ["not unmounted cleanly", "stage it once with an access mode that writes"];
        assert_refused(shown.volume.stage(&readers), ErrorKind::Unsupported, &words);
        shown.publish();
        assert_eq!(fs::read(shown.publish.target.join("file")).expect("read"), b"synced");
        shown.volume.unpublish(&shown.publish.target).expect("unpublish");
        shown.volume.unstage(&shown.publish.stage.path).expect("unstage");
        shown.volume.stage(&readers).expect("after that, readers can mount it");
        shown.tear_down();
    }
}

fn not_growing() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let sparse = ext4(&rig, "sparse", &["-O", "sparse_super2,^resize_inode"]);
    let flagged = ext4(&rig, "flagged", &[]);
    run("debugfs", &["-w", "-R", "set_super_value state 3"], &[&flagged]);
    for (path, name, word, remedy) in [
        (sparse, "sparse", "sparse_super2", "mkfs.ext4 -O ^sparse_super2"),
        (flagged, "flagged", "flagged as having errors", "e2fsck -f"),
    ] {
        import(&rig, &path, name).expect("an import");
        let shown = Shown::new(&rig, name, Some(128 * MIB));
        assert_refused(shown.stage(), ErrorKind::Unsupported, &[word, remedy]);
        shown.volume.delete().expect("delete");

        // Without growth it works, and an expansion reports the same error.
        let shown = Shown::new(&rig, name, None);
        shown.publish();
        shown.volume.expand(128 * MIB).expect("expand the volume");
        let grown = shown.volume.expand_file_system(&shown.publish.target);
        assert_refused(grown, ErrorKind::Unsupported, &[word, remedy]);
        shown.tear_down();
    }
}

fn not_mountable() {
    let rig = Rig::new(kernel::Fs::Xfs);
    for (name, options, word) in [
        ("large-blocks", &["-b", "65536"][..], "blocks of 64 KiB"),
        ("casefold", &["-O", "casefold"], "CONFIG_UNICODE"),
        ("quota", &["-O", "quota"], "CONFIG_QFMT_V2"),
    ] {
        let path = image(&rig, name, 64 * MIB, "mkfs.ext4", options);
        import(&rig, &path, name).expect("other kernels may mount it");
        let shown = Shown::new(&rig, name, None);
        match shown.stage() {
            Ok(()) => {
                println!("{name}: this kernel mounts it");
                shown.tear_down();
            }
            refused => {
                println!("{name}: {}", refused.as_ref().expect_err("an error").report());
                assert_refused(refused, ErrorKind::Unsupported, &[word]);
                shown.volume.delete().expect("delete");
            }
        }
    }
}

/// Images of the kind that other tests use cause no warning and no error.
fn usual() {
    let rig = Rig::new(kernel::Fs::Xfs);
    for (name, size, mkfs, options) in [
        ("ext4", 64 * MIB, "mkfs.ext4", &["-b", "4096"][..]),
        ("ext3", 64 * MIB, "mkfs.ext4", &["-b", "4096", "-t", "ext3"]),
        ("ext2", 64 * MIB, "mkfs.ext4", &["-b", "4096", "-t", "ext2"]),
        ("xfs", 320 * MIB, "mkfs.xfs", &[]),
    ] {
        let path = image(&rig, "image", size, mkfs, options);
        assert_eq!(import(&rig, &path, name).expect("an import").fs_type.as_deref(), Some(name));
        let shown = Shown::new(&rig, name, Some(2 * size));
        shown.publish();
        assert!(shown.size() > size, "{name}");
        shown.tear_down();
    }
}

/// Two file systems that differ only in the bytes of one file, mounted in the same place: name, inode,
/// size, times and device number of the file are the same.
fn lookalike() {
    let rig = Rig::new(kernel::Fs::Xfs);
    let (one, other) = (ext4(&rig, "one", &[]), rig.path("other"));
    let mounted = rig.path("mounted");
    fs::create_dir_all(&mounted).expect("a directory");
    run("mount", &["-o", "loop"], &[&one, &mounted]);
    fs::write(mounted.join("image"), vec![0xA1; 8 << 20]).expect("an image");
    run("umount", &[], &[&mounted]);
    let mut bytes = fs::read(&one).expect("read");
    for page in bytes.chunks_mut(4096).filter(|page| page.iter().all(|byte| *byte == 0xA1)) {
        page.fill(0xB2);
    }
    fs::write(&other, bytes).expect("write");
    std::thread::sleep(Duration::from_millis(150));

    let mut seen = Vec::new();
    for (path, name, byte) in [(&one, "first", 0xA1), (&other, "second", 0xB2)] {
        run("mount", &["-o", "loop,ro"], &[path, &mounted]);
        let image = mounted.join("image");
        let found = fs::metadata(&image).expect("its status");
        seen.push((found.dev(), found.ino(), found.size(), found.ctime(), found.ctime_nsec()));
        let record = import(&rig, &image, name).expect("an import");
        run("umount", &[], &[&mounted]);
        let content = rig.pool.root().join("images").join(record.digest.as_str()).join("image");
        let content = fs::read(content).expect("content");
        assert!(content == vec![byte; 8 << 20], "{name} has the content of another file");
    }
    assert_eq!(seen[0], seen[1], "the two files have the same identity");
}
