//! Prepares the image and a kernel on this machine, and runs the demonstration in that kernel.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use calf_test_kit::kernel::environment::{DISKS, Kernel};
use calf_test_kit::kernel::machine::Broken;
use calf_test_kit::kernel::protocol::{Outcome, Run, SetUp};
use calf_test_kit::kernel::uml;

use crate::inside::{self, Shown};
use crate::place::{Place, Stage, make_directory, remove_directory, remove_file};
use crate::{Result, command, image, microvm, stop, teardown, ui};

/// Time limit for everything in User-Mode Linux.
const LIMIT: Duration = Duration::from_secs(10 * 60);
/// Sparse: it occupies only what is written.
const DISK_BYTES: u64 = 8 << 30;
const GUEST_MODULES: [&str; 4] = ["loop", "xfs", "dm-mod", "dm-snapshot"];
/// Runs the demonstration directly on this machine's kernel.
const HOST_RUNTIME: &str = "/run/calf-demo";

pub(crate) fn run(kernel: Kernel) -> ExitCode {
    let started = Instant::now();
    ui::title("calf: a copy-on-write root disk for every microVM, over CSI");
    match try_run(kernel) {
        Ok(()) => {
            ui::done(&format!("Nothing is left. Done in {}.", ui::seconds(started.elapsed())));
            return ExitCode::SUCCESS;
        }
        Err(Failure::Shown) => {}
        Err(Failure::New(error)) => ui::failure(&error),
    }
    if let Ok(place) = Place::find() {
        show_logs(&place.logs);
    }
    ExitCode::from(if stop::is_stopped() { stop::EXIT_CODE } else { 1 })
}

fn show_logs(logs: &Path) {
    ui::say(&format!("the logs are in {}", logs.display()));
}

/// Whether the user has already seen the reason.
enum Failure {
    New(String),
    Shown,
}

impl From<String> for Failure {
    fn from(error: String) -> Self {
        Self::New(error)
    }
}

impl From<Shown> for Failure {
    fn from(_: Shown) -> Self {
        Self::Shown
    }
}

fn try_run(kernel: Kernel) -> Result<(), Failure> {
    stop::watch()?;
    let place = Place::find()?;
    let _lock = place.claim()?;
    for log in [place.driver_log(), place.microvm_log()] {
        remove_file(&log)?;
    }

    ui::step(1, "A root image of a real Debian system");
    let image = image::prepare(&place)?;
    microvm::make_initramfs(&place)?;

    ui::step(2, "A kernel with dm-snapshot");
    let reason = match kernel {
        Kernel::UserMode => Some("CALF_KERNEL=uml is set".to_owned()),
        Kernel::Qemu => {
            return Err("the demo does not run in QEMU: set CALF_KERNEL to uml or host"
                .to_owned()
                .into());
        }
        _ => why_not_here(),
    };
    match reason {
        None => on_host(place.clone(), image)?,
        Some(reason) if kernel == Kernel::Host => return Err(reason.into()),
        Some(reason) => {
            ui::aside(&format!("{reason}: booting User-Mode Linux, which needs no privileges"));
            in_user_mode_linux(&place, &image)?;
        }
    }
    remove_directory(&place.logs)?;
    Ok(())
}

/// Returns why this machine's own kernel cannot be used; `None` if it can.
fn why_not_here() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("you are not root, so you may not make devices".into());
    }
    for module in ["loop", "dm-snapshot"] {
        let mut modprobe = Command::new("modprobe");
        modprobe.args(["--quiet", module]);
        // A failure does not matter: the target may be built in, or this may be a container. The
        // next check decides.
        let _ = command::output(modprobe, Duration::from_secs(30));
    }
    let mut dmsetup = Command::new("dmsetup");
    dmsetup.arg("targets");
    let targets = command::output(dmsetup, Duration::from_secs(30)).unwrap_or_default();
    let found = targets.lines().any(|line| line.starts_with("snapshot "));
    (!found).then(|| format!("this machine's kernel ({}) has no dm-snapshot", release()))
}

fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

fn on_host(place: Place, image: PathBuf) -> Result<(), Failure> {
    ui::good(&format!("this machine's own kernel, Linux {}", release()));
    let runtime = PathBuf::from(HOST_RUNTIME);
    make_directory(&runtime)?;
    let claimed = File::open(&runtime).map_err(|error| format!("{HOST_RUNTIME}: {error}"))?;
    claimed.try_lock().map_err(|_| "another demo is running on this machine".to_owned())?;
    let stage = Stage { pool: place.run.join("pool"), runtime, place, image };
    if stage.pool.exists() {
        ui::aside("an earlier run was interrupted: cleaning up");
    }
    teardown::sweep(&stage)?;
    let shown = inside::run(&stage);
    // Only if it is empty. Otherwise the cleanup has failed, and the next run tries again.
    let _ = fs::remove_dir(&stage.place.run);
    Ok(shown?)
}

fn in_user_mode_linux(place: &Place, image: &Path) -> Result<(), Failure> {
    // Nothing in that kernel outlives it, so only the directory needs cleaning up.
    remove_directory(&place.run)?;
    make_directory(&place.run)?;
    let run = place.run.clone();
    let logs = place.logs.clone();
    stop::end_with(move || {
        ui::failure("interrupted");
        show_logs(&logs);
        let _ = remove_directory(&run);
    });
    let shown = boot_and_show(place, image);
    let removed = remove_directory(&place.run);
    shown?;
    Ok(removed?)
}

fn boot_and_show(place: &Place, image: &Path) -> Result<(), Failure> {
    let disk = place.run.join("disk");
    File::create(&disk)
        .and_then(|file| file.set_len(DISK_BYTES))
        .map_err(|error| format!("{}: {error}", disk.display()))?;
    let program =
        std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let set_up = SetUp {
        modules_dir: PathBuf::new(),
        modules: GUEST_MODULES.map(String::from).into(),
        keep: vec![program.clone()],
    };
    let started = Instant::now();
    let mut machine = uml::boot(&program, &place.run, &[disk], set_up)?;
    ui::good(&format!("User-Mode Linux booted in {}", ui::seconds(started.elapsed())));

    let mut environment = ui::environment();
    environment.push((inside::IMAGE.into(), image.display().to_string()));
    environment.push((DISKS.into(), uml::disk_device(0)));
    let current_dir = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let run = Run { test: "demo".into(), environment, current_dir };
    let report = machine
        .run(run, LIMIT, &mut ui::relay)
        .map_err(|(Broken::StoodStill(why) | Broken::ByTest(why))| why)?;
    match report.outcome {
        Outcome::Passed if report.leaks.is_empty() => Ok(()),
        Outcome::Passed => {
            Err(format!("these are left over:\n     {}", report.leaks.join("\n     ")).into())
        }
        _ => Err(Failure::Shown),
    }
}
