//! The measurements of a room: series of numbers, sent as lines from the kernel under test to the
//! outer side.

use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// The prefix of a line of numbers; other lines are for people.
const MARK: &str = "calf-bench ";
/// The prefix of a line about the machine.
const ABOUT: &str = "calf-bench-about ";
/// The prefix of a line about a contender that cannot compete.
const ABSENT: &str = "calf-bench-absent ";

/// Numbers of one kind, of one contender in one case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Series {
    /// The question: the name of the room.
    pub(crate) room: String,
    /// The circumstances, such as `100 volumes`.
    pub(crate) case: String,
    /// The contender.
    pub(crate) contender: String,
    /// What was measured, such as `ready`.
    pub(crate) metric: String,
    /// Unit of the values.
    pub(crate) unit: String,
    /// As measured, in order.
    pub(crate) values: Vec<f64>,
}

/// The machine and the scale of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct About {
    /// Name and release.
    pub(crate) kernel: String,
    /// User-Mode Linux, QEMU, or the name of the processor.
    pub(crate) machine: String,
    pub(crate) processors: usize,
    /// MiB.
    pub(crate) memory: u64,
    /// Of the pool.
    pub(crate) file_system: String,
    /// MiB of the template.
    pub(crate) template: u64,
    /// The value of `CALF_BENCH`.
    pub(crate) scale: String,
}

/// Everything that a run reported.
#[derive(Clone, Debug, Default)]
pub(crate) struct Collected {
    pub(crate) about: About,
    pub(crate) series: Vec<Series>,
    /// Contenders that this machine does not support, and why not.
    pub(crate) absent: BTreeMap<String, String>,
}

static COLLECTED: LazyLock<Mutex<Collected>> = LazyLock::new(Mutex::default);

/// Sends the facts about the machine, from inside it.
pub(crate) fn tell(about: &About) {
    println!("{ABOUT}{}", serde_json::to_string(about).expect("numbers and strings"));
}

/// Sends numbers from inside a room.
pub(crate) fn emit(
    room: &str,
    case: &str,
    contender: &str,
    (metric, unit): (&str, &str),
    values: &[f64],
) {
    if values.is_empty() {
        return;
    }
    let [room, case, contender, metric, unit] =
        [room, case, contender, metric, unit].map(str::to_owned);
    let series = Series { room, case, contender, metric, unit, values: values.to_vec() };
    println!("{MARK}{}", serde_json::to_string(&series).expect("numbers and strings"));
}

/// Reports that a contender cannot compete here.
pub(crate) fn absent(contender: &str, why: &str) {
    println!("{ABSENT}{}", serde_json::json!([contender, why]));
}

/// Receives a line on the outer side.
pub(crate) fn collect(line: &str) {
    let damaged = |error| eprintln!("a line of numbers was damaged on its way: {error}");
    if let Some(json) = line.strip_prefix(MARK) {
        serde_json::from_str(json).map_or_else(damaged, |series| lock().series.push(series));
    } else if let Some(json) = line.strip_prefix(ABOUT) {
        serde_json::from_str(json).map_or_else(damaged, |about| lock().about = about);
    } else if let Some(json) = line.strip_prefix(ABSENT) {
        serde_json::from_str(json).map_or_else(damaged, |(contender, why)| {
            lock().absent.insert(contender, why);
        });
    } else {
        // A run takes minutes: show that it makes progress.
        print!("{line}");
    }
}

/// Everything received.
pub(crate) fn collected() -> Collected {
    lock().clone()
}

fn lock() -> MutexGuard<'static, Collected> {
    COLLECTED.lock().unwrap_or_else(PoisonError::into_inner)
}
