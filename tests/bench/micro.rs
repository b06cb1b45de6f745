//! Micro-benchmarks of pure code: the computation between a call's system calls.
//!
//! `make micro` runs them. Together, they must be negligible compared with one ioctl.

use std::fmt::Write as _;
use std::hint::black_box;

use calf::internal::record;
use calf::sys::{DeviceId, DeviceNumber, Role, Table};
use calf::{Backing, Key, PoolId, VolumeRecord, units};
use criterion::{Criterion, criterion_group, criterion_main};

criterion_group!(pure, keys, plans, records, tables, mounts, sizes);
criterion_main!(pure);

fn keys(criterion: &mut Criterion) {
    let pool = PoolId::random();
    let id = "pvc-6d1b1b1e-7b0b-4f5e-9d3c-0d7a54e1c1b2";
    criterion.bench_function("key of an id", |b| b.iter(|| Key::of(black_box(id))));
    let device = DeviceId::new(&pool, &Key::of(id), Role::Snapshot);
    criterion.bench_function("volume of a UUID", |b| {
        b.iter(|| DeviceId::parse_uuid(black_box(&pool), black_box(&device.uuid)));
    });
}

fn plans(criterion: &mut Criterion) {
    let record = volume_record();
    criterion.bench_function("plan a creation", |b| {
        b.iter(|| calf::micro::plan_creation(black_box(&record)));
    });
    criterion.bench_function("plan an activation", |b| {
        b.iter(|| calf::micro::plan_activation(black_box(&record)));
    });
    criterion.bench_function("size of a COW store", |b| {
        b.iter(|| calf::internal::store_size(black_box(1 << 40), Some(5 << 30), 4096));
    });
}

fn records(criterion: &mut Criterion) {
    let record = volume_record();
    let bytes = record::to_bytes(&record);
    criterion.bench_function("write a record", |b| b.iter(|| record::to_bytes(black_box(&record))));
    criterion.bench_function("parse a record", |b| {
        b.iter(|| serde_json::from_slice::<VolumeRecord>(black_box(&bytes)));
    });
}

fn tables(criterion: &mut Criterion) {
    let number = |minor| DeviceNumber { major: 7, minor };
    let table = Table::Snapshot {
        origin: number(0),
        cow: number(1),
        size: 1 << 30,
        chunk_size: 4096,
        discard: true,
    };
    criterion.bench_function("format a table", |b| {
        b.iter(|| calf::micro::format_table(black_box(&table)))
    });
    criterion.bench_function("parse a usage", |b| {
        b.iter(|| calf::micro::parse_usage(black_box("2064/2113552 16")));
    });
}

fn mounts(criterion: &mut Criterion) {
    let mut table = String::new();
    for index in 0..1000 {
        let _ = writeln!(
            table,
            "{index} 28 254:1 /pods/{index}/volume /var/lib/kubelet/pods/{index}/volumes/disk \
             rw,relatime shared:{index} - ext4 /dev/vda1 rw"
        );
    }
    criterion.bench_function("parse 1,000 mounts", |b| {
        b.iter(|| calf::micro::parse_mounts(black_box(table.as_bytes())));
    });
}

fn sizes(criterion: &mut Criterion) {
    criterion.bench_function("parse a size", |b| {
        b.iter(|| units::parse_size("cowLimit", black_box("5Gi")));
    });
}

fn volume_record() -> VolumeRecord {
    let text = r#"{
        "id": "pvc-6d1b1b1e-7b0b-4f5e-9d3c-0d7a54e1c1b2",
        "template": "debian-12",
        "digest": "9051255d79f2a7227f0346516c2634f8f68c011fe3caaec8d45de36eabb4dd89",
        "templateSize": 1073741824,
        "fsType": "ext4",
        "size": 21474836480,
        "cowLimit": 5368709120,
        "chunkSize": 4096,
        "durability": "ephemeral",
        "owner": { "uid": 0, "gid": 0, "mode": 384 },
        "backing": "snapshot",
        "inline": false,
        "boot": "4a1b2c3d-0000-4000-8000-0123456789ab",
        "created": "2026-01-01T00:00:00Z"
    }"#;
    let record: VolumeRecord = serde_json::from_str(text).expect("a record");
    assert_eq!(record.backing, Backing::Snapshot);
    record
}
