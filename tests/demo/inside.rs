//! The demonstration itself, in a kernel with dm-snapshot.

use std::ffi::CString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use calf_test_kit::kernel::leak::KernelObjects;
use calf_test_kit::kernel::{Fs, pool_dir, work_dir};
use rustix::mount::{MountFlags, UnmountFlags};

use crate::driver::{self, Driver, TEMPLATE};
use crate::place::{Place, Stage, make_directory};
use crate::{Result, command, evidence, fork, microvm, stop, teardown, ui, volumes};

/// Passes the location of the image to the process in the guest.
pub(crate) const IMAGE: &str = "CALF_DEMO_IMAGE";

/// The demonstration failed, and the user has seen the reason.
pub(crate) struct Shown;

/// In User-Mode Linux: with the guest's own disk for the pool, and the logs on the host.
pub(crate) fn run_in_guest() -> ExitCode {
    match try_in_guest() {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(Shown)) => ExitCode::FAILURE,
        Err(error) => {
            ui::failure(&error);
            ExitCode::FAILURE
        }
    }
}

fn try_in_guest() -> Result<Result<(), Shown>> {
    let place = Place::find()?;
    let image = PathBuf::from(std::env::var_os(IMAGE).ok_or("CALF_DEMO_IMAGE is not set")?);
    let _logs = HostDirectory::mount(&place.logs)?;
    let disk = pool_dir(Fs::Xfs);
    let runtime = work_dir().join("run");
    Ok(run(&Stage { place, image, pool: disk.path().join("pool"), runtime }))
}

/// A directory of the host, writable. The rest of the host is read-only in the guest.
struct HostDirectory(PathBuf);

impl HostDirectory {
    fn mount(dir: &Path) -> Result<Self> {
        let failed =
            |error: String| format!("cannot mount {} from the host: {error}", dir.display());
        let on_host = CString::new(dir.as_os_str().as_encoded_bytes())
            .map_err(|error| failed(error.to_string()))?;
        rustix::mount::mount("none", dir, "hostfs", MountFlags::empty(), on_host.as_c_str())
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self(dir.into()))
    }
}

impl Drop for HostDirectory {
    fn drop(&mut self) {
        if let Err(error) = rustix::mount::unmount(&self.0, UnmountFlags::empty()) {
            eprintln!("cannot unmount {}: {error}", self.0.display());
        }
    }
}

/// Runs the whole demonstration; after a failure, takes everything down.
pub(crate) fn run(stage: &Stage) -> Result<(), Shown> {
    show(stage).map_err(|error| {
        ui::failure(&error);
        ui::aside("cleaning up after the failure");
        stop::clean_up();
        if let Err(error) = teardown::sweep(stage) {
            ui::say(&format!("the cleanup is incomplete: {error}"));
        }
        Shown
    })
}

fn show(stage: &Stage) -> Result<()> {
    let before = KernelObjects::take();
    for dir in [&stage.pool, &stage.runtime] {
        make_directory(dir)?;
    }
    ui::good(&format!("the pool is on {}", file_system(&stage.pool)?));

    ui::step(3, "Import the image as a template");
    ui::aside(&format!("$ calf template import {} --name {TEMPLATE}", name_of(&stage.image)));
    let started = Instant::now();
    let imported = driver::import(stage, &mut |line| ui::progress(line))?;
    ui::good(&format!("{imported} in {}", ui::seconds(started.elapsed())));
    let digest = driver::template_digest(stage)?;

    ui::step(4, "Start the driver");
    ui::aside("$ calf serve --endpoint unix:///…/csi.sock --pool … --node-id demo-node");
    let (driver, mut csi) = Driver::start(stage)?;
    let (name, version) = csi.driver()?;
    ui::good(&format!("{name} {version} answers on its socket"));

    ui::step(5, "Five volumes over CSI: CreateVolume, NodeStageVolume, NodePublishVolume (block)");
    let volumes = volumes::create(stage, &mut csi)?;
    volumes::compare(stage, &mut csi, &volumes, &digest)?;
    let booted = volumes.first().ok_or("there are no volumes")?;

    ui::step(6, &format!("Boot a microVM with {} as its root disk", booted.id));
    let started = Instant::now();
    let written = microvm::boot(&stage.place, booted)?;
    let time = ui::seconds(started.elapsed());
    ui::good(&format!("the microVM booted, wrote a file, and powered off in {time}"));

    ui::step(7, "Where are the guest's writes?");
    evidence::show(stage, &mut csi, &volumes, &written, &digest)?;

    ui::step(8, &format!("Start more disks from where {} stands", booted.id));
    fork::show(stage, booted, &written)?;

    ui::step(9, "Take everything down");
    ui::aside(&format!("now in the kernel: {}", teardown::held(&before)));
    let started = Instant::now();
    let count = teardown::volumes(stage, &mut csi)?;
    let time = ui::milliseconds(started.elapsed());
    ui::good(&format!("{count} volumes unpublished, unstaged and deleted over CSI in {time}"));
    ui::good(&driver::remove_template(stage, TEMPLATE)?);
    drop(csi);
    driver.stop()?;
    ui::good("the driver stopped on SIGTERM, with exit code 0");

    ui::step(10, "What is left?");
    teardown::prove_nothing_left(stage, &before)?;
    teardown::directories(stage)
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Type and size of the file system that holds `path`.
fn file_system(path: &Path) -> Result<String> {
    let mut findmnt = Command::new("findmnt");
    findmnt.args(["--noheadings", "--output", "FSTYPE,SIZE", "--target"]);
    findmnt.arg(fs::canonicalize(path).unwrap_or_else(|_| path.into()));
    let found = command::output(findmnt, Duration::from_secs(10))?;
    Ok(found.split_whitespace().collect::<Vec<_>>().join(" of "))
}
