use super::*;
use crate::error::ErrorKind;
use crate::template::import::qcow2::header::tests::header;

const CLUSTER: u64 = 64 << 10;

/// An image in memory: a header, an L1 table in the cluster 1, and whatever else.
struct Image(Vec<u8>);

impl Image {
    /// Of a disk of this size.
    fn new(size: u64) -> Self {
        let mut bytes = vec![0; 4 * CLUSTER as usize];
        let head = header(size);
        bytes[..head.len()].copy_from_slice(&head);
        Self(bytes)
    }

    fn put(&mut self, at: u64, value: u64) {
        self.0[at as usize..at as usize + 8].copy_from_slice(&value.to_be_bytes());
    }
}

impl SparseRead for Image {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = self.0.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn next_data(&self, _: u64) -> io::Result<u64> {
        unreachable!("holes of the image mean nothing")
    }

    fn next_hole(&self, _: u64) -> io::Result<u64> {
        unreachable!("holes of the image mean nothing")
    }
}

#[test]
fn data_and_holes_are_found_at_any_offset() {
    let mut image = Image::new(8 * CLUSTER);
    image.put(CLUSTER, 2 * CLUSTER);
    image.put(2 * CLUSTER + 3 * 8, 3 * CLUSTER);
    image.0[3 * CLUSTER as usize..].fill(7);
    // Reads as zeros, although there is data.
    image.put(2 * CLUSTER + 5 * 8, (3 * CLUSTER) | 1);
    let disk = Disk::open(&image, "it").unwrap();
    assert_eq!(disk.next_data(0).unwrap(), 3 * CLUSTER);
    assert_eq!(disk.next_data(3 * CLUSTER + 9).unwrap(), 3 * CLUSTER + 9);
    assert_eq!(disk.next_hole(3 * CLUSTER + 9).unwrap(), 4 * CLUSTER);
    assert_eq!(disk.next_hole(9).unwrap(), 9);
    assert_eq!(disk.next_data(4 * CLUSTER).unwrap(), u64::MAX);
    let mut read = vec![1; 2 * CLUSTER as usize];
    assert_eq!(disk.fill_from(&mut read, 3 * CLUSTER - 8).unwrap(), read.len());
    let expected = [&[0; 8][..], &[7; CLUSTER as usize], &[0; CLUSTER as usize - 8]].concat();
    assert!(read == expected);
    assert_eq!(disk.fill_from(&mut read, 7 * CLUSTER).unwrap(), CLUSTER as usize);
    assert!(read[..CLUSTER as usize].iter().all(|byte| *byte == 0));
    assert_eq!(disk.read_at(&mut read, 8 * CLUSTER).unwrap(), 0);
}

#[test]
fn a_look_for_data_ends_soon_in_a_disk_without_any() {
    // One L2 table of nothing, named by every entry of the L1 table.
    const TABLES: u32 = 4096;
    let mut image = Image::new(u64::from(TABLES) << 29);
    image.0[36..40].copy_from_slice(&TABLES.to_be_bytes());
    for entry in 0..u64::from(TABLES) {
        image.put(CLUSTER + entry * 8, 2 * CLUSTER);
    }
    let disk = Disk::open(&image, "it").unwrap();
    let at = disk.next_data(0).unwrap();
    assert_eq!(at, u64::from(MOST_STEPS) * CLUSTER, "the answer is early, and true so far");
    assert_eq!(disk.next_hole(at).unwrap(), at, "so that nothing is read");
}

#[test]
fn what_is_wrong_with_an_image_is_told_with_the_way_out() {
    let mut image = Image::new(8 * CLUSTER);
    image.put(CLUSTER, 2 * CLUSTER);
    let mut buffer = [0; 512];
    for (entry, words) in [
        (9 * CLUSTER, "cut short: the data of its disk at byte 589824"),
        (512, "data that does not begin with a cluster"),
        (1 << 62 | CLUSTER, "a compressed cluster cannot be unpacked"),
        ((1 << 62) | (9 * CLUSTER), "cut short: the compressed data"),
    ] {
        image.put(2 * CLUSTER, entry);
        let disk = Disk::open(&image, "it").unwrap();
        let error = explain(&disk.read_at(&mut buffer, 0).unwrap_err(), "it").expect(words);
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.report().contains(words) && !error.remedies().is_empty(), "{error:?}");
    }
    assert!(explain(&io::ErrorKind::UnexpectedEof.into(), "it").is_none());
}
