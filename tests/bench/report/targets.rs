//! The goals of calf, judged by the ratios of this run.

use super::Run;
use super::markdown::number;

const FLOOR: &str = "floor";
const GRPC: &str = "calf (gRPC)";
const LIBRARY: &str = "calf (library)";
const SCRIPT: &str = "losetup+dmsetup";
const CALF: &str = "calf ephemeral 4 KiB";
/// The rivals of calf: all contenders that keep the template unchanged.
const RIVALS: [&str; 7] =
    [SCRIPT, "dm-thin", "LVM thick", "LVM thin", "qcow2", "reflink+loop", "copy+loop"];
/// Limit on the volumes or callers of the case by which a goal without its own number is judged.
const HUNDRED: u64 = 100;

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
    /// This machine does not support the contender.
    Absent,
    /// This run has not measured it.
    Unknown,
}

/// The direction of a goal.
#[derive(Clone, Copy)]
enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// A measured number, and its case if the goal does not name one.
struct Figure<'a> {
    value: f64,
    case: &'a str,
}

/// Judges all goals. A goal that names no case is judged by the largest case with up to a hundred
/// volumes or callers that both contenders have; the result shows the number.
pub(super) fn judge(run: &Run<'_>) -> Vec<Judgement> {
    let mut all = ready(run);
    all.extend(warm(run));
    all.extend(input_output(run));
    all.extend(density(run));
    all.extend(exceptions(run));
    all.extend(snapshots(run));
    all.extend(import(run));
    all
}

fn ready(run: &Run<'_>) -> Vec<Judgement> {
    use Goal::{AtLeast, AtMost};
    // The ratio of the medians of two contenders.
    let times = |above: &str, below: &str, limit: u64| {
        let row = run.largest("ready", &[above, below], "ready", limit)?;
        let other = run.median("ready", &row.case, below, "ready")?;
        Some(Figure { value: row.summary.median / other, case: &row.case })
    };
    let tail = |limit: u64| {
        let row = run.largest("ready", &[GRPC], "ready", limit)?;
        Some(Figure { value: row.summary.p99 / row.summary.median, case: &row.case })
    };
    let together = || {
        // The sequential total of a single caller of the floor.
        let total = "ready, total time per volume";
        let sequential = run.median("together", "1 callers", FLOOR, total)?;
        let row = run.largest("together", &[GRPC], total, HUNDRED)?;
        Some(Figure { value: row.summary.median / sequential, case: &row.case })
    };
    let mut all = vec![
        judgement(
            "create, stage and publish over gRPC, relative to the floor",
            AtMost(1.25),
            times(GRPC, FLOOR, HUNDRED),
        ),
        judgement(
            "the same with the largest number of volumes",
            AtMost(1.25),
            times(GRPC, FLOOR, u64::MAX),
        ),
        judgement(
            "concurrent callers over gRPC, relative to a single caller of the floor, in total",
            AtMost(1.1),
            together(),
        ),
        judgement(
            "create and activate as a library, relative to the floor",
            AtMost(1.0),
            times(LIBRARY, FLOOR, HUNDRED),
        ),
        judgement(
            "the same as a library with the largest number of volumes",
            AtMost(1.0),
            times(LIBRARY, FLOOR, u64::MAX),
        ),
        judgement("p99 relative to the median, over gRPC", AtMost(3.0), tail(HUNDRED)),
        judgement(
            "p99 relative to the median, with the largest number of volumes",
            AtMost(3.0),
            tail(u64::MAX),
        ),
    ];
    for (what, least, other) in [
        ("times faster than `losetup`+`dmsetup`", 10.0, SCRIPT),
        ("times faster than a full copy", 300.0, "copy+loop"),
        ("times faster than dm-thin", 1.0, "dm-thin"),
        ("times faster than LVM thick", 1.0, "LVM thick"),
        ("times faster than LVM thin", 1.0, "LVM thin"),
        ("times faster than qcow2", 1.0, "qcow2"),
        ("times faster than reflink and loop", 1.0, "reflink+loop"),
    ] {
        let judgement = judgement(what, AtLeast(least), times(other, GRPC, HUNDRED));
        all.push(match run.absent.contains_key(other) {
            true => Judgement { verdict: Verdict::Absent, ..judgement },
            false => judgement,
        });
    }
    all
}

fn warm(run: &Run<'_>) -> [Judgement; 2] {
    let floor = run.median("warm", "1 volumes", FLOOR, "ready");
    let against_floor = |contender: &str, metric: &str| {
        ratio(run.median("warm", "1 volumes", contender, metric), floor)
    };
    [
        judgement(
            "claim of a spare, relative to the floor",
            Goal::AtMost(0.3),
            against_floor("calf (library)", "claim"),
        ),
        judgement(
            "create, stage and publish over gRPC with a spare, relative to the floor",
            Goal::AtMost(1.25),
            against_floor(GRPC, "ready"),
        ),
    ]
}

fn input_output(run: &Run<'_>) -> Vec<Judgement> {
    use Goal::{AtLeast, AtMost};
    let io = |case: &str, contender: &str, metric: &str| run.median("io", case, contender, metric);
    let first = "random first write, fsync every 16";
    let mut all = vec![
        judgement(
            "first random 4 KiB writes, fsync every 16, relative to `P 8`",
            AtLeast(5.0),
            ratio(io(first, CALF, "rate"), io(first, SCRIPT, "rate")),
        ),
        judgement(
            "boot trace, relative to a transient store (above 1.2, worth offering)",
            AtMost(1.2),
            ratio(
                io("boot trace", CALF, "time"),
                io("boot trace", "transient (N), flushes dropped", "time"),
            ),
        ),
    ];
    for (what, case) in [
        ("sequential read, relative to the best rival", "sequential read"),
        ("the same through the page cache of the disk", "sequential read, buffered"),
        ("sequential first write, relative to the best rival", "sequential first write"),
        ("sequential rewrite, relative to the best rival", "sequential rewrite"),
        ("random rewrite, relative to the best rival", "random rewrite, fsync every 16"),
    ] {
        let best = RIVALS
            .iter()
            .filter_map(|other| Some((io(case, other, "rate")?, *other)))
            .max_by(|one, other| one.0.total_cmp(&other.0));
        let figure = || {
            let (best, name) = best?;
            Some(Figure { value: io(case, CALF, "rate")? / best, case: name })
        };
        all.push(judgement(what, AtLeast(1.0), figure()));
    }
    all
}

fn density(run: &Run<'_>) -> Vec<Judgement> {
    use Goal::AtMost;
    let of = |metric: &str| {
        let row = run.largest("density", &[GRPC], metric, u64::MAX)?;
        Some(Figure { value: row.summary.median, case: &row.case })
    };
    let restart = |beyond: f64| {
        let (restart, listing) = (of("restart")?, of("listing, one ioctl per volume")?);
        Some(Figure { value: (restart.value - beyond) / listing.value, case: restart.case })
    };
    let empty = of("start without volumes").map(|figure| figure.value);
    let kernel_memory = |contender: &str| {
        let row = run.largest("density", &[contender], "kernel memory per volume", HUNDRED)?;
        Some(Figure { value: row.summary.median, case: &row.case })
    };
    vec![
        judgement("kernel memory per volume of 20 GiB, KiB", AtMost(850.0), kernel_memory(LIBRARY)),
        judgement(
            "the same with copy buffers of 16 KiB",
            AtMost(250.0),
            kernel_memory("calf (library), 16 KiB copy buffers"),
        ),
        judgement("restart, ms", AtMost(1000.0), of("restart")),
        judgement("disk space per fresh volume, KiB", AtMost(16.0), of("disk per fresh volume")),
        judgement(
            "driver memory with all volumes, KiB",
            AtMost(20.0 * 1024.0),
            of("driver memory with all volumes"),
        ),
        judgement(
            "restart, relative to listing with one ioctl per volume",
            AtMost(2.0),
            restart(0.0),
        ),
        judgement("the same, less a start without volumes", AtMost(2.0), empty.and_then(restart)),
        judgement(
            "processor time of the idle driver, ms per second",
            AtMost(0.0),
            of("processor time of the idle driver"),
        ),
    ]
}

fn exceptions(run: &Run<'_>) -> Vec<Judgement> {
    let against_floor = |metric: &str| {
        let row = run.largest("exceptions", &[LIBRARY, FLOOR], metric, u64::MAX)?;
        let floor = run.median("exceptions", &row.case, FLOOR, metric)?;
        Some(Figure { value: row.summary.median / floor, case: &row.case })
    };
    [
        ("time of a first write, relative to a table of full size", "a first write"),
        ("time of a rewrite, relative to the same", "a rewrite"),
        ("time of a read of what was written, relative to the same", "a read of what was written"),
        ("time of a read of the template, relative to the same", "a read of the template"),
    ]
    .map(|(what, metric)| judgement(what, Goal::AtMost(1.03), against_floor(metric)))
    .into()
}

fn snapshots(run: &Run<'_>) -> Vec<Judgement> {
    use Goal::{AtLeast, AtMost};
    let of = |metric: &str| run.largest("snapshots", &[LIBRARY], metric, u64::MAX);
    let longest = of("longest write of the guest meanwhile")
        .map(|row| Figure { value: row.summary.median, case: &row.case });
    let fork = || {
        let (fork, fresh) = (of("a fork")?, of("a fresh disk")?);
        Some(Figure { value: fork.summary.median / fresh.summary.median, case: &fork.case })
    };
    let template = |case: &str| {
        let of = |contender: &str| run.median("snapshots", case, contender, "a template");
        ratio(of("copy"), of(LIBRARY))
    };
    let delta = |contender: &str| {
        run.median("snapshots", "1 % changed, scattered", contender, "a delta in a file")
    };
    vec![
        judgement("longest write while a snapshot is taken, ms", AtMost(60.0), longest),
        judgement("a fork of a warm disk, relative to a fresh disk", AtMost(1.2), fork()),
        judgement(
            "a template of 1 % written in bursts, times faster than a copy",
            AtLeast(100.0),
            template("1 % written, in bursts of 1 MiB"),
        ),
        judgement(
            "the same of scattered chunks",
            AtLeast(20.0),
            template("1 % written, scattered"),
        ),
        judgement(
            "a delta of 1 % in a file, times faster than reading both and comparing",
            AtLeast(1.0),
            ratio(delta("read and compare"), delta(LIBRARY)),
        ),
    ]
}

fn import(run: &Run<'_>) -> Vec<Judgement> {
    use Goal::{AtLeast, AtMost};
    let (here, elsewhere) = ("image on the pool's file system", "image on another file system");
    let rate = |case: &str, contender: &str| run.median("import", case, contender, "rate");
    let slower = || Some(rate(elsewhere, "sha256sum")?.min(rate(elsewhere, "cp and sync")?));
    vec![
        judgement(
            "import, relative to the slower of disk and SHA-256",
            AtLeast(1.0),
            ratio(rate(elsewhere, "calf"), slower()),
        ),
        judgement(
            "import by reflink, relative to SHA-256",
            AtLeast(1.0),
            ratio(rate(here, "calf"), rate(here, "sha256sum")),
        ),
        judgement(
            "data read from holes, MiB",
            AtMost(1.0),
            run.median("import", "holes, 4 times the template's size", "calf", "read")
                .map(|value| Figure { value, case: "" }),
        ),
    ]
}

fn ratio(above: Option<f64>, below: Option<f64>) -> Option<Figure<'static>> {
    Some(Figure { value: above? / below?, case: "" })
}

fn judgement(what: &'static str, goal: Goal, measured: Option<Figure<'_>>) -> Judgement {
    let (text, reached): (_, fn(f64, f64) -> bool) = match goal {
        Goal::AtMost(limit) => (format!("≤ {}", number(limit)), |value, limit| value <= limit),
        Goal::AtLeast(limit) => (format!("≥ {}", number(limit)), |value, limit| value >= limit),
    };
    let (Goal::AtMost(limit) | Goal::AtLeast(limit)) = goal;
    let verdict = match &measured {
        None => Verdict::Unknown,
        Some(figure) if reached(figure.value, limit) => Verdict::Reached,
        Some(_) => Verdict::Missed,
    };
    let measured = measured.map_or(String::new(), |Figure { value, case }| match case {
        "" => number(value),
        case => format!("{} ({case})", number(value)),
    });
    Judgement { what, goal: text, measured, verdict }
}
