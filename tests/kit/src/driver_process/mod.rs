//! A driver in a process of its own, and a client on its socket, for tests in a real kernel.

mod client;

use std::fs::{self, File};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

use crate::built;

pub use client::{Client, Usage};

/// How long a driver may take to serve its socket, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A driver, which is killed with the test if it was not stopped before.
pub struct Driver {
    process: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Driver {
    /// Starts `calf serve` on a pool, with its socket and log in directory `work`, and waits
    /// until it accepts connections.
    pub fn start(pool: &Path, work: &Path, options: &[&str]) -> Self {
        let mut command = Command::new(built::calf());
        command
            .args(["serve", "--node-id", "node-1", "--endpoint"])
            .arg(format!("unix://{}", socket(work).display()))
            .arg("--pool")
            .arg(pool)
            .args(options);
        Self::spawn(command, work)
    }

    /// Two drivers on one pool, each in a directory of its own below `work`, as during an upgrade.
    pub fn old_and_new(pool: &Path, work: &Path) -> [Self; 2] {
        ["old", "new"].map(|name| {
            let work = work.join(name);
            fs::create_dir_all(&work).expect("a directory");
            Self::start(pool, &work, &[])
        })
    }

    /// [`start`](Self::start) with any command that serves `csi/csi.sock` in `work`.
    pub fn spawn(mut command: Command, work: &Path) -> Self {
        let (socket, log) = (socket(work), work.join("driver.log"));
        fs::create_dir_all(socket.parent().expect("a directory")).expect("make a directory");
        let stderr = File::options().create(true).append(true).open(&log).expect("open the log");
        command.stdout(Stdio::null()).stderr(stderr);
        let process = command.spawn().expect("start the driver");
        let mut driver = Self { process, socket, log };
        let deadline = Instant::now() + PATIENCE;
        let socket = driver.socket.clone();
        let is_bound = || UnixStream::connect(&socket).is_ok();
        // The driver binds the socket before it reconciles the pool, and answers afterwards.
        while !(is_bound() && driver.client().probe().is_ok()) {
            if let Ok(Some(status)) = driver.process.try_wait() {
                panic!("the driver ended with {status}:\n{}", driver.log());
            }
            assert!(Instant::now() < deadline, "no socket after {PATIENCE:?}:\n{}", driver.log());
            thread::sleep(Duration::from_millis(2));
        }
        driver
    }

    /// A client of this driver.
    pub fn client(&self) -> Client {
        Client::new(&self.socket)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sends SIGTERM and waits.
    pub fn stop(mut self) -> ExitStatus {
        rustix::process::kill_process(Pid::from_child(&self.process), Signal::TERM).expect("kill");
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.process.try_wait().expect("wait for the driver") {
                return status;
            }
            assert!(Instant::now() < deadline, "still there after SIGTERM:\n{}", self.log());
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Sends SIGKILL and waits.
    pub fn kill(mut self) {
        self.process.kill().expect("kill");
        self.process.wait().expect("wait for the driver");
    }

    /// Whether it has ended without a signal; waits briefly for that.
    pub fn has_died(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(5);
        while Instant::now() < deadline {
            if self.process.try_wait().expect("wait for the driver").is_some() {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| error.to_string())
    }

    /// The last lines of the log, for a run that fills it.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(15)..].join("\n")
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The path of the socket of a driver in `work`.
pub fn socket(work: &Path) -> PathBuf {
    work.join("csi/csi.sock")
}
