//! Sizes as users write and read them.

use crate::error::{Error, Result};

/// Parses a size in bytes: a plain number, or a number with `K`, `M`, `G`, `T` (powers of 1000) or
/// `Ki`, `Mi`, `Gi`, `Ti` (powers of 1024) and an optional `B` at the end. This covers Kubernetes'
/// quantities and what people type.
pub fn parse_size(field: &str, text: &str) -> Result<u64> {
    let invalid = |why: &str| {
        Error::invalid(format_args!("{field} {text:?}"), why.to_owned())
            .remedy("give a number of bytes, or a whole number with Ki, Mi, Gi or Ti, such as 10Gi")
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| invalid("it does not start with a number"))?;
    let unit = unit.trim_start();
    let factor: u64 = match unit.strip_suffix('B').unwrap_or(unit) {
        "" => 1,
        "k" | "K" => 1000,
        "M" => 1000 * 1000,
        "G" => 1000 * 1000 * 1000,
        "T" => 1000 * 1000 * 1000 * 1000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return Err(invalid("its unit is unknown")),
    };
    number.checked_mul(factor).ok_or_else(|| invalid("it is too large"))
}

/// Formats a size for people: at most four digits and a binary unit, such as `1.5 GiB`.
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    // A value that would round to 1024.0 becomes 1 of the next unit.
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 || value.fract() == 0.0 {
        format!("{value:.0} {}", UNITS[unit])
    } else {
        format!("{value:.1} {}", UNITS[unit])
    }
}

/// A size for people, who may have to tell it from one that is nearly the same.
pub(crate) fn exact_size(bytes: u64) -> String {
    let short = format_size(bytes);
    match parse_size("size", &short.replace(' ', "")) {
        Ok(same) if same == bytes => short,
        _ => format!("{short} ({bytes} bytes)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_as_written() {
        for (text, bytes) in
            [("0", 0), ("4096", 4096), ("1Ki", 1024), ("10 GiB", 10 << 30), ("2G", 2_000_000_000)]
        {
            assert_eq!(parse_size("size", text).unwrap(), bytes, "{text}");
        }
        for text in ["", "Gi", "-1", "1.5Gi", "1Qi", "99999999999Ti"] {
            assert!(parse_size("size", text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_format_briefly() {
        assert_eq!(format_size(512), "512 B");
        assert_eq!(format_size(1 << 30), "1 GiB");
        assert_eq!(format_size(3 << 29), "1.5 GiB");
        assert_eq!(format_size((1 << 20) - 1), "1.0 MiB");
    }
}
