//! Finds where the guest's writes are, by reading the disks themselves.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use calf::internal::layout::Layout;
use calf::units::format_size;
use sha2::{Digest as _, Sha256};

use crate::csi::Csi;
use crate::microvm::Written;
use crate::place::{Stage, remove_file};
use crate::volumes::Volume;
use crate::{Result, command, stop, ui};

const READ_LIMIT: Duration = Duration::from_secs(60);

/// Checks that the first volume has what the guest wrote, that the others still equal the template
/// bit for bit, and that the template is unchanged.
pub(crate) fn show(
    stage: &Stage,
    csi: &mut Csi,
    volumes: &[Volume],
    written: &Written,
    digest: &calf::Digest,
) -> Result<()> {
    let [booted, others @ ..] = volumes else { return Err("there are no volumes".into()) };
    let is_in = |device: &Path| file_sha256(stage, device, &written.path);
    if is_in(&booted.target)?.as_ref() != Some(&written.sha256) {
        return Err(format!("{} on {} differs from what the guest wrote", written.path, booted.id));
    }
    let used = format_size(csi.used(&booted.id, &booted.target)?);
    ui::good(&format!(
        "{:<9} has the file, with the guest's SHA-256; uses {used} of disk",
        booted.id
    ));
    for volume in others {
        if is_in(&volume.target)?.is_some() {
            return Err(format!("{} is also on {}", written.path, volume.id));
        }
        if content_sha256(&volume.target, volume.size)? != digest.as_str() {
            return Err(format!("{} no longer equals its template", volume.id));
        }
        let used = format_size(csi.used(&volume.id, &volume.target)?);
        ui::good(&format!(
            "{:<9} no such file, still identical to the template; uses {used} of disk",
            volume.id
        ));
    }
    let image = Layout::new(&stage.pool).image(digest);
    let size = booted.size;
    if is_in(&image)?.is_some() || content_sha256(&image, size)? != digest.as_str() {
        return Err("the template has changed".into());
    }
    ui::good(&format!(
        "template  no such file, same SHA-256 as at import: {}…",
        &digest.as_str()[..16]
    ));
    Ok(())
}

/// SHA-256 of a file in the ext4 file system on `device`, read without mounting it; `None` if it
/// does not exist.
pub(crate) fn file_sha256(stage: &Stage, device: &Path, path: &str) -> Result<Option<String>> {
    let dumped = stage.runtime.join("dumped");
    let mut debugfs = Command::new("debugfs");
    debugfs.args(["-R", &format!("dump {path} {}", dumped.display())]).arg(device);
    let said = command::output(debugfs, READ_LIMIT)?;
    // Its exit code does not show failure, and it always creates the file.
    let found = if said.contains("File not found") {
        None
    } else {
        Some(content_sha256(&dumped, u64::MAX)?)
    };
    remove_file(&dumped)?;
    Ok(found)
}

/// SHA-256 of the first `size` bytes.
fn content_sha256(path: &Path, size: u64) -> Result<String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut content = File::open(path).map_err(failed)?.take(size);
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 20]);
    loop {
        stop::check()?;
        match content.read(&mut buffer).map_err(failed)? {
            0 => return Ok(hex::encode(hash.finalize())),
            read => hash.update(&buffer[..read]),
        }
    }
}
