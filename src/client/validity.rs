//! Validity of a credential on a machine whose clock may be wrong.

use std::time::{Duration, SystemTime};

use crate::pb::RegistryCredentials;

/// Returns the validity that is left: by this machine's clock, and at most what the broker says. An older broker does not say it;
/// then at most the credential's lifetime.
#[must_use]
pub fn remaining(credentials: &RegistryCredentials, now: SystemTime) -> Duration {
    let time = |timestamp: Option<prost_types::Timestamp>| SystemTime::try_from(timestamp?).ok();
    let (issued, expires) = (time(credentials.issue_time), time(credentials.expire_time));
    let left = expires.and_then(|expires| expires.duration_since(now).ok());
    let lifetime = || expires?.duration_since(issued?).ok();
    left.unwrap_or_default().min(valid_for(credentials).or_else(lifetime).unwrap_or_default())
}

/// Returns the validity that the broker counts from now.
#[must_use]
pub fn valid_for(credentials: &RegistryCredentials) -> Option<Duration> {
    credentials.valid_for?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    #[test]
    fn p14_earlier_of_this_machines_clock_and_the_brokers_counts() {
        let start = 1_800_000_000;
        let timestamp = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        for (case, behind, valid_for, expected) in [
            ("clocks agree", 0, Some(5), 5),
            ("this clock is two hours behind", 2, Some(5), 5),
            ("this clock is two hours ahead", -2, Some(5), 3),
            ("this clock is past the expiry", -6, Some(5), 0),
            ("the broker has none left", 0, Some(0), 0),
            ("older broker", 0, None, 5),
            ("older broker, this clock is a day behind", 24, None, 12),
        ] {
            let hours = |hours: i64| hours * 3_600;
            let credentials = RegistryCredentials {
                issue_time: timestamp(start - hours(7)),
                expire_time: timestamp(start + hours(5)),
                valid_for: valid_for.map(|left| prost_types::Duration { seconds: hours(left), nanos: 0 }),
                ..RegistryCredentials::default()
            };
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs((start - hours(behind)).try_into().unwrap());
            assert_eq!(remaining(&credentials, now), Duration::from_secs(expected * HOUR), "{case}");
        }
    }
}
