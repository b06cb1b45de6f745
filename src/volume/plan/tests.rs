//! Properties of the planner, over histories of goals that were reached, interrupted by a crash, or
//! wiped by a reboot.

use proptest::prelude::*;

use super::*;
use crate::model::digest::Digest;
use crate::model::policy::Durability;
use crate::model::snapshot::VolumeSource;
use crate::model::volume::VolumeState;
use crate::pool::sample;
use crate::sys::{DeviceNumber, LoopDevice, SnapshotUsage, Table};

/// Large enough for a table to be loaded over a part of the store.
const TEMPLATE_SIZE: u64 = 16 << 20;

fn record(size: u64, durability: Durability, backing: Backing) -> VolumeRecord {
    VolumeRecord {
        id: "volume".to_owned(),
        template: "template".to_owned(),
        digest: Digest::parse(&"0".repeat(64)).expect("a digest"),
        template_size: TEMPLATE_SIZE,
        size,
        durability,
        backing,
        boot: "boot-1".to_owned(),
        ..sample::volume()
    }
}

fn store(length: u64, allocated: u64) -> Store {
    Store { length, allocated, damage: None, header: None }
}

/// A simulated machine that runs steps, and panics if a step is not allowed.
#[derive(Clone, Debug)]
struct Machine {
    observed: Observed,
    inactive: [Option<u64>; 3],
    origin: bool,
    store: bool,
    /// The store was made since the process started, so it is not another volume's.
    fresh: bool,
    next_loop: u32,
    /// The store below a device says that it is invalid.
    marked: bool,
    /// The loaded table is over another loop device of the store than the live one.
    renewed: bool,
    /// Size of the loop device over the store that a step attached.
    attached: u64,
    /// Size of the loop device over the store that the live table uses; 0 before the first is live.
    live: u64,
    /// The volume keeps what it starts from.
    seed: bool,
}

fn valid(total: u64) -> SnapshotUsage {
    SnapshotUsage::Valid { used: 8192, total, metadata: 8192 }
}

impl Machine {
    fn new() -> Self {
        let observed = Observed { boot: "boot-1".to_owned(), ..Observed::default() };
        Self {
            observed,
            inactive: [None; 3],
            origin: false,
            store: false,
            fresh: false,
            marked: false,
            renewed: false,
            attached: 0,
            live: 0,
            next_loop: 0,
            seed: false,
        }
    }

    /// The process dies, and loses the loop devices that only it held.
    fn crash(&mut self) {
        self.origin = false;
        self.store = false;
        self.fresh = false;
    }

    fn reboot(&mut self, boot: u32) {
        self.crash();
        self.observed.boot = format!("boot-{boot}");
        self.observed.snapshot = None;
        self.observed.view = None;
        self.observed.copies.clear();
        self.inactive = [None; 3];
    }

    fn number(&mut self) -> DeviceNumber {
        self.next_loop += 1;
        DeviceNumber { major: 7, minor: self.next_loop }
    }

    fn device(&mut self, role: Role) -> &mut Option<Device> {
        match role {
            Role::Base => unreachable!("these histories have no overlay"),
            Role::Snapshot => &mut self.observed.snapshot,
            Role::ReadOnlyView => &mut self.observed.view,
        }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::WriteRecord { record, commit } => {
                let new = self.observed.record.is_none();
                assert!(new || *commit == Commit::Replacement, "a first record replaces another");
                let shows_use = record.source.is_none() && record.backing == Backing::Snapshot;
                assert!(
                    shows_use || *commit == Commit::Replacement,
                    "a loss of power could blank it"
                );
                let is_ephemeral = record.durability == Durability::Ephemeral;
                assert!(record.source.is_none() || !is_ephemeral || self.seed);
                assert!(
                    !new || self.fresh,
                    "the volume would start with the content of a deleted one"
                );
                self.observed.directory = true;
                self.observed.record = Some((**record).clone());
            }
            Step::CreateStore(record) => {
                assert!(self.observed.store.is_none());
                self.observed.directory = true;
                self.observed.store = Some(store(first_length(record), 0));
                self.fresh = true;
            }
            Step::CreateSeed { .. } => {
                assert!(self.observed.record.is_none() && !self.seed);
                self.observed.directory = true;
                self.seed = true;
            }
            Step::CopyStore { record, from } => {
                assert!(self.observed.store.is_none());
                assert!(self.seed || from.is_some(), "there is nothing to start from");
                let is_new = self.observed.record.is_none();
                assert!(is_new || from.is_none(), "the snapshot may be gone");
                self.observed.directory = true;
                self.observed.store = Some(store(store_length(record), 0));
                self.fresh = true;
            }
            Step::ShortenStore { least, .. } => {
                let old = self.observed.store.expect("a store to shorten");
                assert!(self.observed.snapshot.is_none(), "the store is in use");
                assert!(old.length > *least && old.allocated == 0);
                self.observed.store = Some(store(*least, 0));
            }
            Step::ExtendStore { length, .. } => {
                let old = self.observed.store.expect("a store to extend");
                assert!(old.length < *length);
                self.observed.store = Some(store(*length, old.allocated));
            }
            Step::AllocateStore { length, .. } => {
                let old = self.observed.store.expect("a store to allocate");
                assert!(old.allocated < *length);
                self.observed.store = Some(store(old.length.max(*length), *length));
            }
            Step::ReplaceStore { .. } => {
                assert!(self.observed.devices().is_empty(), "the store is in use");
                let record = self.observed.record.as_ref().expect("the record of a volume");
                self.observed.store = Some(store(store_length(record), 0));
            }
            Step::ForgetLostWrites => {
                assert!(self.observed.store.is_some(), "it is still the former store");
            }
            Step::RemoveStore { .. } => {
                assert!(self.observed.devices().is_empty(), "the store is in use");
                assert!(self.observed.store.take().is_some());
            }
            Step::AttachOrigin(_) => self.origin = true,
            Step::GrowOrigin { .. } => assert!(self.observed.snapshot.is_some()),
            Step::AttachStore(_) => {
                self.attached = self.observed.store.expect("a store").length;
                self.store = true;
            }
            Step::AttachCopy { access, .. } => {
                let size = self.observed.store.expect("a copy to attach").length;
                let number = self.number();
                let read_only = *access == CopyAccess::ReadOnly;
                self.observed.copies.push(LoopDevice { number, size, read_only });
            }
            Step::RefreshLoop(number) => {
                let size = self.observed.store.expect("a store behind the loop").length;
                for copy in &mut self.observed.copies {
                    if copy.number == *number {
                        copy.size = size;
                    }
                }
                if let Some(device) = &mut self.observed.snapshot {
                    self.live = size;
                    device.usage = Some(valid(size));
                }
            }
            Step::RefreshStore => {
                assert!(self.store, "no store is attached");
                self.attached = self.observed.store.expect("a store behind the loop").length;
            }
            Step::DetachCopy { number, .. } => {
                self.observed.copies.retain(|copy| copy.number != *number);
            }
            Step::CreateDevice(role) => {
                let number = self.number();
                let made = Device {
                    number,
                    open_count: 0,
                    suspended: false,
                    inactive_table: false,
                    table: None,
                    usage: None,
                };
                assert!(self.device(*role).replace(made).is_none());
            }
            Step::LoadTable(load) => {
                let intent = self.observed.record.as_ref().expect("an intent");
                let below = self.observed.snapshot.as_ref();
                let size = match load {
                    Load::Snapshot { record, over } => {
                        let live = below.and_then(Stack::below).map(Loops::Live);
                        let attached = self.origin && self.store;
                        let origin = below.and_then(Stack::below).map(|stack| stack.origin);
                        let renewed = origin.map(|origin| Loops::Renewed { origin });
                        let right = live == Some(*over)
                            || attached && *over == Loops::Attached
                            || self.store && renewed == Some(*over);
                        assert!(right, "the table is over loop devices that are not attached");
                        match over {
                            Loops::Attached if record.reserve == Reserve::Full => {
                                assert!(self.attached >= first_length(intent));
                            }
                            Loops::Attached => assert_eq!(self.attached, first_length(intent)),
                            Loops::Live(_) => {}
                            Loops::Renewed { .. } => {
                                assert!(self.attached >= store_length(intent));
                            }
                        }
                        record.size
                    }
                    Load::View { size, over } => {
                        let snapshot = below.expect("a snapshot below the view");
                        assert!([Below::Live(snapshot.number), Below::Made].contains(over));
                        *size
                    }
                };
                assert_eq!(size, intent.size);
                let role = load.role();
                self.renewed = matches!(load, Load::Snapshot { over: Loops::Renewed { .. }, .. });
                if matches!(load, Load::Snapshot { over: Loops::Attached, .. }) {
                    self.live = 0;
                }
                assert!(self.inactive[role as usize].replace(size).is_none(), "the slot is full");
                self.device(role).as_mut().expect("a device to load").inactive_table = true;
            }
            Step::ClearTable(role) => {
                assert!(self.inactive[*role as usize].take().is_some());
                self.device(*role).as_mut().expect("a device").inactive_table = false;
            }
            Step::ReviveStore => {
                let store = self.observed.store.as_mut().expect("a store to revive");
                if store.header == Some(StoreHeader::Invalid) {
                    store.header = Some(StoreHeader::Valid { chunk_size: 4096 });
                }
                self.marked = false;
            }
            Step::Suspend(role, _) => {
                let device = self.device(*role).as_mut().expect("a device");
                assert!(device.table.is_some() && !device.suspended);
                device.suspended = true;
            }
            Step::Resume(role) => {
                let number = self.number();
                let (marked, renewed) = (self.marked, std::mem::take(&mut self.renewed));
                let intent = self.observed.record.as_ref().map_or(0, store_length);
                if renewed || self.live == 0 {
                    self.live = self.attached;
                }
                let live = self.live;
                let loaded = self.inactive[*role as usize].take();
                let device = self.device(*role).as_mut().expect("a device");
                device.suspended = false;
                device.inactive_table = false;
                if let Some(size) = loaded {
                    if renewed {
                        assert!(!marked, "the kernel reads the store, and stops the volume again");
                    }
                    if *role == Role::Snapshot {
                        assert!(live >= intent, "the volume can be used while its store is short");
                        device.usage = Some(valid(live));
                    }
                    device.table = Some(Table::Snapshot {
                        origin: number,
                        cow: number,
                        size,
                        chunk_size: 4096,
                        discard: true,
                    });
                }
                assert!(device.table.is_some(), "a device without a table is resumed");
            }
            Step::RemoveDevice(role) => {
                if *role == Role::Snapshot {
                    let over = self.observed.view.as_ref().is_some_and(|view| view.table.is_some());
                    assert!(!over, "the view holds the snapshot open");
                }
                self.inactive[*role as usize] = None;
                assert!(self.device(*role).take().is_some());
            }
            Step::AwaitRelease { number, .. } => {
                let stack = self.observed.snapshot.as_ref().and_then(Stack::below);
                assert!(stack.is_none_or(|stack| stack.store != *number), "a table holds it");
            }
            Step::RemoveRecord => {
                assert!(self.observed.devices().is_empty(), "a device still exists");
                self.observed.record = None;
            }
            Step::RemoveDirectory => {
                assert!(self.observed.devices().is_empty(), "a device still exists");
                assert!(self.observed.record.is_none(), "the record still exists");
                self.observed.directory = false;
                self.observed.store = None;
                self.seed = false;
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Event {
    Create,
    Activate { view: bool },
    Expand { by: u64 },
    Deactivate,
    RollBack,
    Delete,
    Reboot,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        3 => Just(Event::Create),
        4 => any::<bool>().prop_map(|view| Event::Activate { view }),
        2 => (1u64..64).prop_map(|by| Event::Expand { by: by * 4096 }),
        2 => Just(Event::Deactivate),
        1 => Just(Event::RollBack),
        1 => Just(Event::Delete),
        1 => Just(Event::Reboot),
    ]
}

/// The last says that the volume starts from a snapshot.
type Kind = (Durability, Backing, Reserve, bool);

fn kind() -> impl Strategy<Value = Kind> {
    let durability = || prop_oneof![Just(Durability::Ephemeral), Just(Durability::Durable)];
    let of_template = (
        durability(),
        prop_oneof![Just(Backing::Snapshot), Just(Backing::Copy)],
        prop_oneof![Just(Reserve::None), Just(Reserve::Full)],
        Just(false),
    );
    let of_snapshot = (durability(), Just(Backing::Snapshot), Just(Reserve::None), Just(true));
    prop_oneof![3 => of_template, 1 => of_snapshot]
}

/// Runs one event on the machine, and stops it after `limit` steps. Returns whether it ran to its
/// end.
fn run(machine: &mut Machine, event: &Event, kind: Kind, limit: usize) -> bool {
    let source = kind.3.then(|| VolumeSource::Snapshot("s".to_owned()));
    let new = VolumeRecord { reserve: kind.2, source, ..record(TEMPLATE_SIZE, kind.0, kind.1) };
    let mut wanted = machine
        .observed
        .record
        .clone()
        .unwrap_or(VolumeRecord { boot: machine.observed.boot.clone(), ..new });
    let exists = machine.observed.record.is_some();
    let goal = match event {
        Event::Reboot => {
            let boot: u32 = machine.observed.boot[5..].parse().expect("a number");
            machine.reboot(boot + 1);
            return true;
        }
        Event::Create if kind.3 => Goal::Copied { record: &wanted, from: Path::new("/s/cow") },
        Event::Create => Goal::Stored(&wanted),
        Event::Activate { .. } | Event::Expand { .. } if !exists => return true,
        Event::Activate { view } => Goal::Active { record: &wanted, view: *view },
        Event::Expand { by } => {
            wanted.size += by;
            Goal::Active { record: &wanted, view: false }
        }
        Event::Deactivate => Goal::Inactive,
        Event::RollBack if !exists || !machine.observed.devices().is_empty() => return true,
        Event::RollBack if (kind.1, kind.2) != (Backing::Snapshot, Reserve::None) => return true,
        Event::RollBack => Goal::RolledBack { record: &wanted, store: Path::new("/s/cow") },
        Event::Delete => Goal::Absent,
    };
    let steps = plan(goal, &machine.observed).expect("a plan");
    let cut = steps.len() > limit;
    for step in steps.iter().take(limit) {
        machine.apply(step);
    }
    machine.crash();
    // A rollback that is repeated makes another copy.
    if !cut && !matches!(event, Event::RollBack) {
        let again = plan(goal, &machine.observed).expect("a plan");
        let again: Vec<_> =
            again.into_iter().filter(|s| !matches!(s, Step::WriteRecord { .. })).collect();
        assert!(again.is_empty(), "{event:?} ran to its end, but still needs {again:?}");
    }
    !cut
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever happened before, and wherever each call was interrupted, the last call reaches its
    /// goal, and repeating it takes no step.
    #[test]
    fn every_history_can_be_continued(
        kind in kind(),
        history in prop::collection::vec((event(), 0usize..12), 0..24),
        last in event(),
    ) {
        let mut machine = Machine::new();
        for (event, limit) in &history {
            run(&mut machine, event, kind, *limit);
        }
        run(&mut machine, &last, kind, usize::MAX);
        run(&mut machine, &Event::Delete, kind, usize::MAX);
        prop_assert!(machine.observed.devices().is_empty());
        prop_assert!(!machine.observed.directory && machine.observed.record.is_none());
    }

    /// An active volume of the right size needs no step.
    #[test]
    fn a_live_volume_is_not_touched(kind in kind(), view in any::<bool>()) {
        let mut machine = Machine::new();
        run(&mut machine, &Event::Create, kind, usize::MAX);
        run(&mut machine, &Event::Activate { view }, kind, usize::MAX);
        let record = machine.observed.record.clone().expect("it was created");
        let goal = Goal::Active { record: &record, view: false };
        prop_assert_eq!(plan(goal, &machine.observed).expect("a plan"), vec![]);
    }

    /// An active reserved volume has all its space allocated, whatever happened before.
    #[test]
    fn an_active_reserved_volume_has_all_its_space(
        durability in prop_oneof![Just(Durability::Ephemeral), Just(Durability::Durable)],
        history in prop::collection::vec((event(), 0usize..12), 0..24),
    ) {
        let kind = (durability, Backing::Snapshot, Reserve::Full, false);
        let mut machine = Machine::new();
        for (event, limit) in &history {
            run(&mut machine, event, kind, *limit);
        }
        run(&mut machine, &Event::Create, kind, usize::MAX);
        run(&mut machine, &Event::Activate { view: false }, kind, usize::MAX);
        let record = machine.observed.record.as_ref().expect("it was created");
        let store = machine.observed.store.expect("it has a store");
        prop_assert!(store.allocated >= store_length(record));
    }

    /// The kernel makes small tables for a volume, whatever happened before.
    #[test]
    fn a_table_is_loaded_over_a_short_store(
        history in prop::collection::vec((event(), 0usize..14), 0..24),
    ) {
        let kind = (Durability::Durable, Backing::Snapshot, Reserve::None, false);
        let mut machine = Machine::new();
        for (event, limit) in &history {
            run(&mut machine, event, kind, *limit);
        }
        for event in [Event::Create, Event::Deactivate] {
            run(&mut machine, &event, kind, usize::MAX);
        }
        let record = machine.observed.record.clone().expect("it was created");
        let goal = Goal::Active { record: &record, view: false };
        for step in plan(goal, &machine.observed).expect("a plan") {
            machine.apply(&step);
            if matches!(step, Step::LoadTable(_)) {
                prop_assert_eq!(machine.attached, 4 << 20);
            }
        }
        prop_assert_eq!(machine.live, store_length(&record));
    }

    /// After a reboot, an ephemeral volume starts from its template, and a durable one keeps its
    /// content.
    #[test]
    fn a_reboot_replaces_the_store_of_ephemeral_volumes_only(kind in kind()) {
        let mut machine = Machine::new();
        run(&mut machine, &Event::Create, kind, usize::MAX);
        run(&mut machine, &Event::Activate { view: false }, kind, usize::MAX);
        machine.reboot(2);
        let record = machine.observed.record.clone().expect("it was created");
        let steps = plan(Goal::Active { record: &record, view: false }, &machine.observed);
        let replaced = steps.expect("a plan").iter().any(|step| matches!(step, Step::RemoveStore { .. }));
        prop_assert_eq!(replaced, kind.0 == Durability::Ephemeral);
    }
}

/// A stopped volume comes back wherever its recovery was cut, and does not stand still in between.
#[test]
fn a_recovery_can_be_cut_anywhere() {
    let kind = (Durability::Durable, Backing::Snapshot, Reserve::None, false);
    for usage in [SnapshotUsage::Invalid, SnapshotUsage::Overflow] {
        for cut in 0..12 {
            let mut machine = Machine::new();
            run(&mut machine, &Event::Create, kind, usize::MAX);
            run(&mut machine, &Event::Activate { view: true }, kind, usize::MAX);
            machine.marked = usage == SnapshotUsage::Invalid;
            machine.observed.snapshot.as_mut().expect("a device").usage = Some(usage);
            let record = machine.observed.record.as_mut().expect("it was created");
            record.cow_limit = Some(1 << 16);
            let raised = VolumeRecord { cow_limit: Some(1 << 17), ..record.clone() };
            let recover = |machine: &mut Machine, limit: usize| {
                let steps = plan(Goal::Recovered(&raised), &machine.observed).expect("a plan");
                steps.iter().take(limit).for_each(|step| machine.apply(step));
                machine.crash();
                steps.len()
            };
            assert!(recover(&mut machine, cut) > 5);
            let steps = plan(Goal::Answering, &machine.observed).expect("a plan");
            steps.iter().for_each(|step| machine.apply(step));
            let device = machine.observed.snapshot.as_ref().expect("a device");
            assert!(!device.suspended && !device.inactive_table, "{usage:?}, cut at {cut}");
            recover(&mut machine, usize::MAX);
            let device = machine.observed.snapshot.as_ref().expect("a device");
            assert!(Health::of(device, &raised).is_well(), "{usage:?}, cut at {cut}");
            assert_eq!(recover(&mut machine, usize::MAX), 0, "repeated");
        }
    }
}

#[test]
fn a_volume_that_a_guard_holds_stays_suspended_until_it_is_let_go() {
    let kind = (Durability::Ephemeral, Backing::Snapshot, Reserve::None, false);
    let mut machine = Machine::new();
    run(&mut machine, &Event::Create, kind, usize::MAX);
    run(&mut machine, &Event::Activate { view: false }, kind, usize::MAX);
    let hold = plan(Goal::Held, &machine.observed).expect("a plan");
    assert_eq!(hold, [Step::Suspend(Role::Snapshot, Quiesce::Device)]);
    hold.iter().for_each(|step| machine.apply(step));
    machine.observed.held = true;
    let record = machine.observed.record.clone().expect("it was created");
    assert_eq!(machine.observed.state(&record), VolumeState::Suspended);
    assert_eq!(plan(Goal::Held, &machine.observed).expect("a plan"), []);
    let larger = VolumeRecord { size: 2 * TEMPLATE_SIZE, ..record.clone() };
    for record in [&record, &larger] {
        let error = plan(Goal::Active { record, view: true }, &machine.observed).expect_err("held");
        assert_eq!(error.kind(), ErrorKind::NoSpace);
    }
    let let_go = plan(Goal::Answering, &machine.observed).expect("a plan");
    assert_eq!(let_go, [Step::Resume(Role::Snapshot)]);
    // Whoever has it open may wait for it; nobody else can.
    let first =
        |machine: &Machine| plan(Goal::Inactive, &machine.observed).expect("a plan").remove(0);
    assert_eq!(first(&machine), Step::RemoveDevice(Role::Snapshot));
    machine.observed.snapshot.as_mut().expect("a device").open_count = 1;
    assert_eq!(first(&machine), Step::Resume(Role::Snapshot));
}

#[test]
fn a_lost_store_is_an_error_and_is_never_silently_replaced() {
    let mut machine = Machine::new();
    let kind = (Durability::Durable, Backing::Snapshot, Reserve::None, false);
    run(&mut machine, &Event::Create, kind, usize::MAX);
    machine.observed.store = None;
    let record = machine.observed.record.clone().expect("it was created");
    let error = plan(Goal::Active { record: &record, view: false }, &machine.observed);
    assert_eq!(error.expect_err("its content is lost").kind(), ErrorKind::Corrupt);
}

#[test]
fn a_replaced_store_is_never_activated() {
    let kind = (Durability::Durable, Backing::Snapshot, Reserve::None, false);
    let mut machine = Machine::new();
    run(&mut machine, &Event::Create, kind, usize::MAX);
    let record = machine.observed.record.clone().expect("it was created");
    let made = machine.observed.store.expect("it has a store");
    let mut plan_with = |damage, header| {
        machine.observed.store = Some(Store { damage, header, ..made });
        plan(Goal::Active { record: &record, view: false }, &machine.observed)
    };
    for (damage, header) in [
        (Some("it is a directory"), None),
        (None, Some(StoreHeader::Foreign)),
        (None, Some(StoreHeader::Valid { chunk_size: 8192 })),
    ] {
        let error = plan_with(damage, header).expect_err("the store is not the volume's");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
    let error =
        plan_with(None, Some(StoreHeader::Invalid)).expect_err("it is to be recovered first");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    for header in [StoreHeader::New, StoreHeader::Valid { chunk_size: 4096 }] {
        plan_with(None, Some(header)).expect("the store is the volume's");
    }
    machine.observed.store = Some(Store { damage: Some("it is a directory"), ..made });
    plan(Goal::Absent, &machine.observed).expect("the volume can be deleted");
}

#[test]
fn an_invalid_volume_is_not_activated_and_an_overflowed_one_does_not_grow() {
    let mut machine = Machine::new();
    let kind = (Durability::Ephemeral, Backing::Snapshot, Reserve::None, false);
    run(&mut machine, &Event::Create, kind, usize::MAX);
    run(&mut machine, &Event::Activate { view: false }, kind, usize::MAX);
    let mut record = machine.observed.record.clone().expect("it was created");
    let mut with = |usage, size| {
        record.size = size;
        let device = machine.observed.snapshot.as_mut().expect("it is active");
        device.usage = Some(usage);
        plan(Goal::Active { record: &record, view: false }, &machine.observed)
    };
    assert!(with(SnapshotUsage::Overflow, TEMPLATE_SIZE).is_ok());
    assert!(with(SnapshotUsage::Overflow, 2 * TEMPLATE_SIZE).is_err());
    assert!(with(SnapshotUsage::Invalid, TEMPLATE_SIZE).is_err());
}
