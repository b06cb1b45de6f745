//! The guard: keeps a pool from getting full, by suspending the volumes that write while there is little
//! room. Their I/O waits, and nothing fails.
//!
//! Free space decides ([`watch`]). Below the low watermark, the guard takes a lock of the pool, and suspends
//! each volume whose COW store grows. Above the other watermark, it lets all of them go on, and returns
//! the lock. Nothing of this is written down: a suspended device is the kernel's, and the lock ends with
//! its process. Without the lock, a suspended device is one that a crash left, which the next call or
//! reconciliation lets go on; so the end of a guard, in any way, holds nobody for good (ADR 0058).

mod watch;
pub(crate) mod watermark;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{ErrorKind, Result};
use crate::guard::watch::{SHORTEST, Watch, Writer, grown};
use crate::guard::watermark::{GuardOptions, Marks};
use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::sys::SnapshotUsage;
use crate::sys::lock::Lock;
use crate::volume::hold::{self, Outcome};

/// How many volumes are suspended at once. The kernel waits for the I/O that is under way, while the
/// others go on writing.
const AT_ONCE: usize = 32;

/// How often the guard tries to take its lock: whoever asks for it holds it for a moment.
const TRIES: u32 = 3;

/// Time between two tries to let volumes go on.
const RETRY: Duration = Duration::from_millis(100);

/// After this many tries, a volume goes on although another call has its lock.
const PATIENCE: u32 = 10;

/// Watches a pool: see [`Pool::guard`](crate::Pool::guard).
pub struct Guard {
    pool: Arc<PoolDir>,
    options: GuardOptions,
    watch: Watch,
    /// Held from the first look below the low watermark until every volume goes on again.
    lock: Option<Lock>,
    /// The volumes as they were at the last look that mattered.
    writers: Option<BTreeMap<Key, Writer>>,
    /// Some volumes that write could not be suspended yet.
    unsettled: bool,
    /// Volumes that another call keeps from going on, and how often that was found.
    kept: BTreeMap<Key, u32>,
}

/// What a [`Guard`] saw and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Look {
    /// Free space of the pool, in bytes.
    pub free: u64,
    /// At which free space volumes that write are suspended, in bytes; 0 if the guard is off.
    pub low: u64,
    /// At which free space they go on, in bytes.
    pub resume: u64,
    /// Whether the pool is nearly full, so that volumes that write are suspended.
    pub nearly_full: bool,
    /// Ids of the volumes that this look suspended.
    pub suspended: Vec<String>,
    /// Ids of the volumes that this look let go on.
    pub resumed: Vec<String>,
    /// What could not be done, and is tried again at the next look.
    pub failed: Vec<String>,
    /// When to look again.
    pub next: Duration,
}

impl Guard {
    pub(crate) fn new(pool: Arc<PoolDir>, options: GuardOptions) -> Self {
        Self {
            pool,
            options,
            watch: Watch::default(),
            lock: None,
            writers: None,
            unsettled: false,
            kept: BTreeMap::new(),
        }
    }

    /// Looks at the pool's free space, suspends the volumes that write if there is too little, and lets them
    /// go on once there is enough. Call it again after [`Look::next`].
    ///
    /// # Errors
    ///
    /// If free space or the devices cannot be read. Look again after a moment.
    pub fn look(&mut self) -> Result<Look> {
        let capacity = self.pool.capacity()?;
        let marks = Marks::of(&self.options, &capacity, self.is_shared()?);
        let verdict = self.watch.see(marks, self.pool.host().uptime()?, capacity.free);
        let mut look = Look {
            free: capacity.free,
            low: marks.low,
            resume: marks.resume,
            nearly_full: verdict.low,
            next: verdict.next,
            ..Look::default()
        };
        match (verdict.low, self.lock.is_some()) {
            (true, false) => {
                self.lock = self.take_lock()?;
                if self.lock.is_some() {
                    self.hold(&mut look)?;
                }
            }
            (true, true) if verdict.fell || self.unsettled => self.hold(&mut look)?,
            (false, true) => self.let_go(&mut look)?,
            // Then the first look below the watermark knows who writes.
            (false, false) => self.writers = verdict.soon.then(|| self.writers()).transpose()?,
            (true, true) => {}
        }
        Ok(look)
    }

    /// Whether kubelet's directory is on the pool's file system.
    fn is_shared(&self) -> Result<bool> {
        let Some(kubelet) = &self.options.kubelet else { return Ok(false) };
        let host = self.pool.host();
        let (pool, other) = (host.file(self.pool.root())?, host.file(kubelet)?);
        Ok(pool.zip(other).is_some_and(|(pool, other)| pool.device == other.device))
    }

    /// `None` while another guard is at work.
    fn take_lock(&self) -> Result<Option<Lock>> {
        for _ in 0..TRIES {
            if let Some(lock) = self.pool.try_lock_guard()? {
                return Ok(Some(lock));
            }
            self.pool.host().pause(Duration::from_millis(1));
        }
        Ok(None)
    }

    /// Suspends the volumes that took space since the last look. Without a last look at them, only notes
    /// what they have.
    fn hold(&mut self, look: &mut Look) -> Result<()> {
        let mut now = self.writers()?;
        let mut unsettled = self.writers.is_none();
        let before = self.writers.take().unwrap_or_default();
        let greedy = grown(&before, &now);
        for (key, outcome) in self.hold_all(&greedy) {
            match outcome {
                Ok(Outcome::Done(id)) => look.suspended.push(id),
                Ok(Outcome::Nothing) => {}
                Ok(Outcome::Busy) => {
                    unsettled = true;
                    now.extend(before.get(&key).map(|writer| (key.clone(), *writer)));
                }
                // Somebody else's device, or one that has just gone.
                Err(error) if matches!(error.kind(), ErrorKind::InUse | ErrorKind::NotFound) => {}
                Err(error) => {
                    unsettled = true;
                    now.extend(before.get(&key).map(|writer| (key.clone(), *writer)));
                    look.failed.push(error.report());
                }
            }
        }
        self.writers = Some(now);
        self.unsettled = unsettled;
        if unsettled {
            look.next = SHORTEST;
        }
        Ok(())
    }

    /// Suspends volumes, many at a time: the kernel waits for what each of them has under way.
    fn hold_all(&self, keys: &[Key]) -> Vec<(Key, Result<Outcome>)> {
        let pool = &*self.pool;
        let mut outcomes = Vec::new();
        for batch in keys.chunks(AT_ONCE) {
            if let [key] = batch {
                outcomes.push((key.clone(), hold::hold(pool, key)));
                continue;
            }
            std::thread::scope(|scope| {
                let hold = |key: &Key| {
                    let own = key.clone();
                    (key.clone(), scope.spawn(move || hold::hold(pool, &own)))
                };
                let at_work: Vec<_> = batch.iter().map(hold).collect();
                for (key, work) in at_work {
                    let outcome =
                        work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                    outcomes.push((key, outcome));
                }
            });
        }
        outcomes
    }

    /// Lets all volumes go on, then ends the guard's work.
    fn let_go(&mut self, look: &mut Look) -> Result<()> {
        let mut kept = BTreeMap::new();
        for (key, writer) in self.writers()? {
            if !writer.suspended {
                continue;
            }
            match hold::let_go(&self.pool, &key) {
                Ok(Outcome::Done(id)) => look.resumed.push(id),
                Ok(Outcome::Nothing) => {}
                Ok(Outcome::Busy) => {
                    let tries = self.kept.get(&key).map_or(1, |tries| tries + 1);
                    if tries > PATIENCE {
                        hold::let_go_unlocked(&self.pool, &key)?;
                    }
                    kept.insert(key, tries);
                }
                Err(error) if matches!(error.kind(), ErrorKind::InUse | ErrorKind::NotFound) => {}
                Err(error) => {
                    look.failed.push(error.report());
                    kept.insert(key, 0);
                }
            }
        }
        self.kept = kept;
        if self.kept.is_empty() {
            (self.lock, self.writers, self.unsettled) = (None, None, false);
        } else {
            look.next = RETRY.min(look.next);
        }
        Ok(())
    }

    /// The volumes of this pool that have a device.
    fn writers(&self) -> Result<BTreeMap<Key, Writer>> {
        let (host, pool) = (self.pool.host(), self.pool.id());
        let mut writers = BTreeMap::new();
        for name in host.device_names()? {
            let Some((key, Role::Snapshot)) = DeviceId::parse_name(pool, &name) else { continue };
            let device = match host.glance(&DeviceId::new(pool, &key, Role::Snapshot)) {
                // The device of another pool that has this name.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                device => device?,
            };
            let Some(device) = device else { continue };
            let used = match device.usage {
                SnapshotUsage::Valid { used, .. } => Some(used),
                SnapshotUsage::Invalid | SnapshotUsage::Overflow => None,
            };
            writers.insert(key, Writer { used, suspended: device.suspended });
        }
        Ok(writers)
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at_work = self.lock.is_some();
        f.debug_struct("Guard").field("pool", &self.pool.root()).field("at_work", &at_work).finish()
    }
}
