//! The password of a credential, in memory that fits it.

use std::fmt;
use std::ops::Deref;

use zeroize::Zeroizing;

/// A registry password. It cannot be printed, serialised or copied (P10), and its memory is wiped when it is dropped.
///
/// ```compile_fail,E0277
/// fn printed<T: std::fmt::Display>() {}
/// printed::<ecr_broker::credential::Password>();
/// ```
/// ```compile_fail,E0277
/// fn written<T: serde::Serialize>() {}
/// written::<ecr_broker::credential::Password>();
/// ```
/// ```compile_fail,E0277
/// fn copied<T: Clone>() {}
/// copied::<ecr_broker::credential::Password>();
/// ```
#[derive(PartialEq, Eq)]
pub struct Password {
    /// A part whose length is a power of two, and the rest. The allocator has sizes of 2, 2.5, 3 and 3.5 KB: in one part, a password
    /// would take a tenth more than its length.
    parts: [Zeroizing<Box<str>>; 2],
}

/// A copy of a password in plaintext, whose memory is wiped when it is dropped.
pub struct ExposedPassword(Zeroizing<String>);

impl Password {
    pub(super) fn new(text: &str) -> Self {
        let first = text.len().checked_ilog2().map_or(0, |power| 1 << power);
        let (first, rest) = text.split_at(text.floor_char_boundary(first));
        Self { parts: [first, rest].map(|part| Zeroizing::new(part.into())) }
    }

    pub(super) fn copied(&self) -> Self {
        Self { parts: self.expose_parts().map(|part| Zeroizing::new(part.into())) }
    }

    /// Returns a copy of the password in plaintext, for the place that sends it.
    #[must_use]
    pub fn expose(&self) -> ExposedPassword {
        ExposedPassword(Zeroizing::new(self.expose_parts().concat()))
    }

    /// Returns the password in plaintext without a copy, in two parts.
    #[must_use]
    pub fn expose_parts(&self) -> [&str; 2] {
        self.parts.each_ref().map(|part| &***part)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Deref for ExposedPassword {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<&str> for ExposedPassword {
    fn eq(&self, other: &&str) -> bool {
        **self == **other
    }
}

impl fmt::Debug for ExposedPassword {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn password_is_exposed_as_it_was_given() {
        let long = "é".repeat(1_300);
        for (text, first) in [("", 0), ("x", 1), ("abcde", 4), ("aé", 1), (long.as_str(), 2_048)] {
            let password = Password::new(text);
            assert_eq!(password.expose(), text);
            assert_eq!((password.expose_parts()[0].len(), password.expose_parts().concat()), (first, text.to_owned()));
            assert!(password == password.copied());
            assert_eq!(format!("{password:?} {:?}", password.expose()), "[redacted] [redacted]");
        }
    }
}
