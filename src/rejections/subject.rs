//! Who was rejected.

use crate::caller::Principal;
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
