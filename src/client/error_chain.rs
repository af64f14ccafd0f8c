//! An error and its causes.

use std::error::Error;

/// Joins an error and its causes, each once. tonic's own text "transport error" hides the cause and is left out.
#[must_use]
pub fn error_chain(error: &(dyn Error + 'static)) -> String {
    let mut texts: Vec<String> = Vec::new();
    for text in causes(error).map(ToString::to_string) {
        if !texts.contains(&text) && text != "transport error" {
            texts.push(text);
        }
    }
    texts.join(": ")
}

/// Iterates over an error and its causes.
pub(super) fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}
