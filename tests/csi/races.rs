//! Calls over CSI that another process overtakes, at each moment at which it can.

use std::sync::{Arc, Mutex};

use calf::csi::v1;
use calf::{ErrorKind, Pool};
use calf_test_kit::simulated_driver::{Driver, SIZE, accepted, create, sized};
use calf_test_kit::simulated_pool::spec;
use tonic::Code;

/// What a process does with the volume while the driver creates it.
type Rival = fn(&Pool) -> calf::Result<()>;

fn make_and_grow(pool: &Pool) -> calf::Result<()> {
    pool.create_volume(&spec("volume"))?;
    grow(pool)
}

fn grow(pool: &Pool) -> calf::Result<()> {
    pool.volume("volume")?.expand(2 * SIZE as u64).map(drop)
}

fn make_another(pool: &Pool) -> calf::Result<()> {
    pool.create_volume(&spec("volume").chunk_size(8192)).map(drop)
}

/// Has the rival act before each call of a creation in turn, until it comes too late: the driver holds the
/// volume.
async fn overtake(
    rival: Rival,
    exists: bool,
    mut check: impl FnMut(Result<v1::Volume, tonic::Status>),
) {
    let mut driver = Driver::start().await;
    for n in 1.. {
        if exists {
            driver.create(create("volume")).await;
        }
        let result = Arc::new(Mutex::new(None));
        let (pool, said) = (driver.environment.pool(), Arc::clone(&result));
        driver.environment.host.interrupt_at(n, move || {
            *said.lock().expect("no panic") = Some(rival(&pool));
        });
        let made = driver.controller.create_volume(sized("volume", SIZE, 0)).await;
        let volume = made.map(|response| response.into_inner().volume.expect("a volume"));
        let request = v1::DeleteVolumeRequest { volume_id: "volume".into(), ..Default::default() };
        match result.lock().expect("no panic").take() {
            Some(Ok(())) => check(volume),
            Some(Err(error)) if error.kind() == ErrorKind::InProgress => {
                assert!(n > 2, "the rival came too late at call {n}");
                return;
            }
            other => panic!("the rival of call {n}: {other:?}"),
        }
        accepted(driver.controller.delete_volume(request)).await;
    }
}

#[tokio::test]
async fn a_volume_that_another_call_makes_and_grows_meanwhile_is_found() {
    overtake(make_and_grow, false, |volume| {
        assert_eq!(volume.expect("it satisfies the request").capacity_bytes, 2 * SIZE);
    })
    .await;
}

#[tokio::test]
async fn a_volume_that_another_call_grows_meanwhile_is_found() {
    overtake(grow, true, |volume| {
        assert_eq!(volume.expect("it satisfies the request").capacity_bytes, 2 * SIZE);
    })
    .await;
}

#[tokio::test]
async fn a_volume_with_other_properties_that_another_call_makes_meanwhile_is_refused() {
    overtake(make_another, false, |volume| {
        let status = volume.expect_err("it has other chunks");
        assert_eq!(status.code(), Code::AlreadyExists);
        assert!(status.message().contains("chunk size"), "{}", status.message());
    })
    .await;
}
