//! Sizes in bytes, as settings write them: `0B`, `512KiB`, `64MiB`, `1GiB`.

const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Returns the bytes of a size: a whole number and a unit.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (number, unit) = UNITS.iter().find_map(|(name, unit)| Some((text.strip_suffix(name)?, unit)))?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { number.parse::<u64>().ok()?.checked_mul(*unit) } else { None }
}

/// Returns a size in the largest unit that divides it.
pub(super) fn format(bytes: u64) -> String {
    let unit = UNITS.iter().find(|(_, unit)| bytes >= *unit && bytes.is_multiple_of(*unit));
    unit.map_or_else(|| format!("{bytes}B"), |(name, unit)| format!("{}{name}", bytes / unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_is_a_whole_number_and_a_unit() {
        for (text, bytes) in [
            ("0B", Some(0)),
            ("1023B", Some(1023)),
            ("64MiB", Some(64 << 20)),
            ("1TiB", Some(1 << 40)),
            ("64", None),
            ("64 MiB", None),
            ("64MB", None),
            ("MiB", None),
            ("+1B", None),
            ("-1B", None),
            ("1.5MiB", None),
            ("99999999999TiB", None),
        ] {
            assert_eq!(parse(text), bytes, "{text}");
            assert!(bytes.is_none_or(|bytes| format(bytes) == text), "{text}");
        }
    }
}
