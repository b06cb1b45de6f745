//! Fuzzing of the kernel's text formats, and of mount options.

use crate::cow::header::StoreHeader;
use crate::sys::linux::{mountinfo as table_of_mounts, options, sysfs, table};

/// `/proc/<pid>/mountinfo`: any bytes.
pub fn mountinfo(data: &[u8]) {
    let entries = table_of_mounts::parse(data);
    assert!(entries.len() <= data.split(|byte| *byte == b'\n').count());
    for entry in &entries {
        entry.may_be_node();
    }
}

/// Tables and status lines of device-mapper, numbers and sizes in sysfs, headers of COW stores. The
/// first line is a table in the format of `dmsetup table`, the second a status, the third a number.
pub fn device_mapper(data: &[u8]) {
    if let Some(header) = data.first_chunk() {
        StoreHeader::parse(*header);
    }
    let text = String::from_utf8_lossy(data);
    let mut lines = text.lines();
    if let Some(line) = lines.next() {
        check_table(line);
    }
    if let Some(line) = lines.next() {
        table::parse_usage(line);
    }
    if let Some(line) = lines.next() {
        sysfs::parse_size(line);
        if let Some(number) = sysfs::parse_number(line) {
            assert_eq!(sysfs::parse_number(&number.to_string()), Some(number));
        }
    }
}

fn check_table(line: &str) {
    let mut words = line.splitn(4, ' ');
    let (Some(_start), Some(sectors), Some(target)) = (words.next(), words.next(), words.next())
    else {
        return;
    };
    let Ok(sectors) = sectors.parse() else { return };
    let parameters = words.next().unwrap_or_default();
    for read_only in [false, true] {
        let Some(parsed) = table::parse(sectors, target, parameters, read_only) else { continue };
        let Ok(line) = table::format(&parsed) else { continue };
        let again = table::parse(line.sectors, line.target, &line.parameters, line.read_only);
        assert_eq!(again, Some(parsed), "{line:?}");
    }
}

/// Mount options, one per line; the first line is the file system's type.
pub fn mount_options(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let mut lines = text.split('\n').map(str::to_owned);
    let fs_type = lines.next().unwrap_or_default();
    let words: Vec<String> = lines.collect();
    for read_only in [false, true] {
        let Ok(parsed) = options::parse(&fs_type, &words, read_only) else { continue };
        for (key, value) in &parsed.parameters {
            let text = format!("{key}{}", value.as_deref().unwrap_or_default());
            assert!(!text.contains([',', '\0', '\n']), "it is more than one option: {text:?}");
            assert!(!["source", "device", "bind", "logdev", "sb"].contains(&key.as_str()), "{key}");
        }
    }
}
