//! The kernel-test kit itself: it must report, by name, every way in which a test can go wrong.
//!
//! Each test runs this program as a suite of misbehaving tests (see [`INNER`]), in a kernel of its
//! own, and reads its output.

use std::fs;
use std::process::{Command, ExitCode, Output};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use calf_test_kit::kernel;
use libtest_mimic::{Arguments, Trial};

/// Set for the inner suite.
const INNER: &str = "CALF_KIT_INNER";

fn main() -> ExitCode {
    let kernel = std::env::var("CALF_KERNEL").unwrap_or_default();
    let in_guest = kernel::Kernel::from_environment().is_ok_and(kernel::Kernel::is_inside);
    if in_guest || std::env::var_os(INNER).is_some() {
        let tests = vec![
            kernel::test("passes", || println!("a word of a good test")),
            kernel::test("panics", || panic!("a reason to fail")),
            kernel::test("leaves_a_device", leaves_a_device),
            kernel::test("leaves_a_mount", leaves_a_mount),
            kernel::test("leaves_a_process", leaves_a_process),
            kernel::test("hangs", hangs).timeout(Duration::from_secs(4)),
            kernel::test("stands_still", stands_still).timeout(Duration::from_secs(4)),
            kernel::test("panics_the_kernel", panics_the_kernel),
            kernel::test("passes_at_the_end", || {}),
        ];
        return kernel::Suite::new(tests).alone().listener(stop_once).run();
    }
    // These break kernels on purpose, so they must not run on a machine that is in use.
    let ignored = kernel.is_empty() || kernel == "host";
    let arguments = Arguments { test_threads: Some(1), ..Arguments::from_args() };
    let trial = |name: &str, test: fn()| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(ignored)
    };
    let trials = vec![
        trial("a_failing_test_is_reported_with_its_output", a_failing_test),
        trial("what_a_test_leaves_is_named_and_gone_for_the_next", leaks),
        trial("a_hanging_test_is_killed_and_named", a_hanging_test),
        trial("a_test_in_a_kernel_that_stood_still_is_repeated", a_kernel_that_stood_still),
        trial("a_kernel_panic_is_shown", a_kernel_panic),
        trial("a_test_can_be_chosen_by_name", filters),
    ];
    libtest_mimic::run(&arguments, trials).exit_code()
}

// === the misbehaving tests ===

fn leaves_a_device() {
    let status = Command::new("dmsetup")
        .args(["create", "forgotten", "--noudevsync", "--table", "0 8 zero"])
        .status();
    assert!(status.expect("dmsetup").success());
}

fn leaves_a_mount() {
    let target = kernel::work_dir().join("forgotten");
    fs::create_dir(&target).expect("make a mount point");
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &target, "tmpfs", flags, None).expect("mount");
}

#[expect(clippy::zombie_processes, reason = "a process left behind is what this test is about")]
fn leaves_a_process() {
    Command::new("sleep").arg("1000").spawn().expect("sleep");
}

fn hangs() {
    println!("about to hang");
    thread::sleep(Duration::from_secs(1000));
}

fn stands_still() {
    println!("{STOP}");
    thread::sleep(Duration::from_secs(1));
}

const STOP: &str = "stop this kernel";

/// On the host: stops the kernel that says so, but not its successor.
fn stop_once(line: &str) {
    static STOPPED: AtomicBool = AtomicBool::new(false);
    if line.trim() != STOP || STOPPED.swap(true, Ordering::Relaxed) {
        return;
    }
    let own = std::process::id().to_string();
    let kernel = Command::new("pgrep").args(["--parent", &own]).output().expect("pgrep");
    for pid in String::from_utf8_lossy(&kernel.stdout).lines() {
        // pgrep itself has ended.
        let _ = Command::new("kill").args(["-STOP", pid]).status();
    }
}

fn panics_the_kernel() {
    fs::write("/proc/sysrq-trigger", "c").expect("sysrq");
    thread::sleep(Duration::from_secs(10));
}

// === what the kit must report ===

/// Runs the inner suite with these arguments. Returns whether it passed, and its output.
fn inner(arguments: &[&str]) -> (bool, String) {
    let output = run_inner(arguments);
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn run_inner(arguments: &[&str]) -> Output {
    let program = std::env::current_exe().expect("own path");
    Command::new(program).args(arguments).env(INNER, "1").output().expect("start")
}

/// Asserts that each piece of text is in the output, in this order.
fn assert_says(output: &str, pieces: &[&str]) {
    let mut rest = output;
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else {
            panic!("{piece:?} is missing (or out of order) in:\n{output}");
        };
        rest = after;
    }
}

fn a_failing_test() {
    let (passed, output) =
        inner(&["--skip", "leaves", "--skip", "hangs", "--skip", "kernel", "--skip", "still"]);
    assert!(!passed);
    assert_says(
        &output,
        &[
            "test passes            ... ok",
            "test panics            ... FAILED",
            "test passes_at_the_end ... ok",
            "---- panics ----",
            "a reason to fail",
            "the test panicked",
            "test result: FAILED. 2 passed; 1 failed;",
        ],
    );
    assert!(!output.contains("a word of a good test"));
}

fn leaks() {
    let (passed, output) = inner(&["leaves"]);
    assert!(!passed);
    assert_says(
        &output,
        &[
            "---- leaves_a_device ----",
            "the test left behind:",
            "device-mapper device forgotten",
            "---- leaves_a_mount ----",
            "mount of tmpfs (tmpfs) on ",
            "---- leaves_a_process ----",
            "(sleep)",
            "test result: FAILED. 0 passed; 3 failed;",
        ],
    );
    let (_, last) = output.split_once("---- leaves_a_process ----").expect("a section");
    assert!(!last.contains("forgotten"), "it saw what another test left:\n{output}");
}

fn a_hanging_test() {
    let (passed, output) = inner(&["--skip", "leaves", "--skip", "panics", "--skip", "still"]);
    assert!(!passed);
    assert_says(
        &output,
        &[
            "test hangs             ... FAILED",
            "test passes_at_the_end ... ok",
            "---- hangs ----",
            "about to hang",
            "hung: not done within",
            "the kernel's last messages:",
            "nanosleep",
            "timers expire: a sleep of 100 ms took",
            "test result: FAILED. 2 passed; 1 failed;",
        ],
    );
}

fn a_kernel_that_stood_still() {
    let output = run_inner(&["--exact", "stands_still"]);
    let [results, notes] = [&output.stdout, &output.stderr].map(|b| String::from_utf8_lossy(b));
    assert!(output.status.success(), "{results}{notes}");
    assert_says(&results, &["test stands_still ... ok", "1 passed; 0 failed;"]);
    assert_says(
        &notes,
        &[
            "stands_still: hung: not done within",
            "the kernel stands still: its timers do not expire",
            "once more, in a fresh kernel",
        ],
    );
}

fn a_kernel_panic() {
    let (passed, output) = inner(&["kernel"]);
    assert!(!passed);
    assert_says(
        &output,
        &[
            "---- panics_the_kernel ----",
            "the kernel died during this test",
            "Kernel panic - not syncing: sysrq triggered crash",
            "test result: FAILED. 0 passed; 1 failed;",
        ],
    );
}

fn filters() {
    let (passed, output) = inner(&["--exact", "passes", "--nocapture"]);
    assert!(passed, "{output}");
    assert_says(&output, &["running 1 test", "a word of a good test", "1 passed; 0 failed;"]);
    let (passed, output) = inner(&["--list"]);
    assert!(passed);
    assert_says(&output, &["passes: test", "hangs: test"]);
}
