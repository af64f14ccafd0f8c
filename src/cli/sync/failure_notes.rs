//! Failures that repeat: `sync` prints one when it is new, and then now and again.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::client::Failure;
use crate::moment::Moment;

/// Time between two lines about a failure that repeats.
const REMINDER: Duration = Duration::from_mins(10);
/// The last printed failure of each subject: a registry, a part of the target, or the empty text for the connection.
#[derive(Debug)]
pub(super) struct FailureNotes {
    printed: BTreeMap<String, (String, Moment)>,
    /// Most subjects that are remembered.
    limit: usize,
}

impl FailureNotes {
    /// Remembers this many subjects, of which the one printed longest ago makes room for another.
    pub(super) fn of_at_most(limit: usize) -> Self {
        Self { printed: BTreeMap::new(), limit }
    }

    /// Returns whether to print a failure, and remembers it. Request IDs, delays and waits differ each time, and do not count.
    pub(super) fn is_due(&mut self, subject: &str, failure: &Failure, now: Moment) -> bool {
        self.is_new(subject, format!("{:?} {}", failure.reason, without_times(&failure.message)), now)
    }

    /// Returns whether to print a text, and remembers it.
    pub(super) fn is_new(&mut self, subject: &str, text: String, now: Moment) -> bool {
        if self.printed.get(subject).is_some_and(|(last, at)| *last == text && now.since(*at) < REMINDER) {
            return false;
        }
        if self.printed.len() >= self.limit && !self.printed.contains_key(subject) {
            self.forget_oldest(now);
        }
        self.printed.insert(subject.to_owned(), (text, now));
        true
    }

    fn forget_oldest(&mut self, now: Moment) {
        let oldest = self.printed.iter().max_by_key(|(_, (_, at))| now.since(*at)).map(|(subject, _)| subject.clone());
        if let Some(oldest) = oldest {
            self.printed.remove(&oldest);
        }
    }

    /// Forgets the failure of a subject, and returns whether there was one.
    pub(super) fn end(&mut self, subject: &str) -> bool {
        self.printed.remove(subject).is_some()
    }
}

/// Returns a message without what differs each time: the wait (` within 3.0 s`), and how long ago something was (`1m 2s ago`).
fn without_times(message: &str) -> String {
    let message = match message.split_once(" within ") {
        Some((before, after)) => before.to_owned() + after.split_once(" s").map_or(after, |(_, rest)| rest),
        None => message.to_owned(),
    };
    let Some((before, after)) = message.split_once(" ago") else { return message };
    let words: Vec<_> = before.split(' ').collect();
    let kept = words.iter().rposition(|word| !is_duration(word)).map_or(0, |last| last + 1);
    words.get(..kept).unwrap_or_default().join(" ") + after
}

/// Returns whether a word is a part of a duration, such as `31s`.
fn is_duration(word: &str) -> bool {
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit());
    unit.len() < word.len() && unit.chars().all(char::is_alphabetic)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn repeated_failure_is_due_when_it_changes_ends_or_lasts() {
        let start = Moment { wall: SystemTime::UNIX_EPOCH, steady: Duration::ZERO };
        let failure =
            |message: &str, id: &str| Failure { request_id: Some(id.to_owned()), ..Failure::local(message.to_owned()) };
        let mut notes = FailureNotes::of_at_most(5);
        let mut is_due = |subject: &str, failure: Failure, seconds| {
            notes.is_due(subject, &failure, start.after(Duration::from_secs(seconds)))
        };
        assert!(is_due("a", failure("down", "1"), 0));
        assert!(!is_due("a", failure("down", "2"), 1));
        assert!(is_due("b", failure("down", "3"), 1));
        assert!(is_due("a", failure("denied", "4"), 2));
        assert!(!is_due("a", failure("denied", "5"), 601));
        assert!(is_due("a", failure("denied", "6"), 602));
        assert!(is_due("c", failure("no broker answers at unix:/s within 10.0 s: refused", ""), 602));
        assert!(!is_due("c", failure("no broker answers at unix:/s: refused", ""), 603));
        assert!(is_due("d", failure("the token in T ended 59s ago; raise it", ""), 603));
        assert!(!is_due("d", failure("the token in T ended 1m 2s ago; raise it", ""), 606));
        assert!(is_due("d", failure("the token in U ended 1m 5s ago; raise it", ""), 609));
        assert!(notes.end("a") && !notes.end("a"));
        assert!(notes.is_due("a", &failure("denied", "7"), start.after(Duration::from_secs(603))));
    }

    #[test]
    fn subject_beyond_the_limit_replaces_the_one_printed_longest_ago() {
        let start = Moment { wall: SystemTime::UNIX_EPOCH, steady: Duration::ZERO };
        let mut notes = FailureNotes::of_at_most(3);
        let mut is_new = |subject: &str, seconds| {
            notes.is_new(subject, "down".to_owned(), start.after(Duration::from_secs(seconds)))
        };
        for (second, subject) in (0..).zip(["a", "b", "c", "d"]) {
            assert!(is_new(subject, second));
        }
        for known in ["b", "c", "d"] {
            assert!(!is_new(known, 4), "{known} keeps its note");
        }
        assert!(is_new("a", 5));
        assert!(!notes.end("b") && notes.end("c"));
    }
}
