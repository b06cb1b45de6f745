//! The input: a root image of a real Debian system, made once and kept.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use calf::units::format_size;
use sha2::{Digest as _, Sha256};

use crate::place::{Place, make_directory, remove_directory, remove_file};
use crate::{Result, command, ui};

/// The recipe. A changed recipe, or a changed init, makes a new image.
const RECIPE: &str = include_str!("image.sh");
/// The first process of the microVM.
const INIT: &str = include_str!("guest/init.sh");
/// Increment this whenever the image must be made again for any other reason.
const VERSION: u32 = 1;

const PREFIX: &str = "debian-";
/// Long enough for a slow mirror.
const LIMIT: Duration = Duration::from_secs(20 * 60);

/// The image, made if it does not exist.
pub(crate) fn prepare(place: &Place) -> Result<PathBuf> {
    let image = place.cache.join(format!("{PREFIX}{}.ext4", key()));
    let mut remark = "from an earlier run".to_owned();
    if !image.exists() {
        remove_older(&place.cache)?;
        let started = Instant::now();
        make(&place.cache.join("making"), &image)?;
        remark = format!("made in {} and kept", ui::seconds(started.elapsed()));
    }
    let metadata = fs::metadata(&image).map_err(|error| format!("{}: {error}", image.display()))?;
    ui::good(&format!(
        "Debian 12, ext4, {}, {} of data ({remark})",
        format_size(metadata.len()),
        format_size(metadata.blocks() * 512),
    ));
    Ok(image)
}

fn key() -> String {
    let mut hash = Sha256::new();
    for part in [RECIPE, INIT, &VERSION.to_string()] {
        hash.update(part);
        hash.update([0]);
    }
    hex::encode(hash.finalize())[..12].to_owned()
}

fn remove_older(cache: &Path) -> Result<()> {
    let entries = fs::read_dir(cache).map_err(|error| format!("{}: {error}", cache.display()))?;
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            remove_file(&entry.path())?;
        }
    }
    Ok(())
}

fn make(work: &Path, image: &Path) -> Result<()> {
    remove_directory(work)?;
    make_directory(work)?;
    let failed = |error: std::io::Error| format!("cannot make the image: {error}");
    let made = fs::write(work.join("init"), INIT).map_err(failed).and_then(|()| {
        ui::aside("$ mmdebstrap --variant=minbase bookworm root.tar; mke2fs -t ext4 -d root …");
        let mut sh = Command::new("sh");
        sh.args(["-c", RECIPE, "image.sh"]).current_dir(work);
        sh.arg(std::env::var("CALF_DEMO_MIRROR").unwrap_or_default());
        command::run(sh, LIMIT, &mut |line| ui::progress(line))?;
        fs::rename(work.join("image"), image).map_err(failed)
    });
    made.and(remove_directory(work))
}
