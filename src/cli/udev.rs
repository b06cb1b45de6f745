//! The udev rules that the chart ships and `calf udev-rules` prints.

/// The rules file.
pub(super) const RULES: &str = include_str!("../../charts/calf/files/10-calf.rules");

/// Its name; the number puts it before the rules that it keeps off.
pub(super) const FILE_NAME: &str = "10-calf.rules";

#[cfg(test)]
mod tests {
    use super::*;
    use calf::key::UUID_PREFIX;
    use calf::pool::layout::Layout;
    use calf::pool::record::Backing;

    #[test]
    fn the_rules_know_the_names_that_calf_gives() {
        assert!(RULES.contains(&format!("ATTR{{dm/uuid}}==\"{UUID_PREFIX}?*\"")));
        let layout = Layout::new("*");
        let key = calf::key::Key::of("v");
        let masked = |path: std::path::PathBuf, name: &str| {
            path.display().to_string().replace(name, &"?".repeat(name.len()))
        };
        let digest = "0".repeat(64);
        for pattern in [
            masked(layout.store(&key, Backing::Snapshot), key.as_str()),
            masked(layout.store(&key, Backing::Copy), key.as_str()),
            masked(layout.image(&digest), &digest),
        ] {
            assert!(RULES.contains(&format!("==\"{pattern}\"")), "{pattern}");
        }
    }
}
