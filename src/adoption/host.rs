//! Canary hosts: a share of all hosts, by a hash of their identity. A higher share keeps the hosts of a lower one.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::bounded_file;

/// Identity of an installation, `machine-id(5)`.
const MACHINE_ID: &str = "/etc/machine-id";
/// Hosts that were cloned from one image with its machine ID differ by their names.
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
const MAX_BYTES: u64 = 1 << 10;
/// Keeps the hash apart from others of the same identity.
const DOMAIN: &str = "ecr-broker canary";

/// Returns whether this host is among the first `percent` of all hosts.
#[must_use]
pub fn is_canary(percent: u8) -> bool {
    percent >= canary_from()
}

/// Returns the lowest percentage, from 1 to 100, at which this host is a canary.
#[must_use]
pub fn canary_from() -> u8 {
    let read = |file| bounded_file::read_text(Path::new(file), MAX_BYTES).unwrap_or_default();
    place(read(MACHINE_ID).trim(), read(HOST_NAME).trim())
}

fn place(machine_id: &str, host_name: &str) -> u8 {
    let hash = Sha256::digest([DOMAIN, machine_id, host_name].join("\0"));
    let first = hash.first_chunk().map_or(0, |first| u64::from_be_bytes(*first));
    u8::try_from(first % 100).unwrap_or_default() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canary_share_is_close_to_its_percentage_and_stable() {
        let places: Vec<_> = (0..10_000).map(|host| place("9f6c", &format!("build-{host}"))).collect();
        for percent in [1, 10, 50, 99] {
            let share = places.iter().filter(|from| **from <= percent).count();
            let expected = usize::from(percent) * 100;
            assert!(share.abs_diff(expected) < 150, "{percent} %: {share}");
        }
        assert!(places.iter().all(|from| (1..=100).contains(from)));
        assert_eq!([place("9f6c", "build-1"), place("9f6c", "build-2"), place("", "")], [23, 61, 16]);
    }

    #[test]
    fn canary_percentage_has_both_ends() {
        assert!(!is_canary(0) && is_canary(100) && is_canary(canary_from()) && !is_canary(canary_from() - 1));
    }
}
