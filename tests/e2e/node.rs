//! The one node of the cluster: User-Mode Linux, whose kernel has dm-snapshot, with containerd and
//! the kubelet in it.
//!
//! ```text
//!   boot ─▸ start containerd ─▸ import images ─▸ start kubelet ─▸ … tests … ─▸ drop
//!            └── `run`: scripts on the node, outside all pods ──────────┘
//! ```
//!
//! Its files are below a directory of the run: two disks, the logs of its services, the console.
//! The kernel is killed when the [`Node`] is dropped, or when this process ends in any way; only
//! the logs outlive it.

mod agent;
mod services;

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use calf_test_kit::kernel::console::Console;
use calf_test_kit::kernel::environment::stretched;
use calf_test_kit::kernel::guard::Guard;
use calf_test_kit::kernel::uml;
use rustix::process::{Pid, Signal};

pub(crate) use agent::Output;
pub(crate) use services::Service;

use crate::Result;
use crate::network;

/// The node's name in the cluster.
pub(crate) const NAME: &str = "node";
/// Where the pool's disk is mounted on the node. XFS with reflink.
pub(crate) const POOL: &str = "/var/lib/calf";

/// containerd, the kubelet, calf with its sidecars, and a microVM in a pod.
const MEMORY: &str = "6G";
/// Sparse: they cost what is written.
const STATE_DISK: u64 = 16 << 30;
const POOL_DISK: u64 = 8 << 30;
/// Boots in three seconds where nothing else runs.
const BOOT_LIMIT: Duration = Duration::from_secs(120);
const COMMAND_LIMIT: Duration = Duration::from_secs(120);
/// The path of the run's directory on the node.
const SHARED: &str = "/mnt/shared";

pub(crate) struct Options {
    /// A directory for disks and logs. Leftovers of an earlier run are removed.
    pub(crate) directory: PathBuf,
    /// The directory with runc, containerd, its shim, ctr and kubelet.
    pub(crate) programs: PathBuf,
    /// For the kubelet, to talk to kube-apiserver.
    pub(crate) kubeconfig: PathBuf,
    /// The authority whose clients the kubelet accepts.
    pub(crate) client_ca: PathBuf,
    /// The image of the sandbox containers, which must be among those that are imported.
    pub(crate) pause_image: String,
}

pub(crate) struct Node {
    kernel: Child,
    _guard: Guard,
    console: Console,
    options: Options,
}

/// Runs this process's role on the node, if it runs there.
pub(crate) fn act() -> Option<ExitCode> {
    std::env::var(agent::LISTEN).ok().map(|address| agent::serve(&address))
}

impl Node {
    /// Boots the node, without services. The network must already be set up.
    pub(crate) fn boot(options: Options) -> Result<Self> {
        let directory = &options.directory;
        let failed = |error| format!("cannot prepare {}: {error}", directory.display());
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => fs::create_dir_all(directory.join("shared")).map_err(failed)?,
        }
        let state = directory.join("state.disk");
        make_disk(&state, STATE_DISK, &["mkfs.ext4", "-q", "-F"])?;
        let pool = directory.join("pool.disk");
        make_disk(&pool, POOL_DISK, &["mkfs.xfs", "-q", "-m", "reflink=1"])?;
        let mut kernel = boot_command(&options, &[state, pool])?
            .spawn()
            .map_err(|error| format!("cannot start User-Mode Linux: {error}"))?;
        let guard = Guard::over(&kernel)?;
        let console = Console::default();
        if let Some(errors) = kernel.stderr.take() {
            console.follow(errors);
        }
        let mut node = Self { kernel, _guard: guard, console, options };
        node.wait_until_up()?;
        Ok(node)
    }

    fn wait_until_up(&mut self) -> Result<()> {
        let deadline = Instant::now() + stretched(BOOT_LIMIT);
        while !agent::is_up(network::NODE) {
            let ended = self.kernel.try_wait();
            let why = match ended {
                Ok(Some(status)) => format!("its kernel ended ({status})"),
                _ if Instant::now() > deadline => "it takes too long".into(),
                _ => {
                    thread::sleep(Duration::from_millis(100));
                    continue;
                }
            };
            return Err(format!("the node did not boot: {why}\n{}", self.console.tail()));
        }
        Ok(())
    }

    /// Runs a shell script on the node, outside all pods. Fails only if the script could not be
    /// run, or did not end; the output has its exit code.
    pub(crate) fn try_run(&self, script: &str) -> Result<Output> {
        self.try_run_within(script, COMMAND_LIMIT)
    }

    pub(crate) fn try_run_within(&self, script: &str, limit: Duration) -> Result<Output> {
        agent::call(network::NODE, script, stretched(limit)).map_err(|error| match self.alarm() {
            Some(alarm) => format!("{error}\nthe node's kernel reported: {alarm}"),
            None => error,
        })
    }

    /// Returns the standard output of a script on the node. Fails if the script fails.
    pub(crate) fn run(&self, script: &str) -> Result<String> {
        self.run_within(script, COMMAND_LIMIT)
    }

    pub(crate) fn run_within(&self, script: &str, limit: Duration) -> Result<String> {
        let output = self.try_run_within(script, limit)?;
        if output.code == 0 {
            return Ok(output.stdout);
        }
        Err(format!(
            "on the node, `{script}` ended with {}: {}{}",
            output.code, output.stdout, output.stderr
        ))
    }

    /// The last messages of the node's kernel.
    pub(crate) fn console(&self) -> String {
        self.console.tail()
    }

    /// The first message of the node's kernel that shows that it is broken.
    pub(crate) fn alarm(&self) -> Option<String> {
        self.console.alarm()
    }

    /// The directory of the services' logs on this machine.
    pub(crate) fn logs(&self) -> PathBuf {
        self.options.directory.join("shared")
    }

    /// Loads images, as archives in the format of `docker save`, into containerd.
    pub(crate) fn import(&self, archives: &[PathBuf]) -> Result<()> {
        for archive in archives {
            let ctr = self.options.programs.join("ctr");
            let script = format!(
                "'{}' --namespace k8s.io images import --local '{}'",
                ctr.display(),
                archive.display()
            );
            self.run_within(&script, Duration::from_secs(600))?;
        }
        Ok(())
    }

    /// Ends every process of that name (as in `/proc/*/comm`) on the node with `kill -9`, including
    /// processes in pods. Returns their number.
    pub(crate) fn kill(&self, name: &str) -> Result<usize> {
        let killed = self.run(&format!(
            r#"for process in /proc/[0-9]*; do
                if [ "$(cat "$process/comm" 2>/dev/null)" = '{name}' ]; then
                    kill -9 "${{process#/proc/}}" && echo "$process"
                fi
            done"#
        ))?;
        Ok(killed.lines().count())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The node needs no orderly shutdown.
        let _ = rustix::process::kill_process_group(Pid::from_child(&self.kernel), Signal::KILL);
        let _ = self.kernel.wait();
        for disk in ["state.disk", "pool.disk"] {
            let _ = fs::remove_file(self.options.directory.join(disk));
        }
    }
}

fn boot_command(options: &Options, disks: &[PathBuf]) -> Result<Command> {
    let init = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/node/init.sh");
    let agent = std::env::current_exe().map_err(|error| format!("who am I: {error}"))?;
    let shared = options.directory.join("shared");
    // Fails early if User-Mode Linux is not installed.
    uml::modules_dir()?;
    let mut command = uml::command(MEMORY, &options.directory, disks)?;
    command
        .arg("ssl=null")
        .arg(format!("vec0:transport=tap,ifname={},depth=128", network::TAP))
        .arg(format!("init={}", init.display()))
        .arg(format!("CALF_NODE_NAME={NAME}"))
        .arg(format!("{}={}", agent::LISTEN, network::NODE))
        .arg(format!("CALF_NODE_GATEWAY={}", network::MACHINE))
        .arg(format!("CALF_NODE_SHARED={}", shared.display()))
        .arg(format!("CALF_NODE_AGENT={}", agent.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0);
    for path in [&init, &agent, &shared] {
        if path.to_string_lossy().contains(char::is_whitespace) {
            return Err(format!(
                "a kernel command line cannot name {}: move the project to a path without spaces",
                path.display()
            ));
        }
    }
    Ok(command)
}

/// A sparse file with a file system.
fn make_disk(path: &Path, bytes: u64, mkfs: &[&str]) -> Result<()> {
    let failed = |error: std::io::Error| format!("cannot make {}: {error}", path.display());
    File::create(path).and_then(|file| file.set_len(bytes)).map_err(failed)?;
    let [program, options @ ..] = mkfs else { return Ok(()) };
    let output = Command::new(program)
        .args(options)
        .arg(path)
        .env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")
        .output()
        .map_err(failed)?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {}: {}", path.display(), String::from_utf8_lossy(&output.stderr).trim()))
}
