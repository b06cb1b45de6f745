//! Space: reservations for volumes, and refusals when there is not enough.

use std::os::unix::fs::MetadataExt as _;

use calf::internal::store_size;
use calf::{Access, ErrorKind, Fallback, Key, MAX_SIZE, Reserve, VolumeKind, VolumeSpec};
use calf_test_kit::simulated_pool::{Environment, TEMPLATE_SIZE, block, spec};

fn reserved(id: &str) -> VolumeSpec {
    spec(id).reserve(Reserve::Full)
}

/// Bytes that the store of a volume occupies.
fn allocated(environment: &Environment, id: &str, file: &str) -> u64 {
    let key = Key::of(id);
    let path = environment.directory.path().join("pool/volumes").join(key.as_str()).join(file);
    path.metadata().expect("a store").blocks() * 512
}

#[test]
fn a_reserved_volume_has_its_space_from_the_start_and_after_growth() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&reserved("volume")).expect("create");
    pool.create_volume(&reserved("volume")).expect("the same again");
    assert_eq!(pool.create_volume(&spec("volume")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    let needed = |size| store_size(size, None, 4096);
    assert!(allocated(&environment, "volume", "cow") >= needed(TEMPLATE_SIZE));
    pool.volume("volume")
        .expect("a volume id")
        .expand(2 * TEMPLATE_SIZE)
        .expect("expand while inactive");
    assert!(allocated(&environment, "volume", "cow") >= needed(2 * TEMPLATE_SIZE));
    pool.volume("volume").expect("a volume id").activate().expect("activate");
    pool.volume("volume")
        .expect("a volume id")
        .expand(3 * TEMPLATE_SIZE)
        .expect("expand while active");
    assert!(allocated(&environment, "volume", "cow") >= needed(3 * TEMPLATE_SIZE));
    environment.host.reboot();
    pool.volume("volume").expect("a volume id").activate().expect("activate");
    assert!(allocated(&environment, "volume", "cow") >= needed(3 * TEMPLATE_SIZE), "a new store");
    pool.volume("volume").expect("a volume id").delete().expect("delete");

    let limited = reserved("limited").cow_limit(64 << 10);
    pool.create_volume(&limited).expect("create");
    let has = allocated(&environment, "limited", "cow");
    assert!((64 << 10..TEMPLATE_SIZE / 2).contains(&has), "only what it may write: {has}");
}

#[test]
fn a_reserved_volume_is_refused_where_its_space_is_not_there() {
    let environment = Environment::new();
    let pool =
        environment.options().reserve(1 << 20).open(environment.directory.path().join("pool"));
    let pool = pool.expect("a pool");
    let space = store_size(TEMPLATE_SIZE, None, 4096);
    environment.host.set_free((1 << 20) + space);
    let error = pool.create_volume(&reserved("volume")).expect_err("not above the reserve");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert_eq!(environment.volume_directories(), Vec::<String>::new(), "nothing is left");
    environment.host.set_free((2 << 20) + space);
    pool.create_volume(&reserved("volume")).expect("create");

    // The volume grows if there is enough space, and otherwise stays as it was.
    environment.host.set_free(2 << 20);
    let error = pool
        .volume("volume")
        .and_then(|volume| volume.expand(16 * TEMPLATE_SIZE))
        .expect_err("too much");
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{error:?}");
    assert_eq!(
        pool.volume("volume").and_then(|volume| volume.status()).expect("it is there").record.size,
        TEMPLATE_SIZE
    );
    pool.volume("volume").expect("a volume id").activate().expect("it is as usable as before");
}

#[test]
fn an_inactive_volume_of_an_earlier_boot_grows_as_well() {
    for reserve in [Reserve::None, Reserve::Full] {
        let environment = Environment::new();
        let pool = environment.pool();
        pool.create_volume(&spec("volume").reserve(reserve)).expect("create");
        environment.host.reboot();
        let volume =
            pool.volume("volume").expect("a volume id").expand(2 * TEMPLATE_SIZE).expect("expand");
        assert_eq!(volume.record.size, 2 * TEMPLATE_SIZE);
        pool.create_volume(&spec("volume").reserve(reserve)).expect("the same again");
        let device = pool.volume("volume").expect("a volume id").activate().expect("activate");
        assert_eq!(environment.host.sizes()[0].1, 2 * TEMPLATE_SIZE, "{device:?}");
    }
}

#[test]
fn a_full_pool_turns_new_volumes_away_and_lets_the_others_live() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("old")).expect("create");
    environment.host.set_free(0);
    assert_eq!(pool.create_volume(&spec("new")).unwrap_err().kind(), ErrorKind::NoSpace);
    pool.create_volume(&spec("old")).expect("the same again");
    pool.volume("old").expect("a volume id").activate().expect("activate");
    pool.volume("old").expect("a volume id").expand(2 * TEMPLATE_SIZE).expect("expand");
    pool.volume("old").expect("a volume id").delete().expect("delete");
}

#[test]
fn volumes_that_were_larger_before_the_bound_stay() {
    let environment = Environment::new();
    environment.pool().create_volume(&spec("old").size(8 * TEMPLATE_SIZE)).expect("create");
    let root = environment.directory.path().join("pool");
    let options = environment.options().max_volume_size(2 * TEMPLATE_SIZE);
    let pool = options.open(root).expect("a pool");
    let old = pool.create_volume(&spec("old").size(8 * TEMPLATE_SIZE)).expect("the same again");
    old.activate().expect("activate");
    old.expand(8 * TEMPLATE_SIZE).expect("no growth");
    assert_eq!(old.expand(9 * TEMPLATE_SIZE).unwrap_err().kind(), ErrorKind::OutOfRange);
    let new = pool.create_volume(&spec("new").size(3 * TEMPLATE_SIZE)).map(drop).unwrap_err();
    assert_eq!(new.kind(), ErrorKind::OutOfRange);
}

#[test]
fn a_full_copy_can_be_reserved_and_a_reflink_cannot() {
    let environment = Environment::new();
    environment.host.without_snapshot(true);
    let open = |fallback| {
        let root = environment.directory.path().join("pool");
        environment.options().fallback(Some(fallback)).open(root).expect("a pool")
    };
    let error = open(Fallback::Reflink).create_volume(&reserved("volume")).expect_err("a reflink");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    open(Fallback::Copy).create_volume(&reserved("volume")).expect("create");
    assert!(allocated(&environment, "volume", "disk") >= TEMPLATE_SIZE);
}

#[test]
fn what_fits_is_told_by_kind() {
    let environment = Environment::new();
    let pool = environment.pool();
    let debian = VolumeKind::of("debian");
    let ask = |kind: &VolumeKind| pool.admission(kind).expect("an answer");

    let sparse = ask(&debian).expect("there is room");
    assert_eq!((sparse.smallest, sparse.largest), (Some(TEMPLATE_SIZE), MAX_SIZE));
    let reserved = ask(&debian.clone().reserve(Reserve::Full)).expect("there is room");
    assert!(reserved.largest < reserved.available, "its store is a little larger: {reserved:?}");
    assert!(ask(&VolumeKind::default()).is_some_and(|any| any.smallest.is_none()));

    assert_eq!(ask(&debian.clone().access([block()])), Some(sparse));
    let xfs = Access::Mount { fs_type: Some("xfs".to_owned()), options: Vec::new() };
    assert_eq!(ask(&debian.clone().access([block(), xfs])), None, "it holds ext4");
    let unknown = VolumeKind::of("fedora");
    assert_eq!(pool.admission(&unknown).expect_err("unknown").kind(), ErrorKind::NotFound);

    let root = environment.directory.path().join("pool");
    let bounded = |bytes| {
        let pool = environment.options().max_volume_size(bytes).open(&root).expect("a pool");
        pool.admission(&debian).expect("an answer").map(|admission| admission.largest)
    };
    assert_eq!(bounded(3 * TEMPLATE_SIZE), Some(3 * TEMPLATE_SIZE));
    assert_eq!(bounded(u64::MAX), Some(MAX_SIZE));
    assert_eq!(bounded(TEMPLATE_SIZE - 512), None, "the template is larger");

    environment.host.set_free(0);
    assert_eq!(ask(&debian), None, "it is full");
    environment.host.set_free(1 << 40);
    environment.host.without_snapshot(true);
    assert_eq!(ask(&debian), None, "the kernel cannot");
}
