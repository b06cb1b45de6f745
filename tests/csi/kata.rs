//! Direct-assigned volumes: the file that Kata's runtimes read, and who may change it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use calf::csi::v1;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::csi::v1::volume_usage::Unit;
use calf::sys::{Mounts as _, Target};
use calf::{ReconcileOptions, RemovalKind};
use calf_test_kit::simulated_driver::{Driver, SIZE, accepted, block, create, map, mount, refusal};
use serde_json::{Value, json};
use tonic::Code;

const KATA: (&str, &str) = ("kataDirectVolume", "true");

fn writer() -> v1::VolumeCapability {
    mount("ext4", Mode::SingleNodeWriter)
}

fn kata_volume(name: &str) -> v1::CreateVolumeRequest {
    v1::CreateVolumeRequest {
        volume_capabilities: vec![writer()],
        parameters: map(&[("template", "debian"), KATA]),
        ..create(name)
    }
}

/// Where Kata looks for a target: its path in URL-safe base64, with padding.
fn directory(driver: &Driver, target: &str) -> PathBuf {
    const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut encoded = String::new();
    for group in driver.path(target).as_bytes().chunks(3) {
        let bits = group.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
        let bits = bits << (8 * (3 - group.len()));
        for place in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * place) & 63) as usize];
            encoded.push(if place <= group.len() { digit as char } else { '=' });
        }
    }
    driver.environment.kata_root().join(encoded)
}

fn mount_info(driver: &Driver, target: &str) -> Value {
    let text = fs::read(directory(driver, target).join("mountInfo.json")).expect("a file");
    serde_json::from_slice(&text).expect("JSON")
}

fn unpublish(driver: &Driver, id: &str) -> v1::NodeUnpublishVolumeRequest {
    v1::NodeUnpublishVolumeRequest { volume_id: id.to_owned(), target_path: driver.path("target") }
}

#[tokio::test]
async fn kata_is_told_of_a_device_and_the_host_mounts_nothing() {
    let mut driver = Driver::start().await;
    let volume = driver.create(kata_volume("volume")).await;
    assert_eq!(volume.volume_context["kataDirectVolume"], "true");
    accepted(driver.node.node_stage_volume(driver.stage("volume", &writer()))).await;
    accepted(driver.node.node_publish_volume(driver.publish("volume", "target", &writer()))).await;

    let pool = driver.environment.pool();
    let device = pool
        .volume("volume")
        .and_then(|volume| volume.status())
        .expect("a volume")
        .device
        .expect("a device");
    let node = pool.device(device).expect("a node").path().to_owned();
    let told = mount_info(&driver, "target");
    let owner = told["calf-volume"].as_str().expect("an owner").to_owned();
    assert!(owner.starts_with("CALF-"), "{owner}");
    assert_eq!(
        told,
        json!({
            "volume-type": "directvol", "device": node, "fstype": "ext4",
            "metadata": {}, "options": [], "calf-volume": owner,
        })
    );
    let place = directory(&driver, "target");
    assert!(Path::new(&driver.path("target")).is_dir());
    let sealed = |driver: &Driver| driver.environment.host.target(driver.path("target").as_ref());
    let target = sealed(&driver).expect("a target");
    assert!(matches!(&target, Target::Sealed { owner: of, .. } if *of == owner), "{target:?}");
    assert!(!Path::new(&driver.path("staging")).exists(), "nothing is mounted there");

    // Files that Kata leaves in the directory survive a repeated call, and are removed at the end.
    fs::write(place.join("sandbox-1"), b"").expect("a file");
    accepted(driver.node.node_publish_volume(driver.publish("volume", "target", &writer()))).await;
    assert!(place.join("sandbox-1").exists());

    for _ in 0..2 {
        accepted(driver.node.node_unpublish_volume(unpublish(&driver, "volume"))).await;
        assert!(!place.exists() && !Path::new(&driver.path("target")).exists());
    }
    accepted(driver.node.node_unstage_volume(v1::NodeUnstageVolumeRequest {
        volume_id: "volume".into(),
        staging_target_path: driver.path("staging"),
    }))
    .await;
    assert_eq!(
        driver
            .environment
            .pool()
            .volume("volume")
            .and_then(|volume| volume.status())
            .expect("a volume")
            .device,
        None
    );
}

/// An earlier calf left the target writable, so that containers of other runtimes wrote to it.
#[tokio::test]
async fn what_a_container_wrote_to_the_node_is_not_lost_and_said() {
    let mut driver = Driver::start().await;
    driver.create(kata_volume("volume")).await;
    let target = PathBuf::from(driver.path("target"));
    fs::create_dir(&target).expect("a directory");
    fs::write(target.join("file"), b"of the container").expect("write");
    for _ in 0..2 {
        let publish = driver.publish("volume", "target", &writer());
        accepted(driver.node.node_publish_volume(publish)).await;
        let (code, message) =
            refusal(driver.node.node_unpublish_volume(unpublish(&driver, "volume"))).await;
        assert_eq!(code, Code::FailedPrecondition, "{message}");
        assert!(message.contains("a container of another runtime wrote"), "{message}");
        assert!(driver.environment.kata_entries().is_empty());
    }
    fs::remove_file(target.join("file")).expect("saved elsewhere");
    accepted(driver.node.node_unpublish_volume(unpublish(&driver, "volume"))).await;
    assert!(!target.exists());
}

#[tokio::test]
async fn a_sealed_target_of_another_volume_is_left_alone() {
    let mut driver = Driver::start().await;
    for name in ["volume", "other"] {
        driver.create(kata_volume(name)).await;
    }
    accepted(driver.node.node_publish_volume(driver.publish("volume", "target", &writer()))).await;
    let (code, message) =
        refusal(driver.node.node_publish_volume(driver.publish("other", "target", &writer())))
            .await;
    assert_eq!(code, Code::AlreadyExists, "{message}");
    let (code, message) =
        refusal(driver.node.node_unpublish_volume(unpublish(&driver, "other"))).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    assert_eq!(driver.environment.kata_entries().len(), 1);
    accepted(driver.node.node_unpublish_volume(unpublish(&driver, "volume"))).await;
}

#[tokio::test]
async fn options_and_readers_reach_the_guest() {
    let mut driver = Driver::start().await;
    driver.create(kata_volume("volume")).await;
    let mut capability = writer();
    if let Some(v1::volume_capability::AccessType::Mount(mount)) = &mut capability.access_type {
        mount.mount_flags = vec!["noatime".into()];
    }
    let mut request = driver.publish("volume", "target", &capability);
    request.readonly = true;
    accepted(driver.node.node_publish_volume(request)).await;
    let told = mount_info(&driver, "target");
    assert_eq!(told["options"], json!(["noatime", "ro"]));
    // The device itself refuses writes, whatever the guest does.
    let device = driver
        .environment
        .pool()
        .volume("volume")
        .and_then(|volume| volume.status())
        .expect("a volume")
        .device;
    let writable = driver.environment.pool().device(device.expect("a device"));
    assert_ne!(told["device"], json!(writable.expect("a node").path()));
}

#[tokio::test]
async fn a_published_volume_is_in_use() {
    let mut driver = Driver::start().await;
    driver.create(kata_volume("volume")).await;
    accepted(driver.node.node_publish_volume(driver.publish("volume", "target", &writer()))).await;
    let pool = driver.environment.pool();
    for result in [
        pool.volume("volume").and_then(|volume| volume.delete()),
        pool.volume("volume").and_then(|volume| volume.deactivate()),
    ] {
        let error = result.expect_err("in use");
        assert!(error.report().contains(&driver.path("target")), "{}", error.report());
    }
    let request = v1::NodeUnstageVolumeRequest {
        volume_id: "volume".into(),
        staging_target_path: driver.path("staging"),
    };
    let (code, _) = refusal(driver.node.node_unstage_volume(request)).await;
    assert_eq!(code, Code::FailedPrecondition);
    // No other volume can take the directory over meanwhile.
    let device = block(Mode::SingleNodeWriter);
    let (code, message) =
        refusal(driver.node.node_publish_volume(driver.publish("volume", "device", &device))).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");
    let single = mount("ext4", Mode::SingleNodeSingleWriter);
    let (code, message) =
        refusal(driver.node.node_publish_volume(driver.publish("volume", "second", &single))).await;
    assert_eq!(code, Code::FailedPrecondition, "{message}");
}

#[tokio::test]
async fn statistics_and_growth_do_not_look_inside() {
    let mut driver = Driver::start().await;
    driver.create(kata_volume("volume")).await;
    accepted(driver.node.node_publish_volume(driver.publish("volume", "target", &writer()))).await;
    let stats = driver.stats("volume", "target").await;
    let [usage] = stats.usage.as_slice() else { panic!("{stats:?}") };
    assert_eq!((usage.unit, usage.total), (Unit::Bytes as i32, SIZE));
    let grown = accepted(driver.node.node_expand_volume(v1::NodeExpandVolumeRequest {
        volume_id: "volume".into(),
        volume_path: driver.path("target"),
        capacity_range: Some(v1::CapacityRange { required_bytes: 2 * SIZE, limit_bytes: 0 }),
        volume_capability: Some(writer()),
        ..Default::default()
    }))
    .await;
    assert_eq!(grown.capacity_bytes, 2 * SIZE);
    let (code, _) = refusal(driver.node.node_get_volume_stats(v1::NodeGetVolumeStatsRequest {
        volume_id: "volume".into(),
        volume_path: driver.path("elsewhere"),
        ..Default::default()
    }))
    .await;
    assert_eq!(code, Code::NotFound);
}

#[tokio::test]
async fn an_inline_volume_is_for_kata_as_well() {
    let mut driver = Driver::start().await;
    let mut request = driver.publish("inline", "target", &writer());
    request.staging_target_path.clear();
    request.volume_context =
        map(&[("template", "debian"), KATA, ("csi.storage.k8s.io/ephemeral", "true")]);
    for _ in 0..2 {
        accepted(driver.node.node_publish_volume(request.clone())).await;
        assert_eq!(mount_info(&driver, "target")["fstype"], "ext4");
    }
    accepted(driver.node.node_unpublish_volume(unpublish(&driver, "inline"))).await;
    assert!(driver.environment.kata_entries().is_empty());
    assert!(driver.environment.volume_directories().is_empty());
    assert!(driver.environment.host.leftovers().is_empty());
}

#[tokio::test]
async fn an_inline_volume_whose_pod_is_gone_goes_with_what_tells_kata_of_it() {
    let mut driver = Driver::start().await;
    fs::create_dir(driver.path("pod")).expect("a directory");
    let mut request = driver.publish("inline", "pod/mount", &writer());
    request.staging_target_path.clear();
    request.volume_context =
        map(&[("template", "debian"), KATA, ("csi.storage.k8s.io/ephemeral", "true")]);
    accepted(driver.node.node_publish_volume(request)).await;
    fs::remove_dir_all(driver.path("pod")).expect("removed");
    let pool = driver.environment.pool();
    let mut options = ReconcileOptions::default().grace(Duration::ZERO);
    for dry_run in [true, false] {
        options.dry_run = dry_run;
        assert_eq!(driver.environment.kata_entries().len(), 1);
        let report = pool.reconcile_with(&options).expect("a report");
        let kinds: Vec<_> = report.removed.iter().map(|removal| removal.kind).collect();
        assert_eq!(kinds, [RemovalKind::Inline], "{report:?}");
    }
    assert!(driver.environment.kata_entries().is_empty());
    assert!(driver.environment.volume_directories().is_empty());
    assert!(driver.environment.host.leftovers().is_empty());
}

#[tokio::test]
async fn what_others_wrote_is_left_alone() {
    let mut driver = Driver::start().await;
    driver.create(kata_volume("volume")).await;
    let place = directory(&driver, "target");
    fs::create_dir_all(&place).expect("a directory");
    for foreign in [
        "not JSON".to_owned(),
        json!({"volume-type": "block", "device": "/dev/sda", "fstype": "ext4"}).to_string(),
        json!({"calf-volume": "CALF-0123456789abcdef-0", "device": "/dev/dm-0"}).to_string(),
    ] {
        fs::write(place.join("mountInfo.json"), &foreign).expect("a file");
        let publish = driver.publish("volume", "target", &writer());
        let (code, message) = refusal(driver.node.node_publish_volume(publish)).await;
        assert_eq!(code, Code::AlreadyExists, "{message}");
        accepted(driver.node.node_unpublish_volume(unpublish(&driver, "volume"))).await;
        let left = fs::read_to_string(place.join("mountInfo.json")).expect("it is there");
        assert_eq!(left, foreign);
        let report = driver.environment.pool().reconcile().expect("a report");
        assert_eq!((report.removed, report.failed), (Vec::new(), Vec::<String>::new()));
    }
}

#[tokio::test]
async fn what_points_to_no_volume_is_removed_by_the_next_start() {
    let mut driver = Driver::start().await;
    driver.create(kata_volume("volume")).await;
    accepted(driver.node.node_publish_volume(driver.publish("volume", "target", &writer()))).await;
    let pool = driver.environment.pool();
    let kept = pool.reconcile().expect("a report");
    assert_eq!((kept.live, kept.removed), (1, Vec::new()));
    assert_eq!(driver.environment.kata_entries().len(), 1);
    // A reboot that also loses the pool's volumes, which no call causes.
    driver.environment.host.reboot();
    fs::remove_dir_all(pool.root().join("volumes")).expect("removed");
    let report = pool.reconcile().expect("a report");
    assert!(
        report.removed.iter().any(|removal| removal.what.contains("mountInfo.json")),
        "{report:?}"
    );
    assert!(driver.environment.kata_entries().is_empty());
}

#[tokio::test]
async fn a_block_volume_of_such_a_class_is_an_ordinary_one() {
    let mut driver = Driver::start().await;
    let device = block(Mode::SingleNodeWriter);
    let request =
        v1::CreateVolumeRequest { volume_capabilities: vec![device.clone()], ..kata_volume("v") };
    driver.create(request).await;
    accepted(driver.node.node_publish_volume(driver.publish("v", "target", &device))).await;
    assert!(driver.environment.kata_entries().is_empty());
    assert!(Path::new(&driver.path("target")).exists());
}
