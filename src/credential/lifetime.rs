//! Limits of credentials' lifetimes, by which AWS mints short-lived tokens.

use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

/// Seconds of a minute.
const MINUTE: u64 = 60;

/// The lifetime that a credential is requested with, in whole minutes. In two bytes, so that a key takes no more memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lifetime(NonZeroU16);

impl Lifetime {
    /// The shortest: half of it is the time between two fetches.
    pub const LEAST: Duration = Duration::from_mins(10);
    /// The longest that AWS issues.
    pub const MOST: Duration = Duration::from_hours(12);

    /// Returns the lifetime of a duration; `None` if it has a part of a minute, or is out of range.
    #[must_use]
    pub fn new(duration: Duration) -> Option<Self> {
        let seconds = duration.as_secs();
        let is_whole = seconds.is_multiple_of(MINUTE) && duration.subsec_nanos() == 0;
        let minutes = u16::try_from(seconds / MINUTE).ok().and_then(NonZeroU16::new);
        minutes.filter(|_| is_whole && (Self::LEAST..=Self::MOST).contains(&duration)).map(Self)
    }

    /// Returns the lifetime of a number of minutes, as [`Self::minutes`] returns it.
    #[must_use]
    pub fn from_minutes(minutes: u16) -> Option<Self> {
        Self::new(Duration::from_secs(u64::from(minutes) * MINUTE))
    }

    /// Returns the minutes.
    #[must_use]
    pub fn minutes(self) -> u16 {
        self.0.get()
    }

    /// Returns the duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.minutes()) * MINUTE)
    }
}

/// Writes the form of the configuration, such as `15m`.
impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.duration()).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::caller::Principal;
    use crate::credential::{CredentialKey, ProfileName, Revision};
    use crate::registry::Registry;

    #[test]
    fn lifetime_is_in_whole_minutes_of_the_range() {
        for (seconds, accepted) in
            [(600, true), (900, true), (43_200, true), (0, false), (540, false), (901, false), (43_260, false)]
        {
            let lifetime = Lifetime::new(Duration::from_secs(seconds));
            assert_eq!(lifetime.is_some(), accepted, "{seconds}");
            assert_eq!(lifetime.map(|one| one.duration().as_secs()), accepted.then_some(seconds));
        }
        assert_eq!(Lifetime::new(Duration::from_millis(900_500)), None);
        let hours = Lifetime::from_minutes(90).map(|one| one.to_string());
        assert_eq!((hours.as_deref(), Lifetime::from_minutes(9)), (Some("1h 30m"), None));
    }

    /// Each cached credential has several copies of its key.
    #[test]
    fn key_takes_no_more_memory_with_a_lifetime() {
        type OtherFields = (Registry, ProfileName, Revision, Option<Principal>);
        assert_eq!(size_of::<CredentialKey>(), size_of::<OtherFields>());
    }
}
