//! The driver's reports on volumes and on itself: capacity, lists, conditions, usage, its log.

use std::io::Write;
use std::sync::{Arc, Mutex};

use calf::csi::v1;
use calf::csi::v1::volume_capability::access_mode::Mode;
use calf::csi::v1::volume_usage::Unit;
use calf::sys::SnapshotUsage;
use calf::{MAX_SIZE, VolumeState};
use calf_test_kit::simulated_driver::{
    Driver, NODE, SIZE, accepted, block, create, map, mount, refusal,
};
use tonic::Code;

#[tokio::test]
async fn capacity_is_told_per_template_and_place() {
    let mut driver = Driver::start().await;
    let full = v1::GetCapacityRequest {
        volume_capabilities: vec![mount("ext4", Mode::SingleNodeWriter)],
        parameters: map(&[("template", "debian")]),
        accessible_topology: Some(v1::Topology { segments: map(&[("calf.csi.dev/node", NODE)]) }),
    };
    let capacity = accepted(driver.controller.get_capacity(full.clone())).await;
    assert!(capacity.available_capacity > 0);
    assert_eq!(capacity.minimum_volume_size, Some(SIZE));
    assert_eq!(capacity.maximum_volume_size, Some(MAX_SIZE as i64));

    let open = accepted(driver.controller.get_capacity(v1::GetCapacityRequest::default())).await;
    assert_eq!(open.available_capacity, capacity.available_capacity);
    assert_eq!(open.minimum_volume_size, None);

    let changes: [fn(&mut v1::GetCapacityRequest); 4] = [
        |r| r.parameters = map(&[("template", "centos")]),
        |r| r.volume_capabilities = vec![mount("xfs", Mode::SingleNodeWriter)],
        |r| r.volume_capabilities = vec![block(Mode::MultiNodeMultiWriter)],
        |r| {
            let segments = map(&[("calf.csi.dev/node", "node-2")]);
            r.accessible_topology = Some(v1::Topology { segments });
        },
    ];
    for change in changes {
        let mut request = full.clone();
        change(&mut request);
        let none = accepted(driver.controller.get_capacity(request)).await;
        assert_eq!((none.available_capacity, none.maximum_volume_size), (0, Some(0)));
    }
    driver.environment.host.set_free(0);
    let none = accepted(driver.controller.get_capacity(full)).await;
    assert_eq!((none.available_capacity, none.maximum_volume_size), (0, Some(0)));
    let (code, message) = refusal(driver.controller.create_volume(create("volume"))).await;
    assert_eq!(code, Code::ResourceExhausted, "{message}");
}

#[tokio::test]
async fn capabilities_are_confirmed_only_if_all_fits() {
    let mut driver = Driver::start().await;
    let volume = driver.create(create("volume")).await;
    let mut volume_context = volume.volume_context;
    volume_context.insert("storage.kubernetes.io/csiProvisionerIdentity".into(), "x".into());
    let request = v1::ValidateVolumeCapabilitiesRequest {
        volume_id: "volume".into(),
        volume_context,
        volume_capabilities: vec![
            block(Mode::SingleNodeReaderOnly),
            mount("ext4", Mode::SingleNodeWriter),
        ],
        parameters: create("volume").parameters,
        ..Default::default()
    };
    let response = accepted(driver.controller.validate_volume_capabilities(request.clone())).await;
    let confirmed = response.confirmed.expect("a confirmation");
    assert_eq!(confirmed.volume_capabilities, request.volume_capabilities);
    assert_eq!(confirmed.volume_context, request.volume_context);
    assert_eq!(confirmed.parameters, request.parameters);

    type Change = fn(&mut v1::ValidateVolumeCapabilitiesRequest);
    let changes: [(&str, Change); 5] = [
        ("MULTI_NODE", |r| r.volume_capabilities.push(block(Mode::MultiNodeMultiWriter))),
        ("xfs", |r| r.volume_capabilities.push(mount("xfs", Mode::SingleNodeWriter))),
        ("template", |r| drop(r.volume_context.insert("template".into(), "other".into()))),
        ("durability", |r| drop(r.parameters.insert("durability".into(), "durable".into()))),
        ("mutable", |r| drop(r.mutable_parameters.insert("a".into(), "b".into()))),
    ];
    for (word, change) in changes {
        let mut request = request.clone();
        change(&mut request);
        let response = accepted(driver.controller.validate_volume_capabilities(request)).await;
        assert!(response.confirmed.is_none(), "{word}");
        assert!(response.message.contains(word), "{word}: {}", response.message);
    }
}

#[tokio::test]
async fn usage_is_told_for_devices_and_file_systems() {
    let mut driver = Driver::start().await;
    driver.in_use("volume", &mount("", Mode::SingleNodeWriter)).await;
    let stats = driver.stats("volume", "target").await;
    assert_eq!(
        stats.usage.iter().map(|usage| usage.unit()).collect::<Vec<_>>(),
        [Unit::Bytes, Unit::Inodes]
    );
    assert!(stats.usage.iter().all(|usage| usage.total > 0));
    assert!(!stats.volume_condition.expect("a condition").abnormal);

    let mut driver = Driver::start().await;
    driver.in_use("volume", &block(Mode::SingleNodeWriter)).await;
    let stats = driver.stats("volume", "target").await;
    let [usage] = stats.usage.as_slice() else { panic!("{:?}", stats.usage) };
    assert_eq!((usage.unit(), usage.total), (Unit::Bytes, SIZE));
    assert_eq!(usage.available, SIZE - usage.used);
}

#[tokio::test]
async fn a_lost_volume_is_abnormal() {
    let mut driver = Driver::start().await;
    driver.in_use("volume", &block(Mode::SingleNodeWriter)).await;
    let device = driver
        .environment
        .pool()
        .volume("volume")
        .and_then(|volume| volume.status())
        .expect("it")
        .device
        .expect("one");
    for (usage, word) in
        [(SnapshotUsage::Overflow, "--cow-limit"), (SnapshotUsage::Invalid, "pool was full")]
    {
        driver.environment.host.set_usage(device, usage);
        let stats = driver.stats("volume", "target").await;
        assert!(!stats.usage.is_empty());
        let request = v1::ControllerGetVolumeRequest { volume_id: "volume".into() };
        let got = accepted(driver.controller.controller_get_volume(request)).await;
        let status = got.status.expect("a status");
        for condition in [stats.volume_condition, status.volume_condition] {
            let condition = condition.expect("a condition");
            assert!(condition.abnormal);
            assert!(condition.message.contains(word), "{}", condition.message);
        }
    }
}

/// Waits until the driver's guard has done something.
async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if done() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    panic!("{what}: not within ten seconds");
}

#[tokio::test]
async fn a_suspended_volume_is_abnormal_and_goes_on_once_there_is_room() {
    let mut driver = Driver::start().await;
    driver.in_use("volume", &block(Mode::SingleNodeWriter)).await;
    let host = driver.environment.host.clone();
    let pool = driver.environment.pool();
    let status = || pool.volume("volume").and_then(|volume| volume.status()).expect("it is there");
    let device = status().device.expect("it is active");
    let (free, mut used) = (host.free(), 8192);
    until("the volume is suspended", || {
        used += 4096;
        host.set_free((100 << 20) - used);
        host.set_usage(device, SnapshotUsage::Valid { used, total: 1 << 30, metadata: 8192 });
        status().state == VolumeState::Suspended
    })
    .await;
    let stats = driver.stats("volume", "target").await;
    let condition = stats.volume_condition.expect("a condition");
    assert!(condition.abnormal && condition.message.contains("guard"), "{}", condition.message);
    let capacity =
        accepted(driver.controller.get_capacity(v1::GetCapacityRequest::default())).await;
    assert_eq!(capacity.available_capacity, 0);

    host.set_free(free);
    until("the volume goes on", || status().state == VolumeState::Active).await;
    let stats = driver.stats("volume", "target").await;
    assert!(!stats.volume_condition.expect("a condition").abnormal);
}

// === the log ===

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("the log").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn each_call_is_one_line_without_secrets() {
    // Other tests of this process write to the log too, but use other names for their volumes.
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .try_init()
        .expect("the only subscriber of this process");
    let mut driver = Driver::start().await;
    let mut request = create("logged");
    request.secrets = map(&[("password", "hunter2")]);
    driver.create(request.clone()).await;
    request.name = "logged-refused".into();
    request.parameters.insert("unknown".into(), "hunter2".into());
    refusal(driver.controller.create_volume(request)).await;
    let mut inline = driver.publish("logged-inline", "inline", &mount("", Mode::SingleNodeWriter));
    inline.secrets = map(&[("password", "hunter2")]);
    inline.volume_context = map(&[
        ("csi.storage.k8s.io/ephemeral", "true"),
        ("csi.storage.k8s.io/serviceAccount.tokens", "hunter2"),
        ("template", "debian"),
    ]);
    accepted(driver.node.node_publish_volume(inline)).await;

    let text = String::from_utf8(log.0.lock().expect("the log").clone()).expect("text");
    assert!(!text.contains("hunter2"));
    let line = |word: &str| {
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.contains(" INFO calf::csi: response ") && line.contains(word))
            .collect();
        assert_eq!(lines.len(), 1, "{word}: {lines:?}");
        lines[0].to_owned()
    };
    let created = line("volume=\"logged\"");
    for field in ["method=\"CreateVolume\"", "elapsed_ms=", "code=\"OK\""] {
        assert!(created.contains(field), "{created}");
    }
    let refused = line("volume=\"logged-refused\"");
    for field in ["code=\"INVALID_ARGUMENT\"", "error=\"invalid parameters"] {
        assert!(refused.contains(field), "{refused}");
    }
    line("volume=\"logged-inline\"");
}
