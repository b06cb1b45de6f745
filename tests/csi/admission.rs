//! Sums over all volumes, as the driver refuses by them and tells of them.

use calf::csi::v1;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::internal::store_size;
use calf::{OvercommitRatio, PoolOptions};
use calf_test_kit::simulated_driver::{Driver, SIZE, accepted, block, create, map, mount, refusal};
use calf_test_kit::simulated_pool::{Environment, TEMPLATE_SIZE};
use tonic::Code;

/// A driver whose volumes may together write twice what one volume of the template's size may.
async fn bounded() -> Driver {
    let environment = Environment::new();
    let store = store_size(TEMPLATE_SIZE, None, 4096);
    environment.host.set_free(PoolOptions::DEFAULT_RESERVE + store);
    let ratio = OvercommitRatio::new(2.0).expect("a ratio");
    let pool = environment.options().overcommit_ratio(ratio);
    let pool = pool.open(environment.directory.path().join("pool")).expect("a pool");
    Driver::start_on(environment, pool).await
}

async fn capacity(driver: &mut Driver, parameters: &[(&str, &str)]) -> (i64, i64) {
    let request = v1::GetCapacityRequest { parameters: map(parameters), ..Default::default() };
    let told = accepted(driver.controller.get_capacity(request)).await;
    (told.available_capacity, told.maximum_volume_size.expect("a maximum"))
}

#[tokio::test]
async fn the_overcommit_ratio_is_told_and_kept() {
    let mut driver = bounded().await;
    let (available, largest) = capacity(&mut driver, &[("template", "debian")]).await;
    let store = store_size(TEMPLATE_SIZE, None, 4096) as i64;
    assert_eq!(available, 2 * store, "more than is free");
    assert!((2 * SIZE..2 * store).contains(&largest), "{largest}");
    let limited = [("template", "debian"), ("cowLimit", "64Ki")];
    let (_, unbounded) = capacity(&mut driver, &limited).await;
    assert_eq!(unbounded, calf::MAX_SIZE as i64, "what it writes fits");

    for name in ["a", "b"] {
        driver.create(create(name)).await;
    }
    assert_eq!(capacity(&mut driver, &[("template", "debian")]).await, (0, 0));
    let (code, message) = refusal(driver.controller.create_volume(create("c"))).await;
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    for word in ["volume c", "3.0 MiB", "ratio of 2 allows 2.0 MiB", "cowLimit", "--overcommit"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    accepted(driver.controller.create_volume(create("a"))).await;

    let mut inline = driver.publish("inline", "inline", &mount("", Mode::SingleNodeWriter));
    inline.volume_context =
        map(&[("csi.storage.k8s.io/ephemeral", "true"), ("template", "debian")]);
    let (code, message) = refusal(driver.node.node_publish_volume(inline)).await;
    assert_eq!(code, Code::ResourceExhausted, "{message}");
}

#[tokio::test]
async fn a_growth_beyond_the_ratio_is_refused() {
    let mut driver = bounded().await;
    driver.in_use("volume", &block(Mode::SingleNodeWriter)).await;
    let request = |size| v1::NodeExpandVolumeRequest {
        volume_id: "volume".into(),
        volume_path: driver.path("target"),
        capacity_range: Some(v1::CapacityRange { required_bytes: size, limit_bytes: 0 }),
        ..Default::default()
    };
    let (small, large) = (request(3 * SIZE / 2), request(3 * SIZE));
    let (code, message) = refusal(driver.node.node_expand_volume(large)).await;
    assert_eq!(code, Code::ResourceExhausted, "{message}");
    accepted(driver.node.node_expand_volume(small)).await;
}
