//! The driver with exactly the capabilities that `docs/security.md` lists, and with each of them
//! missing in turn: it needs all of them and no others, and drops all others itself.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use calf::{NodeOwner, VolumeSpec};
use calf_test_kit::driver_process::{self, Client, Driver, Usage};
use calf_test_kit::kernel;
use calf_test_kit::real_pool::{self, Rig};

/// The list in docs/security.md.
const CAPABILITIES: [&str; 6] =
    ["chown", "dac_override", "mknod", "sys_admin", "sys_ptrace", "sys_resource"];

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("the_driver_lives_on_the_capabilities_that_the_docs_list", all_that_is_listed),
        kernel::test("the_driver_needs_each_capability_that_the_docs_list", each_is_needed),
        kernel::test("the_driver_gives_up_what_it_does_not_need", given_up),
        kernel::test("the_docs_list_these_capabilities", documented),
    ])
}

fn start(rig: &Rig, work: &Path, capabilities: &[&str]) -> Driver {
    Driver::spawn(command(rig, work, capabilities), work)
}

/// The driver as root with only these capabilities, and no way to get others back.
fn command(rig: &Rig, work: &Path, capabilities: &[&str]) -> Command {
    let bounding: Vec<String> = capabilities.iter().map(|name| format!("+{name}")).collect();
    let mut command = Command::new("setpriv");
    command
        .args(["--no-new-privs", "--inh-caps=-all", "--ambient-caps=-all"])
        .arg(format!("--bounding-set=-all,{}", bounding.join(",")))
        .args([env!("CARGO_BIN_EXE_calf"), "serve", "--node-id", "node-1", "--endpoint"])
        .arg(format!("unix://{}", driver_process::socket(work).display()))
        .arg("--pool")
        .arg(rig.pool.root());
    command
}

/// Everything that the driver does that may need a capability: a block volume for a jailed VMM, a
/// mounted volume, and growing both. Returns what failed.
fn life(driver: &Driver, rig: &Rig) -> Result<(), String> {
    let client = driver.client();
    let told = |what: &'static str| move |status: tonic::Status| format!("{what}: {status:?}");
    client.create("tree", "root").map_err(told("create"))?;
    let owner = NodeOwner { uid: 1000, gid: 1000, mode: 0o660 };
    let jailed = VolumeSpec::new("disk", "root").owner(owner);
    rig.pool.create_volume(&jailed).map_err(|error| error.report())?;
    for (volume, block) in [("disk", true), ("tree", false)] {
        let usage = Usage::new(volume, &rig.path(""), block);
        client.stage(&usage).map_err(told("stage"))?;
        client.publish(&usage).map_err(told("publish"))?;
        if block {
            let found = fs::metadata(&usage.target).expect("the target");
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o777), (1000, 1000, 0o660));
        }
        client.expand(&usage, 2 * real_pool::TEMPLATE_SIZE).map_err(told("expand"))?;
        name_holder(&client, &usage, rig)?;
        client.unpublish(&usage).map_err(told("unpublish"))?;
        client.unstage(&usage).map_err(told("unstage"))?;
        client.delete(volume).map_err(told("delete"))?;
    }
    Ok(())
}

/// The error about a busy device names its holder, here a process of another user.
fn name_holder(client: &Client, usage: &Usage, rig: &Rig) -> Result<(), String> {
    if !usage.block {
        return Ok(());
    }
    // Do not use its target, which would then be busy too.
    let device = rig
        .pool
        .volume(&usage.volume)
        .and_then(|volume| volume.status())
        .expect("there")
        .device
        .expect("it is active");
    let device = rig.pool.device(device).expect("a node");
    let held = File::open(device.path()).expect("open the device");
    let mut holder = Command::new("setpriv")
        .args(["--reuid=1000", "--clear-groups", "sleep", "600"])
        .stdin(held)
        .spawn()
        .expect("start a holder");
    client.unpublish(usage).expect("unpublish");
    let status = client.unstage(usage).expect_err("it is open");
    let named = status.message().contains(&format!("process {}", holder.id()));
    holder.kill().expect("kill");
    holder.wait().expect("wait");
    client.publish(usage).map_err(|status| format!("publish again: {status:?}"))?;
    if named { Ok(()) } else { Err(format!("the holder is not named: {status:?}")) }
}

/// Removes what a failed life left.
fn clean_up(rig: &Rig) {
    for (volume, block) in [("disk", true), ("tree", false)] {
        let usage = Usage::new(volume, &rig.path(""), block);
        rig.pool.volume(volume).expect("a volume id").unpublish(&usage.target).expect("unpublish");
        rig.pool.volume(volume).expect("a volume id").unstage(&usage.staging).expect("unstage");
        rig.pool.volume(volume).expect("a volume id").delete().expect("delete");
    }
}

fn all_that_is_listed() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    let work = kernel::work_dir();
    let driver = start(&rig, &work, &CAPABILITIES);
    life(&driver, &rig).expect("nothing else is needed");
    assert!(driver.stop().success());
}

fn each_is_needed() {
    let rig = Rig::new(kernel::Fs::Ext4);
    rig.import_file_system("root", "ext4");
    for missing in CAPABILITIES {
        let left: Vec<&str> = CAPABILITIES.into_iter().filter(|name| *name != missing).collect();
        let work = kernel::work_dir();
        if missing == "sys_admin" {
            // The driver does not even start, since it queries device-mapper at start.
            let output = command(&rig, &work, &left).output().expect("run the driver");
            assert!(!output.status.success());
            continue;
        }
        let driver = start(&rig, &work, &left);
        let why = life(&driver, &rig).expect_err(missing);
        println!("without {missing}: {why}");
        assert!(driver.stop().success());
        clean_up(&rig);
    }
}

fn given_up() {
    let rig = Rig::new(kernel::Fs::Ext4);
    let work = kernel::work_dir();
    let driver = Driver::start(rig.pool.root(), &work, &[]);
    let needed = CAPABILITIES.iter().map(|name| bit(name)).sum::<u64>();
    let status = fs::read_to_string(format!("/proc/{}/status", driver.pid())).expect("its status");
    for (field, allowed) in
        [("CapEff", needed), ("CapPrm", needed), ("CapBnd", needed), ("CapInh", 0)]
    {
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect(field);
        let set = u64::from_str_radix(line.trim_start_matches(':').trim(), 16).expect("a set");
        assert_eq!(set, allowed, "{field} is {set:#x}");
    }
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    assert!(status.contains("Seccomp:\t2"), "it runs without a filter: {status}");
    assert!(driver.stop().success());
}

/// The bit of a capability (`linux/capability.h`).
fn bit(name: &str) -> u64 {
    match name {
        "chown" => 1 << 0,
        "dac_override" => 1 << 1,
        "sys_ptrace" => 1 << 19,
        "sys_admin" => 1 << 21,
        "sys_resource" => 1 << 24,
        "mknod" => 1 << 27,
        other => panic!("{other} has no number here"),
    }
}

fn documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/security.md");
    let text = fs::read_to_string(path).expect("the documentation");
    let mut listed: Vec<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `CAP_")?.split('`').next())
        .map(str::to_lowercase)
        .collect();
    listed.sort();
    assert_eq!(listed, CAPABILITIES);
}
