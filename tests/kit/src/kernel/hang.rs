//! What a guest waits for in which a test does not end, for its console.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How much of `/proc/timer_list` tells the kernel's time and the next timers of its first CPU.
const TIMER_LINES: usize = 40;

/// The start of the last line. Without it, the kernel's own timers stand still.
pub(crate) const TIMERS_EXPIRE: &str = "timers expire";

/// Writes the kernel's stacks of blocked tasks, those of each program's threads, and whether timers
/// still expire.
pub(crate) fn explain() {
    for key in ["9", "w"] {
        let _ = fs::write("/proc/sysrq-trigger", key);
    }
    for process in numbered("/proc".as_ref()) {
        let program = fs::read(process.join("cmdline")).unwrap_or_default();
        let state = state_of(&process);
        // Kernel threads have no command line, nor have processes that ended.
        if program.is_empty() && state != "Z" {
            continue;
        }
        let program = String::from_utf8_lossy(&program).replace('\0', " ");
        eprintln!("{}: state {state}: {program}", process.display());
        for thread in numbered(&process.join("task")) {
            let read = |name: &str| fs::read_to_string(thread.join(name)).unwrap_or_default();
            let name = read("comm");
            eprintln!("  {} {}: state {}", thread.display(), name.trim(), state_of(&thread));
            for call in read("stack").lines() {
                eprintln!("    {call}");
            }
        }
    }
    for line in fs::read_to_string("/proc/timer_list").unwrap_or_default().lines().take(TIMER_LINES)
    {
        eprintln!("{line}");
    }
    let started = Instant::now();
    thread::sleep(Duration::from_millis(100));
    eprintln!("{TIMERS_EXPIRE}: a sleep of 100 ms took {:?}", started.elapsed());
}

/// The state of a process or thread: what follows its name, which is in brackets.
fn state_of(task: &Path) -> String {
    let stat = fs::read_to_string(task.join("stat")).unwrap_or_default();
    let state = stat.rsplit(") ").next().and_then(|rest| rest.split(' ').next());
    state.unwrap_or("?").to_owned()
}

/// The entries of `dir` that are called by a number.
fn numbered(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let number = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok())
    };
    entries.map(|entry| entry.path()).filter(number).collect()
}
