//! The locks of a pool, each with one subject, and the order in which they are taken.
//!
//! | order | subject | held while |
//! | --- | --- | --- |
//! | 1 | `import/<id>` | an import from that source runs |
//! | 2 | `spares` | spares are made and removed |
//! | 3 | `volume/<key>` | an operation on the volume runs; taken without blocking |
//! | 4 | `spare/<token>` | the spare is made, claimed or removed; taken without blocking |
//! | 4 | `snapshot/<key>` | the snapshot is made or removed (exclusive), or a volume made of it (shared); taken without blocking |
//! | 5 | `template/<name>` | a name is set or removed |
//! | 6 | `admission` | the sums over all volumes decide on a volume, until its record is written; only if they are bounded |
//! | 7 | `image/<digest>` | content is used (shared), made or removed (exclusive) |
//! | 8 | `origin/<digest>` | content is attached, or its file extended |
//! | 9 | `pool` | the pool is made, or its format raised |
//! | any | `guard` | a guard keeps volumes suspended, since the pool is nearly full; nobody waits for it |

use crate::error::Result;
use crate::model::digest::Digest;
use crate::model::key::Key;
use crate::pool::PoolDir;
use crate::sys::lock::{Lock, Mode};

/// The subject of the guard's lock.
const GUARD: &str = "guard";

impl PoolDir {
    /// Takes the lock of the volume with this key; `None` if it is held elsewhere.
    pub(crate) fn try_lock_volume(&self, key: &Key) -> Result<Option<VolumeGuard>> {
        let lock = self.try_exclusive(&format!("volume/{key}"))?;
        Ok(lock.map(|lock| VolumeGuard { key: key.clone(), _lock: lock }))
    }

    /// Takes the lock of a spare; `None` while another call makes, claims or removes the spare.
    pub(crate) fn try_lock_spare(&self, token: &Key) -> Result<Option<SpareGuard>> {
        let lock = self.try_exclusive(&format!("spare/{token}"))?;
        Ok(lock.map(|lock| SpareGuard { token: token.clone(), _lock: lock }))
    }

    /// Takes the lock of the snapshot with this key: exclusive to make or remove it, shared to make a
    /// volume of it. `None` if it is held elsewhere.
    pub(crate) fn try_lock_snapshot(&self, key: &Key, mode: Mode) -> Result<Option<Lock>> {
        self.host().try_lock(&self.layout().lock_file(), &format!("snapshot/{key}"), mode)
    }

    /// Takes the lock that serializes making and removing spares; `None` if it is held.
    pub(crate) fn try_lock_spares(&self) -> Result<Option<Lock>> {
        self.host().try_lock(&self.layout().lock_file(), "spares", Mode::Exclusive)
    }

    /// Takes the lock that serializes decisions by the sums over all volumes, waiting for its holder.
    pub(crate) fn lock_admission(&self) -> Result<Lock> {
        self.host().lock(&self.layout().lock_file(), "admission", Mode::Exclusive)
    }

    /// Takes the lock of a template's content, waiting for its holder: shared to use the content,
    /// exclusive to make or remove it.
    pub(crate) fn lock_image(&self, digest: &Digest, mode: Mode) -> Result<Lock> {
        self.host().lock(&self.layout().lock_file(), &format!("image/{digest}"), mode)
    }

    /// Takes the lock that serializes attaching a template's content and extending its file,
    /// waiting for its holder. The caller already holds the lock of the content, shared.
    pub(crate) fn lock_origin(&self, digest: &Digest) -> Result<Lock> {
        self.host().lock(&self.layout().lock_file(), &format!("origin/{digest}"), Mode::Exclusive)
    }

    /// Takes the lock of an import, by the id of its source; `None` while another process or thread
    /// imports from that source.
    pub(crate) fn try_lock_import(&self, id: &str) -> Result<Option<Lock>> {
        self.try_exclusive(&format!("import/{id}"))
    }

    /// Takes the lock of a template's name, waiting for its holder.
    pub(crate) fn lock_template(&self, name: &str) -> Result<Lock> {
        self.host().lock(&self.layout().lock_file(), &format!("template/{name}"), Mode::Exclusive)
    }

    /// Takes the lock by which all processes know that a guard keeps volumes suspended; `None` if it is
    /// held. It ends with the process that holds it.
    pub(crate) fn try_lock_guard(&self) -> Result<Option<Lock>> {
        self.try_exclusive(GUARD)
    }

    /// Whether a guard keeps volumes suspended, in this process or another.
    pub(crate) fn is_guarded(&self) -> Result<bool> {
        let lock = self.host().try_lock(&self.layout().lock_file(), GUARD, Mode::Shared)?;
        Ok(lock.is_none())
    }

    fn try_exclusive(&self, subject: &str) -> Result<Option<Lock>> {
        self.host().try_lock(&self.layout().lock_file(), subject, Mode::Exclusive)
    }
}

/// The held lock of a volume, which each function that changes the volume requires.
#[derive(Debug)]
pub(crate) struct VolumeGuard {
    key: Key,
    _lock: Lock,
}

impl VolumeGuard {
    /// The key of the volume.
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }
}

/// The held lock of a spare.
#[derive(Debug)]
pub(crate) struct SpareGuard {
    token: Key,
    _lock: Lock,
}

impl SpareGuard {
    /// The token that names the spare.
    pub(crate) fn token(&self) -> &Key {
        &self.token
    }
}
