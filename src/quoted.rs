//! Quotes untrusted input for error messages: escaped and truncated.

use std::fmt;

/// Enough characters to recognise the input. An error travels in HTTP/2 trailers, up to four times over. With longer trailers a
/// client loses the stream or the whole connection, and never sees the error.
const MAX_CHARS: usize = 64;

/// Displays a text between quotes, with control characters escaped and a long rest cut off.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(MAX_CHARS) {
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &self.0[..end], self.0.len()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_truncated_and_short_text_is_whole() {
        assert_eq!(Quoted("a\nb").to_string(), r#""a\nb""#);
        assert_eq!(Quoted(&"é".repeat(64)).to_string(), format!("{:?}", "é".repeat(64)));
        assert_eq!(Quoted(&"é".repeat(65)).to_string(), format!("{:?}… (130 bytes)", "é".repeat(64)));
        assert!(Quoted(&"\u{10ffff}".repeat(60_000)).to_string().len() < 1000);
    }
}
