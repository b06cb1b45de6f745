//! ListVolumes: its pages, what they cost, what they say.

use std::collections::BTreeSet;

use calf::Key;
use calf::csi::v1;
use calf::sys::{DeviceId, Mapper as _, Quiesce, Role, SnapshotUsage};
use calf_test_kit::simulated_driver::{Driver, accepted, create};
use calf_test_kit::simulated_pool::spec;

#[tokio::test]
async fn volumes_are_listed_in_pages() {
    let mut driver = Driver::start().await;
    let names: BTreeSet<String> = (0..5).map(|i| format!("volume-{i}")).collect();
    for name in &names {
        driver.create(create(name)).await;
    }
    let mut listed = BTreeSet::new();
    let mut starting_token = String::new();
    loop {
        let request = v1::ListVolumesRequest { max_entries: 2, starting_token };
        let page = accepted(driver.controller.list_volumes(request)).await;
        assert!(page.entries.len() <= 2);
        for entry in page.entries {
            let condition = entry.status.expect("a status").volume_condition.expect("one");
            assert!(!condition.abnormal, "{}", condition.message);
            assert!(listed.insert(entry.volume.expect("a volume").volume_id));
        }
        starting_token = page.next_token;
        if starting_token.is_empty() {
            break;
        }
    }
    assert_eq!(listed, names);
}

#[tokio::test]
async fn a_page_costs_what_it_shows_and_little_for_each_volume_in_use() {
    let mut driver = Driver::start().await;
    let pool = driver.environment.pool();
    for i in 0..40 {
        let volume = pool.create_volume(&spec(&format!("volume-{i}"))).expect("create");
        volume.activate().expect("activate");
    }
    let mut calls = Vec::new();
    for max_entries in [5, 25] {
        // The driver's guard looks at the pool meanwhile, but not always.
        let mut least = u64::MAX;
        for _ in 0..10 {
            let before = driver.environment.host.calls();
            let request = v1::ListVolumesRequest { max_entries, ..Default::default() };
            let page = accepted(driver.controller.list_volumes(request)).await;
            least = least.min(driver.environment.host.calls() - before);
            assert_eq!(page.entries.len(), max_entries as usize);
            for entry in page.entries {
                let condition = entry.status.expect("a status").volume_condition.expect("one");
                let told = (condition.abnormal, condition.message.as_str());
                assert_eq!(told, (false, "in order"));
            }
        }
        calls.push(least);
    }
    // The directory and its record, and one look at the device.
    assert_eq!(calls, [1 + 3 * 5, 1 + 3 * 25]);
}

#[tokio::test]
async fn a_list_tells_the_state_of_each_volume_as_a_look_at_it_does() {
    let mut driver = Driver::start().await;
    let pool = driver.environment.pool();
    for id in ["inactive", "active", "full", "invalid", "suspended"] {
        let volume = pool.create_volume(&spec(id)).expect("create");
        if id == "inactive" {
            continue;
        }
        let device = volume.activate().expect("activate").number();
        let name = DeviceId::new(pool.id(), &Key::of(id), Role::Snapshot);
        match id {
            "full" => driver.environment.host.set_usage(device, SnapshotUsage::Overflow),
            "invalid" => driver.environment.host.set_usage(device, SnapshotUsage::Invalid),
            "suspended" => {
                driver.environment.host.suspend(&name, Quiesce::Device).expect("suspend")
            }
            _ => {}
        }
    }
    let request = v1::ListVolumesRequest::default();
    let listed = accepted(driver.controller.list_volumes(request)).await.entries;
    let mut abnormal = BTreeSet::new();
    for entry in listed {
        let volume_id = entry.volume.expect("a volume").volume_id;
        let condition = entry.status.expect("a status").volume_condition.expect("one");
        if condition.abnormal {
            abnormal.insert(volume_id.clone());
        }
        let request = v1::ControllerGetVolumeRequest { volume_id: volume_id.clone() };
        let one = accepted(driver.controller.controller_get_volume(request)).await;
        let alone = one.status.expect("a status").volume_condition.expect("one");
        assert_eq!(condition, alone, "{volume_id}");
    }
    assert_eq!(abnormal, BTreeSet::from(["full", "invalid"].map(String::from)));
}
