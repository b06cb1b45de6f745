//! The driver reconciles while it serves, and can be stopped during a reconciliation.

use std::fs;
use std::time::{Duration, Instant};

use calf::csi::v1;
use calf::internal::largest_volume;
use calf::sys::lock;
use calf::{ErrorKind, Fallback, PoolOptions};
use calf_test_kit::simulated_driver::{Driver, SIZE, Server, accepted, map};
use calf_test_kit::simulated_pool::{Environment, spec};

#[tokio::test]
async fn an_expired_volume_goes_while_the_driver_serves() {
    let environment = Environment::new();
    let pool = environment.pool();
    pool.create_volume(&spec("volume").ttl(Duration::from_secs(1))).expect("create");
    let socket = environment.directory.path().join("csi.sock");
    let often = |config: &mut calf::csi::ServeConfig| {
        config.reconcile_interval = Duration::from_millis(50);
    };
    let server = Server::start_with(environment.pool(), &socket, often).await.expect("a driver");
    let deadline = Instant::now() + Duration::from_secs(60);
    while pool.volume("volume").and_then(|volume| volume.status()).is_ok() {
        assert!(Instant::now() < deadline, "it is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.stop().await;
    assert_eq!(environment.volume_directories(), Vec::<String>::new());
}

#[tokio::test]
async fn a_shutdown_during_the_first_reconciliation_is_heeded() {
    let environment = Environment::new();
    let pool = environment.pool();
    // Content without a name is removed under its lock, for which the reconciliation waits.
    environment.import("orphan", 3);
    let digest =
        pool.template("orphan").and_then(|template| template.record()).expect("there").digest;
    fs::remove_file(pool.root().join("templates/orphan.json")).expect("a name");
    let file = pool.root().join("lock");
    let held = lock::lock(&file, &format!("image/{digest}"), lock::Mode::Exclusive);

    let socket = environment.directory.path().join("csi.sock");
    let mut config = calf::csi::ServeConfig::new(format!("unix://{}", socket.display()), "node-1");
    config.drain_timeout = Duration::from_millis(200);
    let soon = tokio::time::sleep(Duration::from_millis(200));
    let served = tokio::time::timeout(
        Duration::from_secs(60),
        calf::csi::serve(environment.pool(), config.clone(), soon),
    );
    let error = served.await.expect("it ends").expect_err("it was not complete");
    assert_eq!(error.kind(), ErrorKind::Internal);
    assert!(error.report().contains("the next start continues it"), "{error:?}");
    drop(held);

    // Without anything to wait for, a shutdown that comes first is a success.
    let other = environment.directory.path().join("other.sock");
    config.endpoint = format!("unix://{}", other.display());
    config.drain_timeout = Duration::from_secs(60);
    let served = calf::csi::serve(environment.pool(), config, std::future::ready(()));
    served.await.expect("a graceful end");
    let content = pool.root().join("images").join(digest.as_str());
    pool.reconcile().expect("reconcile");
    assert!(!content.exists(), "the next one went on");
}

async fn capacity(driver: &mut Driver, pairs: &[(&str, &str)]) -> v1::GetCapacityResponse {
    let request = v1::GetCapacityRequest { parameters: map(pairs), ..Default::default() };
    accepted(driver.controller.get_capacity(request)).await
}

#[tokio::test]
async fn capacity_of_reserved_volumes_is_what_can_be_allocated() {
    let mut driver = Driver::start().await;
    let reserve = PoolOptions::DEFAULT_RESERVE;
    let free = 64 << 20;
    driver.environment.host.set_free(reserve + free);
    let full = [("template", "debian"), ("reserve", "full")];
    let told = capacity(&mut driver, &full).await;
    let largest = largest_volume(free, 4096) as i64;
    assert_eq!(told.maximum_volume_size, Some(largest));
    assert!(SIZE < largest && largest < free as i64);
    let limited = [("template", "debian"), ("reserve", "full"), ("cowLimit", "1Mi")];
    assert!(capacity(&mut driver, &limited).await.maximum_volume_size > Some(largest));

    driver.environment.host.set_free(reserve + SIZE as u64 / 2);
    assert_eq!(capacity(&mut driver, &full).await.maximum_volume_size, Some(0));
    assert_eq!(capacity(&mut driver, &limited).await.maximum_volume_size, Some(0));
    let lazy = [("template", "debian")];
    assert!(capacity(&mut driver, &lazy).await.available_capacity > 0);
}

#[tokio::test]
async fn capacity_of_private_copies_counts_the_copy() {
    let environment = Environment::new();
    environment.host.without_snapshot(true);
    let root = environment.directory.path().join("pool");
    let pool = environment.options().fallback(Some(Fallback::Copy)).open(root).expect("a pool");
    let allocated =
        pool.template("debian").and_then(|template| template.status()).expect("there").allocated;
    let free = PoolOptions::DEFAULT_RESERVE + allocated;
    environment.host.set_free(free);
    let socket = environment.directory.path().join("csi.sock");
    let server = Server::start(pool, &socket).await.expect("a driver");
    let mut controller = server.controller().await;
    let request =
        v1::GetCapacityRequest { parameters: map(&[("template", "debian")]), ..Default::default() };
    assert_eq!(accepted(controller.get_capacity(request.clone())).await.available_capacity, 0);
    environment.host.set_free(free + 4096);
    assert_eq!(accepted(controller.get_capacity(request)).await.available_capacity, 4096);
    server.stop().await;
}
