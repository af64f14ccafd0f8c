//! Who was rejected.

use crate::caller::{CallerGroup, Principal};
use crate::limits::Origin;

/// Who was rejected, as far as it is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    /// An authenticated caller.
    Caller(Principal),
    /// A peer that proved nothing.
    Origin(Origin),
}

impl Subject {
    /// Returns the caller's name, if it is known.
    pub(super) fn caller(&self) -> Option<String> {
        if let Self::Caller(principal) = self { Some(principal.to_string()) } else { None }
    }

    /// Returns the name of the origin of an unknown caller.
    pub(super) fn origin(&self) -> Option<String> {
        if let Self::Origin(origin) = self { Some(origin.to_string()) } else { None }
    }
}

/// Subjects with one memory. The number of groups is bounded.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Group {
    Callers(CallerGroup),
    /// The peers that proved nothing.
    Origins,
}

impl Group {
    pub(super) fn of(subject: &Subject) -> Self {
        match subject {
            Subject::Caller(principal) => Self::Callers(principal.into()),
            Subject::Origin(_) => Self::Origins,
        }
    }

    /// Returns the name of a group of callers.
    pub(super) fn callers(&self) -> Option<String> {
        if let Self::Callers(group) = self { Some(group.to_string()) } else { None }
    }
}
