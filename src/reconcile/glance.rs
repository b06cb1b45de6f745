//! Recognizes a volume that needs no work, in as few calls as possible.

use std::collections::BTreeSet;

use crate::model::device_id::{DeviceId, Role};
use crate::model::key::Key;
use crate::model::policy::{Backing, Reserve};
use crate::pool::PoolDir;
use crate::sys::FileKind;
use crate::volume::machine::observe;
use crate::volume::plan::health::Health;
use crate::volume::plan::step::store_length;
use crate::volume::spare;

/// A volume that needs no work.
pub(super) enum Glance {
    Inactive,
    Live,
}

/// Looks at a volume's record, and, if its device is among `names`, at its store and device, in as
/// few calls as possible. Returns `None` unless these show that all is well: the caller must then
/// look closely. A volume passes only if [`plan`](crate::volume::plan::plan) would find nothing to
/// do. `may_claim` means that the pool has had spares.
pub(super) fn glance(
    pool: &PoolDir,
    key: &Key,
    names: &BTreeSet<String>,
    may_claim: bool,
) -> Option<Glance> {
    let record = observe::read_record(pool, key).ok()??;
    let may_go = record.inline || record.ttl.is_some();
    let [snapshot, view] =
        [Role::Snapshot, Role::ReadOnlyView].map(|role| DeviceId::new(pool.id(), key, role));
    let plain = record.backing == Backing::Snapshot && !may_go;
    if !plain || names.contains(&view.name) || may_claim && spare::is_claiming(pool, key).ok()? {
        return None;
    }
    if !names.contains(&snapshot.name) {
        let former = names.contains(&DeviceId::former_name(key, Role::Snapshot));
        return (!former).then_some(Glance::Inactive);
    }
    if pool.host().file(&pool.layout().overlay(key)).ok()?.is_some() {
        return None;
    }
    let device = pool.host().glance(&snapshot).ok()??;
    let well = Health::at_a_glance(&device, &record).is_well();
    let store = pool.host().file(&pool.layout().store(key, record.backing)).ok()??;
    let length = store_length(&record);
    let reserved = record.reserve == Reserve::None || store.allocated >= length;
    let stored = store.kind == FileKind::Regular && store.length >= length && reserved;
    (well && stored).then_some(Glance::Live)
}
