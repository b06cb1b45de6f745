//! The command line on a real device-mapper: alone, beside a driver, and after a kill.

use std::fs;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use calf::Key;
use calf::sys::lock;
use calf_test_kit::driver_process::{Driver, Usage};
use calf_test_kit::real_pool::{self, Page, Random, TEMPLATE_SIZE, open, read_page, run};
use calf_test_kit::service_manager::ServiceManager;
use calf_test_kit::{http2, kernel};
use serde_json::Value;

fn main() -> ExitCode {
    kernel::main(vec![
        kernel::test("a_volume_lives_by_the_command_line_alone", alone),
        kernel::test("a_volume_grows_while_it_is_in_use", expand),
        kernel::test("a_snapshot_is_made_used_and_deleted_by_commands", snapshots),
        kernel::test("file_systems_are_staged_and_published_by_commands", file_systems),
        kernel::test("an_inline_volume_lives_with_its_publication", inline),
        kernel::test("the_command_line_and_a_driver_share_a_pool", beside_a_driver),
        kernel::test("a_driver_tells_its_service_manager", service_manager),
        kernel::test("a_request_that_http2_refuses_is_in_the_log_with_the_remedy", refused),
        kernel::test("doctor_finds_all_in_order", doctor),
        kernel::test("spares_are_made_claimed_and_removed_without_a_driver", spares),
        kernel::test("an_import_shares_its_blocks_with_the_source", shared_blocks),
        kernel::test("reconcile_mends_what_a_kill_left", kill).timeout(Duration::from_secs(300)),
        kernel::test("exit_codes_tell_what_went_wrong", exit_codes),
    ])
}

/// The command line on one pool.
struct Cli {
    disk: kernel::PoolDir,
}

struct Run {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Cli {
    fn new(fs: kernel::Fs) -> Self {
        Self { disk: kernel::pool_dir(fs) }
    }

    fn pool(&self) -> PathBuf {
        self.disk.path().join("pool")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_calf"));
        command.args(arguments).env("CALF_POOL", self.pool()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        let output = self.command(arguments).output().expect("start calf");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Run {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// The output of a command that must succeed.
    fn ok(&self, arguments: &[&str]) -> String {
        let Run { code, stdout, stderr } = self.run(arguments);
        assert_eq!(code, Some(0), "calf {arguments:?}: {stdout}{stderr}");
        stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.ok(&[arguments, &["--output", "json"]].concat())).expect("JSON")
    }

    /// The message of a command that must fail with `code`.
    fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(code), "calf {arguments:?}: {}{}", run.stdout, run.stderr);
        run.stderr
    }

    /// Imports an empty ext4 file system as `root`.
    fn import(&self) {
        let image = self.disk.path().join("root.img");
        fs::File::create(&image).and_then(|file| file.set_len(TEMPLATE_SIZE)).expect("an image");
        run("mkfs.ext4", &["-q", "-F", "-b", "4096"], &[&image]);
        let told = self.ok(&["template", "import", text(&image), "--name", "root"]);
        assert!(told.starts_with("imported template root (32 MiB, ext4, sha256:"), "{told}");
        fs::remove_file(image).expect("the source is not needed any more");
    }

    fn state(&self, id: &str) -> String {
        self.json(&["volume", "inspect", id])["state"].as_str().expect("a state").to_owned()
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn snapshots() {
    let cli = Cli::new(kernel::Fs::Xfs);
    cli.import();
    let node = cli.ok(&["volume", "create", "vm1", "--template", "root", "--activate"]);
    let page = Page::random(&mut Random(43));
    open(Path::new(node.trim_end())).write_all_at(&page.0, 1 << 20).expect("write");
    let told = cli.ok(&["snapshot", "create", "vm1", "warm"]);
    assert!(told.starts_with("created snapshot warm of volume vm1 ("), "{told}");
    assert!(told.contains("writers waited"), "{told}");
    let again = cli.json(&["snapshot", "create", "vm1", "warm"]);
    assert_eq!((&again["writersWaitedMs"], &again["copied"]), (&Value::Null, &Value::Bool(false)));
    let unnamed = cli.json(&["snapshot", "create", "vm1"]);
    let name = unnamed["name"].as_str().expect("a name");
    assert!(name.starts_with("vm1-2"), "{name}");
    assert!(unnamed["writersWaitedMs"].as_f64().expect("a time") > 0.0, "{unnamed}");

    let list = cli.ok(&["snapshot", "list", "--sort", "age"]);
    let second = list.lines().nth(2).expect("two lines below the header");
    let words: Vec<&str> = second.split_whitespace().collect();
    assert_eq!(words[..5], ["warm", "vm1", "root", "32", "MiB"], "{list}");
    let inspected = cli.json(&["snapshot", "inspect", "warm"]);
    assert_eq!(inspected["consistency"], "crash");
    assert_eq!(inspected["size"], TEMPLATE_SIZE);
    let status = cli.json(&["status"]);
    assert_eq!(status["snapshots"]["count"], 2);
    let template = cli.json(&["template", "inspect", "root"]);
    assert_eq!(template["snapshots"], serde_json::json!([name, "warm"]));

    let told = cli.ok(&["volume", "create", "vm2", "--snapshot", "warm", "--size", "64Mi"]);
    assert_eq!(told, "created volume vm2 (64 MiB, snapshot warm)\n");
    let copy = cli.ok(&["volume", "activate", "vm2"]);
    assert!(read_page(&open(Path::new(copy.trim_end())), 1 << 20).0 == page.0);
    assert_eq!(cli.json(&["volume", "inspect", "vm2"])["source"]["snapshot"], "warm");
    cli.fails(4, &["snapshot", "create", "vm2", "warm"]);
    cli.fails(13, &["snapshot", "create", "vm1", "x", "--consistency", "file-system"]);
    cli.fails(8, &["volume", "create", "vm3", "--snapshot", "warm", "--size", "16Mi"]);
    let told = cli.ok(&["volume", "fork", "vm1", "--count", "2", "--id-prefix", "f"]);
    assert!(
        told.starts_with("created volume f1 (volume vm1)\ncreated volume f2 (volume vm1)\n"),
        "{told}"
    );
    let forked = cli.json(&["volume", "fork", "vm1", "f1", "f2"]);
    assert_eq!(forked["writersWaitedMs"], Value::Null, "they exist");
    assert_eq!(forked["volumes"][1]["source"]["volume"], "vm1");
    let devices = cli.ok(&["volume", "fork", "vm1", "g", "h", "--activate"]);
    for device in devices.lines() {
        assert!(read_page(&open(Path::new(device)), 1 << 20).0 == page.0);
    }
    assert_eq!(devices.lines().count(), 2, "{devices}");
    cli.fails(4, &["volume", "fork", "vm1", "f1", "new"]);
    cli.fails(2, &["volume", "fork", "vm1"]);
    cli.ok(&["volume", "delete", "f1", "f2", "g", "h"]);
    cli.ok(&["volume", "delete", "vm1"]);
    let told = cli.ok(&["snapshot", "delete", "warm", name, "none"]);
    assert!(told.ends_with("there is no snapshot none\n"), "{told}");
    cli.ok(&["volume", "delete", "vm2"]);
}

fn alone() {
    let cli = Cli::new(kernel::Fs::Ext4);
    cli.import();
    cli.ok(&["volume", "create", "vm1", "--template", "root", "--size", "64Mi", "--uid", "1234"]);
    assert_eq!(cli.state("vm1"), "inactive");

    let node = cli.ok(&["volume", "activate", "vm1"]);
    let node = Path::new(node.strip_suffix('\n').expect("one line"));
    let page = Page::random(&mut Random(41));
    open(node).write_all_at(&page.0, 60 << 20).expect("write");
    assert!(read_page(&open(node), 60 << 20).0 == page.0);
    assert_eq!(Path::new(cli.ok(&["volume", "activate", "vm1"]).trim_end()), node);

    let target = cli.disk.path().join("device");
    cli.ok(&["volume", "publish", "vm1", text(&target)]);
    assert_eq!(fs::metadata(&target).expect("a node").uid(), 1234);
    assert!(read_page(&open(&target), 60 << 20).0 == page.0);
    let told = cli.fails(5, &["volume", "delete", "vm1"]);
    assert!(told.contains(text(&target)), "{told}");
    for path in [node, &target] {
        assert_eq!(cli.json(&["volume", "inspect", text(path)])["id"], "vm1", "{path:?}");
    }
    cli.ok(&["volume", "unpublish", "vm1", text(&target)]);
    assert!(!target.exists());

    let list = cli.ok(&["volume", "list"]);
    let line = list.lines().nth(1).expect("a line");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..6], ["vm1", "active", text(node), "root", "64", "MiB"], "{list}");
    let inspected = cli.json(&["volume", "inspect", "vm1"]);
    assert_eq!(inspected["device"], text(node));
    assert_eq!(inspected["size"], 64 << 20);
    assert!(inspected["cow"]["used"].as_u64().expect("bytes") > 0, "{inspected}");
    let status = cli.ok(&["status"]);
    assert!(status.contains("dm-snapshot") && status.contains("1 active"), "{status}");
    let status = cli.json(&["status"]);
    assert_eq!(status["backing"]["kind"], "snapshot");
    assert_eq!(status["volumes"]["active"], 1);
    assert_eq!(status["templates"][0]["volumes"], 1);

    cli.ok(&["volume", "deactivate", "vm1"]);
    assert!(!node.exists());
    assert_eq!(cli.state("vm1"), "inactive");
    let node = cli.ok(&["volume", "activate", "vm1"]);
    assert!(read_page(&open(Path::new(node.trim_end())), 60 << 20).0 == page.0);
    cli.ok(&["volume", "delete", "vm1"]);
    cli.ok(&["template", "remove", "root"]);
    assert_eq!(cli.json(&["volume", "list"])["volumes"], serde_json::json!([]));
    assert_eq!(fs::read_dir(cli.pool().join("images")).expect("images").count(), 0);
}

fn expand() {
    let cli = Cli::new(kernel::Fs::Ext4);
    cli.import();
    let node = cli.ok(&["volume", "create", "vm1", "--template", "root", "--activate"]);
    let node = Path::new(node.strip_suffix('\n').expect("the path, and nothing else"));
    let again = ["volume", "create", "vm1", "--template", "root", "--activate", "--output", "name"];
    assert_eq!(cli.ok(&again), "vm1\n");
    let page = Page::random(&mut Random(42));
    let device = open(node);
    device.write_all_at(&page.0, 4096).expect("write");

    assert_eq!(cli.ok(&["volume", "expand", "vm1", "48Mi"]), "expanded volume vm1 to 48 MiB\n");
    assert_eq!(cli.ok(&["volume", "resize", "vm1", "40Mi"]), "volume vm1 already has 48 MiB\n");
    device.write_all_at(&page.0, 40 << 20).expect("write to the new part");
    assert!(read_page(&device, 4096).0 == page.0 && read_page(&device, 40 << 20).0 == page.0);
    drop(device);
    cli.fails(5, &["volume", "delete", "--inactive", "vm1"]);
    cli.ok(&["volume", "deactivate", "vm1", "--quiet"]);
    assert_eq!(cli.ok(&["-o", "name", "volume", "delete", "--inactive", "vm1"]), "vm1\n");
}

fn file_systems() {
    let cli = Cli::new(kernel::Fs::Ext4);
    cli.import();
    let [staging, target] = ["staging", "target"].map(|name| cli.disk.path().join(name));
    cli.ok(&["volume", "create", "vm1", "--template", "root", "--size", "64Mi"]);
    cli.ok(&["volume", "stage", "vm1", text(&staging), "--mount-option", "noatime"]);
    fs::write(staging.join("file"), "content").expect("write");
    let second = cli.disk.path().join("second");
    let told = cli.fails(5, &["volume", "stage", "vm1", text(&second)]);
    assert!(told.contains(text(&staging)) && !second.exists(), "{told}");
    cli.ok(&["volume", "unstage", "vm1", text(&second)]);
    let far = cli.disk.path().join("no/directory/target");
    let told =
        cli.fails(13, &["volume", "publish", "vm1", text(&far), "--staging", text(&staging)]);
    assert!(told.contains("no/directory/target does not exist"), "{told}");
    let publish = ["volume", "publish", "vm1", text(&target), "--staging", text(&staging)];
    cli.ok(&[&publish[..], &["--read-only"]].concat());
    assert_eq!(fs::read(target.join("file")).expect("read"), b"content");
    fs::write(target.join("file"), "other").expect_err("it is for reading");

    // The device, the mount points and files in them identify the volume.
    let device = cli.json(&["volume", "inspect", "vm1"])["device"].clone();
    let device = device.as_str().expect("a path").to_owned();
    let file = target.join("file");
    for path in [device.as_str(), text(&staging), text(&target), text(&file)] {
        assert_eq!(cli.json(&["volume", "inspect", path])["id"], "vm1", "{path}");
    }
    let told = cli.fails(3, &["volume", "inspect", text(cli.disk.path())]);
    assert!(told.contains("no such volume"), "{told}");

    let usage = |path: &Path| {
        let inspected = cli.json(&["volume", "inspect", "vm1", "--at", text(path)]);
        inspected["fileSystem"]["total"].as_u64().expect("bytes")
    };
    let before = usage(&staging);
    assert!((32 << 20..64 << 20).contains(&before), "it was grown when it was staged: {before}");
    cli.ok(&["volume", "expand", "vm1", "128Mi", "--at", text(&staging)]);
    let after = usage(&target);
    assert!(after > before + (32 << 20), "{before} {after}");

    let told = cli.fails(5, &["volume", "unstage", "vm1", text(&staging)]);
    assert!(told.contains(text(&target)), "{told}");
    cli.ok(&["volume", "unpublish", "vm1", text(&target)]);
    cli.ok(&["volume", "unstage", "vm1", text(&staging)]);
    assert_eq!(cli.state("vm1"), "inactive");
    assert!(!target.exists() && fs::read_dir(&staging).expect("it stays").next().is_none());
    cli.ok(&["volume", "delete", "vm1"]);
}

fn inline() {
    let cli = Cli::new(kernel::Fs::Ext4);
    cli.import();
    let [node, directory] = ["node", "directory"].map(|name| cli.disk.path().join(name));
    let inline = ["volume", "publish-inline", "--template", "root"];
    cli.ok(&[&inline[..], &["vm1", text(&node), "--uid", "1234"]].concat());
    assert_eq!(fs::metadata(&node).expect("a node").uid(), 1234);
    assert_eq!(cli.json(&["volume", "inspect", text(&node)])["id"], "vm1");
    cli.ok(&[&inline[..], &["vm2", text(&directory), "--mount", "--fs-type", "ext4"]].concat());
    fs::write(directory.join("file"), "content").expect("write");
    assert_eq!(cli.ok(&["volume", "list", "-o", "name", "--sort", "age"]), "vm2\nvm1\n");

    cli.ok(&["volume", "unpublish", "vm1", text(&node)]);
    cli.ok(&["volume", "unpublish", "vm2", text(&directory)]);
    assert_eq!(cli.json(&["volume", "list"])["volumes"], serde_json::json!([]));
    assert!(!node.exists() && !directory.exists());
}

/// With the limits on capabilities and system calls that a driver sets for itself.
fn service_manager() {
    let cli = Cli::new(kernel::Fs::Ext4);
    cli.import();
    let work = kernel::work_dir();
    let manager = ServiceManager::start(&work);
    let mut command = cli.command(&["serve", "--node-id", "node-1", "--endpoint"]);
    command
        .arg(format!("unix://{}", calf_test_kit::driver_process::socket(&work).display()))
        .env("NOTIFY_SOCKET", manager.path());
    let driver = Driver::spawn(command, &work);
    assert!(driver.stop().success());
    assert_eq!([manager.next(), manager.next()], ["READY=1\n", "STOPPING=1\n"]);
}

fn refused() {
    let cli = Cli::new(kernel::Fs::Ext4);
    cli.import();
    let work = kernel::work_dir();
    let driver = Driver::start(&cli.pool(), &work, &[]);
    assert_eq!(http2::probe(driver.socket(), "localhost"), http2::Outcome::Answered);
    assert!(!driver.log().contains("refused"), "{}", driver.log());
    // As grpcio 1.85 sends it, and as kubelets did until 2022.
    for authority in ["csi%2Fcsi.sock", "/csi/csi.sock"] {
        let outcome = http2::probe(driver.socket(), authority);
        assert_eq!(outcome, http2::Outcome::Reset(http2::PROTOCOL_ERROR), "{authority}");
    }
    let log = driver.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("was refused")).collect();
    let [line] = lines[..] else { panic!("one line in:\n{log}") };
    for word in ["WARN", "csi%2Fcsi.sock", "grpc.default_authority"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    assert!(driver.stop().success());
}

fn beside_a_driver() {
    let cli = Cli::new(kernel::Fs::Xfs);
    cli.import();
    let work = kernel::work_dir();
    let driver = Driver::start(&cli.pool(), &work, &[]);
    let client = driver.client();

    // Made here, used there.
    cli.ok(&["volume", "create", "ours", "--template", "root"]);
    let ours = Usage::new("ours", &work, true);
    client.stage(&ours).expect("stage");
    client.publish(&ours).expect("publish");
    assert_eq!(cli.state("ours"), "active");
    let told = cli.fails(5, &["volume", "delete", "ours"]);
    assert!(told.contains(text(&ours.target)), "{told}");

    // Made there, used here.
    client.create("theirs", "root").expect("create");
    let node = cli.ok(&["volume", "activate", "theirs"]);
    let page = Page::random(&mut Random(43));
    open(Path::new(node.trim_end())).write_all_at(&page.0, 8192).expect("write");
    let theirs = Usage::new("theirs", &work, true);
    client.stage(&theirs).expect("stage");
    client.publish(&theirs).expect("publish");
    assert!(read_page(&open(&theirs.target), 8192).0 == page.0);

    assert_eq!(cli.json(&["status"])["volumes"]["active"], 2);
    assert_eq!(cli.json(&["reconcile"])["live"], 2);
    cli.fails(5, &["template", "remove", "root"]);
    for usage in [&ours, &theirs] {
        client.unpublish(usage).expect("unpublish");
        client.unstage(usage).expect("unstage");
        assert_eq!(cli.state(&usage.volume), "inactive");
    }
    cli.ok(&["volume", "delete", "ours", "theirs"]);
    client.delete("ours").expect("it is gone already");
    client.stage(&theirs).expect_err("it is gone");
    assert!(driver.stop().success());
}

fn spares() {
    let cli = Cli::new(kernel::Fs::Ext4);
    cli.import();
    assert_eq!(
        cli.ok(&["template", "warm", "root", "2"]),
        "template root: 2 of 2 spares are ready\n"
    );
    cli.ok(&["volume", "create", "vm1", "--template", "root"]);
    let device = cli.ok(&["volume", "activate", "vm1"]);
    let inspected = cli.json(&["template", "inspect", "root"]);
    assert_eq!((&inspected["warm"], &inspected["spares"]), (&2.into(), &1.into()));
    let page = Page::random(&mut Random(2));
    let file = open(Path::new(device.trim_end()));
    file.write_all_at(&page.0, 8192).expect("write");
    assert!(read_page(&file, 8192).0 == page.0);
    drop(file);
    let told = cli.json(&["template", "warm", "root", "0"]);
    assert_eq!((&told["warm"], &told["spares"]), (&0.into(), &0.into()));
    assert_eq!(cli.json(&["reconcile"])["removed"], Value::Array(Vec::new()));
    cli.ok(&["volume", "rm", "vm1"]);
}

fn doctor() {
    let cli = Cli::new(kernel::Fs::Xfs);
    cli.import();
    let report = cli.json(&["doctor"]);
    assert_eq!(report["ready"], true, "{report}");
    for check in report["checks"].as_array().expect("checks") {
        assert_eq!(check["verdict"], "OK", "{report}");
    }
    let human = cli.ok(&["doctor"]);
    assert!(human.lines().all(|line| line.starts_with("OK  ")), "{human}");
    let left: Vec<PathBuf> =
        fs::read_dir(cli.pool()).expect("the pool").flatten().map(|e| e.path()).collect();
    assert!(!left.iter().any(|path| text(path).contains("doctor")), "{left:?}");

    fs::set_permissions(cli.pool(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .expect("chmod");
    let run = cli.run(&["doctor"]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("FAIL  pool permissions"), "{}", run.stdout);
    assert!(run.stdout.contains("help: run `chown"), "{}", run.stdout);
}

fn shared_blocks() {
    const SIZE: u64 = 64 << 20;
    for (number, (fs, shared)) in
        [(kernel::Fs::Xfs, true), (kernel::Fs::Ext4, false)].into_iter().enumerate()
    {
        let cli = Cli::new(fs);
        let image = cli.disk.path().join("random.img");
        let mut content = vec![0; usize::try_from(SIZE).expect("a size")];
        Random(47 + number as u64).fill(&mut content);
        fs::write(&image, &content).expect("an image");
        let file = fs::File::open(&image).expect("open");
        file.sync_all().expect("sync");
        let used = || {
            rustix::fs::syncfs(&file).expect("sync");
            let stat = rustix::fs::statvfs(cli.disk.path()).expect("statvfs");
            (stat.f_blocks - stat.f_bfree) * stat.f_frsize
        };
        let before = used();
        cli.ok(&["template", "import", text(&image), "--name", "random"]);
        let cost = used().saturating_sub(before);
        assert_eq!(cost < SIZE / 8, shared, "{fs:?}: the import took {cost} bytes");
        // Changes to the source do not affect the template.
        fs::write(&image, vec![1; 1 << 20]).expect("write");
        cli.ok(&["volume", "create", "volume", "--template", "random"]);
        let node = cli.ok(&["volume", "activate", "volume"]);
        let device = open(Path::new(node.trim_end()));
        assert_eq!(real_pool::first_difference(&device, &content[..4 << 20]), None);
        drop(device);
        cli.ok(&["volume", "delete", "volume"]);
    }
}

/// Kills commands at many different moments; `reconcile` and the next command must repair what is
/// left.
fn kill() {
    let cli = Cli::new(kernel::Fs::Xfs);
    cli.import();
    cli.ok(&["volume", "create", "bystander", "--template", "root"]);
    let bystander = cli.ok(&["volume", "activate", "bystander"]);
    let device = open(Path::new(bystander.trim_end()));
    let page = Page::random(&mut Random(53));
    device.write_all_at(&page.0, 4096).expect("write");
    let commands: [&[&str]; 4] = [
        &["volume", "create", "victim", "--template", "root"],
        &["volume", "activate", "victim"],
        &["volume", "deactivate", "victim"],
        &["volume", "delete", "victim"],
    ];
    let mut cut_short = 0;
    let lengths = commands.map(|command| {
        let begin = Instant::now();
        cli.ok(command);
        begin.elapsed()
    });
    for eighth in 1..=8 {
        for (command, length) in commands.into_iter().zip(lengths) {
            let mut victim = cli.command(command);
            victim.stdout(Stdio::null()).stderr(Stdio::null());
            let mut victim = victim.spawn().expect("start calf");
            sleep(length * eighth / 8);
            let _ = victim.kill();
            cut_short += usize::from(!victim.wait().expect("wait").success());

            let report = cli.json(&["reconcile"]);
            assert!(report["live"].as_u64().expect("a number") >= 1, "{command:?}: {report}");
            let volumes = cli.json(&["volume", "list"]);
            for volume in volumes["volumes"].as_array().expect("volumes") {
                let state = volume["state"].as_str().expect("a state");
                assert!(["active", "inactive"].contains(&state), "{command:?}: {volumes}");
            }
            assert!(read_page(&device, 4096).0 == page.0, "{command:?}");
            // The next command needs the result of this one.
            cli.ok(command);
        }
    }
    println!("{cut_short} of 32 commands were cut short");
    assert!(cut_short >= 8, "the others ended before they were killed");
    let loops = fs::read_dir("/sys/block")
        .expect("sysfs")
        .flatten()
        .filter(|entry| entry.path().join("loop/backing_file").exists());
    assert_eq!(loops.count(), 2, "one for the bystander and one for the template");
    drop(device);
    cli.ok(&["volume", "delete", "bystander"]);
    assert_eq!(fs::read_dir(cli.pool().join("volumes")).expect("volumes").count(), 0);
}

fn exit_codes() {
    let cli = Cli::new(kernel::Fs::Ext4);
    let told = cli.fails(3, &["volume", "list"]);
    assert!(told.contains("there is no pool") && told.contains("help: "), "{told}");
    cli.import();
    cli.ok(&["volume", "create", "vm1", "--template", "root"]);
    for (code, arguments) in [
        (2, &["volume", "create"][..]),
        (2, &["volume", "create", "vm2", "--template", "root", "--size", "many"]),
        (2, &["volume", "create", "vm2", "--template", "root", "--chunk-size", "5000"]),
        (2, &["volume", "create", "vm2", "--template", "../root"]),
        (3, &["volume", "create", "vm2", "--template", "missing"]),
        (3, &["volume", "inspect", "vm2"]),
        (3, &["volume", "activate", "vm2"]),
        (3, &["template", "inspect", "missing"]),
        (3, &["template", "import", "/nowhere.img", "--name", "x"]),
        (4, &["volume", "create", "vm1", "--template", "root", "--cow-limit", "1Mi"]),
        (5, &["template", "remove", "root"]),
        (7, &["volume", "create", "vm2", "--template", "root", "--reserve", "1Ti"]),
        (8, &["volume", "create", "vm2", "--template", "root", "--size", "1Mi"]),
    ] {
        let told = cli.fails(code, arguments);
        assert!(told.starts_with("error: "), "{arguments:?}: {told}");
        assert!(!told.contains("panicked"), "{arguments:?}: {told}");
    }

    let subject = format!("volume/{}", Key::of("vm1"));
    let held = lock::try_lock(&cli.pool().join("lock"), &subject, lock::Mode::Exclusive);
    let held = held.expect("a lock").expect("nobody else has it");
    cli.fails(6, &["volume", "activate", "vm1"]);
    drop(held);

    let node = cli.ok(&["volume", "activate", "vm1"]);
    let guest = open(Path::new(node.trim_end()));
    let told = cli.fails(5, &["volume", "delete", "vm1"]);
    let holder = format!("process {} (", std::process::id());
    assert!(told.contains(&holder), "{told}");
    let error = cli.fails(5, &["volume", "deactivate", "vm1", "--output", "json"]);
    let error: Value = serde_json::from_str(error.lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        (&error["error"]["kind"], &error["error"]["exitCode"]),
        (&"inUse".into(), &5.into())
    );
    drop(guest);
    cli.ok(&["volume", "delete", "vm1"]);
}
