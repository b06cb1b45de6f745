//! The guard: keeps a pool from getting full, by suspending the volumes that write while there is little
//! room. Their I/O waits, and nothing fails.
//!
//! Free space decides ([`watch`]). Below the low watermark, the guard takes a lock of the pool, and suspends
//! each volume whose COW store grows. Above the other watermark, it lets all of them go on, and returns
//! the lock. Nothing of this is written down: a suspended device is the kernel's, and the lock ends with
//! its process. Without the lock, a suspended device is one that a crash left, which the next call or
//! reconciliation lets go on; so the end of a guard, in any way, holds nobody for good (ADR 0058).

mod caution;
mod snapshots;
mod watch;
pub(crate) mod watermark;

use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};
use crate::guard::caution::Caution;
use crate::guard::watch::{SHORTEST, Watch, Writer, grown};
use crate::guard::watermark::{GuardOptions, Marks};
use crate::model::device_id::Role;
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::sys::SnapshotUsage;
use crate::sys::lock::Lock;
use crate::volume::hold::{self, Outcome};

/// How long a look waits for suspensions. The kernel waits for the I/O that is under way, perhaps for
/// seconds, while others go on writing: so the guard goes on looking.
const TIME_TO_SUSPEND: Duration = Duration::from_millis(3);

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
    /// Volumes that are being suspended, each on a thread of its own.
    at_work: BTreeMap<Key, JoinHandle<Result<Outcome>>>,
    /// Volumes that another call keeps from going on, and how often that was found.
    kept: BTreeMap<Key, u32>,
    caution: Caution,
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
            at_work: BTreeMap::new(),
            kept: BTreeMap::new(),
            caution: Caution::default(),
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
        let now = self.pool.host().uptime()?;
        let verdict = self.watch.see(marks, now, capacity.free);
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
        let ample = capacity.free > marks.ample(capacity.reserve);
        look.failed.extend(self.caution.merge(&self.pool, ample, now));
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
        for key in grown(&before, &now) {
            if !self.at_work.contains_key(&key) {
                let (pool, own) = (Arc::clone(&self.pool), key.clone());
                self.at_work.insert(key, thread::spawn(move || hold::hold(&pool, &own)));
            }
        }
        let mut again = Vec::new();
        for (key, outcome) in self.await_suspensions() {
            match outcome {
                Ok(Outcome::Done(id)) => look.suspended.push(id),
                Ok(Outcome::Nothing) => {}
                Ok(Outcome::Busy) => again.push(key),
                // Somebody else's device, or one that has just gone.
                Err(error) if matches!(error.kind(), ErrorKind::InUse | ErrorKind::NotFound) => {}
                Err(error) => {
                    again.push(key);
                    look.failed.push(error.report());
                }
            }
        }
        unsettled |= !again.is_empty();
        // They count as volumes that write until they are suspended.
        for key in again.iter().chain(self.at_work.keys()) {
            now.extend(before.get(key).map(|writer| (key.clone(), *writer)));
        }
        self.writers = Some(now);
        self.unsettled = unsettled || !self.at_work.is_empty();
        if self.unsettled {
            look.next = SHORTEST;
        }
        Ok(())
    }

    /// Waits a moment for the suspensions that are under way, and returns the outcomes of those that ended.
    fn await_suspensions(&mut self) -> Vec<(Key, Result<Outcome>)> {
        let patience = Instant::now() + TIME_TO_SUSPEND;
        while Instant::now() < patience && !self.at_work.values().all(JoinHandle::is_finished) {
            self.pool.host().pause(Duration::from_micros(200));
        }
        let ended = self.at_work.extract_if(.., |_, work| work.is_finished());
        let outcome =
            |work: JoinHandle<_>| work.join().unwrap_or_else(|panic| resume_unwind(panic));
        ended.map(|(key, work)| (key, outcome(work))).collect()
    }

    /// Lets all volumes go on, then ends the guard's work.
    fn let_go(&mut self, look: &mut Look) -> Result<()> {
        let mut kept = BTreeMap::new();
        // Those that have ended are let go below.
        drop(self.await_suspensions());
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
        if self.kept.is_empty() && self.at_work.is_empty() {
            (self.lock, self.writers, self.unsettled) = (None, None, false);
        } else {
            look.next = RETRY.min(look.next);
        }
        Ok(())
    }

    /// The volumes of this pool that have a device.
    fn writers(&self) -> Result<BTreeMap<Key, Writer>> {
        let host = self.pool.host();
        let (mut writers, mut below) = (BTreeMap::new(), Vec::new());
        for (key, role, device) in snapshots::of(&self.pool, |id| host.glance(id))? {
            let device = device?;
            let used = match device.usage {
                SnapshotUsage::Valid { used, .. } => Some(used),
                SnapshotUsage::Invalid | SnapshotUsage::Overflow => None,
            };
            if role == Role::Base {
                below.push((key, used.unwrap_or_default()));
                continue;
            }
            writers.insert(key, Writer { used, below: 0, suspended: device.suspended });
        }
        for (key, used) in below {
            writers.entry(key).and_modify(|writer| writer.below = used);
        }
        Ok(writers)
    }
}

impl Drop for Guard {
    /// From now on nobody watches the pool.
    fn drop(&mut self) {
        if thread::panicking() {
            return;
        }
        let failed = caution::set(&self.pool, false);
        if !failed.is_empty() {
            tracing::warn!(
                pool = %self.pool.root().display(),
                error = failed.join("; "),
                "the guard ends, and could not prepare the volumes for a pool that gets full"
            );
        }
    }
}

impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at_work = self.lock.is_some();
        f.debug_struct("Guard").field("pool", &self.pool.root()).field("at_work", &at_work).finish()
    }
}
