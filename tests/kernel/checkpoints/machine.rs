//! A microVM in QEMU that is paused, saved and restored over QEMU's monitor protocol.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use calf_test_kit::kernel::environment::stretched;
use calf_test_kit::kernel::microvm::{Accelerator, MicroVm};
use serde_json::{Value, json};

/// The prefix of the lines of the guest.
pub(crate) const MARK: &str = "guest: ";
/// An emulated machine in an emulated kernel needs most of a minute to boot.
const PATIENCE: Duration = Duration::from_secs(150);
const TICK: Duration = Duration::from_millis(50);
/// Lines of the guest within which it must have compared its disk with its memory.
const TURNS: u32 = 4;

/// What all machines of one guest have in common.
pub(crate) struct Boot<'a> {
    pub(crate) kernel: &'a Path,
    pub(crate) initramfs: &'a Path,
}

/// A running machine. Dropping it kills it.
pub(crate) struct Machine {
    qemu: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    monitor: BufReader<UnixStream>,
}

impl Machine {
    /// Boots from `disk`, or goes on from the memory that was saved in `saved`. `socket` is for its
    /// monitor.
    pub(crate) fn start(boot: &Boot<'_>, disk: &Path, socket: &Path, saved: Option<&Path>) -> Self {
        let machine = MicroVm {
            kernel: boot.kernel,
            initramfs: boot.initramfs,
            accelerator: Accelerator::Emulation,
            kernel_arguments: "",
            disk,
            drive: "cache=writeback",
        };
        let mut command = Command::new("qemu-system-x86_64");
        command
            .args(machine.arguments())
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", socket.display()));
        if let Some(saved) = saved {
            command.arg("-incoming").arg(format!("exec:cat {}", saved.display()));
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut qemu = command.spawn().expect("qemu-system-x86_64 starts");
        let input = qemu.stdin.take().expect("it is piped");
        let output = BufReader::new(qemu.stdout.take().expect("it is piped"));
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                println!("{line}");
                if let Some((_, said)) = line.split_once(MARK) {
                    // Nobody may be listening any more.
                    let _ = sender.send(said.trim_end().to_owned());
                }
            }
        });
        let monitor = BufReader::new(connected(socket));
        let mut machine = Self { qemu, input, lines, monitor };
        machine.ask("qmp_capabilities", json!({}));
        machine
    }

    /// Waits until the guest says a line that begins with `wanted`, and returns the rest.
    pub(crate) fn hear(&mut self, wanted: &str) -> String {
        let deadline = Instant::now() + stretched(PATIENCE);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let said = self.lines.recv_timeout(left);
            let said = said.unwrap_or_else(|error| panic!("no {wanted:?} from the guest: {error}"));
            if let Some(rest) = said.strip_prefix(wanted) {
                return rest.trim().to_owned();
            }
            assert!(!said.starts_with("torn"), "instead of {wanted:?}: {said}");
        }
    }

    /// The number that the guest wrote last, once it is at least `least`.
    pub(crate) fn count(&mut self, least: u32) -> u32 {
        loop {
            let count = self.hear("count").parse().expect("a number");
            if count >= least {
                return count;
            }
        }
    }

    /// Whether the guest finds in its next turns that the disk is not what its memory says.
    pub(crate) fn is_torn(&mut self) -> bool {
        (0..TURNS).any(|_| {
            let said = self.lines.recv_timeout(stretched(PATIENCE));
            said.expect("the guest says something").starts_with("torn")
        })
    }

    pub(crate) fn tell(&mut self, word: &str) {
        writeln!(self.input, "{word}").expect("the guest has a console");
    }

    /// Stops the guest's processors; what it wrote is handed to the disk.
    pub(crate) fn pause(&mut self) {
        self.ask("stop", json!({}));
    }

    pub(crate) fn resume(&mut self) {
        self.ask("cont", json!({}));
    }

    /// Writes the guest's memory and the state of its devices to `path`.
    pub(crate) fn save(&mut self, path: &Path) {
        self.ask("migrate", json!({ "uri": format!("exec:cat > {}", path.display()) }));
        self.wait_while("query-migrate", &["setup", "active", "device"], "completed");
    }

    /// Waits until a machine that was started with saved memory has all of it.
    pub(crate) fn is_restored(&mut self) {
        self.wait_while("query-status", &["inmigrate"], "paused");
    }

    /// Asks until the status is none of `passing`; it must be `wanted` then.
    fn wait_while(&mut self, question: &str, passing: &[&str], wanted: &str) {
        let deadline = Instant::now() + stretched(PATIENCE);
        loop {
            let answer = self.ask(question, json!({}));
            let status = answer["status"].as_str().expect("a status");
            if !passing.contains(&status) {
                assert_eq!(status, wanted, "{answer}");
                return;
            }
            assert!(Instant::now() < deadline, "it is still {status}");
            thread::sleep(TICK);
        }
    }

    /// Lets the guest write everything and power off.
    pub(crate) fn end(mut self) {
        self.tell("end");
        self.hear("done");
        let status = self.qemu.wait().expect("the machine ends");
        assert!(status.success(), "{status}");
    }

    /// One command of the monitor protocol, and its answer.
    fn ask(&mut self, command: &str, arguments: Value) -> Value {
        let request = json!({ "execute": command, "arguments": arguments });
        writeln!(self.monitor.get_mut(), "{request}").expect("the monitor listens");
        loop {
            let mut line = String::new();
            self.monitor.read_line(&mut line).expect("the monitor answers");
            assert!(!line.is_empty(), "{command}: the monitor is gone");
            let mut answer: Value = serde_json::from_str(&line).expect("JSON");
            assert!(answer.get("error").is_none(), "{command}: {line}");
            // Greetings and events come in between.
            if let Some(returned) = answer.get_mut("return") {
                return returned.take();
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn connected(socket: &Path) -> UnixStream {
    let deadline = Instant::now() + stretched(PATIENCE);
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < deadline, "{}: {error}", socket.display()),
        }
        thread::sleep(TICK);
    }
}
