//! Images of all forms, from files.

use std::fs;
use std::time::Duration;

use calf::ImportSpec;
use calf_test_kit::simulated_pool::Environment;

use super::*;

/// Bytes that the data of the disk takes up, with the pages at its borders.
const DATA: u64 = 5 * MIB / 2;

#[test]
fn every_form_of_an_image_becomes_its_disk() {
    let sizes = ["512", "1k", "4k", "32k", "64k", "1M", "2M"];
    let mut forms: Vec<Vec<String>> = Vec::new();
    let mut add = |packed: bool, options: String| {
        let packed: &[&str] = if packed { &["-c"] } else { &[] };
        let form = [packed, &["-o", &options]].concat();
        forms.push(form.into_iter().map(str::to_owned).collect());
    };
    for size in sizes {
        for version in ["0.10", "1.1"] {
            add(false, format!("cluster_size={size},compat={version}"));
            add(true, format!("cluster_size={size},compat={version}"));
        }
        add(true, format!("cluster_size={size},compression_type=zstd"));
    }
    for size in ["16k", "64k", "2M"] {
        add(false, format!("cluster_size={size},extended_l2=on"));
        add(true, format!("cluster_size={size},extended_l2=on,compression_type=zstd"));
    }
    for allocated in ["metadata", "falloc", "full"] {
        add(false, format!("preallocation={allocated}"));
        add(false, format!("preallocation={allocated},extended_l2=on"));
    }
    add(false, "refcount_bits=1".into());
    add(false, "lazy_refcounts=on".into());
    for form in forms {
        let environment = Environment::new();
        let form: Vec<&str> = form.iter().map(String::as_str).collect();
        let image = image(&environment, &form);
        becomes_its_disk(&environment, &image, DATA, &format!("{form:?}"));
    }
}

#[test]
fn parts_of_clusters_and_zeros_are_what_a_guest_wrote() {
    for options in ["compat=1.1", "extended_l2=on", "compat=0.10", "cluster_size=2M"] {
        let environment = Environment::new();
        let path = environment.directory.path().join("disk.qcow2");
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&path), "64M"]);
        let mut commands = vec!["-c", "write -P 7 0 1k", "-c", "write -P 8 100k 1M"];
        commands.extend(["-c", "write -P 9 67108352 512", "-c", "write -P 1 40M 300k"]);
        commands.extend(["-c", "discard 41039k 64k", "-c", "write -P 3 33M 2k"]);
        if options != "compat=0.10" {
            commands.extend(["-c", "write -z 200k 6k", "-c", "write -z -u 300k 512k"]);
        }
        run("qemu-io", &[&commands[..], &["-f", "qcow2", text(&path)]].concat());
        becomes_its_disk(&environment, &path, 2 * MIB, options);
    }
}

#[test]
fn an_image_that_nobody_wrote_to_takes_up_nothing() {
    for (options, size) in [("cluster_size=2M", "40G"), ("cluster_size=64k", "3G")] {
        let environment = Environment::new();
        let pool = environment.pool();
        let path = environment.directory.path().join("disk.qcow2");
        run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, text(&path), size]);
        let spec = ImportSpec::new(path.as_path(), "disk");
        // Hashing zeros takes its time: it is the beginning that counts.
        let mut most = 0;
        let cancel = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let spec = spec.cancel(calf::Cancel::from(std::sync::Arc::clone(&cancel)));
        let error = pool
            .import_template(&spec, &mut |progress| {
                most = most.max(progress.done);
                if progress.done > 256 * MIB {
                    cancel.store(true, std::sync::atomic::Ordering::Release);
                }
            })
            .expect_err("it was cancelled");
        assert_eq!(error.kind(), ErrorKind::Cancelled, "{}", error.report());
        assert!(most < 400 * MIB, "{most}: it ends soon");
        assert!(!error.report().contains("goes on"), "{}", error.report());
        assert_eq!(images(&pool), 1, "nothing is left");
    }
}

#[test]
fn the_present_state_of_an_image_with_snapshots_is_the_template() {
    let environment = Environment::new();
    let image = image(&environment, &[]);
    run("qemu-img", &["snapshot", "-c", "before", text(&image)]);
    run("qemu-io", &["-c", "write -P 5 2M 64k", "-f", "qcow2", text(&image)]);
    becomes_its_disk(&environment, &image, DATA + MIB, "after a snapshot");
}

#[test]
fn a_digest_is_that_of_the_image_or_of_its_disk() {
    let made = Environment::new();
    let image = image(&made, &["-c"]);
    let file = fs::read(&image).expect("an image");
    let disk = digest(&converted(&image));
    for given in [digest(&file), disk.clone()] {
        let environment = Environment::new();
        let pool = environment.pool();
        let path = environment.directory.path().join("image");
        fs::write(&path, &file).expect("a file");
        let record = import(&pool, &path, Some(given)).expect("an import");
        assert_eq!(record.digest, disk);
        // The pool knows both, so that the file is not read again.
        fs::remove_file(&path).expect("removed");
        for known in [digest(&file), disk.clone()] {
            assert_eq!(import(&pool, &path, Some(known)).expect("known content").digest, disk);
        }
    }
    let error = import(&made.pool(), &image, Some(digest(b"another"))).expect_err("another digest");
    for words in [digest(&file), disk, digest(b"another")] {
        assert!(error.report().contains(words.as_str()), "{}", error.report());
    }
    assert_eq!(images(&made.pool()), 1, "nothing is left");
}

#[test]
fn a_known_image_is_not_read_again_and_progress_counts_both_passes() {
    let environment = Environment::new();
    let pool = environment.pool();
    let image = image(&environment, &[]);
    std::thread::sleep(Duration::from_millis(150));
    let mut seen = Vec::new();
    let spec = ImportSpec::new(image.as_path(), "disk");
    let first = pool.import_template(&spec, &mut |progress| seen.push(progress)).expect("a disk");
    let all = image.metadata().expect("an image").len() + DISK;
    let last = seen.last().expect("progress");
    assert_eq!((last.done, last.total), (all, Some(all)));
    assert!(seen.windows(2).all(|pair| pair[0].done <= pair[1].done), "{seen:?}");
    let mut steps = 0;
    let spec = ImportSpec::new(image.as_path(), "other");
    let second = pool.import_template(&spec, &mut |_| steps += 1).expect("an import");
    assert_eq!((first.digest, steps), (second.digest, 1));
}

#[test]
fn a_pool_without_room_has_its_room_back() {
    let environment = Environment::new();
    let image = image(&environment, &["-c"]);
    environment.host.set_free((256 << 20) + (1 << 20));
    let error = refused(&image, &environment);
    assert_eq!(error.kind(), ErrorKind::NoSpace, "{}", error.report());
}
