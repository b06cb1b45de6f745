//! The values of volume parameters. Each is a text that is checked; an error names its field.

use crate::cow::is_chunk_size;
use crate::csi::capacity;
use crate::csi::request::invalid;
use crate::error::Result;
use crate::model::policy::{Durability, Reserve};
use crate::model::units::parse_size;

/// Size of an inline volume, rounded up to a valid size.
pub(super) fn size(field: &str, value: &str) -> Result<u64> {
    capacity::inline_size(field, parse_size(field, value)?)
}

/// Most bytes that a volume may write.
pub(super) fn cow_limit(field: &str, value: &str) -> Result<u64> {
    match parse_size(field, value)? {
        0 => Err(invalid(field, value, "a volume must be able to write")
            .remedy("leave it out for no limit")),
        limit => Ok(limit),
    }
}

/// Bytes per chunk of the COW store.
pub(super) fn chunk_size(field: &str, value: &str) -> Result<u64> {
    let size = parse_size(field, value)?;
    if !is_chunk_size(size) {
        return Err(invalid(field, value, "it is not a power of two from 4Ki to 1Mi")
            .remedy("use 4Ki unless volumes are large and written in large pieces"));
    }
    Ok(size)
}

/// What survives a crash of the node.
pub(super) fn durability(field: &str, value: &str) -> Result<Durability> {
    match value {
        "ephemeral" => Ok(Durability::Ephemeral),
        "durable" => Ok(Durability::Durable),
        _ => Err(invalid(field, value, "it is neither ephemeral nor durable")
            .remedy("use durable if synced content must survive a crash of the node")),
    }
}

/// How much of the pool's space is set aside.
pub(super) fn reserve(field: &str, value: &str) -> Result<Reserve> {
    match value {
        "none" => Ok(Reserve::None),
        "full" => Ok(Reserve::Full),
        _ => Err(invalid(field, value, "it is neither none nor full")
            .remedy("use full to allocate all the space that the volume may use at its creation")),
    }
}

/// A numeric user or group id.
pub(super) fn user_or_group(field: &str, value: &str) -> Result<u32> {
    let digits = value.bytes().all(|b| b.is_ascii_digit());
    match value.parse() {
        // In chown(2), the largest number means "leave as it is".
        Ok(id) if digits && id != u32::MAX => Ok(id),
        _ => Err(invalid(field, value, "it is not a numeric id")
            .remedy("give a decimal number from 0 to 4294967294")),
    }
}

/// Permission bits of a device node, in octal.
pub(super) fn mode(field: &str, value: &str) -> Result<u32> {
    let octal = (1..=4).contains(&value.len()) && value.bytes().all(|b| (b'0'..=b'7').contains(&b));
    match u32::from_str_radix(value, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err(invalid(field, value, "it is not an octal file mode of at most 0777")
            .remedy("give read and write permissions in octal, such as 0660")),
    }
}

/// A boolean, in Kubernetes' form.
pub(super) fn boolean(field: &str, value: &str) -> Result<bool> {
    match value {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(field, value, "it is neither true nor false")
            .remedy("write \"true\" or \"false\"")),
    }
}
