//! The guard of a pool.

use std::sync::Arc;

use crate::api::Pool;
use crate::guard::Guard;
use crate::guard::watermark::GuardOptions;

impl Pool {
    /// A guard over the pool's free space. It works only while its owner calls [`Guard::look`] again and
    /// again, as `calf serve` and `calf pool guard` do. Below a low watermark it suspends the volumes that
    /// write, whose I/O then waits; above a higher one it lets them go on.
    ///
    /// While volumes are suspended, calf refuses to use them, to bring up others and to make new ones, in
    /// every process (`NoSpace`). Volumes can be taken down and deleted. Of several guards on a pool,
    /// one works. If it ends meanwhile, its volumes stay suspended until the next guard, the next call for
    /// the volume, or a [reconciliation](Self::reconcile).
    ///
    /// ```no_run
    /// # fn watch(pool: calf::Pool) -> calf::Result<()> {
    /// let mut guard = pool.guard(&calf::GuardOptions::default());
    /// loop {
    ///     let look = guard.look()?;
    ///     for id in &look.suspended {
    ///         println!("{id} waits until the pool has room");
    ///     }
    ///     std::thread::sleep(look.next);
    /// }
    /// # }
    /// ```
    pub fn guard(&self, options: &GuardOptions) -> Guard {
        Guard::new(Arc::clone(&self.0), options.clone())
    }
}
