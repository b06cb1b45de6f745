//! The health of volumes and of the pool, as CSI 1.13 has it.

use std::collections::BTreeMap;

use calf::csi::v1;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::csi::v1::{StorageHealthErrorType, VolumeHealthErrorType};
use calf::sys::SnapshotUsage;
use calf_test_kit::simulated_driver::{Driver, accepted, block, create, mount, refusal};
use tonic::Code;

type Told = Vec<(VolumeHealthErrorType, String)>;

/// What is told of a volume: each status with its reason. Each has a text for people.
fn told(health: Option<v1::VolumeHealth>, id: &str) -> Told {
    let health = health.expect("the health");
    assert_eq!(health.volume_id, id);
    let entry = |entry: &v1::volume_health::VolumeHealthEntry| {
        assert!(!entry.message.is_empty(), "{entry:?}");
        (entry.status(), entry.reason.clone())
    };
    health.health_statuses.iter().map(entry).collect()
}

async fn of_controller(driver: &mut Driver, id: &str) -> Told {
    let request =
        v1::ControllerGetVolumeHealthRequest { volume_id: id.into(), secrets: Default::default() };
    told(accepted(driver.controller.controller_get_volume_health(request)).await.volume_health, id)
}

async fn of_node(driver: &mut Driver, id: &str, publish: &str, staging: &str) -> Told {
    let request = v1::NodeGetVolumeHealthRequest {
        volume_id: id.into(),
        volume_publish_path: publish.into(),
        staging_target_path: staging.into(),
    };
    told(accepted(driver.node.node_get_volume_health(request)).await.volume_health, id)
}

/// All pages of the list, of one entry each.
async fn listed(driver: &mut Driver) -> BTreeMap<String, Told> {
    let mut found = BTreeMap::new();
    let mut starting_token = String::new();
    loop {
        let request = v1::ControllerListVolumeHealthRequest {
            max_entries: 1,
            starting_token,
            secrets: Default::default(),
        };
        let page = accepted(driver.controller.controller_list_volume_health(request)).await;
        for health in page.entries {
            let id = health.volume_id.clone();
            let told = told(Some(health), &id);
            assert!(found.insert(id, told).is_none());
        }
        if page.next_token.is_empty() {
            return found;
        }
        starting_token = page.next_token;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_volume_has_a_status_and_a_reason() {
    let mut driver = Driver::start().await;
    let pool = driver.environment.pool();
    for id in ["well", "full", "invalid", "unused"] {
        driver.create(create(id)).await;
    }
    let mut devices = BTreeMap::new();
    for id in ["well", "full", "invalid"] {
        let device = pool.volume(id).and_then(|volume| volume.activate()).expect("activate");
        devices.insert(id, device.number());
    }
    driver.environment.host.set_usage(devices["full"], SnapshotUsage::Overflow);
    driver.environment.host.set_usage(devices["invalid"], SnapshotUsage::Invalid);

    let full = vec![(VolumeHealthErrorType::Degraded, "CowLimitReached".to_owned())];
    let invalid = vec![(VolumeHealthErrorType::Inaccessible, "StoreWriteFailed".to_owned())];
    for (id, expected) in
        [("well", &vec![]), ("unused", &vec![]), ("full", &full), ("invalid", &invalid)]
    {
        assert_eq!(&of_controller(&mut driver, id).await, expected, "{id}");
        assert_eq!(&of_node(&mut driver, id, "", "").await, expected, "{id}");
    }
    let sick = [("full", full), ("invalid", invalid)].map(|(id, told)| (id.to_owned(), told));
    assert_eq!(listed(&mut driver).await, BTreeMap::from(sick));
}

#[tokio::test]
async fn a_failed_file_system_is_told_where_it_is_mounted() {
    let mut driver = Driver::start().await;
    driver.in_use("volume", &mount("", Mode::SingleNodeWriter)).await;
    let (target, staging) = (driver.path("target"), driver.path("staging"));
    assert_eq!(of_node(&mut driver, "volume", &target, &staging).await, []);
    let status = driver.environment.pool().volume("volume").and_then(|volume| volume.status());
    driver.environment.host.fail_file_system(status.expect("it is there").device.expect("one"));
    let failed = [(VolumeHealthErrorType::Degraded, "FileSystemReadOnly".to_owned())];
    assert_eq!(of_node(&mut driver, "volume", &target, &staging).await, failed);
    assert_eq!(of_node(&mut driver, "volume", "", &staging).await, failed);
    // Where it is not, nothing is known of its file system.
    let elsewhere = driver.path("elsewhere");
    assert_eq!(of_node(&mut driver, "volume", &elsewhere, "").await, []);
}

#[tokio::test]
async fn questions_about_no_volume_are_refused() {
    let mut driver = Driver::start().await;
    driver.create(create("volume")).await;
    for (id, expected) in [("", Code::InvalidArgument), ("nope", Code::NotFound)] {
        let request = v1::ControllerGetVolumeHealthRequest {
            volume_id: id.into(),
            secrets: Default::default(),
        };
        let (code, message) =
            refusal(driver.controller.controller_get_volume_health(request)).await;
        assert_eq!(code, expected, "{message}");
        let request = v1::NodeGetVolumeHealthRequest { volume_id: id.into(), ..Default::default() };
        let (code, message) = refusal(driver.node.node_get_volume_health(request)).await;
        assert_eq!(code, expected, "{message}");
    }
    let request = v1::NodeGetVolumeHealthRequest {
        volume_id: "volume".into(),
        volume_publish_path: "target".into(),
        ..Default::default()
    };
    let (code, message) = refusal(driver.node.node_get_volume_health(request)).await;
    assert_eq!(code, Code::InvalidArgument, "{message}");
    assert!(message.contains("volume_publish_path"), "{message}");
    let request = v1::ControllerListVolumeHealthRequest { max_entries: -1, ..Default::default() };
    let (code, _) = refusal(driver.controller.controller_list_volume_health(request)).await;
    assert_eq!(code, Code::InvalidArgument);
}

#[tokio::test]
async fn what_is_wrong_with_the_pool_is_told_of_the_node() {
    use StorageHealthErrorType::{StorageDegraded, StorageUnreachable};

    let mut driver = Driver::start().await;
    driver.in_use("volume", &block(Mode::SingleNodeWriter)).await;
    let host = driver.environment.host.clone();
    let mut told = async || {
        let request = v1::NodeGetStorageHealthRequest::default();
        let health = accepted(driver.node.node_get_storage_health(request)).await.backend_health;
        health.into_iter().map(|one| (one.status(), one.reason)).collect::<Vec<_>>()
    };
    assert_eq!(told().await, []);
    let free = host.free();
    host.set_free(0);
    assert_eq!(told().await, [(StorageDegraded, "PoolFull".to_owned())]);
    host.set_free(free);
    host.without_snapshot(true);
    assert_eq!(told().await, [(StorageUnreachable, "KernelCannotMakeVolumes".to_owned())]);
}
