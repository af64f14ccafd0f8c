//! Untrusted text for people: quoted and truncated for error messages, or escaped for a terminal.

use std::fmt::{self, Write as _};

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

/// Displays a text for a terminal: escapes each character that could move the cursor, or hide or reorder what is around it, such as
/// ANSI sequences, line ends and marks of bidirectional text.
#[derive(Debug, Clone, Copy)]
pub struct Visible<'a>(pub &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|letter| match letter {
            '"' | '\'' | '\\' => f.write_char(letter),
            _ => write!(f, "{}", letter.escape_debug()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_for_a_terminal_has_no_invisible_character() {
        let plain = "it's \"é\" → 日本 C:\\x [0m; ok";
        assert_eq!(Visible(plain).to_string(), plain);
        let hidden = "\u{1b}\u{9b}\u{7}\r\n\t\0\u{7f}\u{85}\u{61c}\u{200b}\u{200e}\u{200f}\u{202a}\u{202e}\u{2028}\u{2066}\u{2069}\u{feff}\u{e0041}";
        let shown = Visible(hidden).to_string();
        assert!(
            shown.starts_with(r"\u{1b}\u{9b}\u{7}\r\n\t\0") && shown.bytes().all(|byte| (32..127).contains(&byte)),
            "{shown}"
        );
    }

    #[test]
    fn long_text_is_truncated_and_short_text_is_whole() {
        assert_eq!(Quoted("a\nb").to_string(), r#""a\nb""#);
        assert_eq!(Quoted(&"é".repeat(64)).to_string(), format!("{:?}", "é".repeat(64)));
        assert_eq!(Quoted(&"é".repeat(65)).to_string(), format!("{:?}… (130 bytes)", "é".repeat(64)));
        assert!(Quoted(&"\u{10ffff}".repeat(60_000)).to_string().len() < 1000);
    }
}
