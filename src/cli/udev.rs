//! The udev rules that the chart ships and `calf udev-rules` prints or installs.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use calf::sys::{UDEV_RULES, UDEV_RULES_FILE};
use calf::{Error, Result};
use serde_json::json;

use super::context::Context;
use super::output;

#[derive(clap::Args)]
pub(super) struct Args {
    /// Write the rules to 10-calf.rules in this directory, if that file differs
    #[arg(long, value_name = "DIR")]
    install: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: &Args) -> Result<()> {
    let Some(directory) = &args.install else { return output::text(UDEV_RULES) };
    let path = directory.join(UDEV_RULES_FILE);
    let changed = install(&path).map_err(|e| {
        Error::io("install the udev rules as", path.display(), e)
            .remedy("give a directory of udev rules that this process may write to")
    })?;
    let name = path.display().to_string();
    context.output.done(&json!({ "path": path, "changed": changed }), [&name], || {
        let done = if changed { "installed" } else { "already up to date:" };
        format!("{done} {name}")
    })
}

/// Writes the rules atomically, and returns whether that was necessary. When the directory changes,
/// udev reads its rules again at its next event.
fn install(path: &Path) -> io::Result<bool> {
    if fs::read(path).is_ok_and(|there| there == UDEV_RULES.as_bytes()) {
        return Ok(false);
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // udev reads files that end in `.rules`.
    let temporary = path.with_added_extension(format!("tmp-{}", std::process::id()));
    let write = || -> io::Result<()> {
        let mut file = File::create(&temporary)?;
        file.write_all(UDEV_RULES.as_bytes())?;
        file.set_permissions(fs::Permissions::from_mode(0o644))?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use calf::Backing;
    use calf::internal::layout::Layout;
    use calf::sys::{SPARE_PREFIX, UUID_PREFIX};

    #[test]
    fn rules_are_installed_once_and_replaced_when_they_differ() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("rules.d").join(UDEV_RULES_FILE);
        assert!(install(&path).unwrap());
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(!install(&path).unwrap());
        fs::write(&path, "# of another version\n").unwrap();
        assert!(install(&path).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), UDEV_RULES);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
        assert!(install(&path.join("x")).is_err());
    }

    #[test]
    fn the_rules_know_the_names_that_calf_gives() {
        assert!(UDEV_RULES.contains(&format!("ATTR{{dm/uuid}}==\"{UUID_PREFIX}?*\"")));
        assert!(UDEV_RULES.contains(&format!("ATTR{{dm/name}}==\"{SPARE_PREFIX}?*\"")));
        let layout = Layout::new("*");
        let key = calf::Key::of("v");
        let masked = |path: std::path::PathBuf, name: &str| {
            path.display().to_string().replace(name, &"?".repeat(name.len()))
        };
        let digest = calf::Digest::parse(&"0".repeat(64)).unwrap();
        for pattern in [
            masked(layout.store(&key, Backing::Snapshot), key.as_str()),
            masked(layout.store(&key, Backing::Copy), key.as_str()),
            masked(Layout::spare_store(&layout.spare_directory(&key)), key.as_str()),
            masked(Layout::spare_store(&layout.claim(&key)), key.as_str()),
            masked(layout.image(&digest), digest.as_str()),
        ] {
            assert!(UDEV_RULES.contains(&format!("==\"{pattern}\"")), "{pattern}");
        }
    }
}
