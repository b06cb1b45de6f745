//! A kernel without dm-snapshot: nothing works without an explicit fallback; with it, private
//! copies keep the same promises, and are reported as such.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::{Command, ExitCode};

use calf::{Access, ErrorKind, Fallback, PoolOptions, VolumeSpec, VolumeState};
use calf_test_kit::driver_process::{self, Driver};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{Page, Random, Rig, TEMPLATE_SIZE, first_difference, open, run};

fn main() -> ExitCode {
    let tests = vec![
        kernel::test("serve_refuses_to_start_and_says_what_to_load", refusal),
        kernel::test("the_fallback_is_named_wherever_one_looks", named),
        kernel::test("copies_are_isolated_and_grow", || copies(Fallback::Copy)),
        kernel::test("reflink_copies_are_isolated_and_grow", || copies(Fallback::Reflink)),
        kernel::test("reflink_on_a_file_system_without_it_is_refused", no_reflink),
        kernel::test("a_copy_survives_the_death_of_its_driver", death),
    ];
    kernel::Suite::new(tests).without_device_mapper().run()
}

fn with_fallback(fs: kernel::Fs, fallback: Fallback) -> Rig {
    let mut rig = Rig::new(fs);
    rig.pool = PoolOptions::default()
        .fallback(Some(fallback))
        .open(rig.pool.root())
        .expect("a pool with a fallback");
    rig
}

fn refusal() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    let error =
        rig.pool.create_volume(&VolumeSpec::new("volume", "root")).expect_err("no snapshot");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    let output = Command::new(env!("CARGO_BIN_EXE_calf"))
        .args(["serve", "--node-id", "node-1", "--endpoint"])
        .arg(format!("unix://{}", kernel::work_dir().join("csi.sock").display()))
        .arg("--pool")
        .arg(rig.pool.root())
        .output()
        .expect("start calf serve");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains("modprobe dm-snapshot") && said.contains("--fallback"), "{said}");
}

fn named() {
    let rig = Rig::new(kernel::Fs::Ext4);
    let driver = Driver::start(rig.pool.root(), &kernel::work_dir(), &["--fallback", "copy"]);
    assert_eq!(driver.client().mode().expect("Probe"), "fallback-copy");
    assert!(driver.log().contains("fallback"), "{}", driver.log());
    let status = Command::new(env!("CARGO_BIN_EXE_calf"))
        .args(["status", "--fallback", "copy", "--pool"])
        .arg(rig.pool.root())
        .output()
        .expect("start calf status");
    let said = String::from_utf8_lossy(&status.stdout);
    assert!(status.status.success() && said.contains("FALLBACK"), "{said}");
    assert!(driver.stop().success());
}

fn copies(fallback: Fallback) {
    let rig = with_fallback(kernel::Fs::Xfs, fallback);
    let content = rig.import_random("random", 41);
    let mut random = Random(43);
    let pages = ["first", "second"].map(|id| {
        let publish = rig.publication(id, Access::Block);
        rig.pool.create_volume(&VolumeSpec::new(id, "random")).expect("create");
        rig.pool.volume(id).expect("a volume id").publish(&publish).expect("publish");
        let device = open(&publish.target);
        let page = Page::random(&mut random);
        device.write_all_at(&page.0, 8192).expect("write");
        (id, publish, device, page)
    });
    // Where most is as in the template, a copy has blocks of its own, and a reflink has not.
    let (mut volumes, mut left) = (Vec::new(), vec![rig.pool.root().join("volumes")]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => left.push(path),
                false if path.ends_with("disk") => volumes.push(path),
                false => {}
            }
        }
    }
    assert_eq!(volumes.len(), 2);
    for volume in &volumes {
        let extents = run("filefrag", &["-v"], &[volume]);
        assert_eq!(extents.contains("shared"), fallback == Fallback::Reflink, "{extents}");
    }
    for (_, _, device, page) in &pages {
        let mut expected = content[..1 << 20].to_vec();
        expected[8192..12288].copy_from_slice(&page.0);
        assert_eq!(first_difference(device, &expected), None);
    }
    for (id, publish, device, page) in pages {
        rig.pool.volume(id).expect("a volume id").expand(2 * TEMPLATE_SIZE).expect("expand");
        device.write_all_at(&page.0, 2 * TEMPLATE_SIZE - 4096).expect("write at the new end");
        drop(device);
        let mut reader = publish.clone();
        reader.target = rig.path("reader");
        reader.read_only = true;
        rig.pool.volume(id).expect("a volume id").publish(&reader).expect("publish for reading");
        let device = fs::File::options().write(true).open(&reader.target);
        device.and_then(|d| d.write_all_at(&page.0, 0)).expect_err("it is read-only");
        rig.pool.volume(id).expect("a volume id").unpublish(&reader.target).expect("unpublish");
        rig.tear_down(&publish, id);
    }
}

fn no_reflink() {
    let rig = with_fallback(kernel::Fs::Ext4, Fallback::Reflink);
    rig.import_random("random", 47);
    let error = rig.pool.create_volume(&VolumeSpec::new("volume", "random")).expect_err("ext4");
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    assert_eq!(rig.pool.volume_records().expect("records"), []);
}

/// No table holds these loop devices: calf finds them again by their backing file.
fn death() {
    let rig = with_fallback(kernel::Fs::Ext4, Fallback::Copy);
    rig.import_file_system("root", "ext4");
    let work = kernel::work_dir();
    let usage = driver_process::Usage::new("volume", &rig.path(""), false);
    fs::create_dir_all(&usage.staging).expect("as kubelet does");
    let driver = Driver::start(rig.pool.root(), &work, &["--fallback", "copy"]);
    let client = driver.client();
    client.create("volume", "root").expect("create");
    client.stage(&usage).expect("stage");
    client.publish(&usage).expect("publish");
    fs::write(usage.target.join("file"), "precious").expect("write");
    driver.kill();
    fs::write(usage.target.join("more"), "precious").expect("the volume does not notice");

    let driver = Driver::start(rig.pool.root(), &work, &["--fallback", "copy"]);
    assert_eq!(
        rig.pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").state,
        VolumeState::Active
    );
    let client = driver.client();
    client.stage(&usage).expect("stage again");
    client.publish(&usage).expect("publish again");
    assert_eq!(fs::read(usage.target.join("more")).expect("read"), b"precious");
    client.unpublish(&usage).expect("unpublish");
    client.unstage(&usage).expect("unstage");
    client.delete("volume").expect("delete");
    assert!(driver.stop().success());
}
