//! The guest's first process: sets up the machine, then runs one test after the other.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{self, Receiver};
use std::thread;

use rustix::mount::MountFlags;
use rustix::process::{Resource, Rlimit, WaitOptions};
use rustix::system::RebootCommand;

use super::environment::{CHANNEL, WORK};
use super::hang;
use super::modules;
use super::process;
use super::protocol::{self, Reply, Request, Run, SetUp};

/// The directory in which a guest may write, in memory.
const SCRATCH_DIRS: [&str; 2] = ["/run", "/tmp"];

/// The limit of open files, the same as in a container runtime; the default of a bare kernel is
/// 1024.
const OPEN_FILES: u64 = 65_536;

/// Serves the host until it hangs up, then powers off. For PID 1.
pub fn serve() -> ! {
    if let Err(error) = try_serve() {
        // Standard error is the console, which the host shows if a guest ends.
        eprintln!("the test guest cannot go on: {error}");
    }
    power_off()
}

/// Ends the machine at once.
pub(crate) fn power_off() -> ! {
    // Returns only on failure; then PID 1 ends, and so does the kernel.
    let _ = rustix::system::reboot(RebootCommand::PowerOff);
    std::process::exit(1)
}

fn try_serve() -> Result<(), String> {
    mount_virtual_file_systems()?;
    let path = std::env::var(CHANNEL).map_err(|_| format!("{CHANNEL} is not set"))?;
    let mut channel = open_channel(&path).map_err(|error| format!("{path}: {error}"))?;
    let failed = |error| format!("cannot write to {path}: {error}");
    let from = channel.try_clone().map_err(failed)?;
    let requests = listen(from);
    protocol::send(&mut channel, &Reply::Hello).map_err(failed)?;

    let mut work = PathBuf::new();
    for request in requests {
        let reply = match request {
            Request::SetUp(set_up) => match prepare(&set_up) {
                Ok(dir) => {
                    work = dir;
                    Reply::Ready
                }
                Err(error) => Reply::Unable(error),
            },
            Request::Run(run) => Reply::Done(run_test(run, &work, &mut channel)),
            Request::ExplainHang => continue,
        };
        protocol::send(&mut channel, &reply).map_err(failed)?;
    }
    Ok(())
}

/// Mounts `/proc`, `/sys` and `/dev`, with the mounts below it.
pub(crate) fn mount_virtual_file_systems() -> Result<(), String> {
    let all = [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("devpts", "/dev/pts"),
        ("tmpfs", "/dev/shm"),
    ];
    for (kind, target) in all {
        // Only /dev/pts and /dev/shm may be missing, and are below a writable /dev.
        let _ = fs::create_dir(target);
        match rustix::mount::mount(kind, target, kind, MountFlags::empty(), None) {
            // The kernel may have mounted it.
            Ok(()) | Err(rustix::io::Errno::BUSY) => {}
            Err(error) => return Err(format!("cannot mount {target}: {error}")),
        }
    }
    Ok(())
}

/// Opens the line to the host, in raw mode if it is a terminal.
fn open_channel(path: &str) -> std::io::Result<File> {
    let channel = OpenOptions::new().read(true).write(true).open(path)?;
    if path.contains("tty") {
        // The settings last as long as the line is open, which is from here on.
        let status =
            Command::new("stty").args(["raw", "-echo"]).stdin(channel.try_clone()?).status()?;
        if !status.success() {
            return Err(std::io::Error::other(format!("stty: {status}")));
        }
    }
    Ok(channel)
}

/// Receives requests in a thread, since some arrive while a test runs.
fn listen(from: File) -> Receiver<Request> {
    let (sender, requests) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            match serde_json::from_str(&line) {
                Ok(Request::ExplainHang) => hang::explain(),
                Ok(request) => {
                    let _ = sender.send(request);
                }
                Err(error) => eprintln!("the host sent {line:?}: {error}"),
            }
        }
        // The host is gone, perhaps in the middle of a test.
        power_off()
    });
    requests
}

/// Loads modules, sets up writable directories, and returns the directory for the tests.
fn prepare(set_up: &SetUp) -> Result<PathBuf, String> {
    modules::load(&set_up.modules_dir, &set_up.modules)?;
    let limit = Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) };
    rustix::process::setrlimit(Resource::Nofile, limit)
        .map_err(|error| format!("cannot raise the limit of open files: {error}"))?;
    let mut writable = Vec::new();
    for dir in SCRATCH_DIRS {
        // A project below /tmp must stay visible; then /tmp is the host's, and read-only.
        if set_up.keep.iter().any(|kept| kept.starts_with(dir)) {
            continue;
        }
        let _ = fs::create_dir(dir);
        rustix::mount::mount("tmpfs", dir, "tmpfs", MountFlags::empty(), c"mode=1777")
            .map_err(|error| format!("cannot mount a tmpfs on {dir}: {error}"))?;
        writable.push(Path::new(dir));
    }
    match writable.first() {
        Some(dir) => Ok(dir.join("calf-test")),
        None => Err(format!("no place to write: the project lies below {SCRATCH_DIRS:?}")),
    }
}

fn run_test(mut run: Run, work: &Path, channel: &mut File) -> protocol::Report {
    // Remove files of earlier tests. What cannot be removed is a leaked mount, which was already
    // reported.
    let _ = fs::remove_dir_all(work);
    let temporary = work.join("tmp");
    if let Err(error) = fs::create_dir_all(&temporary) {
        eprintln!("cannot make {}: {error}", temporary.display());
    }
    let text = |path: &Path| path.to_string_lossy().into_owned();
    run.environment.extend([
        (WORK.into(), text(work)),
        ("HOME".into(), text(work)),
        ("TMPDIR".into(), text(&temporary)),
        ("PATH".into(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into()),
    ]);
    let report = process::run(&run, None, &mut |line| {
        // If the host is gone, the listener powers off.
        let _ = protocol::send(channel, &Reply::Output(line));
    });
    // This process inherits orphans of the test.
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
    report
}
