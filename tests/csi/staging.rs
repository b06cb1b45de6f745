//! NodeStageVolume's path and NodePublishVolume's, over CSI.

use std::fs;

use calf::csi::v1;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf_test_kit::simulated_driver::{Driver, accepted, block, create, mount, refusal};
use tonic::Code;

fn unstage(id: &str, staging_target_path: String) -> v1::NodeUnstageVolumeRequest {
    v1::NodeUnstageVolumeRequest { volume_id: id.to_owned(), staging_target_path }
}

#[tokio::test]
async fn a_second_staging_path_is_a_failed_precondition_and_names_the_first() {
    let mut driver = Driver::start().await;
    let capability = mount("ext4", Mode::SingleNodeWriter);
    driver.create(create("volume")).await;
    let request = driver.stage("volume", &capability);
    accepted(driver.node.node_stage_volume(request.clone())).await;

    let second = driver.path("second");
    let other = v1::NodeStageVolumeRequest { staging_target_path: second.clone(), ..request };
    let (code, message) = refusal(driver.node.node_stage_volume(other)).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains(&driver.path("staging")), "{message}");
    let publish = driver.publish("volume", "target", &capability);
    let other = v1::NodePublishVolumeRequest { staging_target_path: second.clone(), ..publish };
    let (code, message) = refusal(driver.node.node_publish_volume(other)).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains(&driver.path("staging")), "{message}");

    accepted(driver.node.node_unstage_volume(unstage("volume", second))).await;
    let delete = v1::DeleteVolumeRequest { volume_id: "volume".into(), ..Default::default() };
    let (code, message) = refusal(driver.controller.delete_volume(delete.clone())).await;
    assert_eq!(code, Code::FailedPrecondition);
    assert!(message.contains(&driver.path("staging")), "{message}");
    let staging = driver.path("staging");
    accepted(driver.node.node_unstage_volume(unstage("volume", staging))).await;
    accepted(driver.controller.delete_volume(delete)).await;
    assert_eq!(driver.environment.host.leftovers(), Vec::<String>::new());
}

#[tokio::test]
async fn missing_directories_are_made_for_a_staging_and_expected_for_a_target() {
    let mut driver = Driver::start().await;
    for (id, capability) in
        [("a", mount("", Mode::SingleNodeWriter)), ("b", block(Mode::SingleNodeWriter))]
    {
        driver.create(create(id)).await;
        let staging_target_path = driver.path(&format!("data/staged/{id}"));
        let stage = v1::NodeStageVolumeRequest {
            staging_target_path: staging_target_path.clone(),
            ..driver.stage(id, &capability)
        };
        accepted(driver.node.node_stage_volume(stage)).await;
        let publish = v1::NodePublishVolumeRequest {
            staging_target_path,
            ..driver.publish(id, &format!("pods/{id}/target"), &capability)
        };
        let (code, message) = refusal(driver.node.node_publish_volume(publish.clone())).await;
        assert_eq!(code, Code::FailedPrecondition, "NOT_FOUND would mean the volume");
        assert!(message.contains(&publish.target_path) && message.contains("make it"), "{message}");
        fs::create_dir_all(driver.path(&format!("pods/{id}"))).expect("a directory");
        accepted(driver.node.node_publish_volume(publish)).await;
    }
}
