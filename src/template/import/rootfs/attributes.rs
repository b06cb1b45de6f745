//! Extended attributes: which ones an image keeps, and the form in which ext4 has them.

/// The label that this host gave to a file, and what it measured of it: nothing of the image.
const OF_THIS_HOST: [&str; 3] = ["security.selinux", "security.ima", "security.evm"];
/// How the overlay file system keeps its own notes.
const OF_OVERLAYS: [&str; 2] = ["trusted.overlay.", "user.overlay."];
const ACCESS_LISTS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];
const KEPT: [&str; 3] = ["user.", "trusted.", "security."];

/// The attribute as the image is to have it; `None` if it is to have none. What is wrong with it otherwise.
pub(super) fn kept(
    name: &[u8],
    value: &[u8],
    from_host: bool,
) -> Result<Option<(String, Vec<u8>)>, String> {
    let name = std::str::from_utf8(name)
        .map_err(|_| "an extended attribute's name is not UTF-8".to_owned())?;
    let starts = |with: &str| name.starts_with(with);
    if OF_OVERLAYS.iter().any(|with| starts(with)) || from_host && OF_THIS_HOST.contains(&name) {
        return Ok(None);
    }
    if ACCESS_LISTS.contains(&name) {
        let list = access_list(value)
            .ok_or_else(|| format!("its extended attribute {name} is no access control list"))?;
        return Ok(Some((name.to_owned(), list)));
    }
    // Other kinds, such as those of macOS, have no place in ext4.
    let is_kept = KEPT.iter().any(|with| starts(with) && name.len() > with.len());
    Ok(is_kept.then(|| (name.to_owned(), value.to_vec())))
}

/// An access control list in the form of ext4. Archives have that of the system calls (version 2), where
/// each entry has an id.
fn access_list(value: &[u8]) -> Option<Vec<u8>> {
    const GIVEN: [u8; 4] = 2u32.to_le_bytes();
    const STORED: [u8; 4] = 1u32.to_le_bytes();
    const USER: u16 = 0x02;
    const GROUP: u16 = 0x08;
    let entries = value.strip_prefix(&GIVEN)?;
    if entries.len() % 8 != 0 {
        return None;
    }
    let mut list = STORED.to_vec();
    for entry in entries.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let has_id = matches!(tag, USER | GROUP);
        list.extend(if has_id { entry } else { &entry[..4] });
    }
    Some(list)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_the_image_is_kept() {
        for (name, from_host, is_kept) in [
            ("security.capability", true, true),
            ("user.mime", true, true),
            ("trusted.x", false, true),
            ("security.selinux", true, false),
            ("security.selinux", false, true),
            ("trusted.overlay.opaque", false, false),
            ("com.apple.quarantine", false, false),
            ("user.", false, false),
        ] {
            let found = kept(name.as_bytes(), b"v", from_host).unwrap();
            assert_eq!(found.is_some(), is_kept, "{name}");
        }
        kept(b"user.\xFF", b"v", false).unwrap_err();
    }

    #[test]
    fn access_lists_get_the_form_of_ext4() {
        // user::rw-, user:7:r--, group::r--, mask::r--, other::---
        let given = "02000000 0100060 0ffffffff 02000400 07000000 04000400 ffffffff 10000400 ffffffff \
                     20000000 ffffffff";
        let given = hex::decode(given.replace(' ', "")).unwrap();
        let stored = hex::decode(
            "0100000001000600020004000700000004000400100004002000000 0".replace(' ', ""),
        );
        let (_, list) = kept(b"system.posix_acl_access", &given, false).unwrap().unwrap();
        assert_eq!(list, stored.unwrap());
        for wrong in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0\x01\0"] {
            kept(b"system.posix_acl_default", wrong, false).unwrap_err();
        }
    }
}
