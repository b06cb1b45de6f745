//! Whether the processes of a machine do anything.

use std::fs;
use std::thread;
use std::time::Duration;

/// How long to look.
const WHILE: Duration = Duration::from_secs(2);
/// The CPU time that counts as nothing, in the kernel's clock ticks: a fortieth of the time.
const NOTHING: u64 = 5;

/// Whether the processes of a group use no CPU.
pub(crate) fn is_idle(group: u32) -> bool {
    let before = ticks(group);
    thread::sleep(WHILE);
    ticks(group).saturating_sub(before) <= NOTHING
}

/// The CPU time that the living processes of a group have used.
fn ticks(group: u32) -> u64 {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| fs::read_to_string(process.path().join("stat")).ok())
        .filter_map(|stat| ticks_in(&stat, group))
        .sum()
}

/// User and system time in `/proc/<pid>/stat` of a process of this group.
fn ticks_in(stat: &str, group: u32) -> Option<u64> {
    // The name, in brackets, may contain anything. What follows begins with the third field.
    let (_, rest) = stat.rsplit_once(") ")?;
    let field = |number: usize| rest.split(' ').nth(number - 3)?.parse::<u64>().ok();
    (field(5)? == u64::from(group)).then_some(field(14)? + field(15)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_group_counts() {
        let stat = "7 (a) b) S 1 42 42 0 -1 0 1 2 3 4 30 12 0 0 20 0 1 0 9 0";
        assert_eq!(ticks_in(stat, 42), Some(42));
        assert_eq!(ticks_in(stat, 7), None);
        assert_eq!(ticks_in("7 (a", 7), None);
    }

    #[test]
    fn a_process_that_computes_is_not_idle() {
        let group = rustix::process::getpgrp().as_raw_nonzero().get().unsigned_abs();
        let computes = thread::spawn(|| {
            let end = std::time::Instant::now() + 2 * WHILE;
            while std::time::Instant::now() < end {
                std::hint::spin_loop();
            }
        });
        assert!(!is_idle(group));
        computes.join().unwrap();
    }
}
