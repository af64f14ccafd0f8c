//! Values that no message may repeat, as that of an admission webhook may.

use std::fmt;

use zeroize::Zeroizing;

/// Length of the parts of a value that are searched for.
const PART: usize = 16;

/// Values that no message may repeat. Its `Debug` shows none.
#[derive(Default)]
pub struct Sensitive(Vec<Zeroizing<String>>);

impl fmt::Debug for Sensitive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sensitive").finish_non_exhaustive()
    }
}

impl Sensitive {
    /// Returns whether a text repeats a value or a longer part of one.
    #[must_use]
    pub fn is_repeated_in(&self, text: &str) -> bool {
        let has_part = |value: &str| {
            let parts = value.as_bytes().chunks_exact(PART).filter_map(|part| std::str::from_utf8(part).ok());
            text.contains(value) || parts.into_iter().any(|part| text.contains(part))
        };
        self.0.iter().any(|value| !value.is_empty() && has_part(value))
    }
}

impl FromIterator<Zeroizing<String>> for Sensitive {
    fn from_iter<I: IntoIterator<Item = Zeroizing<String>>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Extend<Zeroizing<String>> for Sensitive {
    fn extend<I: IntoIterator<Item = Zeroizing<String>>>(&mut self, values: I) {
        self.0.extend(values);
    }
}
