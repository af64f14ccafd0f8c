//! Names of the claims that are kept of a token.

use std::collections::BTreeSet;
use std::sync::Arc;

/// Names of claims: those that grants name, or every name. A clone shares them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClaimNames(Option<Arc<BTreeSet<String>>>);

impl ClaimNames {
    /// Returns every name.
    #[must_use]
    pub fn every() -> Self {
        Self::default()
    }

    /// Returns whether a name is one of these.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|names| names.contains(name))
    }

    /// Returns whether all of `other` are among these. Costs nothing for clones of one.
    #[must_use]
    pub fn include(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other) || own.is_superset(other),
        }
    }

    /// Returns these names and those of `other`.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (Some(own), Some(other)) => own.union(other).cloned().collect(),
            _ => Self::every(),
        }
    }
}

impl FromIterator<String> for ClaimNames {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        Self(Some(Arc::new(names.into_iter().collect())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_include_their_parts_and_every_name_includes_all() {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<ClaimNames>();
        let (one, both, every) = (names(&["a"]), names(&["a", "b"]), ClaimNames::every());
        assert!(both.include(&one) && !one.include(&both) && one.include(&names(&[])));
        assert!(every.include(&both) && !both.include(&every) && every.contains("x"));
        assert!(one.contains("a") && !one.contains("b"));
        assert_eq!((one.and(&names(&["b"])), one.and(&every)), (both, every));
    }
}
