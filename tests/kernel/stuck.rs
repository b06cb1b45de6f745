//! What keeps a volume from being taken down, on a real kernel: who is named, and what calf ends itself.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use calf::{ErrorKind, Publish, VolumeSpec};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Rig, mount, run};

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("a_frozen_file_system_is_taken_down_like_any_other", frozen),
        kernel::test("a_frozen_file_system_that_was_left_is_thawed", left_frozen),
        kernel::test("a_frozen_file_system_that_others_have_mounted_stays", frozen_elsewhere),
        kernel::test("a_process_in_a_volume_is_named_with_its_file", processes),
        kernel::test("a_pod_is_named_by_its_control_group", pod),
        kernel::test("what_lies_in_or_on_a_volume_is_named", files),
        kernel::test("a_file_of_a_lazily_unmounted_volume_is_named", lazily),
        kernel::test("a_mount_in_another_namespace_is_named", other_namespace),
    ])
}

/// A pool with templates of both kinds, and the names of these.
fn rig() -> (Rig, [&'static str; 2]) {
    let rig = Rig::new(kernel::Fs::Xfs);
    let types = ["ext4", "xfs"];
    types.iter().for_each(|fs_type| rig.import_file_system(fs_type, fs_type));
    (rig, types)
}

/// A volume that is staged and published.
struct Volume<'a> {
    rig: &'a Rig,
    publish: Publish,
    id: String,
}

impl<'a> Volume<'a> {
    fn published(rig: &'a Rig, template: &str) -> Self {
        let id = format!("volume-of-{template}");
        let publish = rig.publication(&id, mount());
        rig.pool.create_volume(&VolumeSpec::new(id.as_str(), template)).expect("create");
        let volume = Self { rig, publish, id };
        volume.handle().stage(&volume.publish.stage).expect("stage");
        volume.handle().publish(&volume.publish).expect("publish");
        volume
    }

    fn handle(&self) -> calf::Volume {
        self.rig.pool.volume(&self.id).expect("a volume id")
    }

    fn staging(&self) -> &Path {
        &self.publish.stage.path
    }

    fn target(&self) -> &Path {
        &self.publish.target
    }

    fn freeze(&self) {
        run("fsfreeze", &["--freeze"], &[self.staging()]);
    }

    fn unpublish(&self) -> calf::Result<()> {
        self.handle().unpublish(self.target())
    }

    fn unstage(&self) -> calf::Result<()> {
        self.handle().unstage(self.staging())
    }

    fn tear_down(self) {
        self.rig.tear_down(&self.publish, &self.id);
    }
}

/// Checks that a call was refused since something is busy, and says so in these words.
fn named(result: calf::Result<()>, words: &[&str]) -> String {
    let error = result.expect_err("something is busy");
    assert_eq!(error.kind(), ErrorKind::InUse, "{error:?}");
    let report = error.report();
    for word in words {
        assert!(report.contains(word), "{word} is not in: {report}");
    }
    report
}

/// A process that ends when it is dropped.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        Self(command.stdin(Stdio::null()).spawn().expect("a process"))
    }

    /// Starts a shell script that says something once it is ready.
    fn script(program: &str, options: &[&str], script: &str, arguments: &[&Path]) -> Self {
        let mut command = Command::new(program);
        command.args(options).args(["sh", "-c", script, "sh"]).args(arguments);
        let mut process =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("a shell");
        let mut said = [0];
        process.stdout.take().expect("a pipe").read_exact(&mut said).expect("it is ready");
        Self(process)
    }

    fn name(&self, command: &str) -> String {
        format!("process {} ({command})", self.0.id())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().and_then(|()| self.0.wait()).expect("it ends");
    }
}

fn sleep() -> Command {
    let mut command = Command::new("sleep");
    command.arg("600");
    command
}

fn is_frozen(path: &Path) -> bool {
    let freeze = Command::new("fsfreeze").arg("--freeze").arg(path).stderr(Stdio::null()).status();
    let was_frozen = !freeze.expect("fsfreeze").success();
    if !was_frozen {
        run("fsfreeze", &["--unfreeze"], &[path]);
    }
    was_frozen
}

fn frozen() {
    let (rig, types) = rig();
    for fs_type in types {
        let volume = Volume::published(&rig, fs_type);
        fs::write(volume.target().join("file"), b"content").expect("write");
        volume.freeze();
        volume.unpublish().expect("unpublish");
        assert!(is_frozen(volume.staging()), "{fs_type}: whoever froze it may still use it");
        volume.unstage().expect("unstage");
        // What was written is there.
        volume.handle().publish(&volume.publish).expect("publish");
        let content = fs::read(volume.target().join("file")).expect("read");
        assert_eq!(content, b"content", "{fs_type}");
        volume.tear_down();
    }
    let publish = rig.publication("inline", mount());
    let spec = VolumeSpec::new("inline", "ext4").inline(true);
    rig.pool.publish_inline(&spec, &publish).expect("publish");
    run("fsfreeze", &["--freeze"], &[&publish.target]);
    rig.pool.volume("inline").expect("an id").unpublish(&publish.target).expect("unpublish");
    assert!(rig.pool.volumes().expect("a list").is_empty());
}

/// As calf 0.1 and administrators leave it: unmounted while it is frozen.
fn left_frozen() {
    let (rig, types) = rig();
    for fs_type in types {
        for read_only in [false, true] {
            let volume = Volume::published(&rig, fs_type);
            if read_only {
                run("mount", &["-o", "remount,ro"], &[volume.staging()]);
            }
            volume.freeze();
            let leave = || run("umount", &[], &[volume.target(), volume.staging()]);
            leave();
            volume.handle().deactivate().expect("deactivate");

            volume.handle().publish(&volume.publish).expect("publish");
            volume.freeze();
            leave();
            volume.handle().publish(&volume.publish).expect("publish");
            // This would wait.
            fs::write(volume.target().join("file"), b"content").expect("write");

            volume.freeze();
            leave();
            volume.handle().delete().expect("delete");
        }
    }
}

fn frozen_elsewhere() {
    let (rig, types) = rig();
    for fs_type in types {
        let volume = Volume::published(&rig, fs_type);
        volume.unpublish().expect("unpublish");
        let backup = Running::script("unshare", &["--mount"], "echo; exec sleep 600", &[]);
        volume.freeze();
        let other = format!("/proc/{}/root{}", backup.0.id(), volume.staging().display());
        let words = [volume.id.as_str(), "mount ", &backup.name("sleep")];
        named(volume.unstage(), &words);
        assert!(is_frozen(Path::new(&other)), "{fs_type}: the other one may rely on it");
        drop(backup);
        volume.tear_down();
    }
}

/// A library that this process has loaded, to be loaded from elsewhere.
fn library() -> PathBuf {
    let maps = fs::read_to_string("/proc/self/maps").expect("maps");
    let path = maps.split_whitespace().find(|word| word.contains("/libgcc_s")).expect("libgcc_s");
    PathBuf::from(path)
}

fn processes() {
    let (rig, types) = rig();
    for fs_type in types {
        let volume = Volume::published(&rig, fs_type);
        let other = Volume::published(&rig, types[usize::from(fs_type == types[0])]);
        let at = |name: &str| volume.target().join(name);
        fs::write(at("file"), b"content").expect("write");
        fs::create_dir(at("directory")).expect("a directory");
        fs::copy("/bin/sleep", at("sleep")).expect("a copy");
        fs::copy(library(), at("library.so")).expect("a copy");

        let open = |path: PathBuf| {
            let file = Stdio::from(File::open(path).expect("open"));
            Running(sleep().stdin(file).spawn().expect("a process"))
        };
        let innocent = [
            // Another volume, and the same one at another place.
            Running::start(sleep().current_dir(other.target())),
            Running::start(sleep().current_dir(volume.staging())),
        ];
        let mut preloaded = sleep();
        preloaded.env("LD_PRELOAD", at("library.so"));
        for (start, command, usage) in [
            (open(at("file")), "sleep", format!("which has {} open", at("file").display())),
            (
                Running::start(sleep().current_dir(at("directory"))),
                "sleep",
                format!("whose working directory is {}", at("directory").display()),
            ),
            (
                Running::start(Command::new(at("sleep")).arg("600")),
                "sleep",
                format!("which runs {}", at("sleep").display()),
            ),
            (
                Running::start(&mut preloaded),
                "sleep",
                format!("which maps {}", at("library.so").display()),
            ),
        ] {
            // The process must have come to its program.
            while fs::read(format!("/proc/{}/comm", start.0.id())).expect("a name").trim_ascii()
                != command.as_bytes()
            {}
            std::thread::sleep(std::time::Duration::from_millis(300));
            let name = start.name(command);
            let words = [volume.id.as_str(), &name, &usage];
            let report = named(volume.unpublish(), &words);
            for process in &innocent {
                assert!(!report.contains(&process.name("sleep")), "{report}");
            }
            assert!(!report.contains("held by mount"), "{report}");
            drop(start);
            // The others are still to come, and hold it too.
        }
        drop(innocent);
        volume.tear_down();
        other.tear_down();
    }
}

fn pod() {
    const UID: &str = "0a1b2c3d_1111_2222_3333_444455556666";
    let (rig, _) = rig();
    let volume = Volume::published(&rig, "ext4");
    let groups = kernel::work_dir().join("groups");
    fs::create_dir(&groups).expect("a directory");
    run("mount", &["-t", "cgroup2", "none"], &[&groups]);
    let id = "0123456789abcdef".repeat(4);
    let group = groups.join(format!("kubepods-pod{UID}.slice/cri-containerd-{id}.scope"));
    fs::create_dir_all(&group).expect("a group");
    let process = Running::start(sleep().current_dir(volume.target()));
    fs::write(group.join("cgroup.procs"), process.0.id().to_string()).expect("moved");
    let pod = format!("of pod {} (container {})", UID.replace('_', "-"), &id[..13]);
    named(volume.unpublish(), &[&pod]);
    drop(process);
    volume.tear_down();
    fs::remove_dir(&group).expect("removed");
    fs::remove_dir(group.parent().expect("the pod's")).expect("removed");
    run("umount", &[], &[&groups]);
}

fn files() {
    let (rig, types) = rig();
    for fs_type in types {
        let volume = Volume::published(&rig, fs_type);
        let at = |name: &str| volume.target().join(name);
        for name in ["lower", "upper", "work", "below"] {
            fs::create_dir(at(name)).expect("a directory");
        }

        run("mount", &["-t", "tmpfs", "none"], &[&at("below")]);
        named(volume.unpublish(), &[&format!("held by mount {};", at("below").display())]);
        run("umount", &[], &[&at("below")]);

        fs::write(at("disk"), vec![0; 1 << 20]).expect("a file");
        let device = run("losetup", &["--find", "--show"], &[&at("disk")]);
        let name = device.trim_start_matches("/dev/");
        let over = format!("block device {name} (over {})", at("disk").display());
        named(volume.unpublish(), &[&over]);
        run("losetup", &["--detach", &device], &[]);

        fs::write(at("swap"), vec![0; 1 << 20]).expect("a file");
        run("chmod", &["600"], &[&at("swap")]);
        run("mkswap", &[], &[&at("swap")]);
        run("swapon", &[], &[&at("swap")]);
        named(volume.unpublish(), &[&format!("swap file {}", at("swap").display())]);
        run("swapoff", &[], &[&at("swap")]);

        // An overlay keeps the file system, but not the mounts that it was made from.
        let merged = kernel::work_dir().join("merged");
        fs::create_dir_all(&merged).expect("a directory");
        let layers = format!(
            "lowerdir={},upperdir={},workdir={}",
            at("lower").display(),
            at("upper").display(),
            at("work").display()
        );
        run("mount", &["-t", "overlay", "overlay", "-o", &layers], &[&merged]);
        volume.unpublish().expect("unpublish");
        let overlay = format!(
            "overlay mount {}, whose layer {} is in it",
            merged.display(),
            at("lower").display()
        );
        for _ in 0..2 {
            named(volume.unstage(), &[volume.id.as_str(), &overlay]);
        }
        run("umount", &[], &[&merged]);
        volume.tear_down();
    }
}

fn lazily() {
    let (rig, types) = rig();
    for fs_type in types {
        let volume = Volume::published(&rig, fs_type);
        fs::write(volume.target().join("file"), b"content").expect("write");
        let file = Stdio::from(File::open(volume.target().join("file")).expect("open"));
        let process = Running(sleep().stdin(file).spawn().expect("a process"));
        run("umount", &["--lazy"], &[volume.target()]);
        volume.unpublish().expect("unpublish");
        let usage = format!("{}, which has /file open", process.name("sleep"));
        for _ in 0..2 {
            named(volume.unstage(), &[volume.id.as_str(), &usage]);
        }
        drop(process);
        volume.tear_down();
    }
}

fn other_namespace() {
    let (rig, _) = rig();
    let volume = Volume::published(&rig, "ext4");
    volume.unpublish().expect("unpublish");
    let elsewhere = kernel::work_dir().join("elsewhere");
    fs::create_dir(&elsewhere).expect("a directory");
    let script = r#"mount --bind "$1" "$2" && umount "$1" && echo && exec sleep 600"#;
    let process = Running::script("unshare", &["--mount"], script, &[volume.staging(), &elsewhere]);
    let mount = format!(
        "mount {} in the mount namespace of {}",
        elsewhere.display(),
        process.name("sleep")
    );
    for _ in 0..2 {
        named(volume.unstage(), &[volume.id.as_str(), &mount]);
    }
    drop(process);
    volume.tear_down();
}
