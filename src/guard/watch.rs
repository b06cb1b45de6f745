//! Decides what the guard does, and when it looks again: pure, without clock and machine.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::guard::watermark::Marks;
use crate::model::key::Key;

/// The shortest time between two looks.
pub(super) const SHORTEST: Duration = Duration::from_millis(5);
/// The longest time between two looks.
pub(super) const LONGEST: Duration = Duration::from_secs(1);

/// How fast free space may begin to fall from one look to the next, in bytes per second: what a fast
/// disk writes.
const BURST: u64 = 1 << 30;

/// The pool is soon nearly full if that is so after this time, as fast as space falls now.
const SOON: Duration = Duration::from_millis(500);

/// The guard looks again after this part of the time in which the low watermark would be reached.
const PART: u32 = 4;

/// The free space that was seen.
#[derive(Clone, Copy, Debug)]
struct Sight {
    at: Duration,
    free: u64,
}

/// What the guard remembers of free space.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Watch {
    last: Option<Sight>,
    /// How fast free space falls, in bytes per second.
    fall: u64,
    low: bool,
}

/// What follows from a look at free space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The pool is nearly full: below the low watermark, and since then not above the other.
    pub(super) low: bool,
    /// It is soon.
    pub(super) soon: bool,
    /// Somebody has taken space since the last look.
    pub(super) fell: bool,
    /// When to look again.
    pub(super) next: Duration,
}

impl Watch {
    /// Takes note of the free space at a time.
    pub(super) fn see(&mut self, marks: Marks, at: Duration, free: u64) -> Verdict {
        let before = self.last.replace(Sight { at, free });
        let fallen = before.map_or(0, |before| before.free.saturating_sub(free));
        let passed = before.map_or(LONGEST, |before| at.saturating_sub(before.at)).max(SHORTEST);
        // A writer that pauses is not forgotten at once.
        self.fall = per_second(fallen, passed).max(self.fall / 2);
        self.low = match (marks.is_on(), self.low) {
            (false, _) => false,
            (true, false) => free <= marks.low,
            (true, true) => free < marks.resume,
        };
        let room = free.saturating_sub(marks.low);
        let soon = marks.is_on() && self.fall > 0 && time(room, self.fall) < SOON;
        Verdict { low: self.low, soon, fell: fallen > 0, next: self.next(marks, free) }
    }

    fn next(&self, marks: Marks, free: u64) -> Duration {
        let room = free.saturating_sub(marks.low);
        let falling = match self.low {
            // What falls now is what the volumes do that are not suspended yet.
            true => free / 2,
            false => room,
        };
        (time(falling, self.fall.max(BURST)) / PART).clamp(SHORTEST, LONGEST)
    }
}

fn per_second(bytes: u64, time: Duration) -> u64 {
    (bytes as f64 / time.as_secs_f64()) as u64
}

/// How long it takes to write this; a minute stands for everything that takes longer.
fn time(bytes: u64, per_second: u64) -> Duration {
    match per_second {
        0 => Duration::from_secs(60),
        rate => Duration::from_secs_f64((bytes as f64 / rate as f64).min(60.0)),
    }
}

/// A volume's device, as the guard sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Writer {
    /// Bytes of its COW store in use; `None` if the kernel stopped the volume.
    pub(super) used: Option<u64>,
    /// The same below an overlay, which a merge fills. 0 without one.
    pub(super) below: u64,
    pub(super) suspended: bool,
}

/// The volumes that took space between two looks and can go on doing so, those that took most of it first.
/// What a volume has written that was not there before is unknown, so it counts from the next look on.
pub(super) fn grown(before: &BTreeMap<Key, Writer>, now: &BTreeMap<Key, Writer>) -> Vec<Key> {
    let growth = |key: &Key, writer: &Writer| {
        let had = before.get(key)?;
        let own = writer.used?.saturating_sub(had.used?);
        // Before there was an overlay, the device of the volume had what is below it now.
        let below = if had.below == 0 { 0 } else { writer.below.saturating_sub(had.below) };
        Some(own + below).filter(|grown| *grown > 0 && !writer.suspended)
    };
    let mut grown: Vec<(u64, Key)> =
        now.iter().filter_map(|(key, writer)| Some((growth(key, writer)?, key.clone()))).collect();
    grown.sort_by(|a, b| b.cmp(a));
    grown.into_iter().map(|(_, key)| key).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;
    const MARKS: Marks = Marks { low: 128 * MIB, resume: 256 * MIB };

    /// Looks at these times (in milliseconds) at this free space.
    fn looks(marks: Marks, sights: &[(u64, u64)]) -> Vec<Verdict> {
        let mut watch = Watch::default();
        let see = |&(at, free)| watch.see(marks, Duration::from_millis(at), free);
        sights.iter().map(see).collect()
    }

    #[test]
    fn the_guard_begins_below_one_watermark_and_ends_above_the_other() {
        let free = [300, 129, 128, 200, 255, 256, 129, 100, 300];
        let sights: Vec<(u64, u64)> =
            free.iter().zip(0..).map(|(free, n)| (n * 1000, free * MIB)).collect();
        let low: Vec<bool> = looks(MARKS, &sights).iter().map(|verdict| verdict.low).collect();
        assert_eq!(low, [false, false, true, true, true, false, false, true, false]);
        let off = Marks { low: 0, resume: 256 * MIB };
        assert!(looks(off, &[(0, 0), (1000, 0)]).iter().all(|verdict| !verdict.low));
    }

    #[test]
    fn the_guard_looks_more_often_the_faster_space_falls_and_the_less_there_is() {
        for (sights, least, most) in [
            // Nothing happens.
            (&[(0, 100 * GIB), (1000, 100 * GIB)][..], 1000, 1000),
            (&[(0, 100 * GIB)], 1000, 1000),
            // There is room for minutes.
            (&[(0, 100 * GIB), (1000, 99 * GIB)], 1000, 1000),
            // 1 GiB a second, and room for two seconds.
            (&[(0, 3 * GIB + 128 * MIB), (1000, 2 * GIB + 128 * MIB)], 400, 500),
            (&[(0, GIB), (500, 512 * MIB)], 90, 100),
            // Nobody writes, but somebody could.
            (&[(0, 300 * MIB), (1000, 300 * MIB)], 40, 45),
            (&[(0, 129 * MIB), (1000, 129 * MIB)], 5, 5),
            (&[(0, 50 * MIB), (1000, 50 * MIB)], 5, 7),
            // At the watermark.
            (&[(0, 300 * MIB), (100, 129 * MIB)], 5, 5),
            // The clock stands still, or space comes back.
            (&[(0, GIB), (0, GIB - 1)], 5, 1000),
            (&[(0, GIB), (1000, 2 * GIB)], 460, 480),
        ] {
            let next = looks(MARKS, sights).last().expect("a look").next.as_millis();
            assert!((least..=most).contains(&next), "{sights:?}: {next} ms");
        }
    }

    #[test]
    fn a_writer_that_pauses_is_not_forgotten_at_once() {
        let sights = [(0, 5500 * MIB), (500, 1000 * MIB), (600, 1000 * MIB), (700, 1000 * MIB)];
        let next: Vec<u128> =
            looks(MARKS, &sights).iter().map(|verdict| verdict.next.as_millis()).collect();
        assert!(next[1] < next[2] && next[2] < next[3], "{next:?}");
    }

    #[test]
    fn what_comes_soon_is_told() {
        let soon = |marks, sights| looks(marks, sights).pop().expect("a look").soon;
        assert!(soon(MARKS, &[(0, 700 * MIB), (100, 600 * MIB)]));
        assert!(!soon(MARKS, &[(0, 800 * MIB), (100, 700 * MIB)]));
        assert!(!soon(MARKS, &[(0, 129 * MIB), (100, 129 * MIB)]), "nobody writes");
        assert!(!soon(Marks { low: 0, ..MARKS }, &[(0, 100 * MIB), (100, 0)]), "it is off");
    }

    #[test]
    fn a_fall_is_told() {
        let fell = |sights| looks(MARKS, sights).pop().expect("a look").fell;
        assert!(fell(&[(0, GIB), (1, GIB - 4096)]));
        assert!(!fell(&[(0, GIB), (1, GIB)]));
        assert!(!fell(&[(0, GIB), (1, GIB + 1)]));
        assert!(!fell(&[(0, GIB)]));
    }

    #[test]
    fn the_writers_are_those_that_grew_the_greediest_first() {
        let key = |name: &str| Key::of(name);
        let writer = |used, suspended| Writer { used, below: 0, suspended };
        let state = |volumes: &[(&str, Option<u64>, bool)]| -> BTreeMap<Key, Writer> {
            volumes.iter().map(|(name, used, held)| (key(name), writer(*used, *held))).collect()
        };
        let before = state(&[
            ("idle", Some(8), false),
            ("slow", Some(8), false),
            ("fast", Some(8), false),
            ("held", Some(8), false),
            ("stopped", Some(8), false),
            ("renewed", Some(8), false),
            ("back", None, false),
            ("gone", Some(8), false),
        ]);
        let now = state(&[
            ("idle", Some(8), false),
            ("slow", Some(9), false),
            ("fast", Some(99), false),
            ("held", Some(99), true),
            ("stopped", None, false),
            ("renewed", Some(4), false),
            ("back", Some(99), false),
            ("new", Some(99), false),
        ]);
        assert_eq!(grown(&before, &now), [key("fast"), key("slow")]);
        assert_eq!(grown(&BTreeMap::new(), &now), []);
    }
}
