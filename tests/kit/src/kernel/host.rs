//! The outer side: chooses what to run, keeps a kernel for it, and reports.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use libtest_mimic::{Arguments, Completion, Failed, Trial};

use super::disk::{DISK_BYTES, DISK_COUNT};
use super::environment::{self, BOOT, DISKS, Kernel, WORK};
use super::machine::{Broken, Machine};
use super::protocol::{Outcome, Report, Run, SetUp};
use super::scratch::Scratch;
use super::suite::{Suite, Test};
use super::{modules, process, qemu, uml};
use crate::built;

/// More reboots than any test needs.
const REBOOTS: u32 = 20;

/// More kernels at once than this would take too much of the machine's memory.
const KERNELS: usize = 4;

/// Runs the tests that `arguments` select, and prints results like `cargo test`.
pub(crate) fn run(kernel: Kernel, suite: Suite, arguments: &Arguments) -> ExitCode {
    let ignored = kernel == Kernel::None;
    let kernel = if ignored { Kernel::UserMode } else { kernel };
    let test_threads = Some(kernels_at_once(kernel, &suite, arguments));
    let arguments = Arguments { test_threads, ..arguments.clone() };
    let show_output = arguments.nocapture;
    let tests = suite.tests.clone();
    let idle = Arc::new(Mutex::new(Vec::new()));
    let trials = tests.into_iter().map(|test| {
        let (idle, suite) = (Arc::clone(&idle), suite.clone());
        let run = move || {
            let free = locked(&idle).pop();
            let mut runner = free.unwrap_or(Runner { kernel, suite, show_output, booted: None });
            let result = runner.run(test);
            locked(&idle).push(runner);
            result
        };
        Trial::ignorable_test(test.name, run).with_ignored_flag(ignored)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

/// One kernel runs one test at a time. User-Mode Linux has one CPU; other kernels use them all.
fn kernels_at_once(kernel: Kernel, suite: &Suite, arguments: &Arguments) -> usize {
    if kernel != Kernel::UserMode || suite.alone {
        return 1;
    }
    let processors = || thread::available_parallelism().map_or(1, |count| count.get().min(KERNELS));
    arguments.test_threads.unwrap_or_else(processors)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A kernel that runs one test after the other.
struct Runner {
    kernel: Kernel,
    suite: Suite,
    show_output: bool,
    booted: Option<Booted>,
}

/// A kernel with its disks. The machine is dropped before its files.
struct Booted {
    machine: Option<Machine>,
    disks: Disks,
    _scratch: Scratch,
    root: PathBuf,
}

impl Runner {
    fn run(&mut self, test: Test) -> Result<Completion, Failed> {
        if self.kernel == Kernel::Host
            && let Some(reason) = self.unfit_host()?
        {
            return Ok(Completion::ignored_with(reason));
        }
        let mut output = String::new();
        let mut result = self.run_with_reboots(test, &mut output);
        if let Err(Broken::StoodStill(why)) = &result {
            eprintln!("{}: {why}\nIt runs once more, in a fresh kernel.", test.name);
            self.booted = None;
            output.clear();
            result = self.run_with_reboots(test, &mut output);
        }
        let failure = match result {
            Ok(Report { outcome: Outcome::Passed, leaks }) if leaks.is_empty() => {
                return Ok(Completion::Completed);
            }
            Ok(report) => {
                // Leftovers of one test must not disturb the next.
                if !report.leaks.is_empty() {
                    self.booted = None;
                }
                in_words(&report)
            }
            Err(Broken::StoodStill(why) | Broken::ByTest(why)) => {
                self.booted = None;
                why
            }
        };
        Err(format!("{output}{failure}").into())
    }

    fn run_with_reboots(&mut self, test: Test, output: &mut String) -> Result<Report, Broken> {
        for boot in 0..=REBOOTS {
            let report = self.run_once(test, boot, output)?;
            if report.outcome != Outcome::Reboot {
                return Ok(report);
            }
            match &mut self.booted {
                Some(Booted { machine: machine @ Some(_), .. }) => *machine = None,
                _ => {
                    let why = "a test that reboots the machine does not run here";
                    return Err(Broken::ByTest(why.into()));
                }
            }
        }
        Err(Broken::ByTest(format!("rebooted {REBOOTS} times")))
    }

    fn run_once(&mut self, test: Test, boot: u32, output: &mut String) -> Result<Report, Broken> {
        let (show_output, listener) = (self.show_output, self.suite.listener);
        let mut add = |line: &str| {
            if let Some(listener) = listener {
                listener(line);
            }
            if show_output {
                print!("{line}");
            }
            output.push_str(line);
        };
        let limit = environment::stretched(test.limit * self.slowness());
        self.boot().map_err(Broken::ByTest)?;
        let Some(booted) = &mut self.booted else {
            return Err(Broken::ByTest("no test kernel".into()));
        };
        let mut environment = environment::passed_on();
        environment.push((DISKS.into(), booted.disks.devices.join(":")));
        environment.push((BOOT.into(), boot.to_string()));
        let current_dir = built::repository().to_owned();
        let mut run = Run { test: test.name.into(), environment, current_dir };
        match &mut booted.machine {
            Some(machine) => machine.run(run, limit, &mut add),
            None => {
                let work = booted.root.display().to_string();
                run.environment.extend([(WORK.into(), work.clone()), ("TMPDIR".into(), work)]);
                Ok(process::run(&run, Some(limit), &mut |line| add(&line)))
            }
        }
    }

    fn slowness(&self) -> u32 {
        if self.kernel == Kernel::Qemu { qemu::SLOWNESS } else { 1 }
    }

    /// Boots a kernel if none is running, with the disks of the previous one, if any.
    fn boot(&mut self) -> Result<(), String> {
        let booted = match &mut self.booted {
            Some(Booted { machine: Some(_), .. }) => return Ok(()),
            Some(Booted { .. }) if self.kernel == Kernel::Host => return Ok(()),
            Some(booted) => booted,
            none => {
                let more = optional_modules(self.kernel, &mut self.suite)?;
                self.suite.modules.extend(more);
                none.insert(prepare(self.kernel, &self.suite)?)
            }
        };
        let set_up = SetUp {
            modules_dir: PathBuf::new(),
            modules: self.suite.modules.clone(),
            keep: files(&self.suite),
        };
        let init = this_program()?;
        let disks = &booted.disks.files;
        booted.machine = match self.kernel {
            Kernel::UserMode => Some(uml::boot(&init, booted._scratch.path(), disks, set_up)?),
            Kernel::Qemu => Some(qemu::boot(&init, &booted.root, disks, set_up)?),
            _ => None,
        };
        Ok(())
    }

    /// Why this machine's own kernel cannot run the suite: an error, or a reason to skip it.
    fn unfit_host(&self) -> Result<Option<String>, Failed> {
        if !rustix::process::geteuid().is_root() {
            return Err("CALF_KERNEL=host needs root".into());
        }
        let targets = Command::new("dmsetup").arg("targets").output();
        let targets = targets.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let snapshot =
            targets.unwrap_or_default().lines().any(|line| line.starts_with("snapshot "));
        match (self.suite.device_mapper, snapshot) {
            (true, false) => {
                Err("this kernel has no dm-snapshot (modprobe dm-snapshot), or dmsetup is missing"
                    .into())
            }
            (false, true) => Ok(Some("this kernel has dm-snapshot".into())),
            _ => Ok(None),
        }
    }
}

/// Selects the suite's optional modules that the kernel has. On this machine's own kernel, its
/// owner loads modules.
fn optional_modules(kernel: Kernel, suite: &mut Suite) -> Result<Vec<String>, String> {
    let names = std::mem::take(&mut suite.optional_modules);
    match kernel {
        _ if names.is_empty() => Ok(names),
        Kernel::UserMode => Ok(modules::available(&uml::modules_dir()?, &names)),
        Kernel::Qemu => Ok(modules::available(&qemu::modules_dir()?, &names)),
        _ => Ok(Vec::new()),
    }
}

/// The files that a boot needs on the host's disk.
fn prepare(kernel: Kernel, suite: &Suite) -> Result<Booted, String> {
    let failed = |error: std::io::Error| format!("cannot prepare the test kernel: {error}");
    let scratch = Scratch::new().map_err(failed)?;
    let mut disks = Disks::default();
    for index in 0..DISK_COUNT {
        let file = scratch.sparse_file(&format!("disk{index}"), DISK_BYTES).map_err(failed)?;
        let device = match kernel {
            Kernel::UserMode => uml::disk_device(index),
            Kernel::Qemu => qemu::disk_device(index),
            _ => disks.attach(&file)?,
        };
        disks.files.push(file);
        disks.devices.push(device);
    }
    let root = scratch.path().join("root");
    match kernel {
        Kernel::Qemu => qemu::make_root(&root, &files(suite), &suite.modules)?,
        Kernel::Host => std::fs::create_dir_all(&root).map_err(failed)?,
        _ => {}
    }
    Ok(Booted { machine: None, disks, _scratch: scratch, root })
}

/// The paths that must be visible in the guest.
fn files(suite: &Suite) -> Vec<PathBuf> {
    let mut files = suite.files.clone();
    files.extend(this_program().ok());
    files.extend(suite.tools.iter().map(|name| built::tools_dir().join(name)));
    files.push(built::calf());
    files
}

fn this_program() -> Result<PathBuf, String> {
    let path = std::env::current_exe().map_err(|error| format!("who am I: {error}"))?;
    let text = path.to_string_lossy();
    if text.contains(char::is_whitespace) {
        return Err(format!(
            "a kernel command line cannot name {text}: move the project to a path without spaces"
        ));
    }
    Ok(path)
}

fn in_words(report: &Report) -> String {
    let mut text = match &report.outcome {
        Outcome::Failed(why) => format!("{why}\n"),
        Outcome::Killed(signal) => format!("the test was killed by signal {signal}\n"),
        _ => String::new(),
    };
    if !report.leaks.is_empty() {
        text.push_str("the test left behind:\n");
        for leak in &report.leaks {
            text.push_str(&format!("  {leak}\n"));
        }
    }
    text
}

/// The disks of a machine: files here, devices there.
#[derive(Default)]
struct Disks {
    files: Vec<PathBuf>,
    devices: Vec<String>,
    /// Those of the devices that are loop devices of this machine itself.
    attached: Vec<String>,
}

impl Disks {
    fn attach(&mut self, file: &Path) -> Result<String, String> {
        let output = Command::new("losetup").args(["--find", "--show"]).arg(file).output();
        let output = output.map_err(|error| format!("cannot start losetup: {error}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("cannot attach {}: {said}", file.display()));
        }
        let device = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        self.attached.push(device.clone());
        Ok(device)
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for device in &self.attached {
            let _ = Command::new("losetup").arg("--detach").arg(device).status();
        }
    }
}
