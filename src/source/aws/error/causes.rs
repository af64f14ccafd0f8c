//! The chain of an error's causes.

use std::error::Error;

/// Iterates over `error` and its causes.
pub(in crate::source::aws) fn causes<'a>(
    error: &'a (dyn Error + 'static),
) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source())
}
