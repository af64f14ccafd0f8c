//! Note of a failed fetch, in the place of the lease: the other brokers fail at once instead of calling the source one after another.
//!
//! Only throttling and outages are noted. Other failures can be this broker's own, such as a missing permission. A note is not sealed: a
//! writer of the tier can delay fetches by it, as it can by a lease, but no longer than [`LONGEST`] at a time.

use std::time::Duration;

use crate::error::{FailureClass, UpstreamError};
use crate::source::FetchError;

/// Lifetime of a note without a delay of AWS. The waiting brokers ask more often.
const USUAL: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(5);
/// Longest text of a note.
const MAX_BYTES: usize = 32;

/// The failures that are noted.
const CLASSES: [(&str, FailureClass); 2] =
    [("throttled", FailureClass::Throttled), ("unavailable", FailureClass::Unavailable)];

/// A failure of throttling or an outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    class: FailureClass,
    retry_after: Option<Duration>,
}

impl Note {
    /// Returns the note of a failure; `None`: it is not shared.
    pub(super) fn of(failure: &FetchError) -> Option<Self> {
        let FetchError::Upstream(UpstreamError { class, retry_after, .. }) = failure else { return None };
        let is_shared = CLASSES.iter().any(|(_, shared)| shared == class);
        is_shared.then_some(Self { class: *class, retry_after: retry_after.map(|delay| delay.min(LONGEST)) })
    }

    /// Parses the format of [`Self::to_text`].
    pub(super) fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok().filter(|text| text.len() <= MAX_BYTES)?;
        let (word, delay) = text.split_once(' ').map_or((text, None), |(word, delay)| (word, Some(delay)));
        let (_, class) = CLASSES.into_iter().find(|(known, _)| *known == word)?;
        let retry_after = delay.map(str::parse).transpose().ok()?;
        Some(Self { class, retry_after: retry_after.map(|delay| Duration::from_millis(delay).min(LONGEST)) })
    }

    /// Returns the text: the class, and the milliseconds of AWS's delay if it named one.
    pub(super) fn to_text(self) -> String {
        let word = CLASSES.iter().find(|(_, class)| *class == self.class).map_or("", |(word, _)| word);
        self.retry_after.map_or_else(|| word.to_owned(), |delay| format!("{word} {}", delay.as_millis()))
    }

    /// Returns how long the note lasts.
    pub(super) fn ttl(self) -> Duration {
        self.retry_after.unwrap_or(USUAL).clamp(SHORTEST, LONGEST)
    }

    pub(super) fn class(self) -> FailureClass {
        self.class
    }

    pub(super) fn retry_after(self) -> Option<Duration> {
        self.retry_after
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(class: FailureClass, retry_after: Option<u64>) -> Option<Note> {
        let retry_after = retry_after.map(Duration::from_millis);
        Note::of(&UpstreamError { retry_after, ..UpstreamError::aws(class) }.into())
    }

    #[test]
    fn throttling_and_outages_are_noted_and_nothing_else() {
        for (class, retry_after, text, ttl) in [
            (FailureClass::Throttled, None, "throttled", 1_000),
            (FailureClass::Throttled, Some(100), "throttled 100", 500),
            (FailureClass::Unavailable, Some(2_500), "unavailable 2500", 2_500),
            (FailureClass::Unavailable, Some(60_000), "unavailable 5000", 5_000),
        ] {
            let note = of(class, retry_after).expect("a note");
            assert_eq!((note.to_text().as_str(), note.ttl()), (text, Duration::from_millis(ttl)));
            assert_eq!(Note::parse(text.as_bytes()), Some(note));
        }
        for class in [FailureClass::Denied, FailureClass::NoCredentials, FailureClass::Misconfigured] {
            assert_eq!(of(class, None), None);
        }
        assert_eq!(Note::of(&FetchError::QueueFull { retry_after: USUAL }), None);
    }

    #[test]
    fn note_of_another_version_is_ignored_and_a_long_delay_is_cut() {
        for text in ["", "denied", "throttled ", "throttled x", "throttled -1", "throttled 1 2", "Throttled", " "] {
            assert_eq!(Note::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Note::parse(b"\xff"), None);
        assert_eq!(Note::parse(b"throttled 86400000").and_then(Note::retry_after), Some(LONGEST));
        proptest!(|(text in proptest::collection::vec(any::<u8>(), 0..40))| {
            prop_assert!(Note::parse(&text).is_none_or(|note| note.ttl() <= LONGEST));
        });
    }
}
