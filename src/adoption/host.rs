//! Canary hosts: a share of all hosts, by a hash of their identity. A higher share keeps the hosts of a lower one.

use sha2::{Digest as _, Sha256};

#[cfg_attr(target_os = "linux", path = "host/linux.rs")]
#[cfg_attr(all(unix, not(target_os = "linux")), path = "host/unix.rs")]
#[cfg_attr(windows, path = "host/windows.rs")]
mod system;

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
    place(&system::machine_id(), &system::host_name())
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
