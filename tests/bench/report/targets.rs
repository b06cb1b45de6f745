//! What calf must reach, judged by the ratios of this run.

use super::Run;
use super::markdown::number;

const FLOOR: &str = "floor";
const GRPC: &str = "calf (gRPC)";
const SCRIPT: &str = "losetup+dmsetup";
const CALF: &str = "calf ephemeral 4 KiB";

/// One goal.
pub(super) struct Judgement {
    pub(super) what: &'static str,
    pub(super) goal: String,
    pub(super) measured: String,
    pub(super) verdict: Verdict,
}

pub(super) enum Verdict {
    Reached,
    Missed,
    /// This machine cannot have the contender.
    Absent,
    /// This run has not measured it.
    Unknown,
}

/// Which way a goal points.
#[derive(Clone, Copy)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// All goals. Where a case is not named, it is the one with most volumes or callers up to a hundred,
/// whose number the run's scale says.
pub(super) fn judge(run: &Run<'_>) -> Vec<Judgement> {
    let ready = |contender: &str| Some(run.most("ready", contender, "ready")?.summary.median);
    // The floor's one caller: its sequential total.
    let total = "ready, total per volume";
    let sequential = run.median("together", "1 callers", FLOOR, total);
    let together = run.most("together", GRPC, total).map(|row| row.summary.median);
    let io = |case: &str, contender: &str, metric: &str| run.median("io", case, contender, metric);
    let density = |metric: &str| {
        let row = run.series.iter().find(|row| row.room == "density" && row.metric == metric);
        row.map(|row| row.summary.median)
    };
    let warm = |contender: &str, metric: &str| run.median("warm", "1 volumes", contender, metric);
    let first = "random first write, fsync each 16";
    let tail = run.most("ready", GRPC, "ready").map(|row| row.summary);
    let rate =
        |contender: &str| run.median("import", "image on another file system", contender, "rate");
    let slower = || Some(rate("sha256sum")?.min(rate("cp and sync")?));
    use Goal::{AtLeast, AtMost};
    let mut all = vec![
        judgement(
            "create, stage and publish over gRPC against the floor",
            AtMost(1.25),
            ratio(ready(GRPC), ready(FLOOR)),
        ),
        judgement(
            "callers at once over gRPC against the floor's one, total",
            AtMost(1.1),
            ratio(together, sequential),
        ),
        judgement(
            "a claim of a spare against the floor",
            AtMost(0.3),
            ratio(warm("calf (library)", "claim"), warm(FLOOR, "ready")),
        ),
        judgement(
            "create, stage and publish over gRPC with a spare against the floor",
            AtMost(1.25),
            ratio(warm(GRPC, "ready"), warm(FLOOR, "ready")),
        ),
        judgement(
            "p99 against the median, over gRPC",
            AtMost(3.0),
            tail.map(|tail| tail.p99 / tail.median),
        ),
        judgement(
            "faster than `losetup`+`dmsetup`",
            AtLeast(10.0),
            ratio(ready(SCRIPT), ready(GRPC)),
        ),
        judgement(
            "faster than a full copy",
            AtLeast(300.0),
            ratio(ready("copy+loop"), ready(GRPC)),
        ),
    ];
    for (what, other) in [
        ("faster than dm-thin", "dm-thin"),
        ("faster than LVM thick", "LVM thick"),
        ("faster than LVM thin", "LVM thin"),
        ("faster than qcow2", "qcow2"),
        ("faster than reflink and loop", "reflink+loop"),
    ] {
        let judgement = judgement(what, AtLeast(1.0), ratio(ready(other), ready(GRPC)));
        all.push(match run.absent.contains_key(other) {
            true => Judgement { verdict: Verdict::Absent, ..judgement },
            false => judgement,
        });
    }
    all.extend([
        judgement(
            "first 4 KiB random writes, fsync each 16, against `P 8`",
            AtLeast(5.0),
            ratio(io(first, CALF, "rate"), io(first, SCRIPT, "rate")),
        ),
        judgement(
            "transient store against ours on the boot trace (an option from 1.2)",
            AtMost(1.2),
            ratio(
                io("boot trace", CALF, "time"),
                io("boot trace", "transient (N), flushes dropped", "time"),
            ),
        ),
    ]);
    for (what, case) in [
        ("sequential read against the best that keeps a template", "sequential read"),
        ("sequential first write, likewise", "sequential first write"),
        ("sequential rewrite, likewise", "sequential rewrite"),
        ("random rewrite, likewise", "random rewrite, fsync each 16"),
    ] {
        let best = ["losetup+dmsetup", "dm-thin", "LVM thick", "LVM thin", "qcow2", "reflink+loop"]
            .iter()
            .filter_map(|other| io(case, other, "rate"))
            .max_by(f64::total_cmp);
        all.push(judgement(what, AtLeast(1.0), ratio(io(case, CALF, "rate"), best)));
    }
    all.extend([
        judgement("KiB of disk per fresh volume", AtMost(16.0), density("disk per fresh volume")),
        judgement(
            "KiB of driver memory with all volumes",
            AtMost(20.0 * 1024.0),
            density("driver memory with all volumes"),
        ),
        judgement(
            "restart against listing with one ioctl each",
            AtMost(2.0),
            ratio(density("restart"), density("listing, one ioctl each")),
        ),
        judgement(
            "ms of processor time of the idle driver in a second",
            AtMost(0.0),
            density("processor time of the idle driver"),
        ),
        judgement(
            "import against the slower of disk and SHA-256",
            AtLeast(1.0),
            ratio(rate("calf"), slower()),
        ),
    ]);
    all
}

fn ratio(above: Option<f64>, below: Option<f64>) -> Option<f64> {
    Some(above? / below?)
}

fn judgement(what: &'static str, goal: Goal, measured: Option<f64>) -> Judgement {
    let (text, reached): (_, fn(f64, f64) -> bool) = match goal {
        Goal::AtMost(limit) => (format!("≤ {}", number(limit)), |value, limit| value <= limit),
        Goal::AtLeast(limit) => (format!("≥ {}", number(limit)), |value, limit| value >= limit),
    };
    let (Goal::AtMost(limit) | Goal::AtLeast(limit)) = goal;
    let verdict = match measured {
        None => Verdict::Unknown,
        Some(value) if reached(value, limit) => Verdict::Reached,
        Some(_) => Verdict::Missed,
    };
    Judgement { what, goal: text, measured: measured.map_or(String::new(), number), verdict }
}
