//! What a caller wrote, as an error may repeat it.

use std::fmt;

/// Enough to recognise it by. An error travels in HTTP/2 trailers, up to four times over: with more in it, clients lose the
/// stream, or the whole connection, instead of learning what is wrong.
const LONGEST: usize = 64;

/// A text between quotes, with its control characters escaped, and cut where it is long.
#[derive(Debug, Clone, Copy)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(LONGEST) {
            Some((end, _)) => write!(f, "{:?}… ({} bytes)", &self.0[..end], self.0.len()),
            None => write!(f, "{:?}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_and_a_short_one_is_whole() {
        assert_eq!(Quoted("a\nb").to_string(), r#""a\nb""#);
        assert_eq!(Quoted(&"é".repeat(64)).to_string(), format!("{:?}", "é".repeat(64)));
        assert_eq!(Quoted(&"é".repeat(65)).to_string(), format!("{:?}… (130 bytes)", "é".repeat(64)));
        assert!(Quoted(&"\u{10ffff}".repeat(60_000)).to_string().len() < 1000);
    }
}
